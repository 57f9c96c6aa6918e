"""Tables, state, and counters with keys, as they are declared.

They become maps (include/uapi/linux/bpf.h, enum bpf_map_type), which outlive packets and are
shared by all functions of a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from nfc.sema import typed, types
from nfc.sema.scope import Scope
from nfc.syntax import tree
from nfc.syntax.diagnostics import nearest
from nfc.syntax.source import Span

KINDS = ("hash", "lru", "prefix", "array")
MAX_ENTRIES = 1 << 20
MAX_KEY_SIZE = 64  # bytes; keys and entries are made on the 512-byte stack
MAX_ENTRY_SIZE = 256
PREFIX_LENGTH = 4  # bytes of a prefix's length, before the prefix
_INDEX: tuple[typed.Member, ...] = (typed.Member("index", types.Int(32), 0, 4),)


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
