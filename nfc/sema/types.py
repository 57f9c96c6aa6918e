"""The language's types. All arithmetic is unsigned; units are part of the type."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Int:
    """`u1` to `u64`: an unsigned integer of `bits` bits."""

    bits: int

    def __str__(self) -> str:
        """As written in source."""
        return f"u{self.bits}"


@dataclass(frozen=True)
class Bool:
    """A condition."""

    bits: int = 1

    def __str__(self) -> str:
        """As written in source."""
        return "bool"


@dataclass(frozen=True)
class Ipv6:
    """A 128-bit IPv6 address."""

    bits: int = 128

    def __str__(self) -> str:
        """As written in source."""
        return "ipv6"


@dataclass(frozen=True)
class Bytes:
    """`bytes1` to `bytes16`: that many bytes as on the wire, to be compared and copied."""

    count: int

    @property
    def bits(self) -> int:
        """Width in bits."""
        return 8 * self.count

    def __str__(self) -> str:
        """As written in source."""
        return f"bytes{self.count}"


@dataclass(frozen=True)
class Timestamp:
    """A point in time: nanoseconds of TAI since 1970-01-01.

    In a TLV it is the 64-bit truncated PTP format: 32 bits of seconds, 32 bits of nanoseconds
    (IEEE 1588v2; RFC 6374, section 3.4), so it wraps in 2106.
    """

    bits: int = 64

    def __str__(self) -> str:
        """As written in source."""
        return "timestamp"


@dataclass(frozen=True)
class Duration:
    """A length of time in nanoseconds."""

    bits: int = 64

    def __str__(self) -> str:
        """As written in source."""
        return "duration"


@dataclass(frozen=True)
class Enum:
    """Named values of `bits` bits; several names may have one value."""

    name: str
    bits: int
    members: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        """As written in source."""
        return self.name

    def __repr__(self) -> str:
        """Short: the members are printed where the enum is declared."""
        return f"Enum({self.name}: u{self.bits})"


Type = Int | Bool | Ipv6 | Bytes | Timestamp | Duration | Enum

NAMED: dict[str, Type] = {
    "bool": Bool(),
    "ipv6": Ipv6(),
    "timestamp": Timestamp(),
    "duration": Duration(),
}


def builtin(name: str) -> Type | None:
    """The built-in type of that name, or None."""
    if name in NAMED:
        return NAMED[name]
    if re.fullmatch(r"u([1-9]|[1-5][0-9]|6[0-4])", name):
        return Int(int(name[1:]))
    if re.fullmatch(r"bytes([1-9]|1[0-6])", name):
        return Bytes(int(name[5:]))
    return None


def is_raw(type_: Type) -> bool:
    """Whether a type's values lie in memory as on the wire; others lie in machine byte order."""
    return isinstance(type_, Ipv6 | Bytes)


def memory_size(type_: Type) -> int:
    """Bytes that a value takes in maps and events: 16 for an address, N for bytesN, else 1, 2, 4
    or 8."""
    if is_raw(type_):
        return type_.bits // 8
    return next(size for size in (1, 2, 4, 8) if type_.bits <= size * 8)


def alignment(type_: Type) -> int:
    """What a value's offset in maps and events is a multiple of, in bytes."""
    if isinstance(type_, Bytes):
        return 1
    return min(memory_size(type_), 8)
