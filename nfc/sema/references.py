"""What names stand for: constants, params, state, fields of headers and of TLVs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nfc.sema import tables, typed, types
from nfc.sema.headers import HEADERS, MAX_SEGMENT_INDEX, META, META_NAME, SEGMENT_LIST
from nfc.sema.kinds import example, fields_hint
from nfc.syntax import tree
from nfc.syntax.diagnostics import nearest
from nfc.syntax.source import Span

if TYPE_CHECKING:
    from nfc.sema.expressions import Checker

MAX_TLV_INDEX = 7  # of one type; each one found takes a register of the walk


def name_value(
    checker: Checker, span: Span, name: str, wanted: types.Type | None
) -> typed.Expr | None:
    """The value of a plain name; `wanted` chooses between enums that both have a member of it."""
    scope = checker.scope
    if name in checker.local:
        return replace(checker.local[name], span=span)
    if name in scope.consts:
        const = scope.consts[name]
        return typed.Const(span, const.type, const.value)
    if name in scope.params:
        param = scope.params[name]
        return typed.ParamRead(span, param.type, param)
    if name in scope.states:
        state = scope.states[name]
        return typed.StateRead(span, state.member.type, state)
    members = scope.members(name)
    if len(members) > 1:
        members = [m for m in members if m[0] == wanted] or members
        if len({m[0] for m in members}) > 1:
            checker.error(
                span,
                f"'{name}' is a member of {' and of '.join(m[0].name for m in members)}",
                "it can only be compared with a field of one of them",
            )
            return None
    if members:
        return typed.Const(span, members[0][0], members[0][1])
    if name in checker.entries:
        first = checker.entries[name].table.fields[0].name
        checker.error(
            span, f"'{name}' is a table's entry; name one of its fields", f"{name}.{first}"
        )
        return None
    if name in checker.bound:
        checker.error(
            span, f"'{name}' is a TLV; name one of its fields", example(name, checker.bound[name])
        )
        return None
    if scope.excused(name):
        return None
    known = [
        *scope.consts,
        *scope.params,
        *(n for e in scope.enums.values() for n, _ in e.members),
    ]
    kind = scope.kind(name)
    if kind is None:
        fields_ = [f"{h}.{name}" for h, fields in HEADERS.items() if name in fields]
        hint = nearest(name, known)
        if fields_ and not hint:
            hint = f"did you mean {' or '.join(fields_)}?"
        checker.error(span, f"nothing is called '{name}'", hint)
    elif kind == "const":
        checker.error(
            span,
            f"'{name}' is not worked out yet here",
            "enums come first, then consts from the top of the file",
        )
    elif kind in ("param", "state"):
        checker.error(
            span, f"'{name}' is a {kind}, not known when the file is compiled", "use a const"
        )
    else:
        article = "an" if kind[0] in "aeiou" else "a"
        hint = f"{name}(…)" if kind == "define" else None
        checker.error(span, f"'{name}' is {article} {kind}, not a value", hint)
    return None


def field_value(checker: Checker, expr: tree.FieldRef) -> typed.Expr | None:
    """A field of a header, of the packet itself, of a table's entry, or of a bound TLV."""
    base, name = expr.base.text, expr.name.text
    if base == META_NAME:
        meta = META.get(name)
        if meta is None:
            checker.error(expr.name.span, f"packet has no field '{name}'", fields_hint(name, META))
            return None
        if not _known_later(checker, expr.span):
            return None
        return typed.MetaRead(expr.span, meta.type, meta)
    if base == "srh" and name == SEGMENT_LIST:
        checker.error(
            expr.span,
            "say which entry of the segment list",
            f"srh.{SEGMENT_LIST}[0] is the last",
        )
        return None
    if base in HEADERS:
        header = HEADERS[base].get(name)
        if header is None:
            checker.error(
                expr.name.span,
                f"{base} has no field '{name}'",
                fields_hint(name, HEADERS[base]),
            )
            return None
        if not _known_later(checker, expr.span):
            return None
        return typed.HeaderRead(expr.span, header.type, header)
    if base in checker.entries:
        entry = checker.entries[base]
        found = tables.member(entry, expr.name, checker.scope)
        return None if found is None else typed.EntryRead(expr.span, found.type, entry, found)
    tlv = bound_tlv(checker, expr.base)
    if tlv is None:
        return None
    field_ = field_of(checker, tlv, expr.name)
    if field_ is None:
        return None
    return typed.TlvRead(expr.span, field_.type, tlv, field_)


def segment(checker: Checker, expr: tree.Element) -> typed.Expr | None:
    """An entry of the segment list."""
    if expr.base.text != "srh" or expr.name.text != SEGMENT_LIST:
        checker.error(
            expr.span,
            f"{expr.base.text}.{expr.name.text} is no list",
            f"the one list is srh.{SEGMENT_LIST}[…]",
        )
        return None
    if expr.index.value > MAX_SEGMENT_INDEX:
        checker.error(expr.index.span, f"a segment list has entries 0 to {MAX_SEGMENT_INDEX}")
        return None
    if not _known_later(checker, expr.span):
        return None
    return typed.SegmentRead(expr.span, types.Ipv6(), expr.index.value)


def bound_tlv(checker: Checker, base: tree.Ident) -> typed.Tlv | None:
    """The bound TLV of that name, or None after an error."""
    if base.text in checker.bound:
        return checker.bound[base.text]
    if base.text in checker.elsewhere:
        checker.error(
            base.span,
            f"'{base.text}' is bound by the rule of line {checker.elsewhere[base.text]}, not here",
            f"add 'srh has … as {base.text}' to this rule's condition",
        )
    elif base.text in checker.scope.tlvs:
        checker.error(
            base.span,
            f"'{base.text}' must be bound before its fields can be named",
            f"when srh has {base.text} as {base.text.lower()} {{ … }}",
        )
    elif not checker.scope.excused(base.text):
        checker.error(
            base.span,
            f"nothing is called '{base.text}' here",
            nearest(base.text, [*HEADERS, META_NAME, *checker.bound]),
        )
    return None


def field_of(checker: Checker, tlv: typed.Tlv, name: tree.Ident) -> typed.TlvField | None:
    """The field of that name, or None after an error."""
    found = tlv.field(name.text)
    if found is None:
        names = {f.name: f for f in tlv.fields if f.name}
        checker.error(
            name.span, f"{tlv.name} has no field '{name.text}'", fields_hint(name.text, names)
        )
    return found


def _known_later(checker: Checker, span: Span) -> bool:
    if checker.hook is None:
        checker.error(span, "a packet's fields are not known when the file is compiled")
        return False
    return True


def has_tlv(checker: Checker, expr: tree.Has, binds: bool) -> typed.Expr | None:
    """Whether the SRH has a TLV, which gets a name where one is given and that may be."""
    if expr.subject.text != "srh":
        checker.error(expr.subject.span, "only srh has TLVs", "srh has …")
        return None
    if not _known_later(checker, expr.span):
        return None
    tlv = checker.scope.tlvs.get(expr.tlv.text)
    if tlv is None:
        if expr.alias is not None:
            checker.scope.broken.add(expr.alias.text)
        if checker.scope.excused(expr.tlv.text):
            return None
        checker.error(
            expr.tlv.span,
            f"there is no TLV '{expr.tlv.text}'",
            nearest(expr.tlv.text, checker.scope.tlvs)
            or "declare it with tlv, or use a file that does",
        )
        return None
    if expr.index is not None:
        if expr.index.value > MAX_TLV_INDEX:
            checker.error(expr.index.span, f"TLVs of a type are counted from 0 to {MAX_TLV_INDEX}")
            return None
        tlv = replace(tlv, index=expr.index.value)
    if expr.alias is not None:
        alias = expr.alias.text
        if not binds:
            checker.scope.broken.add(alias)
            checker.error(
                expr.alias.span,
                f"'{alias}' would not be there in every case",
                "bind a TLV where all conditions are joined by 'and'",
            )
            return None
        if alias in (*checker.bound, *checker.entries, *HEADERS, META_NAME):
            checker.error(
                expr.alias.span,
                f"'{alias}' already means something in this rule",
                "give the TLV another name",
            )
            return None
        checker.bound[alias] = tlv
    return typed.HasTlv(expr.span, types.Bool(), tlv)
