"""What the compiler tells the rest of nfc about a function, beside the object itself.

Deploying, setting params, decoding events and naming counters need names, types and offsets;
none of them needs the compiler. A manifest is plain data, and goes to JSON and back.
"""

from __future__ import annotations

from dataclasses import dataclass

# The one writable data section of an nfc object holds the params, twice: a u64 that says which
# copy is in force (0 or 1), then the two copies. `nfc set` fills the idle copy and flips the
# word, so that a packet sees all of the old values or all of the new.
PARAMS_SECTION = ".data"
PARAMS_ACTIVE_SIZE = 8
EVENTS_MAP = "events"  # ring buffer; every record begins with a u64 that is the event's index


@dataclass(frozen=True)
class Field:
    """A named value in memory: `offset` and `size` in bytes from the start of its structure.

    `type` is the language's name for it: `u1` to `u64`, `bool`, `ipv6` (16 bytes, network
    order), `timestamp` and `duration` (u64 nanoseconds), `bytesN` (N bytes as on the wire). All
    integers are in the machine's byte order.
    """

    name: str
    type: str
    offset: int
    size: int


@dataclass(frozen=True)
class Param:
    """A param: its place in a params copy (see PARAMS_SECTION) and its default as source text."""

    field: Field
    default: str


@dataclass(frozen=True)
class Event:
    """An event: fields' offsets count from the record's start; the first 8 bytes are `index`.

    With `packet_bytes`, `size` bytes are followed by the packet's length and the number of bytes
    that follow (u32 each), and then by up to `packet_bytes` bytes of the packet.
    """

    name: str
    index: int
    fields: tuple[Field, ...]
    size: int  # bytes
    packet_bytes: int = 0


@dataclass(frozen=True)
class Table:
    """A table, state or counter with keys: `map` is its map's name in the object, `kind` one of
    hash, lru, prefix, array; sizes in bytes, fields' offsets from the start of key and entry.

    `role` is `table`, `state` (fields of one entry), or `counter` (one field, `count`).
    """

    name: str
    map: str
    role: str
    kind: str
    per_cpu: bool
    entries: int
    keys: tuple[Field, ...]
    key_size: int
    fields: tuple[Field, ...]
    value_size: int


@dataclass(frozen=True)
class Counter:
    """One u64 of the stats map's value, by position.

    `kind` is `rule` (packets that took a rule; their sum is all packets), `error` (a helper
    failed and the packet was dropped), `lost` (an event found no room; the packet went on),
    `named` (declared in the source), or `hidden` (the program counts for itself). `drops` says
    that packets counted here are dropped. `line` is the source line, from 1.
    """

    name: str
    kind: str
    drops: bool
    line: int


@dataclass(frozen=True)
class Manifest:
    """Everything about one compiled function that is not in its instructions."""

    function: str
    hook: str  # endpoint, in, out, xmit
    source: str  # base name of the .nf file
    kernel: str  # the target it was built for, e.g. "6.1"
    params: tuple[Param, ...]
    params_size: int  # of one copy, bytes
    events: tuple[Event, ...]
    counters: tuple[Counter, ...]
    tables: tuple[Table, ...] = ()

    @property
    def stats_map(self) -> str:
        """Name of the per-CPU array whose one entry is the u64 counters, in order."""
        return f"{self.function}_stats"
