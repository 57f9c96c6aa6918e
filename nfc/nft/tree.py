"""The tree of a packet-test file: what is written, with its places; nothing is looked up yet.

Names and `use` are those of the language (nfc.syntax.tree).
"""

from __future__ import annotations

from dataclasses import dataclass

from nfc.syntax.tree import Ident, Node, Use

# ---- values ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value(Node):
    """Something that a field is, or is to be."""


@dataclass(frozen=True)
class Anything(Value):
    """`_`: whatever it is."""


@dataclass(frozen=True)
class Number(Value):
    """An integer; `text` keeps its digits, for bytes."""

    value: int
    text: str


@dataclass(frozen=True)
class Address(Value):
    """An address of `bits` bits, 128 or 32."""

    value: int
    bits: int


@dataclass(frozen=True)
class Duration(Value):
    """A length of time in nanoseconds."""

    value: int


@dataclass(frozen=True)
class Truth(Value):
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True)
class Now(Value):
    """`now`: the clock when the packet is sent."""


@dataclass(frozen=True)
class Name(Value):
    """A const, a param, a member of an enum."""

    text: str


@dataclass(frozen=True)
class Sum(Value):
    """`left + right`, `left - right`."""

    op: str
    left: Value
    right: Value


@dataclass(frozen=True)
class Between(Value):
    """`low .. high`, both among them."""

    low: Value
    high: Value


@dataclass(frozen=True)
class Prefix(Value):
    """A prefix: of `bits` bits, 128 or 32, the first `length` count."""

    value: int
    length: int
    bits: int


@dataclass(frozen=True)
class Assign:
    """`field = value`."""

    name: Ident
    value: Value


# ---- packets --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part(Node):
    """A piece of a packet."""


@dataclass(frozen=True)
class Header(Part):
    """`ip A -> B { … }` and its like."""

    kind: str
    first: Value | None
    second: Value | None
    fields: tuple[Assign, ...]


@dataclass(frozen=True)
class Options(Part):
    """An extension header by its name, with the bytes behind its length; b"": the shortest."""

    kind: str
    body: bytes


@dataclass(frozen=True)
class Tlv(Node):
    """A TLV of an SRH: `name` and `fields` of a declared one, or `number` and `body` of any.

    `more` stands for all that follow; number 0 is Pad1.
    """

    name: Ident | None = None
    fields: tuple[Assign, ...] = ()
    number: int = 0
    body: bytes = b""
    more: bool = False


@dataclass(frozen=True)
class Segment:
    """A segment; `current` if it is marked as the one that the packet is on its way to."""

    value: Value
    current: bool


@dataclass(frozen=True)
class Srh(Part):
    """A segment routing header, segments in the order of travel."""

    segments: tuple[Segment, ...]
    fields: tuple[Assign, ...]
    tlvs: tuple[Tlv, ...]


@dataclass(frozen=True)
class Named(Part):
    """A packet by its name, with changes."""

    name: Ident
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Payload(Part):
    """Bytes; alone in a chain they are the whole packet."""

    data: bytes


@dataclass(frozen=True)
class Rest(Part):
    """`*`: whatever follows."""


@dataclass(frozen=True)
class Chain(Node):
    """A packet, from the outside in."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Set(Node):
    """`set header.field = value`; a header or TLV by name, `index` counts those of one type."""

    header: Ident
    index: int
    field: Ident
    element: int | None
    value: Value


@dataclass(frozen=True)
class SetPayload(Node):
    """`set payload = …`."""

    data: bytes


@dataclass(frozen=True)
class Add(Node):
    """`add TLV …`; `where` is first, last, before or after."""

    tlv: Tlv
    where: str
    anchor: Ident | None


@dataclass(frozen=True)
class Remove(Node):
    """`remove NAME`, `remove all NAME`, `remove hmac`."""

    name: Ident
    index: int
    all: bool


@dataclass(frozen=True)
class Replace(Node):
    """`replace NAME with TLV …`."""

    name: Ident
    index: int
    tlv: Tlv


Change = Set | SetPayload | Add | Remove | Replace


# ---- steps ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statement(Node):
    """A line of a test."""


@dataclass(frozen=True)
class SetParam(Statement):
    """`param NAME = value`."""

    name: Ident
    value: Value


@dataclass(frozen=True)
class SetState(Statement):
    """`state NAME = value`."""

    name: Ident
    value: Value


@dataclass(frozen=True)
class Put(Statement):
    """`put TABLE[key] { … }`."""

    table: Ident
    key: tuple[Value, ...]
    fields: tuple[Assign, ...]


@dataclass(frozen=True)
class Forget(Statement):
    """`remove TABLE[key]`."""

    table: Ident
    key: tuple[Value, ...]


@dataclass(frozen=True)
class Clock(Statement):
    """`clock value`: what the clock shows from here on."""

    value: Value


@dataclass(frozen=True)
class Wait(Statement):
    """`wait value`: time that goes by."""

    value: Value


@dataclass(frozen=True)
class Route(Statement):
    """`route PREFIX table N to LINK`."""

    prefix: Prefix
    table: int
    link: Ident


@dataclass(frozen=True)
class Seed(Statement):
    """`seed N`: of the random numbers."""

    value: int


@dataclass(frozen=True)
class Draws(Statement):
    """`draws …`: how the next samples come out; numbers are random numbers themselves."""

    values: tuple[int | bool, ...]


@dataclass(frozen=True)
class Fail(Statement):
    """`fail HELPER with ERROR`: from here on."""

    helper: Ident
    error: Ident | None


@dataclass(frozen=True)
class LetPacket(Statement):
    """`packet NAME = …`."""

    name: Ident
    chain: Chain


@dataclass(frozen=True)
class Send(Statement):
    """`send …`: `times` of them; `meta` is what the kernel knows of the packet."""

    times: int
    chain: Chain
    meta: tuple[Assign, ...]


@dataclass(frozen=True)
class ExpectPacket(Statement):
    """`expect PACKET on LINK`."""

    chain: Chain
    link: Ident | None


@dataclass(frozen=True)
class ExpectFate(Statement):
    """`expect drop REASON`, `expect refused`, `expect lost`."""

    fate: str
    reason: Ident | None


@dataclass(frozen=True)
class ExpectEvent(Statement):
    """`expect event NAME { … } of PACKET`."""

    name: Ident
    fields: tuple[Assign, ...]
    chain: Chain | None


@dataclass(frozen=True)
class ExpectNoEvent(Statement):
    """`expect no event`."""


@dataclass(frozen=True)
class ExpectCount(Statement):
    """`expect count NAME[key] = value`."""

    name: Ident
    key: tuple[Value, ...]
    value: Value


@dataclass(frozen=True)
class ExpectState(Statement):
    """`expect state NAME = value`."""

    name: Ident
    value: Value


@dataclass(frozen=True)
class ExpectEntry(Statement):
    """`expect entry TABLE[key] { … }`; `there` is false of `expect no entry`."""

    table: Ident
    key: tuple[Value, ...]
    fields: tuple[Assign, ...]
    there: bool


@dataclass(frozen=True)
class ExpectRule(Statement):
    """`expect rule N`, counted from 1."""

    number: int


@dataclass(frozen=True)
class ExpectMeta(Statement):
    """`expect mark = value`, `expect priority = value`."""

    what: str
    value: Value


Expect = (
    ExpectPacket
    | ExpectFate
    | ExpectEvent
    | ExpectNoEvent
    | ExpectCount
    | ExpectState
    | ExpectEntry
    | ExpectRule
    | ExpectMeta
)


# ---- the file -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Const(Node):
    """`const NAME = value`."""

    name: Ident
    value: Value


@dataclass(frozen=True)
class Test(Node):
    """`test "name" of FUNCTION { … }`; `span` is the head's."""

    __test__ = False  # pytest is not to take it for one of its own

    name: str
    function: Ident | None
    statements: tuple[Statement, ...]


@dataclass(frozen=True)
class File(Node):
    """A whole file; items that have an error are left out."""

    uses: tuple[Use, ...]
    consts: tuple[Const, ...]
    packets: tuple[LetPacket, ...]
    tests: tuple[Test, ...]
