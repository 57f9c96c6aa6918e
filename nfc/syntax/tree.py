"""The syntax tree: what was written, with the place of every part. No types yet."""

from __future__ import annotations

from dataclasses import dataclass

from nfc.syntax.source import Span


@dataclass(frozen=True)
class Node:
    """Anything in the tree; `span` is where it stands."""

    span: Span


@dataclass(frozen=True)
class Ident(Node):
    """A name, as written."""

    text: str


# ---- expressions ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Integer(Node):
    """An integer literal."""

    value: int


@dataclass(frozen=True)
class Address(Node):
    """An IPv6 address literal, as its 128-bit value."""

    value: int


@dataclass(frozen=True)
class Duration(Node):
    """A literal such as 10ms, in nanoseconds."""

    nanoseconds: int


@dataclass(frozen=True)
class Bool(Node):
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True)
class Name(Node):
    """A param, const or enum member."""

    name: str


@dataclass(frozen=True)
class FieldRef(Node):
    """`base.name`: a field of ip, of srh, or of a bound TLV."""

    base: Ident
    name: Ident


@dataclass(frozen=True)
class Element(Node):
    """`srh.segment_list[n]`."""

    base: Ident
    name: Ident
    index: Integer


@dataclass(frozen=True)
class Call(Node):
    """`now()`, `every(n)`, or a call of what `define` declares."""

    function: Ident
    arguments: tuple[Expr, ...]


@dataclass(frozen=True)
class Sample(Node):
    """`sample(1 in N)`: true for one packet in N, at random."""

    count: Integer
    of: Expr


@dataclass(frozen=True)
class Binary(Node):
    """Arithmetic: + - * / % & | ^ << >>."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Compare(Node):
    """== != < <= > >=."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class InPrefix(Node):
    """`address in prefix`; `length` in bits, `width` the bits of an address (128, 32)."""

    value: Expr
    address: int
    length: int
    width: int


@dataclass(frozen=True)
class Not(Node):
    """Negation."""

    value: Expr


@dataclass(frozen=True)
class Logic(Node):
    """`and` / `or` of two conditions."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Has(Node):
    """`srh has TLV[index] as alias`: of that type, counted from 0; None is 0. Without alias only
    whether there is one."""

    subject: Ident
    tlv: Ident
    index: Integer | None
    alias: Ident | None


@dataclass(frozen=True)
class HasEntry(Node):
    """`table has [key, …] as alias`: the table's entry at that key."""

    table: Ident
    key: tuple[Expr, ...]
    alias: Ident | None


Expr = (
    Integer
    | Address
    | Duration
    | Bool
    | Name
    | FieldRef
    | Element
    | Call
    | Sample
    | Binary
    | Compare
    | InPrefix
    | Not
    | Logic
    | Has
    | HasEntry
)


# ---- statements -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Assign(Node):
    """`field = value` inside braces."""

    name: Ident
    value: Expr


@dataclass(frozen=True)
class TlvValue(Node):
    """`DM { session = 7 }`: a TLV to be built."""

    tlv: Ident
    fields: tuple[Assign, ...]


@dataclass(frozen=True)
class Set(Node):
    """`set base.name = value`, `set name = value`."""

    place: FieldRef | Name
    value: Expr


@dataclass(frozen=True)
class Position(Node):
    """Where a TLV is added: `first`, `last`, `before x`, `after x`."""

    where: str
    anchor: Ident | None


@dataclass(frozen=True)
class Add(Node):
    """`add TLV { … } first|last|before x|after x`; None is last."""

    tlv: TlvValue
    position: Position | None


@dataclass(frozen=True)
class Remove(Node):
    """`remove x`: a bound TLV."""

    tlv: Ident


@dataclass(frozen=True)
class RemoveAll(Node):
    """`remove all TLV`: all of a type."""

    tlv: Ident


@dataclass(frozen=True)
class RemoveEntry(Node):
    """`remove table [key, …]`."""

    table: Ident
    key: tuple[Expr, ...]


@dataclass(frozen=True)
class Put(Node):
    """`put table [key, …] { field = value }`."""

    table: Ident
    key: tuple[Expr, ...]
    fields: tuple[Assign, ...]


@dataclass(frozen=True)
class Replace(Node):
    """`replace x with TLV { … }`."""

    old: Ident
    new: TlvValue


@dataclass(frozen=True)
class Emit(Node):
    """`emit event { field = value }`."""

    event: Ident
    fields: tuple[Assign, ...]


@dataclass(frozen=True)
class Count(Node):
    """`count name`, `count name [key, …] by amount`; no key is ()."""

    counter: Ident
    key: tuple[Expr, ...]
    amount: Expr | None


@dataclass(frozen=True)
class Forward(Node):
    """Route lookup by the destination (End)."""


@dataclass(frozen=True)
class ForwardVia(Node):
    """To a given next hop (End.X)."""

    nexthop: Expr


@dataclass(frozen=True)
class Routes(Node):
    """A routing table, by name or number, as written."""

    text: str


@dataclass(frozen=True)
class ForwardTable(Node):
    """Route lookup in a given table (End.T)."""

    table: Routes


@dataclass(frozen=True)
class ForwardLink(Node):
    """Out of a link, given by its index, in a frame to `peer` from `own`, MAC addresses."""

    link: Expr
    peer: Expr
    own: Expr


@dataclass(frozen=True)
class DecapTable(Node):
    """Take off the outer headers, look the inner packet up in a table (End.DT6)."""

    table: Routes


@dataclass(frozen=True)
class Encap(Node):
    """An outer IPv6 header with an SRH (H.Encaps); segments in travel order."""

    segments: tuple[Expr, ...]
    tlvs: tuple[TlvValue, ...]
    source: Expr | None


@dataclass(frozen=True)
class Insert(Node):
    """An SRH in the packet itself (H.Insert); segments in travel order, its destination last."""

    segments: tuple[Expr, ...]
    tlvs: tuple[TlvValue, ...]


@dataclass(frozen=True)
class Drop(Node):
    """Discard the packet."""


Verdict = Forward | ForwardVia | ForwardTable | ForwardLink | DecapTable | Encap | Insert | Drop
Edit = Set | Add | Remove | RemoveAll | RemoveEntry | Replace | Emit | Count | Put
Statement = Edit | Verdict


# ---- items ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule(Node):
    """`when guard { … }`; `otherwise` has no guard."""

    guard: Expr | None
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Function(Node):
    """An endpoint or transit function; `hook` is endpoint, in, out or xmit (as written)."""

    name: Ident
    hook: Ident
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Use(Node):
    """`use module`."""

    module: Ident


@dataclass(frozen=True)
class Const(Node):
    """`const NAME: type = value`."""

    name: Ident
    type: Ident | None
    value: Expr


@dataclass(frozen=True)
class Param(Node):
    """`param name: type = default`: may change while the function runs."""

    name: Ident
    type: Ident
    default: Expr


@dataclass(frozen=True)
class EnumMember(Node):
    """`NAME = value` in an enum."""

    name: Ident
    value: Expr


@dataclass(frozen=True)
class Enum(Node):
    """`enum Name: u8 { A = 0 }`."""

    name: Ident
    type: Ident
    members: tuple[EnumMember, ...]


@dataclass(frozen=True)
class TlvField(Node):
    """A field of a TLV; `name` None is `reserved` (zero when built, never read)."""

    name: Ident | None
    type: Ident
    default: Expr | None


@dataclass(frozen=True)
class Tlv(Node):
    """`tlv NAME = type { fields }`."""

    name: Ident
    number: Integer
    fields: tuple[TlvField, ...]


@dataclass(frozen=True)
class Member(Node):
    """A field of an event, of a table's keys or of its entries."""

    name: Ident
    type: Ident


@dataclass(frozen=True)
class EventBytes(Node):
    """`packet[n]` in an event: the first n bytes of the packet."""

    what: Ident
    count: Integer


@dataclass(frozen=True)
class Event(Node):
    """`event name { fields }`."""

    name: Ident
    fields: tuple[Member | EventBytes, ...]


@dataclass(frozen=True)
class Counter(Node):
    """`counter name`, `counter name[entries] { keys }`."""

    name: Ident
    entries: Expr | None
    keys: tuple[Member, ...]


@dataclass(frozen=True)
class Table(Node):
    """`table name: per cpu kind[entries] { keys } to { fields }`."""

    name: Ident
    per_cpu: bool
    kind: Ident
    entries: Expr
    keys: tuple[Member, ...] | None
    fields: tuple[Member, ...]


@dataclass(frozen=True)
class State(Node):
    """`state name: per cpu type`."""

    name: Ident
    per_cpu: bool
    type: Ident


@dataclass(frozen=True)
class Argument(Node):
    """`name: type` of a definition."""

    name: Ident
    type: Ident


@dataclass(frozen=True)
class Define(Node):
    """`define name(a: u8, …): type = value`: put in the place of each call."""

    name: Ident
    arguments: tuple[Argument, ...]
    type: Ident
    value: Expr


Item = Use | Const | Param | Enum | Tlv | Event | Counter | Table | State | Define | Function


@dataclass(frozen=True)
class File(Node):
    """A whole file. `broken` names the items that had errors and are left out."""

    items: tuple[Item, ...]
    broken: frozenset[str] = frozenset()
