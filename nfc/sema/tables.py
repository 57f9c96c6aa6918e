"""Tables, state, and counters with keys: what is declared, looked up and changed.

They become maps (include/uapi/linux/bpf.h, enum bpf_map_type), which outlive packets and are
shared by all functions of a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from nfc.sema import typed, types
from nfc.sema.fields import assignments, once, shown
from nfc.sema.headers import HEADERS, META_NAME
from nfc.syntax import tree
from nfc.syntax.diagnostics import nearest
from nfc.syntax.source import Span

if TYPE_CHECKING:
    from nfc.sema.expressions import Checker
    from nfc.sema.scope import Scope

KINDS = ("hash", "lru", "prefix", "array")
MAX_ENTRIES = 1 << 20
MAX_KEY_SIZE = 64  # bytes; keys and entries are made on the 512-byte stack
MAX_ENTRY_SIZE = 256
PREFIX_LENGTH = 4  # bytes of a prefix's length, before the prefix
_INDEX: tuple[typed.Member, ...] = (typed.Member("index", types.Int(32), 0, 4),)
_ATOMIC = ("+", "-", "&", "|", "^")


# ---- declarations ---------------------------------------------------------------------------


def declare_table(item: tree.Table, entries: int | None, scope: Scope) -> None:
    """Lay out a table of that many entries."""
    kind = item.kind.text
    if kind not in KINDS:
        scope.diagnostics.error(
            item.kind.span,
            f"there is no kind of table called '{kind}'",
            nearest(kind, KINDS) or "hash, lru (the least recently used go), prefix, array",
        )
        return
    if kind == "array" and item.keys is not None:
        scope.diagnostics.error(
            item.keys[0].span if item.keys else item.span,
            "an array's key is its index, from 0; it has no others",
            f"table {item.name.text}: array[…] to {{ … }}",
        )
        return
    if kind != "array" and not item.keys:
        scope.diagnostics.error(
            item.kind.span,
            f"what is looked up in {item.name.text}?",
            f"table {item.name.text}: {kind}[…] {{ source: ipv6 }} to {{ … }}",
        )
        return
    if kind == "prefix" and item.per_cpu:
        scope.diagnostics.error(item.kind.span, "the kernel has no prefix table for each CPU")
        return
    if kind == "array":
        keys, key_size = _INDEX, 4
    else:
        laid = layout(item.keys or (), scope)
        if laid is None:
            return
        keys, key_size = laid
    if kind == "prefix":
        wide = keys[0].type
        if len(keys) != 1 or wide not in (types.Ipv6(), types.Int(32)):
            scope.diagnostics.error(
                item.kind.span, "a prefix table has one key, an ipv6 or (for IPv4) a u32"
            )
            return
        keys = (replace(keys[0], offset=PREFIX_LENGTH),)
        key_size = PREFIX_LENGTH + keys[0].size
    values = layout(item.fields, scope)
    if values is None or entries is None:
        return
    if not values[0]:
        scope.diagnostics.error(item.span, "an entry needs at least one field")
        return
    table = typed.Table(
        item.span, item.name.text, kind, item.per_cpu, entries, keys, key_size, *values
    )
    if _fits(table, scope):
        scope.tables[table.name] = table


def declare_counter(item: tree.Counter, entries: int | None, scope: Scope) -> None:
    """Lay out a counter with keys: a count of 64 bits for each, on each CPU."""
    laid = layout(item.keys, scope)
    if laid is None or entries is None:
        return
    if not item.keys:
        scope.diagnostics.error(item.span, "what is counted apart?", "{ port: u16 }")
        return
    count = (typed.Member("count", types.Int(64), 0, 8),)
    table = typed.Table(item.span, item.name.text, "hash", True, entries, *laid, count, 8)
    if _fits(table, scope):
        scope.keyed[table.name] = table


def declare_states(items: Sequence[tree.State], scope: Scope) -> None:
    """Lay out all state: one entry of all CPUs, and one for each."""
    for per_cpu, name in ((False, "state"), (True, "state_per_cpu")):
        mine = [item for item in items if item.per_cpu is per_cpu]
        members = [tree.Member(item.span, item.name, item.type) for item in mine]
        laid = layout(members, scope)
        if laid is None or not mine:
            continue
        table = typed.Table(mine[0].span, name, "array", per_cpu, 1, _INDEX, 4, *laid)
        for item, member in zip(mine, laid[0], strict=True):
            state = typed.State(item.span, item.name.text, table, member)
            scope.states[item.name.text] = state


def layout(
    members: Sequence[tree.Member], scope: Scope
) -> tuple[tuple[typed.Member, ...], int] | None:
    """Members one behind the other, and the size of the whole, a multiple of 8 bytes; None after
    an error."""
    found: list[typed.Member] = []
    names: set[str] = set()
    offset = 0
    for part in members:
        type_ = scope.type_of(part.type)
        if type_ is None:
            return None
        if part.name.text in names:
            scope.diagnostics.error(part.name.span, f"'{part.name.text}' is in this table twice")
            return None
        names.add(part.name.text)
        unit = types.alignment(type_)
        offset = -(-offset // unit) * unit
        found.append(typed.Member(part.name.text, type_, offset, types.memory_size(type_)))
        offset += found[-1].size
    return tuple(found), -(-offset // 8) * 8


def _fits(table: typed.Table, scope: Scope) -> bool:
    if table.key_size > MAX_KEY_SIZE or table.value_size > MAX_ENTRY_SIZE:
        scope.diagnostics.error(
            table.span,
            f"{table.name} has keys of {table.key_size} bytes and entries of {table.value_size}; "
            f"the limits are {MAX_KEY_SIZE} and {MAX_ENTRY_SIZE}",
        )
        return False
    if not 1 <= table.entries <= MAX_ENTRIES:
        scope.diagnostics.error(table.span, f"a table has 1 to {MAX_ENTRIES} entries")
        return False
    return True


# ---- reading --------------------------------------------------------------------------------


def has_entry(checker: Checker, expr: tree.HasEntry, binds: bool) -> typed.Expr | None:
    """`table has [key] as alias`."""
    scope = checker.scope
    alias = expr.alias
    if checker.hook is None:
        scope.diagnostics.error(expr.span, "tables are not known when the file is compiled")
        return None
    table = _table(expr.table, scope)
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
    taken = (*checker.bound, *checker.entries, *HEADERS, META_NAME)
    if alias is not None and alias.text in taken:
        scope.diagnostics.error(
            alias.span, f"'{alias.text}' already means something in this rule", "use another name"
        )
        return None
    key = check_key(checker, table, expr.key, expr.span)
    if key is None:
        if alias is not None:
            scope.broken.add(alias.text)
        return None
    entry = typed.Entry(checker.lookups[0], table, key)
    checker.lookups[0] += 1
    if alias is not None:
        checker.entries[alias.text] = entry
    return typed.HasEntry(expr.span, types.Bool(), entry)


def check_key(
    checker: Checker, table: typed.Table, exprs: Sequence[tree.Expr], span: Span
) -> tuple[typed.Expr, ...] | None:
    """A key's values in the order in which they are declared; None after an error."""
    if len(exprs) != len(table.keys):
        shown = ", ".join(f"{m.name}: {m.type}" for m in table.keys)
        checker.scope.diagnostics.error(
            span, f"{table.name} is looked up by {len(table.keys)}, not {len(exprs)}", f"[{shown}]"
        )
        return None
    values = [checker.check(e, m.type) for e, m in zip(exprs, table.keys, strict=True)]
    found = tuple(v for v in values if v is not None)
    return found if len(found) == len(values) else None


def member(entry: typed.Entry, name: tree.Ident, scope: Scope) -> typed.Member | None:
    """The field of that name of an entry; None after an error."""
    found = _member(entry.table, name.text)
    if found is None:
        names = [m.name for m in entry.table.fields]
        scope.diagnostics.error(
            name.span,
            f"an entry of {entry.table.name} has no field '{name.text}'",
            nearest(name.text, names) or f"its fields: {', '.join(names)}",
        )
    return found


def _member(table: typed.Table, name: str) -> typed.Member | None:
    return next((m for m in table.fields if m.name == name), None)


def _table(name: tree.Ident, scope: Scope) -> typed.Table | None:
    table = scope.tables.get(name.text)
    if table is None and not scope.excused(name.text):
        scope.diagnostics.error(
            name.span,
            f"there is no table '{name.text}'",
            nearest(name.text, scope.tables) or f"declare it: table {name.text}: hash[1024] …",
        )
    return table


# ---- changing -------------------------------------------------------------------------------


def put(
    statement: tree.Put, checker: Checker, scope: Scope, seen: dict[object, int]
) -> typed.Put | None:
    """`put table [key] { field = value }`: all fields; those left out are zero."""
    table = _table(statement.table, scope)
    if table is None or not _apart(table, "put", statement.span, scope, seen):
        return None
    key = check_key(checker, table, statement.key, statement.span)
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
    table = _table(statement.table, scope)
    if table is None or not _apart(table, "remove", statement.span, scope, seen):
        return None
    if table.kind == "array":
        scope.diagnostics.error(
            statement.span,
            "an array's entries are always there",
            f"put {table.name}[index] {{}} makes one zero",
        )
        return None
    key = check_key(checker, table, statement.key, statement.span)
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
    target = member(entry, place.name, scope)
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
    key = check_key(checker, table, statement.key, statement.span)
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


def used(rules: Iterable[typed.Rule]) -> tuple[typed.Table, ...]:
    """The tables that rules read or change, each once, in the order in which they come up."""
    found: dict[str, typed.Table] = {}
    waiting: list[object] = list[object](rules)[::-1]
    while waiting:
        item = waiting.pop()
        if isinstance(item, typed.Table):
            found.setdefault(item.name, item)
        elif isinstance(item, tuple):
            waiting += item[::-1]
        elif hasattr(item, "__dataclass_fields__") and not isinstance(item, Span | typed.Tlv):
            waiting += [getattr(item, name) for name in item.__dataclass_fields__][::-1]
    return tuple(found.values())
