"""Expressions, evaluated on a packet as docs/language.md ("Values and types") says."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nfc.oracle import wire
from nfc.oracle.outcomes import Arrival, Rows
from nfc.oracle.wire import Srh
from nfc.sema import typed, types
from nfc.sema.headers import HEADER_SIZE, UPPER, HeaderField

MAX_TLVS = 32  # that are walked
_NS = 1_000_000_000
_TRANSPORT = {"udp": wire.UDP, "tcp": wire.TCP, "icmp6": wire.ICMP6}
_COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class AbsentError(Exception):
    """The packet does not have what is read; `reason` is the counter, should an edit read it."""

    def __init__(self, reason: str = "header_unreadable") -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


class MoreDraws(Exception):
    """A sample is taken for which `Arrival.draws` has no outcome."""


@dataclass
class Context:
    """A packet as the function sees it. Counts and draws go on while rules are tried."""

    arrival: Arrival
    data: bytes
    srh: Srh | None
    sites: Callable[[], Mapping[int, int]]  # id of an Every to its place; asked for where needed
    drawn: int = 0
    counted: dict[int, int] = field(default_factory=dict)
    found: dict[int, tuple[int, ...] | None] = field(default_factory=dict)  # by id of an Entry

    def the_srh(self) -> Srh:
        """The SRH. Raises AbsentError behind too many extension headers."""
        if self.srh is None:
            raise AbsentError("no_srh")
        return self.srh

    def tlvs(self) -> list[bytes]:
        """All TLVs of the SRH. Raises AbsentError."""
        srh = self.the_srh()
        data = self.data[srh.tlvs_at : srh.end]
        return wire.split_tlvs(data) if wire.sound_tlvs(data, MAX_TLVS) else []

    def index(self, tlv: typed.Tlv) -> int:
        """Which TLV counts as this one. Raises AbsentError."""
        walked = enumerate(self.tlvs()[:MAX_TLVS])
        fits = [i for i, found in walked if found[0] == tlv.number and len(found) >= tlv.size]
        if tlv.index >= len(fits):
            raise AbsentError
        return fits[tlv.index]

    def rows(self, table: typed.Table) -> Rows:
        """The entries of a table before the packet."""
        return self.arrival.memory.tables.get(table.name, {})

    def key(self, table: typed.Table, exprs: Sequence[typed.Expr]) -> tuple[int, ...]:
        """The key of an entry that is put, removed or counted. Raises AbsentError."""
        values = tuple(self.value(e) for e in exprs)
        return (table.keys[0].type.bits, *values) if table.kind == "prefix" else values

    def find(self, entry: typed.Entry) -> tuple[int, ...] | None:
        """The key of the entry that a look-up finds: one look-up, however often it is read.
        Raises AbsentError."""
        if id(entry) not in self.found:
            self.found[id(entry)] = self._look_up(entry)
        return self.found[id(entry)]

    def _look_up(self, entry: typed.Entry) -> tuple[int, ...] | None:
        table = entry.table
        key = tuple(self.value(e) for e in entry.key)
        if table.kind == "array":
            return key if key[0] < table.entries else None
        if table.kind != "prefix":
            return key if key in self.rows(table) else None
        width = table.keys[0].type.bits
        fits = [k for k in self.rows(table) if key[0] >> (width - k[0]) == k[1] >> (width - k[0])]
        return max(fits, default=None)

    def read(self, table: typed.Table, key: tuple[int, ...], member: typed.Member) -> int:
        """A field of an entry that is there, before the packet."""
        row = self.rows(table).get(key, (0,) * len(table.fields))
        return row[table.fields.index(member)]

    # ---- expressions ------------------------------------------------------------------------

    def value(self, expr: typed.Expr) -> int:
        """The value of an expression. Raises AbsentError, MoreDraws."""
        match expr:
            case typed.Const(value=value):
                return value
            case typed.ParamRead(param=param):
                return self.arrival.params.get(param.name, param.default)
            case typed.HeaderRead(field=header):
                return self.header(header)
            case typed.MetaRead(field=meta):
                return len(self.data) if meta.name == "length" else self._meta(meta.name)
            case typed.SegmentRead(index=index):
                srh = self.the_srh()
                if index > self.data[srh.at + 4]:
                    raise AbsentError
                return wire.bits(self.data, (srh.at + 8 + 16 * index) * 8, 128)
            case typed.TlvRead(tlv=tlv, field=part):
                raw = wire.bits(self.tlvs()[self.index(tlv)], part.bit_offset, part.type.bits)
                return from_wire(raw, part.type)
            case typed.EntryRead(entry=entry, member=member):
                key = self.find(entry)
                if key is None:
                    raise AbsentError
                return self.read(entry.table, key, member)
            case typed.StateRead(state=state):
                return self.read(state.table, (0,), state.member)
            case typed.HasEntry(entry=entry):
                return int(self.find(entry) is not None)
            case typed.Now():
                return self.arrival.now
            case typed.Sample(of=of):
                return self._sample(self.value(of))
            case typed.Every(of=of):
                return self._every(self.sites()[id(expr)], self.value(of))
            case typed.Arith(op=op, left=left, right=right, type=type_):
                a, b = self.value(left), self.value(right)
                return compute(
                    op, a, b, max(type_.bits, left.type.bits) if op == "&" else type_.bits
                )
            case typed.Compare(op=op, left=left, right=right):
                return int(_COMPARE[op](self.value(left), self.value(right)))
            case typed.InPrefix(value=inner, address=address, length=length, width=width):
                return int(self.value(inner) >> (width - length) == address >> (width - length))
            case typed.Not(value=inner):
                return int(not self.value(inner))
            case typed.Logic(op=op, left=left, right=right):
                first, second = self.value(left), self.value(right)
                return first & second if op == "and" else first | second
            case typed.HasTlv(tlv=tlv):
                try:
                    self.index(tlv)
                except AbsentError:
                    return 0
                return 1
        raise TypeError(type(expr))

    def decides(self, guard: typed.Expr, want: bool = True) -> bool:
        """Whether a condition is surely `want`. A test that reads what is not there is neither
        true nor false, under `not` either; `and` and `or` ask their right side only where the
        left one does not decide."""
        match guard:
            case typed.Not(value=inner):
                return self.decides(inner, not want)
            case typed.Logic(op=op, left=left, right=right):
                if (op == "and") == want:
                    return self.decides(left, want) and self.decides(right, want)
                return self.decides(left, want) or self.decides(right, want)
        try:
            return bool(self.value(guard)) == want
        except AbsentError:
            return False

    def header(self, part: HeaderField) -> int:
        """A field of a header. Raises AbsentError."""
        at = self._header_at(part.header)
        try:
            return wire.bits(self.data, at * 8 + part.bit_offset, part.bits)
        except IndexError:
            raise AbsentError from None

    def _header_at(self, name: str) -> int:
        if name == "ip":
            return 0
        if name == "srh":
            return self.the_srh().at
        at = self._upper_at(name)
        if at is None or at + HEADER_SIZE[name] > len(self.data):
            raise AbsentError
        return at

    def _upper_at(self, name: str) -> int | None:
        """Where a header of `UPPER` begins, whole or not."""
        assert name in UPPER
        outer = wire.behind(self.data, 0)
        if outer is None:
            return None
        protocol, at = outer
        if name in ("inner", "ipv4"):
            return at if protocol == (wire.IPV6 if name == "inner" else wire.IPV4) else None
        inside: tuple[int, int] | None = outer
        if protocol == wire.IPV6 and at + wire.IPV6_SIZE <= len(self.data):
            inside = wire.behind(self.data, at)
        elif protocol == wire.IPV4 and at + HEADER_SIZE["ipv4"] <= len(self.data):
            inside = self._behind_ipv4(at)
        if inside is None or inside[0] != _TRANSPORT[name]:
            return None
        return inside[1]

    def _behind_ipv4(self, at: int) -> tuple[int, int] | None:
        """RFC 791, section 3.1: header length in words, 13 bits of fragment offset."""
        if int.from_bytes(self.data[at + 6 : at + 8], "big") & 0x1FFF:
            return None
        return self.data[at + 9], at + (self.data[at] & 15) * 4

    def _meta(self, name: str) -> int:
        value: int = getattr(self.arrival, name)
        return value

    def _sample(self, of: int) -> int:
        if of < 2:
            return of
        if self.drawn == len(self.arrival.draws):
            raise MoreDraws
        self.drawn += 1
        return int(self.arrival.draws[self.drawn - 1])

    def _every(self, site: int, of: int) -> int:
        if of == 0:
            return 0
        count = self.counted.get(site, self.arrival.memory.counted.get(site, 0)) + 1
        self.counted[site] = 0 if count >= of else count
        return int(count >= of)


def compute(op: str, a: int, b: int, width: int) -> int:
    """Unsigned arithmetic in `width` bits, wrapping (RFC 9669, section 4.1, for / and %)."""
    if op in ("/", "%") and b == 0:
        return 0 if op == "/" else a
    if op in ("<<", ">>") and b >= width:
        return 0
    result = {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "/": operator.floordiv,
        "%": operator.mod,
        "&": operator.and_,
        "|": operator.or_,
        "^": operator.xor,
        "<<": operator.lshift,
        ">>": operator.rshift,
    }[op](a, b)
    return int(result) & ((1 << width) - 1)


def from_wire(raw: int, type_: types.Type) -> int:
    """The value of a TLV's field: a timestamp is 32 bits of seconds, 32 of nanoseconds there."""
    if isinstance(type_, types.Timestamp):
        return ((raw >> 32) * _NS + (raw & 0xFFFF_FFFF)) & ((1 << 64) - 1)
    return raw


def to_wire(value: int, type_: types.Type) -> int:
    """The bits of a TLV's field; the seconds of a timestamp wrap in 2106."""
    if isinstance(type_, types.Timestamp):
        return (value // _NS & 0xFFFF_FFFF) << 32 | value % _NS
    return value
