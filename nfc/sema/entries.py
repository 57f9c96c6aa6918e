"""Changes of tables' entries, of state, and of counters with keys."""

from __future__ import annotations

from dataclasses import fields

from nfc.sema import typed, types
from nfc.sema.expressions import Checker
from nfc.sema.fields import assignments, once, shown
from nfc.sema.references import entry_field, table_of
from nfc.sema.scope import Scope
from nfc.syntax import tree
from nfc.syntax.diagnostics import nearest
from nfc.syntax.source import Span

# what a processor does to shared memory in one step
_ATOMIC = ("+", "-", "&", "|", "^")


def put(
    statement: tree.Put, checker: Checker, scope: Scope, seen: dict[object, int]
) -> typed.Put | None:
    """`put table [key] { field = value }`: all fields; those left out are zero."""
    table = table_of(statement.table, scope)
    if table is None or not _apart(table, "put", statement.span, scope, seen):
        return None
    key = checker.key(table, statement.key, statement.span)
    known = {m.name: m.type for m in table.fields}
    given = assignments(statement.fields, known, table.name, checker, scope)
    if len(given) < len(statement.fields):
        return None
    if key is None or any(value is None for value in given.values()):
        return None
    zero = [typed.Const(statement.span, m.type, 0) for m in table.fields]
    values = tuple(given.get(m.name) or z for m, z in zip(table.fields, zero, strict=True))
    return typed.Put(statement.span, table, key, values)


def remove_entry(
    statement: tree.RemoveEntry, checker: Checker, scope: Scope, seen: dict[object, int]
) -> typed.RemoveEntry | None:
    """`remove table [key]`."""
    table = table_of(statement.table, scope)
    if table is None or not _apart(table, "remove", statement.span, scope, seen):
        return None
    if table.kind == "array":
        scope.diagnostics.error(
            statement.span,
            "an array's entries are always there",
            f"put {table.name}[index] {{}} makes one zero",
        )
        return None
    key = checker.key(table, statement.key, statement.span)
    return None if key is None else typed.RemoveEntry(statement.span, table, key)


def set_entry(
    statement: tree.Set,
    place: tree.FieldRef,
    checker: Checker,
    scope: Scope,
    seen: dict[object, int],
) -> typed.SetEntry | None:
    """`set entry.field = …`."""
    entry = checker.entries[place.base.text]
    target = entry_field(entry, place.name, scope)
    if target is None or not _apart(entry.table, "set", statement.span, scope, seen):
        return None
    key = ("entry", place.base.text, target.name)
    if not once(statement, key, scope, seen):
        return None
    value = checker.check(statement.value, target.type)
    if value is None:
        return None

    def reads(expr: object) -> bool:
        return isinstance(expr, typed.EntryRead) and (expr.entry, expr.member) == (entry, target)

    changed = _change(statement, value, target.type, entry.table.per_cpu, reads, scope)
    if changed is None:
        return None
    return typed.SetEntry(statement.span, entry, target, *changed)


def set_state(
    statement: tree.Set,
    place: tree.Name,
    checker: Checker,
    scope: Scope,
    seen: dict[object, int],
) -> typed.SetState | None:
    """`set state = …`."""
    state = scope.states.get(place.name)
    if state is None:
        if not scope.excused(place.name):
            what = scope.kind(place.name)
            scope.diagnostics.error(
                place.span,
                f"'{place.name}' cannot be set" + (f": it is a {what}" if what else ""),
                nearest(place.name, scope.states)
                or "what can be: srh and packet fields, TLV and entry fields, state",
            )
        return None
    if not once(statement, ("state", state.name), scope, seen):
        return None
    value = checker.check(statement.value, state.member.type)
    if value is None:
        return None

    def reads(expr: object) -> bool:
        return isinstance(expr, typed.StateRead) and expr.state == state

    changed = _change(statement, value, state.member.type, state.table.per_cpu, reads, scope)
    return None if changed is None else typed.SetState(statement.span, state, *changed)


def _change(
    statement: tree.Set,
    value: typed.Expr,
    type_: types.Type,
    per_cpu: bool,
    reads: object,
    scope: Scope,
) -> tuple[typed.Expr, str | None] | None:
    """What to write, and how: where CPUs share it, a new value made of the old one must be one
    that the processor can make in a step."""
    assert callable(reads)
    if per_cpu:
        return value, None
    if types.memory_size(type_) not in (1, 2, 4, 8):
        scope.diagnostics.error(
            statement.span,
            f"{type_} takes several writes: another CPU could read it half written",
            "put the whole entry, or declare it per cpu",
        )
        return None
    if not _contains(value, reads):
        return value, None
    if isinstance(value, typed.Arith) and value.op in _ATOMIC and type_.bits in (32, 64):
        left, right = value.left, value.right
        if value.op != "-" and reads(right):
            left, right = right, left
        whole = value.type.bits == type_.bits or value.op == "&"  # x & 0xff is of 8 bits
        if reads(left) and whole and not _contains(right, reads):
            return right, value.op
    name = shown(statement)
    scope.diagnostics.error(
        statement.span,
        f"another CPU may change {name} between reading and writing it",
        f"what is done in one step: {name} = {name} + x (or - & | ^), of 32 or 64 bits; "
        "or declare it per cpu",
    )
    return None


def _contains(expr: object, wanted: object) -> bool:
    assert callable(wanted)
    if wanted(expr):
        return True
    if not isinstance(expr, typed.Expr):
        return False
    return any(_contains(getattr(expr, f.name), wanted) for f in fields(expr) if f.name != "span")


def count_key(
    statement: tree.Count, table: typed.Table, checker: Checker, amount: typed.Expr
) -> typed.CountKey | None:
    """`count name [key] by amount`."""
    key = checker.key(table, statement.key, statement.span)
    return None if key is None else typed.CountKey(statement.span, table, key, amount)


def _apart(
    table: typed.Table, what: str, span: Span, scope: Scope, seen: dict[object, int]
) -> bool:
    """A rule sets fields of a table's entries, or puts and removes entries: not both, since what
    is set might be of an entry that goes."""
    other = ("put", "remove") if what == "set" else ("set",)
    line = next(
        (seen["table", table.name, o] for o in other if ("table", table.name, o) in seen), 0
    )
    if line:
        scope.diagnostics.error(
            span,
            f"line {line} changes entries of {table.name} in another way",
            "a rule sets fields of a table's entries, or it puts and removes entries",
        )
        return False
    seen["table", table.name, what] = span.line
    return True
