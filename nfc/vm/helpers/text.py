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
MAX_ARGUMENTS = 12  # MAX_BPRINTF_VARARGS
SPACES = b" \t\n\v\f\r\xa0"  # lib/ctype.c has the no-break space of Latin-1 among them
WORD = rb"[a-zA-Z0-9\xc0-\xd6\xd8-\xf6\xf8-\xff]"  # neither space nor punctuation in Latin-1
# What bpf_bprintf_prepare knows, less what prints kernel addresses, which no simulator has.
FORMAT = re.compile(
    rb"%([0+ -]*)([1-9]\d*)?(?:(?P<kind>(?P<long>l{0,2})[diuxX])"
    rb"|(?P<string>s|p[ku]s)(?!" + WORD + rb")|(?P<char>c)|p(?P<address>[iI][46]))"
)
ADDRESS = re.compile(rb"%[0+ -]*(?:[1-9]\d*)?p(?:[KxsSB]|(?!" + WORD + rb"))")


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
    """As bpf_bprintf does it; None: a character or a conversion that is not allowed, or too few
    arguments. Raises FaultError for one that prints an address of the kernel's."""
    found, at, left = bytearray(), 0, list(arguments)
    if any((c < 127 and not (c >= 32 or 9 <= c <= 13)) or c == 127 for c in text):
        return None
    while at < len(text):
        if text[at : at + 1] != b"%":
            found.append(text[at])
            at += 1
            continue
        if text[at + 1 : at + 2] == b"%":
            found += b"%"
            at += 2
            continue
        match = FORMAT.match(text, at)
        if match is None and ADDRESS.match(text, at) and left:
            raise FaultError("prints an address, which is another one in each kernel")
        if match is None or not left:
            return None
        at = match.end()
        found += _converted(m, match, left.pop(0))
    return bytes(found)


def _converted(m: Machine, match: re.Match[bytes], value: int) -> bytes:
    """One conversion, as bstr_printf (lib/vsprintf.c) does it."""
    flags, width = match[1], int(match[2] or 0)
    if match["address"]:
        return _address(m, match["address"], value)
    if match["string"] or match["char"]:
        shown = _readable(m, value) if match["string"] else bytes([value & 0xFF])
        return shown.ljust(width) if b"-" in flags else shown.rjust(width)
    kind = match["kind"][-1:].decode()
    bits = 64 if match["long"] else 32
    value &= (1 << bits) - 1
    sign = ""
    if kind in "di":
        if value >> (bits - 1):
            value, sign = (1 << bits) - value, "-"
        else:
            sign = "+" if b"+" in flags else " " if b" " in flags else ""
    digits = f"{value:{kind}}" if kind in "xX" else str(value)
    if b"-" in flags:
        return (sign + digits).ljust(width).encode()
    if b"0" in flags:
        digits = digits.zfill(width - len(sign))
    return (sign + digits).rjust(width).encode()


def _readable(m: Machine, place: int) -> bytes:
    """A string; none where nothing can be read (strncpy_from_kernel_nofault)."""
    try:
        return _text(m, place)
    except FaultError:
        return b""


def _address(m: Machine, kind: bytes, place: int) -> bytes:
    """An IP address in memory: I with separators, i without them and with leading zeros."""
    size = 4 if kind[1:] == b"4" else 16
    try:
        raw = m.memory.read(place, size)
    except FaultError:
        raw = bytes(size)
    if len(raw) == 4:
        return ".".join(f"{b:03}" if kind[:1] == b"i" else str(b) for b in raw).encode()
    between = ":" if kind[:1] == b"I" else ""
    return between.join(raw[i : i + 2].hex() for i in range(0, 16, 2)).encode()


def _printed(m: Machine, place: int, size: int, arguments: Sequence[int]) -> int:
    text, zero, _ = m.memory.read(place, size).partition(b"\0")
    said = formatted(m, text, arguments) if zero else None
    if said is None:
        return -errno.EINVAL
    m.printed.append(said.decode("utf-8", "replace"))
    return len(said)


def _trace(m: Machine, place: int, size: int, *arguments: int) -> int:
    return _printed(m, place, size & 0xFFFFFFFF, arguments)


def _words(m: Machine, data: int, size: int) -> list[int] | None:
    """The arguments; None: no whole words, or too many."""
    if size % 8 or size > 8 * MAX_ARGUMENTS:
        return None
    raw = m.memory.read(data, size)
    return [int.from_bytes(raw[i : i + 8], "little") for i in range(0, size, 8)]


def _vtrace(m: Machine, place: int, size: int, data: int, length: int, _: int) -> int:
    words = _words(m, data, length & 0xFFFFFFFF)
    return -errno.EINVAL if words is None else _printed(m, place, size & 0xFFFFFFFF, words)


def _snprintf(m: Machine, to: int, size: int, text: int, data: int, length: int) -> int:
    words = _words(m, data, length & 0xFFFFFFFF)
    said = None if words is None else formatted(m, _text(m, text), words)
    if said is None:
        return -errno.EINVAL
    if size:
        m.memory.write(to, said[: size - 1] + b"\0")
    return len(said) + 1


def _number(text: bytes, flags: int) -> tuple[int, int] | int:
    """The value and how many bytes it took, or a negative errno (__bpf_strtoull)."""
    if flags not in BASES:
        return -errno.EINVAL
    stripped = text.lstrip(SPACES)
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
    m.memory.write(to, bytes(8))
    found = _number(m.memory.read(place, size), flags)
    if isinstance(found, int):
        return found
    if not -(1 << 63) <= found[0] < 1 << 63:
        return -errno.ERANGE
    m.memory.write(to, (found[0] & MASK64).to_bytes(8, "little"))
    return found[1]


def _strtoul(m: Machine, place: int, size: int, flags: int, to: int, _: int) -> int:
    text = m.memory.read(place, size)
    m.memory.write(to, bytes(8))
    found = _number(text, flags)
    if isinstance(found, int):
        return found
    if text.lstrip(SPACES).startswith(b"-"):
        return -errno.EINVAL
    m.memory.write(to, found[0].to_bytes(8, "little"))
    return found[1]


def _strncmp(m: Machine, one: int, size: int, other: int, *_: int) -> int:
    for i in range(size & 0xFFFFFFFF):
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
