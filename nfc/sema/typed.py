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
    """A declared TLV; `size` in bytes, with its type and length bytes (RFC 8754, section 2.1)."""

    span: Span
    name: str
    number: int
    size: int
    fields: tuple[TlvField, ...]

    def field(self, name: str) -> TlvField | None:
        """The field of that name."""
        return next((f for f in self.fields if f.name == name), None)


@dataclass(frozen=True)
class EventField:
    """A field of an event; `offset` in bytes from the record's start, `size` in bytes."""

    name: str
    type: Type
    offset: int
    size: int


@dataclass(frozen=True)
class Event:
    """A declared event: `index` tells its records apart, `size` is a whole record in bytes."""

    span: Span
    name: str
    index: int
    fields: tuple[EventField, ...]
    size: int


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
    """Whether the address `value` lies in `address`/`length`."""

    value: Expr
    address: int
    length: int


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


Edit = SetHeader | SetMeta | SetTlv | AddTlv | RemoveTlv | RemoveAll | ReplaceTlv | Emit | Count


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
class DecapTable:
    """Decapsulate, then route lookup of the inner packet in a table."""

    span: Span
    table: int


@dataclass(frozen=True)
class Encap:
    """A new outer header with an SRH; segments in travel order."""

    span: Span
    segments: tuple[Expr, ...]
    tlvs: tuple[TlvValue, ...]


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


Verdict = Forward | ForwardVia | ForwardTable | DecapTable | Encap | Insert | Drop


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
    functions: tuple[Function, ...]

    def function(self, name: str) -> Function:
        """The function of that name. Raises KeyError."""
        for function in self.functions:
            if function.name == name:
                return function
        raise KeyError(name)
