"""Values of a packet plan: where bits come from and what is computed from them.

All are unsigned integers of `bits` bits; 128-bit values are addresses in network byte order.
Bit offsets count from a region's first bit, most significant first (network bit order).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Region:
    """A run of bytes with a run-time place: a header by its name in the language, the TLV of a
    search slot, or entry `slot` of the segment list; in maps, the entry that lookup `slot` of a
    rule found, or the state ("state", "state_per_cpu")."""

    kind: str
    slot: int = 0

    def __str__(self) -> str:
        """Short name."""
        numbered = self.kind in ("tlv", "segment", "entry")
        return f"{self.kind}{self.slot}" if numbered else self.kind


IP = Region("ip")
SRH = Region("srh")


@dataclass(frozen=True)
class Imm:
    """A known value."""

    bits: int
    value: int

    def __str__(self) -> str:
        """Decimal, or hexadecimal for addresses."""
        return f"{self.value:#034x}" if self.bits > 64 else str(self.value)


@dataclass(frozen=True)
class Load:
    """Bits of the packet as it arrived."""

    bits: int
    region: Region
    bit: int

    def __str__(self) -> str:
        """region[byte.bit, width]."""
        return f"{self.region}[{self.bit // 8}.{self.bit % 8}, {self.bits}]"


@dataclass(frozen=True)
class Param:
    """A param; `offset` in bytes within the copy in force. Machine byte order, or `raw`: as on
    the wire."""

    bits: int
    offset: int
    name: str
    raw: bool = False

    def __str__(self) -> str:
        """Its name."""
        return f"param {self.name}"


@dataclass(frozen=True)
class Meta:
    """What the kernel knows of the packet: 32 bits at `offset` bytes of struct __sk_buff, or
    from a helper (None)."""

    name: str
    offset: int | None
    bits: int = 32

    def __str__(self) -> str:
        """As in source."""
        return f"packet.{self.name}"


@dataclass(frozen=True)
class Member:
    """A value in map memory: `size` bytes at `offset`, in machine byte order or, `raw`, as on the
    wire."""

    bits: int
    region: Region
    offset: int
    size: int
    raw: bool

    def __str__(self) -> str:
        """region{offset+size}."""
        return f"{self.region}{{{self.offset}+{self.size}}}"


@dataclass(frozen=True)
class Clock:
    """TAI nanoseconds when the packet arrived at the rule (bpf_ktime_get_tai_ns)."""

    bits: int = 64

    def __str__(self) -> str:
        """As in source."""
        return "now()"


@dataclass(frozen=True)
class PtpToNs:
    """64-bit truncated PTP (seconds, nanoseconds) to nanoseconds."""

    value: Value
    bits: int = 64

    def __str__(self) -> str:
        """As a conversion."""
        return f"ns({self.value})"


@dataclass(frozen=True)
class NsToPtp:
    """Nanoseconds to 64-bit truncated PTP."""

    value: Value
    bits: int = 64

    def __str__(self) -> str:
        """As a conversion."""
        return f"ptp({self.value})"


@dataclass(frozen=True)
class Arith:
    """Wrapping arithmetic in `bits` bits; x / 0 = 0, x % 0 = x, shifts by `bits` or more give 0."""

    bits: int
    op: str
    left: Value
    right: Value

    def __str__(self) -> str:
        """In brackets, with its width."""
        return f"({self.left} {self.op} {self.right})u{self.bits}"


@dataclass(frozen=True)
class Compare:
    """A comparison."""

    op: str
    left: Value
    right: Value
    bits: int = 1

    def __str__(self) -> str:
        """As in source."""
        return f"{self.left} {self.op} {self.right}"


@dataclass(frozen=True)
class InPrefix:
    """Whether the first `length` bits of `value` (of `width`) are those of `address`."""

    value: Value
    address: int
    length: int
    width: int
    bits: int = 1

    def __str__(self) -> str:
        """As in source."""
        return f"{self.value} in {self.address:#x}/{self.length}"


@dataclass(frozen=True)
class Not:
    """Negation."""

    value: Value
    bits: int = 1

    def __str__(self) -> str:
        """As in source."""
        return f"not ({self.value})"


@dataclass(frozen=True)
class Logic:
    """`and` / `or`, short-circuit."""

    op: str
    left: Value
    right: Value
    bits: int = 1

    def __str__(self) -> str:
        """In brackets."""
        return f"({self.left} {self.op} {self.right})"


@dataclass(frozen=True)
class Found:
    """Whether a search slot found its TLV."""

    slot: int
    bits: int = 1

    def __str__(self) -> str:
        """The slot."""
        return f"found tlv{self.slot}"


@dataclass(frozen=True)
class Placed:
    """A value put into memory: `size` bytes at `offset`, in machine byte order or, `raw`, as on
    the wire."""

    offset: int
    size: int
    raw: bool
    value: Value


@dataclass(frozen=True)
class Key:
    """A key of a map, laid out in `size` bytes; what no part covers is zero."""

    map: str
    size: int
    parts: tuple[Placed, ...]

    def __str__(self) -> str:
        """map[values]."""
        return f"{self.map}[{', '.join(str(p.value) for p in self.parts)}]"


@dataclass(frozen=True)
class Lookup:
    """Whether a map has an entry at a key; `slot` numbers a rule's lookups."""

    slot: int
    key: Key
    bits: int = 1

    def __str__(self) -> str:
        """As in source."""
        return f"found entry{self.slot} {self.key}"


@dataclass(frozen=True)
class Sample:
    """True for one packet in `of` at random, never if `of` is 0."""

    of: Value
    bits: int = 1

    def __str__(self) -> str:
        """As in source."""
        return f"sample(1 in {self.of})"


@dataclass(frozen=True)
class Every:
    """True for each `of`-th packet of this CPU, never if `of` is 0; `site` numbers the places
    that count."""

    site: int
    of: Value
    bits: int = 1

    def __str__(self) -> str:
        """As in source."""
        return f"every({self.of})"


Value = (
    Imm
    | Load
    | Param
    | Meta
    | Every
    | Clock
    | PtpToNs
    | NsToPtp
    | Arith
    | Compare
    | InPrefix
    | Not
    | Logic
    | Found
    | Lookup
    | Member
    | Sample
)


def parts(value: Value) -> tuple[Value, ...]:
    """The values that a value is computed from."""
    match value:
        case PtpToNs(v) | NsToPtp(v) | Not(v) | InPrefix(v) | Sample(v) | Every(_, v):
            return (v,)
        case Arith(_, _, a, b) | Compare(_, a, b) | Logic(_, a, b):
            return (a, b)
        case Lookup(_, key):
            return tuple(part.value for part in key.parts)
    return ()


def walk(value: Value) -> list[Value]:
    """The value and all that it is computed from."""
    found: list[Value] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        found.append(item)
        waiting.extend(parts(item))
    return found
