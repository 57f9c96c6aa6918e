"""What names stand for: constants, params, state, tables, fields of headers, TLVs and entries."""

from __future__ import annotations

from dataclasses import replace

from nfc.sema import typed, types
from nfc.sema.headers import HEADERS, MAX_SEGMENT_INDEX, META, META_NAME, SEGMENT_LIST
from nfc.sema.kinds import example, fields_hint
from nfc.sema.place import Place
from nfc.sema.scope import Scope
from nfc.syntax import tree
from nfc.syntax.diagnostics import nearest
from nfc.syntax.source import Span

MAX_TLV_INDEX = 7  # of one type; each one found takes a register of the walk


def name_value(place: Place, span: Span, name: str, wanted: types.Type | None) -> typed.Expr | None:
    """The value of a plain name; `wanted` chooses between enums that both have a member of it."""
    scope = place.scope
    if name in place.local:
        return replace(place.local[name], span=span)
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
            place.error(
                span,
                f"'{name}' is a member of {' and of '.join(m[0].name for m in members)}",
                "it can only be compared with a field of one of them",
            )
            return None
    if members:
        return typed.Const(span, members[0][0], members[0][1])
    if name in place.entries:
        first = place.entries[name].table.fields[0].name
        place.error(span, f"'{name}' is a table's entry; name one of its fields", f"{name}.{first}")
        return None
    if name in place.bound:
        place.error(
            span, f"'{name}' is a TLV; name one of its fields", example(name, place.bound[name])
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
        place.error(span, f"nothing is called '{name}'", hint)
    elif kind == "const":
        place.error(
            span,
            f"'{name}' is not worked out yet here",
            "enums come first, then consts from the top of the file",
        )
    elif kind in ("param", "state"):
        place.error(
            span, f"'{name}' is a {kind}, not known when the file is compiled", "use a const"
        )
    else:
        article = "an" if kind[0] in "aeiou" else "a"
        hint = f"{name}(…)" if kind == "define" else None
        place.error(span, f"'{name}' is {article} {kind}, not a value", hint)
    return None


def field_value(place: Place, expr: tree.FieldRef) -> typed.Expr | None:
    """A field of a header, of the packet itself, of a table's entry, or of a bound TLV."""
    base, name = expr.base.text, expr.name.text
    if base == META_NAME:
        meta = META.get(name)
        if meta is None:
            place.error(expr.name.span, f"packet has no field '{name}'", fields_hint(name, META))
            return None
        if not _known_later(place, expr.span):
            return None
        return typed.MetaRead(expr.span, meta.type, meta)
    if base == "srh" and name == SEGMENT_LIST:
        place.error(
            expr.span,
            "say which entry of the segment list",
            f"srh.{SEGMENT_LIST}[0] is the last",
        )
        return None
    if base in HEADERS:
        header = HEADERS[base].get(name)
        if header is None:
            place.error(
                expr.name.span,
                f"{base} has no field '{name}'",
                fields_hint(name, HEADERS[base]),
            )
            return None
        if not _known_later(place, expr.span):
            return None
        return typed.HeaderRead(expr.span, header.type, header)
    if base in place.entries:
        entry = place.entries[base]
        found = entry_field(entry, expr.name, place.scope)
        return None if found is None else typed.EntryRead(expr.span, found.type, entry, found)
    tlv = bound_tlv(place, expr.base)
    if tlv is None:
        return None
    field_ = field_of(place, tlv, expr.name)
    if field_ is None:
        return None
    return typed.TlvRead(expr.span, field_.type, tlv, field_)


def segment(place: Place, expr: tree.Element) -> typed.Expr | None:
    """An entry of the segment list."""
    if expr.base.text != "srh" or expr.name.text != SEGMENT_LIST:
        place.error(
            expr.span,
            f"{expr.base.text}.{expr.name.text} is no list",
            f"the one list is srh.{SEGMENT_LIST}[…]",
        )
        return None
    if expr.index.value > MAX_SEGMENT_INDEX:
        place.error(expr.index.span, f"a segment list has entries 0 to {MAX_SEGMENT_INDEX}")
        return None
    if not _known_later(place, expr.span):
        return None
    return typed.SegmentRead(expr.span, types.Ipv6(), expr.index.value)


def bound_tlv(place: Place, base: tree.Ident) -> typed.Tlv | None:
    """The bound TLV of that name, or None after an error."""
    if base.text in place.bound:
        return place.bound[base.text]
    if base.text in place.elsewhere:
        place.error(
            base.span,
            f"'{base.text}' is bound by the rule of line {place.elsewhere[base.text]}, not here",
            f"add 'srh has … as {base.text}' to this rule's condition",
        )
    elif base.text in place.scope.tlvs:
        place.error(
            base.span,
            f"'{base.text}' must be bound before its fields can be named",
            f"when srh has {base.text} as {base.text.lower()} {{ … }}",
        )
    elif not place.scope.excused(base.text):
        place.error(
            base.span,
            f"nothing is called '{base.text}' here",
            nearest(base.text, [*HEADERS, META_NAME, *place.bound]),
        )
    return None


def field_of(place: Place, tlv: typed.Tlv, name: tree.Ident) -> typed.TlvField | None:
    """The field of that name, or None after an error."""
    found = tlv.field(name.text)
    if found is None:
        names = {f.name: f for f in tlv.fields if f.name}
        place.error(
            name.span, f"{tlv.name} has no field '{name.text}'", fields_hint(name.text, names)
        )
    return found


def _known_later(place: Place, span: Span) -> bool:
    if place.hook is None:
        place.error(span, "a packet's fields are not known when the file is compiled")
        return False
    return True


def has_tlv(place: Place, expr: tree.Has, binds: bool) -> typed.Expr | None:
    """Whether the SRH has a TLV, which gets a name where one is given and that may be."""
    if expr.subject.text != "srh":
        place.error(expr.subject.span, "only srh has TLVs", "srh has …")
        return None
    if not _known_later(place, expr.span):
        return None
    tlv = place.scope.tlvs.get(expr.tlv.text)
    if tlv is None:
        if expr.alias is not None:
            place.scope.broken.add(expr.alias.text)
        if place.scope.excused(expr.tlv.text):
            return None
        place.error(
            expr.tlv.span,
            f"there is no TLV '{expr.tlv.text}'",
            nearest(expr.tlv.text, place.scope.tlvs)
            or "declare it with tlv, or use a file that does",
        )
        return None
    if expr.index is not None:
        if expr.index.value > MAX_TLV_INDEX:
            place.error(expr.index.span, f"TLVs of a type are counted from 0 to {MAX_TLV_INDEX}")
            return None
        tlv = replace(tlv, index=expr.index.value)
    if expr.alias is not None:
        alias = expr.alias.text
        if not binds:
            place.scope.broken.add(alias)
            place.error(
                expr.alias.span,
                f"'{alias}' would not be there in every case",
                "bind a TLV where all conditions are joined by 'and'",
            )
            return None
        if alias in (*place.bound, *place.entries, *HEADERS, META_NAME):
            place.error(
                expr.alias.span,
                f"'{alias}' already means something in this rule",
                "give the TLV another name",
            )
            return None
        place.bound[alias] = tlv
    return typed.HasTlv(expr.span, types.Bool(), tlv)


# ---- tables ---------------------------------------------------------------------------------


def entry_field(entry: typed.Entry, name: tree.Ident, scope: Scope) -> typed.Member | None:
    """The field of that name of an entry; None after an error."""
    found = next((m for m in entry.table.fields if m.name == name.text), None)
    if found is None:
        names = [m.name for m in entry.table.fields]
        scope.diagnostics.error(
            name.span,
            f"an entry of {entry.table.name} has no field '{name.text}'",
            nearest(name.text, names) or f"its fields: {', '.join(names)}",
        )
    return found


def table_of(name: tree.Ident, scope: Scope) -> typed.Table | None:
    """The table of that name; None after an error."""
    table = scope.tables.get(name.text)
    if table is None and not scope.excused(name.text):
        scope.diagnostics.error(
            name.span,
            f"there is no table '{name.text}'",
            nearest(name.text, scope.tables) or f"declare it: table {name.text}: hash[1024] …",
        )
    return table


def looked_up(place: Place, expr: tree.HasEntry, binds: bool) -> typed.Table | None:
    """The table of `table has [key] as alias`, where it can be asked and the alias be given."""
    scope = place.scope
    alias = expr.alias
    if place.hook is None:
        scope.diagnostics.error(expr.span, "tables are not known when the file is compiled")
        return None
    table = table_of(expr.table, scope)
    if table is None:
        if alias is not None:
            scope.broken.add(alias.text)
        return None
    if alias is not None and not binds:
        scope.broken.add(alias.text)
        scope.diagnostics.error(
            alias.span,
            f"'{alias.text}' would not be there in every case",
            "bind an entry where all conditions are joined by 'and'",
        )
        return None
    taken = (*place.bound, *place.entries, *HEADERS, META_NAME)
    if alias is not None and alias.text in taken:
        scope.diagnostics.error(
            alias.span, f"'{alias.text}' already means something in this rule", "use another name"
        )
        return None
    return table
