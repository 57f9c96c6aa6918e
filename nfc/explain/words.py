"""Values and conditions of a typed program, as an operator would say them."""

from __future__ import annotations

import ipaddress
import re

from nfc.compiler import value_text
from nfc.sema import typed, types
from nfc.sema.headers import HeaderField

_NUMBER = re.compile(r"0x[0-9a-f_]+|0b[01_]+|[1-9][0-9_]*|0", re.I)
_FIELDS = {
    "traffic_class": "traffic class",
    "flow_label": "flow label",
    "payload_length": "payload length",
    "next_header": "next header",
    "hop_limit": "hop limit",
    "src": "source",
    "dst": "destination",
    "segments_left": "Segments Left",
    "last_entry": "Last Entry",
    "protected": "flag protected",
    "oam": "flag O (OAM)",
    "alert": "flag alert",
    "hmac": "flag H (HMAC)",
    "src_port": "source port",
    "dst_port": "destination port",
    "total_length": "total length",
    "ttl": "TTL",
    "dscp": "DSCP",
    "syn": "flag SYN",
    "ack": "flag ACK",
    "fin": "flag FIN",
    "rst": "flag RST",
    "psh": "flag PSH",
}
_HEADERS = {
    "ip": "the",
    "srh": "the SRH's",
    "inner": "the inner packet's",
    "ipv4": "the inner IPv4 packet's",
    "udp": "the UDP",
    "tcp": "the TCP",
    "icmp6": "the ICMPv6",
}
_META = {
    "length": "the packet's length",
    "mark": "the packet's mark",
    "priority": "the packet's priority",
    "ingress": "the number of the interface it came in at",
    "hash": "the hash of its flow",
    "cpu": "the number of the CPU",
}
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_COMPARE = {
    "==": "is",
    "!=": "is not",
    "<": "is less than",
    "<=": "is at most",
    ">": "is more than",
    ">=": "is at least",
}
_TIMES = {
    "==": "is",
    "!=": "is not",
    "<": "is before",
    "<=": "is not after",
    ">": "is after",
    ">=": "is not before",
}
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}  # with the sides exchanged


def field(part: HeaderField) -> str:
    """A field of a header: the SRH's tag."""
    return f"{_HEADERS[part.header]} {_FIELDS.get(part.name, part.name.replace('_', ' '))}"


def tlv(one: typed.Tlv) -> str:
    """A TLV that a condition binds: the DM TLV; the second NODE TLV."""
    return f"the {_ORDINALS[one.index]} {one.name} TLV" if one.index else f"the {one.name} TLV"


def table_key(table: typed.Table, key: tuple[typed.Expr, ...]) -> str:
    """Where a table is looked up: flows [the source, the destination]."""
    return f"{table.name} [{', '.join(value(k) for k in key)}]"


def constant(expr: typed.Const) -> str:
    """A known value: an enum's member, an address, a number with its unit."""
    if isinstance(expr.type, types.Enum):
        names = [n for n, v in expr.type.members if v == expr.value]
        span = expr.span
        written = span.source.text[span.start : span.end]
        return written if written in names else (names or [str(expr.value)])[0]
    if isinstance(expr.type, types.Duration):
        return duration(expr.value)
    span = expr.span
    written = span.source.text[span.start : span.end]
    if isinstance(expr.type, types.Int) and _NUMBER.fullmatch(written):
        return written if int(written, 0) == expr.value else str(expr.value)
    return value_text(expr.type, expr.value)


def duration(ns: int) -> str:
    """Nanoseconds in the largest unit that has no fraction: 5 ms."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if ns and ns % size == 0:
            return f"{ns // size} {unit}"
    return f"{ns} ns"


def value(expr: typed.Expr) -> str:
    """A value; of a condition, whether it holds."""
    match expr:
        case typed.Const():
            return constant(expr)
        case typed.ParamRead(param=param):
            return f"the param {param.name}"
        case typed.HeaderRead(field=part):
            return field(part)
        case typed.MetaRead(field=meta):
            return _META[meta.name]
        case typed.SegmentRead(index=0):
            return "the path's last segment"
        case typed.SegmentRead(index=index):
            return f"segment {index} of the segment list"
        case typed.TlvRead(tlv=one, field=part):
            return f"{tlv(one)}'s {part.name}"
        case typed.EntryRead(entry=entry, member=member):
            return f"the {member.name} in {entry.table.name}"
        case typed.StateRead(state=state):
            return f"the state {state.name}"
        case typed.Now():
            return "the time now"
        case typed.Arith(op=op, left=left, right=right):
            return f"{_operand(left)} {op} {_operand(right)}"
    return f"whether {condition(expr)}"


def _operand(expr: typed.Expr) -> str:
    return f"({value(expr)})" if isinstance(expr, typed.Arith) else value(expr)


def condition(expr: typed.Expr, outer: str = "", want: bool = True) -> str:
    """A condition; `outer` is the `and` or `or` that it stands in.

    Without `want`, its opposite, said of each test by itself: a packet that has no UDP header is
    not one whose destination port is not 53 (docs/language.md, Rules).
    """
    match expr:
        case typed.Logic(op=op, left=left, right=right):
            joint = op if want else {"and": "or", "or": "and"}[op]
            text = f"{condition(left, joint, want)} {joint} {condition(right, joint, want)}"
            return f"({text})" if outer not in ("", joint) else text
        case typed.Not(value=of):
            return condition(of, outer, not want)
        case typed.Compare(op=op, left=left, right=right):
            return _comparison(op if want else _OPPOSITE[op], left, right)
        case typed.InPrefix(value=of, address=address, length=length, width=width):
            kind = ipaddress.IPv6Address if width == 128 else ipaddress.IPv4Address
            return f"{value(of)} is {'' if want else 'not '}in {kind(address)}/{length}"
        case typed.HasTlv(tlv=one):
            name = f"{_ORDINALS[one.index]} {one.name}" if one.index else one.name
            # A packet without an SRH has none either.
            return f"the SRH has {article(name)} TLV" if want else f"there is no {name} TLV"
        case typed.HasEntry(entry=entry):
            return f"there is {'an' if want else 'no'} entry {table_key(entry.table, entry.key)}"
        case typed.Sample(of=of):
            return f"chance {'picks' if want else 'does not pick'} it (one packet in {value(of)})"
        case typed.Every(of=of):
            is_ = "is" if want else "is not"
            return f"it {is_} the last of {value(of)} packets that came to this test on its CPU"
        case typed.Const(value=known):
            return "always" if bool(known) == want else "never"
    return f"{value(expr)} is {'true' if want else 'false'}"


def article(name: str) -> str:
    """A name behind a or an; one without a vowel is spelled, and so is HMAC, as RFC 8754 has it."""
    spelled = name == "HMAC" or not set(name) & set("AEIOUYaeiouy")
    return f"{'an' if name[:1] in ('FHLMNRSX' if spelled else 'AEIOaeio') else 'a'} {name}"


def _comparison(op: str, left: typed.Expr, right: typed.Expr) -> str:
    if isinstance(left, typed.Const) and not isinstance(right, typed.Const):
        return _comparison(_TURNED.get(op, op), right, left)
    if _is_test(left) or _is_test(right):
        return _both_hold(op == "==", *((right, left) if _is_test(left) else (left, right)))
    if is_flag(left) and isinstance(right, typed.Const) and op in ("==", "!="):
        return f"{value(left)} is {'' if bool(right.value) == (op == '==') else 'not '}set"
    timely = isinstance(left.type, types.Timestamp)
    return f"{value(left)} {(_TIMES if timely else _COMPARE)[op]} {value(right)}"


def _is_test(expr: typed.Expr) -> bool:
    """Whether a value is said as whether something holds."""
    return isinstance(expr.type, types.Bool) and value(expr).startswith("whether ")


def _both_hold(same: bool, other: typed.Expr, test: typed.Expr) -> str:
    """A comparison of a bool with a test."""
    if isinstance(other, typed.Const):
        return condition(test, "==", bool(other.value) == same)
    is_ = "is" if same else "is not"
    return f"{value(other)} {is_} the same as whether {condition(test, '==')}"


def is_flag(expr: typed.Expr) -> bool:
    """Whether a value is a single bit of a header or a TLV."""
    return isinstance(expr, typed.HeaderRead | typed.TlvRead) and expr.type == types.Int(1)


def parts(expr: typed.Expr | None, want: bool = True, outer: str = "") -> list[str]:
    """A rule's condition as what must hold all at once; an `or` among several is in brackets."""
    match expr:
        case None:
            return []
        case typed.Not(value=of):
            return parts(of, not want, outer)
        case typed.Logic(op=op, left=left, right=right) if (op == "and") == want:
            return [*parts(left, want, "and"), *parts(right, want, "and")]
    return [condition(expr, outer, want)]
