"""Expressions, evaluated on a packet as docs/language.md ("Values and types") says."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field

from nfc.oracle import wire
from nfc.oracle.outcomes import Arrival
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
    sites: Mapping[int, int]  # id of an Every to its place
    drawn: int = 0
    counted: dict[int, int] = field(default_factory=dict)

    def the_srh(self) -> Srh:
        """The SRH. Raises AbsentError behind too many extension headers."""
        if self.srh is None:
            raise AbsentError("no_srh")
        return self.srh

    def tlvs(self) -> list[bytes]:
        """All TLVs of the SRH. Raises AbsentError."""
        srh = self.the_srh()
        return wire.split_tlvs(self.data[srh.tlvs_at : srh.end])

    def index(self, tlv: typed.Tlv) -> int:
        """Which TLV counts as this one. Raises AbsentError."""
        for index, found in enumerate(self.tlvs()[:MAX_TLVS]):
            if found[0] == tlv.number and len(found) >= tlv.size:
                return index
        raise AbsentError

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
            case typed.Now():
                return self.arrival.now
            case typed.Sample(of=of):
                return self._sample(self.value(of))
            case typed.Every(of=of):
                return self._every(self.sites[id(expr)], self.value(of))
            case typed.Arith(op=op, left=left, right=right, type=type_):
                a, b = self.value(left), self.value(right)
                return compute(
                    op, a, b, max(type_.bits, left.type.bits) if op == "&" else type_.bits
                )
            case typed.Compare(op=op, left=left, right=right):
                return int(_COMPARE[op](self.value(left), self.value(right)))
            case typed.InPrefix(value=inner, address=address, length=length):
                return int(self.value(inner) >> (128 - length) == address >> (128 - length))
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
        count = self.counted.get(site, self.arrival.counted.get(site, 0)) + 1
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
