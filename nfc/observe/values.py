"""Values of params and event fields: between what an operator writes and bytes in memory."""

from __future__ import annotations

import ipaddress
from decimal import Decimal, InvalidOperation

from nfc.errors import UsageError
from nfc.manifest import Field

_UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


def parse(field: Field, text: str) -> bytes:
    """The bytes of a field from an operator's text. Raises UsageError, which says what fits."""
    text = text.strip()
    if field.type == "ipv6":
        try:
            return ipaddress.IPv6Address(text).packed
        except ValueError:
            raise UsageError(f"{field.name}: '{text}' is not an IPv6 address") from None
    if field.type == "bool":
        if text not in ("true", "false"):
            raise UsageError(f"{field.name}: '{text}' is neither true nor false")
        return bytes([text == "true"])
    if field.type.startswith("bytes"):
        return _bytes(field, text)
    if field.type in ("duration", "timestamp"):
        return _nanoseconds(field, text).to_bytes(8, "little")
    bits = int(field.type[1:])
    try:
        value = int(ipaddress.IPv4Address(text)) if "." in text else int(text[:100], 0)
    except ValueError:
        raise UsageError(f"{field.name}: '{text}' is not a number") from None
    if not 0 <= value < 1 << bits:
        raise UsageError(f"{field.name}: {text} does not fit {field.type} (0 to {(1 << bits) - 1})")
    return value.to_bytes(field.size, "little")


def _bytes(field: Field, text: str) -> bytes:
    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        data = b""
    if len(data) != field.size:
        raise UsageError(
            f"{field.name}: '{text}' is not {field.size} bytes",
            hint=f"two hexadecimal digits a byte: 0x{'00' * field.size}",
        )
    return data


def _nanoseconds(field: Field, text: str) -> int:
    if field.type == "timestamp" and text.isdecimal():
        text += "ns"  # as JSON output has it
    unit = text.lstrip("0123456789_.")
    number = text[: len(text) - len(unit)]
    try:
        value = Decimal(number) * _UNITS[unit]
    except (InvalidOperation, KeyError):
        raise UsageError(
            f"{field.name}: '{text}' is not a duration", hint="for example 10ms, 5us, 1.5s"
        ) from None
    if value != value.to_integral_value() or not 0 <= value < 1 << 64:
        raise UsageError(f"{field.name}: {text} is not a whole number of nanoseconds in 64 bits")
    return int(value)


def decode(field: Field, record: bytes) -> int | bool | str:
    """A field's value from the bytes around it: addresses and bytesN as text,
    bools as bools, else numbers."""
    raw = record[field.offset : field.offset + field.size]
    if field.type == "ipv6":
        return str(ipaddress.IPv6Address(raw))
    if field.type.startswith("bytes"):
        return f"0x{raw.hex()}"
    value = int.from_bytes(raw, "little")
    return bool(value) if field.type == "bool" else value


def show(field: Field, value: int | bool | str) -> str:
    """A decoded value as an operator writes it."""
    if field.type == "bool":
        return "true" if value else "false"
    if field.type == "duration":
        nanoseconds = int(value)
        for unit in ("s", "ms", "us"):
            if nanoseconds and nanoseconds % _UNITS[unit] == 0:
                return f"{nanoseconds // _UNITS[unit]}{unit}"
        return f"{nanoseconds}ns"
    if field.type == "timestamp":
        seconds, rest = divmod(int(value), 1_000_000_000)
        return f"{seconds}.{rest:09d}"
    return str(value)
