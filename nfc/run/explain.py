"""Why a rule was not taken: which part of its condition did not hold, with the values it read.

Which rules were tried and which one was taken is not decided here: the trace takes that from the
instructions that ran. This only puts a reason beside it, by evaluating the parts of the condition
as docs/language.md says (nfc.oracle). Where both disagree, the reason says so.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass

from nfc.compiler import value_text
from nfc.oracle.values import AbsentError, Context, MoreDraws
from nfc.sema import typed, types
from nfc.syntax.source import Span

CONTRADICTION = "its condition reads as true, yet the program went on: that is an error of nfc"
_READS = (
    typed.HeaderRead,
    typed.MetaRead,
    typed.SegmentRead,
    typed.TlvRead,
    typed.ParamRead,
    typed.EntryRead,
    typed.StateRead,
    typed.Now,
)


def why_not(rule: typed.Rule, context: Context) -> tuple[str, ...]:
    """The parts of a rule's condition that did not hold, a line each: the part as it is written,
    and what it read. For a rule that the program tried and did not take."""
    if rule.guard is None:
        return (CONTRADICTION,)
    return tuple(_failed(rule.guard, context, True)) or (CONTRADICTION,)


def _failed(guard: typed.Expr, context: Context, want: bool) -> list[str]:
    """What keeps a condition from being `want`; [] if nothing does."""
    match guard:
        case typed.Not(value=inner):
            return _failed(inner, context, not want)
        case typed.Logic(op=op, left=left, right=right):
            first = _failed(left, context, want)
            if (op == "and") == want:
                return first or _failed(right, context, want)
            return first and (second := _failed(right, context, want)) and first + second
    try:
        if bool(context.value(guard)) == want:
            return []
        return [f"{_source(guard)}: {_values(guard, context) or _plainly(not want)}"]
    except AbsentError:
        return [f"{_source(guard)}: {_absence(guard, context)}"]
    except MoreDraws:
        return [f"{_source(guard)}: this packet was {'not ' if want else ''}drawn"]


def _plainly(holds: bool) -> str:
    return "holds" if holds else "does not hold"


def _source(expr: typed.Expr) -> str:
    """An expression as it is written, on one line."""
    span = expr.span
    return " ".join(span.source.text[span.start : span.end].split())


def _values(guard: typed.Expr, context: Context) -> str:
    """What the test read, each as `name is value`."""
    match guard:
        case typed.HasTlv(tlv=tlv):
            return _tlvs(tlv, context)
        case typed.HasEntry(entry=entry):
            key = ", ".join(show(e.type, context.value(e)) for e in entry.key)
            return f"there is an entry at [{key}]" if context.find(entry) else f"none at [{key}]"
        case typed.Every(of=of):
            return f"not the turn of this packet, one in {context.value(of)}"
        case typed.Sample(of=of):
            return f"{_source(of)} is {context.value(of)}"
    said: dict[str, str] = {}
    waiting: list[object] = [guard]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, _READS) or _named(item):
            assert isinstance(item, typed.Expr)
            name, value = _source(item), context.value(item)
            member = isinstance(item, typed.Const) and isinstance(item.type, types.Enum)
            said.setdefault(name, str(value) if member else show(item.type, value))
        elif isinstance(item, tuple):
            waiting[:0] = item
        elif is_dataclass(item) and not isinstance(item, Span | typed.Entry | typed.Tlv):
            waiting[:0] = [getattr(item, f.name) for f in fields(item)]
    return ", ".join(f"{name} is {value}" for name, value in said.items())


def _named(item: object) -> bool:
    """Whether it is a constant that is written as a name."""
    return isinstance(item, typed.Const) and _source(item).isidentifier()


def _absence(guard: typed.Expr, context: Context) -> str:
    """Which of the things that a test reads the packet does not have."""
    waiting: list[object] = [guard]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, typed.Expr) and isinstance(item, (*_READS, typed.HasEntry)):
            try:
                context.value(item)
            except AbsentError:
                if not isinstance(item, typed.HasEntry):
                    return f"the packet has no {_source(item)}"
        if isinstance(item, tuple):
            waiting[:0] = item
        elif is_dataclass(item) and not isinstance(item, Span):
            waiting[:0] = [getattr(item, f.name) for f in fields(item)]
    return "the packet does not have what it reads"


def _tlvs(tlv: typed.Tlv, context: Context) -> str:
    """What TLVs there are."""
    try:
        found = context.tlvs()
    except AbsentError:
        return "the packet has no SRH"
    wanted = f"type {tlv.number} of {tlv.size} bytes or more"
    if not found:
        return f"the SRH has no TLV; {wanted} is wanted"
    there = ", ".join(f"{one[0]} ({len(one)} bytes)" for one in found)
    return f"the SRH has TLVs of types {there}; {wanted} is wanted"


def show(type_: types.Type, value: int) -> str:
    """A value as it is written in the language; of an enum with the members that it may be."""
    match type_:
        case types.Timestamp():
            return f"{value // 10**9}.{value % 10**9:09d}"
        case types.Enum(members=members):
            names = " or ".join(name for name, number in members if number == value)
            return f"{value} ({names})" if names else str(value)
    return value_text(type_, value)
