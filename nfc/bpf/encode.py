"""Values as people write them, as the bytes of a BTF type: what `nfc.bpf.values` reads, written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address
from typing import Any

from nfc.bpf.btf import Btf, Kind, Type
from nfc.bpf.values import is_char
from nfc.errors import ObjectError

MAX_DEPTH = 16
MAX_SIZE = 1 << 20  # bytes of a value
_SIGNED, _CHAR, _BOOL = 1, 2, 4  # BTF_INT_*
_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
_TIMES = ("duration", "timestamp")  # typedefs of nfc's own objects, nanoseconds
_WORDS = {"true": 1, "false": 0}


def encode(btf: Btf, number: int, value: Any) -> bytes:
    """The bytes of a value, little-endian, `__be16` and the like big-endian.

    Numbers, texts of them, members of enums by name, lists, fields by name (zero where one is left
    out), addresses where there are 16 bytes, and anything as hexadecimal digits of its size, with
    0x. Raises ValueError, which says what does not fit.
    """
    try:
        return _Encoder(btf).value(number, value, 0)
    except ObjectError as error:
        raise ValueError(f"its type cannot be: {error.message}") from None


class _Encoder:
    """Encodes one value."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf

    def value(self, number: int, value: Any, depth: int) -> bytes:
        names, kind = self._named(number)
        size = self.btf.size(kind.id)
        if depth > MAX_DEPTH or size > MAX_SIZE:
            raise ValueError("its type is too large, or too deep")
        if isinstance(value, str) and kind.kind in (Kind.ARRAY, Kind.STRUCT, Kind.UNION):
            return self._text(kind, size, value)
        match kind.kind:
            case Kind.INT | Kind.PTR:
                return _int(kind, size, names, value)
            case Kind.ENUM | Kind.ENUM64:
                known = {m.name: m.value for m in kind.members}
                found = known.get(value) if isinstance(value, str) else None
                if found is not None:
                    return (found & (1 << 8 * size) - 1).to_bytes(size, "little")
                if isinstance(value, str) and not value[:1].isdigit():
                    raise ValueError(f"'{value[:40]}' is none of {', '.join(known)[:200]}")
                return _int(kind, size, names, value)
            case Kind.ARRAY:
                return self._array(kind, size, value, depth)
            case Kind.STRUCT | Kind.UNION if isinstance(value, Mapping):
                data = bytearray(size)
                unknown = set(value) - self._fields(kind, value, data, 0, depth)
                if unknown:
                    said = ", ".join(sorted(map(str, unknown)))[:80]
                    raise ValueError(f"there is no field {said} in {kind.name or 'it'}")
                return bytes(data)
        raise ValueError(f"{str(value)[:40]!r} is no value of a {kind.kind.name.lower()}")

    def _named(self, number: int) -> tuple[list[str], Type]:
        """The names of typedefs on the way to a type, and the type."""
        names: list[str] = []
        kind = self.btf.types[number] if number < len(self.btf.types) else self.btf.types[0]
        resolved = self.btf.resolve(kind.id)
        while kind.id != resolved.id:
            names += [kind.name] if kind.kind is Kind.TYPEDEF else []
            kind = self.btf.types[kind.type]
        return names, resolved

    def _text(self, kind: Type, size: int, text: str) -> bytes:
        """An address, hexadecimal digits, or text where there are chars."""
        element = self.btf.resolve(kind.type) if kind.kind is Kind.ARRAY else kind
        chars = element.kind is Kind.INT and element.size == 1 and is_char(element)
        if size == 16 and ":" in text and not chars:
            try:
                return IPv6Address(text).packed
            except ValueError:
                raise ValueError(f"'{text[:50]}' is no IPv6 address") from None
        data = raw(text, size)
        if data is not None:
            return data
        encoded = text.encode(errors="surrogateescape")
        if chars and len(encoded) <= size:
            return encoded.ljust(size, b"\0")
        raise ValueError(f"'{text[:40]}' is not {size} bytes in hexadecimal")

    def _array(self, kind: Type, size: int, value: Any, depth: int) -> bytes:
        if not isinstance(value, Sequence) or len(value) > kind.count:
            raise ValueError(f"it is a list of {kind.count} at most")
        return b"".join(self.value(kind.type, part, depth + 1) for part in value).ljust(size, b"\0")

    def _fields(
        self, kind: Type, given: Mapping[str, Any], data: bytearray, base: int, depth: int
    ) -> set[str]:
        """Put fields into `data`, where the structure begins at byte `base`; which there were."""
        if depth > MAX_DEPTH:
            raise ValueError("its type is too deep")
        known: set[str] = set()
        for member in kind.members:
            inside = self.btf.resolve(member.type)
            if not member.name and inside.kind in (Kind.STRUCT, Kind.UNION):
                known |= self._fields(inside, given, data, base + member.offset // 8, depth + 1)
                continue
            if member.name not in given:
                continue
            known.add(member.name)
            try:
                part = self.value(member.type, given[member.name], depth + 1)
            except ValueError as error:
                raise ValueError(f"{member.name}: {error}") from None
            at = base * 8 + member.offset
            if member.bits:
                number = int.from_bytes(part, "little") & (1 << member.bits) - 1
                whole = int.from_bytes(data, "little") & ~((1 << member.bits) - 1 << at)
                if at + member.bits > 8 * len(data):
                    raise ValueError(f"{member.name}: lies outside")
                data[:] = (whole | number << at).to_bytes(len(data), "little")
            elif at // 8 + len(part) > len(data):
                raise ValueError(f"{member.name}: lies outside")
            else:
                data[at // 8 : at // 8 + len(part)] = part
        return known


def raw(text: str, size: int) -> bytes | None:
    """So many bytes in hexadecimal, with 0x or without; None if the text is something else."""
    digits = text.removeprefix("0x")
    if len(digits) != 2 * size:
        return None
    try:
        return bytes.fromhex(digits) if digits.isalnum() or not digits else None
    except ValueError:
        return None


def _int(kind: Type, size: int, names: Sequence[str], value: Any) -> bytes:
    number = _number(value, any(name in _TIMES for name in names))
    encoding = kind.extra >> 24 if kind.kind is Kind.INT else _SIGNED
    bits = 8 * size
    least = -(1 << bits - 1) if encoding & (_SIGNED | _CHAR) else 0
    most = (1 << bits - 1) - 1 if encoding & _SIGNED and kind.kind is Kind.INT else (1 << bits) - 1
    if encoding & _BOOL:
        most = 1
    if not size or not least <= number <= most:
        raise ValueError(f"{number} is not between {least} and {most}")
    big = any(name.startswith("__be") for name in names)
    return (number & (1 << bits) - 1).to_bytes(size, "big" if big else "little")


def _number(value: Any, time: bool) -> int:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) and len(value) <= 100:
        text = value.strip()
        if text in _WORDS:
            return _WORDS[text]
        unit = next((u for u in _UNITS if text.endswith(u)), "") if time else ""
        try:
            return int(text[: len(text) - len(unit)], 0) * (_UNITS[unit] if unit else 1)
        except ValueError:
            pass
    raise ValueError(f"'{str(value)[:40]}' is not a number")
