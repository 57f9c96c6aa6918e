"""Helpers on text (kernel/bpf/helpers.c, kernel/trace/bpf_trace.c, lib/kstrtox.c)."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence

from nfc.vm.machine import MASK64, Machine
from nfc.vm.memory import FaultError

MAX_STRING = 512
BASES = (0, 8, 10, 16)
LONGEST_NUMBER = 63
# What bpf_bprintf_prepare knows, less %p and its kin, which print what no simulator has.
FORMAT = re.compile(rb"%(?:(%)|([-0]?\d*)(l{0,2})([diuxX])|(?:\d*)(s)|(c))")


def _text(m: Machine, place: int) -> bytes:
    """A string that ends with a zero byte."""
    found = bytearray()
    while len(found) < MAX_STRING:
        byte = m.memory.load(place + len(found), 1)
        if not byte:
            return bytes(found)
        found.append(byte)
    return bytes(found)


def formatted(m: Machine, text: bytes, arguments: Sequence[int]) -> bytes | None:
    """As bpf_bprintf does it; None: a conversion that is not allowed, or too few arguments."""
    found, at, left = bytearray(), 0, list(arguments)
    while at < len(text):
        if text[at : at + 1] != b"%":
            found.append(text[at])
            at += 1
            continue
        match = FORMAT.match(text, at)
        if match is None:
            return None
        at = match.end()
        percent, width, longs, kind, string, _ = match.groups()
        if percent:
            found += b"%"
            continue
        if not left:
            return None
        value = left.pop(0)
        if kind is None:
            found += _text(m, value) if string else bytes([value & 0xFF])
            continue
        bits = 64 if longs else 32
        value &= (1 << bits) - 1
        if kind in b"di" and value >> (bits - 1):
            value -= 1 << bits
        shown = f"{value:{kind.decode()}}" if kind in b"xX" else str(value)
        found += _padded(shown, width.decode()).encode()
    return bytes(found)


def _padded(shown: str, width: str) -> str:
    if not width:
        return shown
    size = int(width.lstrip("-0") or "0")
    if width[0] == "-":
        return shown.ljust(size)
    return shown.zfill(size) if width[0] == "0" else shown.rjust(size)


def _trace(m: Machine, place: int, size: int, *arguments: int) -> int:
    text = m.memory.read(place, size).partition(b"\0")[0]
    said = formatted(m, text, arguments)
    if said is None:
        return -errno.EINVAL
    m.printed.append(said.decode("utf-8", "replace"))
    return len(said)


def _words(m: Machine, data: int, size: int) -> list[int]:
    if size % 8:
        raise FaultError(f"gives {size} bytes of arguments, which are not whole words")
    raw = m.memory.read(data, size)
    return [int.from_bytes(raw[i : i + 8], "little") for i in range(0, size, 8)]


def _vtrace(m: Machine, place: int, size: int, data: int, length: int, _: int) -> int:
    text = m.memory.read(place, size).partition(b"\0")[0]
    said = formatted(m, text, _words(m, data, length))
    if said is None:
        return -errno.EINVAL
    m.printed.append(said.decode("utf-8", "replace"))
    return len(said)


def _snprintf(m: Machine, to: int, size: int, text: int, data: int, length: int) -> int:
    said = formatted(m, _text(m, text), _words(m, data, length))
    if said is None:
        return -errno.EINVAL
    if size:
        m.memory.write(to, said[: size - 1] + b"\0")
    return len(said) + 1


def _number(text: bytes, flags: int) -> tuple[int, int] | int:
    """The value and how many bytes it took, or a negative errno (__bpf_strtoull)."""
    if flags not in BASES:
        return -errno.EINVAL
    stripped = text.lstrip(b" \t\n\v\f\r")
    consumed = len(text) - len(stripped)
    negative = stripped.startswith(b"-")
    if negative:
        stripped, consumed = stripped[1:], consumed + 1
    stripped = stripped[:LONGEST_NUMBER]
    base = flags
    prefixed = re.match(rb"0[xX][0-9a-fA-F]", stripped)
    if base == 0:
        base = 16 if prefixed else 8 if stripped.startswith(b"0") else 10
    begin = 2 if base == 16 and stripped[:2].lower() == b"0x" else 0
    digits = re.match({8: rb"[0-7]*", 10: rb"[0-9]*", 16: rb"[0-9a-fA-F]*"}[base], stripped[begin:])
    count = digits.end() if digits else 0
    if not count:
        return -errno.EINVAL
    value = int(stripped[begin : begin + count], base)
    if value > MASK64:
        return -errno.ERANGE
    return (-value if negative else value), consumed + begin + count


def _strtol(m: Machine, place: int, size: int, flags: int, to: int, _: int) -> int:
    found = _number(m.memory.read(place, size), flags)
    if isinstance(found, int):
        return found
    if not -(1 << 63) <= found[0] < 1 << 63:
        return -errno.ERANGE
    m.memory.write(to, (found[0] & MASK64).to_bytes(8, "little"))
    return found[1]


def _strtoul(m: Machine, place: int, size: int, flags: int, to: int, _: int) -> int:
    text = m.memory.read(place, size)
    found = _number(text, flags)
    if isinstance(found, int):
        return found
    if text.lstrip(b" \t\n\v\f\r").startswith(b"-"):
        return -errno.EINVAL
    m.memory.write(to, found[0].to_bytes(8, "little"))
    return found[1]


def _strncmp(m: Machine, one: int, size: int, other: int, *_: int) -> int:
    for i in range(size):
        a, b = m.memory.load(one + i, 1), m.memory.load(other + i, 1)
        if a != b:
            return -1 if a < b else 1
        if not a:
            break
    return 0


TABLE = {
    6: _trace,
    105: _strtol,
    106: _strtoul,
    165: _snprintf,
    177: _vtrace,
    182: _strncmp,
}
