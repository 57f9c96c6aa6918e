"""What the compiler tells the rest of nfc about a function, beside the object itself.

Deploying, setting params, decoding events and naming counters need names, types and offsets;
none of them needs the compiler. A manifest is plain data, and goes to JSON and back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# The one writable data section of an nfc object holds the params, twice: a u64 that says which
# copy is in force (0 or 1), then the two copies. `nfc set` fills the idle copy and flips the
# word, so that a packet sees all of the old values or all of the new.
PARAMS_SECTION = ".data"
PARAMS_ACTIVE_SIZE = 8
EVENTS_MAP = "events"  # ring buffer; every record begins with a u64 that is the event's index
# Types of maps (uapi/linux/bpf.h, enum bpf_map_type) by kind of table, and whether each CPU has its
# own.
TABLE_TYPES = {
    ("hash", False): 1,
    ("array", False): 2,
    ("hash", True): 5,
    ("array", True): 6,
    ("lru", False): 9,
    ("lru", True): 10,
    ("prefix", False): 11,
}

_UNSIGNED = re.compile(r"u([1-9]|[1-5][0-9]|6[0-4])")
_BYTES = re.compile(r"bytes([1-9]|1[0-6])")
_SIZES = {"ipv6": 16, "bool": 1, "timestamp": 8, "duration": 8}
_MAX_SIZE = 1 << 16  # of params, keys, entries, or a record, bytes; far more than there can be


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

    @property
    def longest(self) -> int:
        """Bytes of a record, at most."""
        return self.size + (8 + self.packet_bytes if self.packet_bytes else 0)


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


def memory_size(type_: str) -> int | None:
    """Bytes that a value of a type takes (docs/language.md, "Values and types"); None: no type."""
    unsigned = _UNSIGNED.fullmatch(type_)
    raw = _BYTES.fullmatch(type_)
    if raw is not None:
        return int(raw[1])
    if unsigned is None:
        return _SIZES.get(type_)
    return next(size for size in (1, 2, 4, 8) if int(unsigned[1]) <= 8 * size)


def misfit(manifest: Manifest) -> str:
    """What in a manifest cannot be, whoever wrote it: sizes, and fields that are not where they
    are said to be. Empty: nothing."""
    if not 0 <= manifest.params_size < _MAX_SIZE:
        return "params_size"
    fields = [(p.field, manifest.params_size) for p in manifest.params]
    for event in manifest.events:
        fields += [(field, event.size) for field in event.fields]
        if not 0 <= event.size <= _MAX_SIZE or event.index < 0 or event.packet_bytes < 0:
            return f"event {event.name} has a size or number that cannot be"
    for table in manifest.tables:
        fields += [(field, table.key_size) for field in table.keys]
        fields += [(field, table.value_size) for field in table.fields]
        if not table.keys:
            return f"{table.name} is not a table: it has no key"
    for field, size in fields:
        if field.size != memory_size(field.type):
            return f"{field.name} is a {field.type!r} of {field.size} bytes"
        if not 0 <= field.offset <= size - field.size or size > _MAX_SIZE:
            return f"{field.name} is out of bounds"
    return ""
