"""The typed program: every name resolved, every value with its type. Printed by `--emit typed`."""

from __future__ import annotations

from dataclasses import dataclass

from nfc.sema.headers import HeaderField, MetaField
from nfc.sema.types import Type
from nfc.syntax.source import Span


@dataclass(frozen=True)
class Param:
    """A param; `offset` in bytes within the params (see nfc.manifest)."""

    span: Span
    name: str
    type: Type
    default: int
    offset: int


@dataclass(frozen=True)
class TlvField:
    """A field of a TLV: `bit_offset` from the first bit of the TLV's type byte."""

    name: str | None  # None: reserved
    type: Type
    bit_offset: int
    default: int


@dataclass(frozen=True)
class Tlv:
    """A declared TLV; `size` in bytes, with its type and length bytes (RFC 8754, section 2.1).

    Where it is bound, `index` says which of that type it is, counted from 0.
    """

    span: Span
    name: str
    number: int
    size: int
    fields: tuple[TlvField, ...]
    index: int = 0

    def field(self, name: str) -> TlvField | None:
        """The field of that name."""
        return next((f for f in self.fields if f.name == name), None)


@dataclass(frozen=True)
class Member:
    """A named value in memory: of an event, a table's key or its entries; `offset` in bytes from
    the start of the whole, `size` in bytes."""

    name: str
    type: Type
    offset: int
    size: int


@dataclass(frozen=True)
class Event:
    """A declared event: `index` tells its records apart, `size` is a record in bytes, up to
    `packet_bytes` bytes of the packet that follow it."""

    span: Span
    name: str
    index: int
    fields: tuple[Member, ...]
    size: int
    packet_bytes: int = 0


@dataclass(frozen=True)
class Table:
    """A declared table, as a map of the kernel; sizes in bytes.

    `kind` is hash, lru, prefix or array. A prefix's key begins with a u32, the prefix length in
    bits, and has its one member in network byte order (struct bpf_lpm_trie_key, uapi/linux/
    bpf.h); an array's key is its index, a u32. State and counters with keys are tables too.
    """

    span: Span
    name: str
    kind: str
    per_cpu: bool
    entries: int
    keys: tuple[Member, ...]
    key_size: int
    fields: tuple[Member, ...]
    value_size: int


@dataclass(frozen=True)
class State:
    """A declared state: the member of the one entry of a table that all states share."""

    span: Span
    name: str
    table: Table
    member: Member


@dataclass(frozen=True)
class Entry:
    """A table's entry that a condition looks up; `number` tells a rule's entries apart."""

    number: int
    table: Table
    key: tuple[Expr, ...]


# ---- expressions ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Expr:
    """A value; `span` is where it was written."""

    span: Span
    type: Type


@dataclass(frozen=True)
class Const(Expr):
    """A known value (addresses as 128-bit integers).

    Arithmetic on `exact` ones is exact; a definition's argument wraps at its declared width.
    """

    value: int
    exact: bool = True


@dataclass(frozen=True)
class ParamRead(Expr):
    """The param's value when the packet arrived."""

    param: Param


@dataclass(frozen=True)
class HeaderRead(Expr):
    """A field of ip or srh as the packet arrived."""

    field: HeaderField


@dataclass(frozen=True)
class MetaRead(Expr):
    """What the kernel knows of the packet: packet.mark and the like."""

    field: MetaField


@dataclass(frozen=True)
class SegmentRead(Expr):
    """srh.segment_list[index], counted as RFC 8754 does: 0 is the last segment of the path."""

    index: int


@dataclass(frozen=True)
class TlvRead(Expr):
    """A field of a bound TLV as the packet arrived."""

    tlv: Tlv
    field: TlvField


@dataclass(frozen=True)
class EntryRead(Expr):
    """A field of a bound entry, before this packet changes it."""

    entry: Entry
    member: Member


@dataclass(frozen=True)
class StateRead(Expr):
    """A state, before this packet changes it."""

    state: State


@dataclass(frozen=True)
class Now(Expr):
    """When the packet reached this function: one reading for the whole packet."""


@dataclass(frozen=True)
class Sample(Expr):
    """True for one packet in `of`, at random; never when `of` is 0."""

    of: Expr


@dataclass(frozen=True)
class Every(Expr):
    """True for each `of`-th packet that comes to this place on one CPU; never if `of` is 0."""

    of: Expr


@dataclass(frozen=True)
class Arith(Expr):
    """+ - * / % & | ^ << >>, in the width of `type`, wrapping."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Compare(Expr):
    """A comparison of two values of one width."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class InPrefix(Expr):
    """Whether the address `value`, of `width` bits, lies in `address`/`length`."""

    value: Expr
    address: int
    length: int
    width: int


@dataclass(frozen=True)
class Not(Expr):
    """Negation."""

    value: Expr


@dataclass(frozen=True)
class Logic(Expr):
    """`and` / `or`; the right side counts only where the left does not decide."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class HasTlv(Expr):
    """Whether the SRH has a TLV of this type, at least as long as declared."""

    tlv: Tlv


@dataclass(frozen=True)
class HasEntry(Expr):
    """Whether a table has an entry at a key."""

    entry: Entry


# ---- statements -----------------------------------------------------------------------------


@dataclass(frozen=True)
class TlvValue:
    """A TLV to be built: every field with its value, defaults included."""

    span: Span
    tlv: Tlv
    values: tuple[tuple[TlvField, Expr], ...]


@dataclass(frozen=True)
class SetHeader:
    """`set srh.tag = …`."""

    span: Span
    field: HeaderField
    value: Expr


@dataclass(frozen=True)
class SetMeta:
    """`set packet.mark = …`."""

    span: Span
    field: MetaField
    value: Expr


@dataclass(frozen=True)
class SetTlv:
    """`set dm.received = …`."""

    span: Span
    tlv: Tlv
    field: TlvField
    value: Expr


@dataclass(frozen=True)
class AddTlv:
    """`add TLV { … }`: `where` is first, last, before or after; the latter two name a bound TLV."""

    span: Span
    value: TlvValue
    where: str
    anchor: Tlv | None


@dataclass(frozen=True)
class RemoveTlv:
    """`remove x`: the TLV that the guard has bound."""

    span: Span
    tlv: Tlv


@dataclass(frozen=True)
class RemoveAll:
    """`remove all TLV`: every TLV of that type, however long."""

    span: Span
    tlv: Tlv


@dataclass(frozen=True)
class ReplaceTlv:
    """`replace x with TLV { … }`: in the bound TLV's place."""

    span: Span
    tlv: Tlv
    value: TlvValue


@dataclass(frozen=True)
class RemoveHmac:
    """`remove hmac`: every HMAC TLV goes, and the flag H with it."""

    span: Span


@dataclass(frozen=True)
class SetEntry:
    """`set entry.field = …`; with `atomic` (+ - & | ^) the field is changed by the value."""

    span: Span
    entry: Entry
    member: Member
    value: Expr
    atomic: str | None


@dataclass(frozen=True)
class SetState:
    """`set state = …`; as SetEntry."""

    span: Span
    state: State
    value: Expr
    atomic: str | None


@dataclass(frozen=True)
class Put:
    """`put table [key] { … }`: a whole entry, new or in place of the one that is there."""

    span: Span
    table: Table
    key: tuple[Expr, ...]
    values: tuple[Expr, ...]


@dataclass(frozen=True)
class RemoveEntry:
    """`remove table [key]`: the entry, if there is one."""

    span: Span
    table: Table
    key: tuple[Expr, ...]


@dataclass(frozen=True)
class CountKey:
    """`count name [key] by amount`: adds to the count at that key, on this CPU."""

    span: Span
    table: Table
    key: tuple[Expr, ...]
    amount: Expr


@dataclass(frozen=True)
class Emit:
    """`emit event { … }`: every field with its value."""

    span: Span
    event: Event
    values: tuple[Expr, ...]


@dataclass(frozen=True)
class Count:
    """`count name by amount`: adds to this CPU's count, modulo 2^64."""

    span: Span
    counter: str
    amount: Expr


Edit = (
    SetHeader
    | SetMeta
    | SetTlv
    | AddTlv
    | RemoveTlv
    | RemoveAll
    | RemoveHmac
    | ReplaceTlv
    | SetEntry
    | SetState
    | Put
    | RemoveEntry
    | CountKey
    | Emit
    | Count
)


@dataclass(frozen=True)
class Forward:
    """Route lookup by the destination."""

    span: Span


@dataclass(frozen=True)
class ForwardVia:
    """To the neighbour `nexthop`."""

    span: Span
    nexthop: Expr


@dataclass(frozen=True)
class ForwardTable:
    """Route lookup in a table."""

    span: Span
    table: int


@dataclass(frozen=True)
class ForwardLink:
    """Out of the link of that index, in an Ethernet frame to `peer` from `own` (bytes6)."""

    span: Span
    link: Expr
    peer: Expr
    own: Expr


@dataclass(frozen=True)
class DecapTable:
    """Decapsulate, then route lookup of the inner packet in a table."""

    span: Span
    table: int


@dataclass(frozen=True)
class Encap:
    """A new outer header with an SRH; segments in travel order. `source` is the outer source
    address where the function has to say it (xmit)."""

    span: Span
    segments: tuple[Expr, ...]
    tlvs: tuple[TlvValue, ...]
    source: Expr | None


@dataclass(frozen=True)
class Insert:
    """An SRH put into the packet; segments in travel order, the packet's destination after them."""

    span: Span
    segments: tuple[Expr, ...]
    tlvs: tuple[TlvValue, ...]


@dataclass(frozen=True)
class Drop:
    """Discard."""

    span: Span


Verdict = Forward | ForwardVia | ForwardTable | ForwardLink | DecapTable | Encap | Insert | Drop


@dataclass(frozen=True)
class Rule:
    """A guard (None: `otherwise`), edits, one verdict."""

    span: Span
    guard: Expr | None
    edits: tuple[Edit, ...]
    verdict: Verdict


@dataclass(frozen=True)
class Function:
    """A function: `hook` is endpoint, in, out or xmit; the last rule has no guard."""

    span: Span
    name: str
    hook: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Program:
    """A file with all that it uses."""

    name: str
    params: tuple[Param, ...]
    params_size: int  # bytes of one copy, a multiple of 8
    events: tuple[Event, ...]
    tables: tuple[Table, ...]  # state and counters with keys among them
    counters: tuple[str, ...]  # those with keys, which are tables
    functions: tuple[Function, ...]

    def function(self, name: str) -> Function:
        """The function of that name. Raises KeyError."""
        for function in self.functions:
            if function.name == name:
                return function
        raise KeyError(name)
