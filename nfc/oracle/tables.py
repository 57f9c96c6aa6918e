"""Tables, state and counters with keys: docs/language.md, "Tables"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nfc.oracle.outcomes import Memory, Rows
from nfc.oracle.values import AbsentError, Context, compute
from nfc.sema import typed


@dataclass
class Changes:
    """The tables, while a packet changes them."""

    tables: dict[str, dict[tuple[int, ...], tuple[int, ...]]]
    lost: int = 0
    evicted: set[str] = field(default_factory=set)  # tables where others may have made room
    failed: bool = False

    @classmethod
    def of(cls, tables: Mapping[str, Rows]) -> Changes:
        """A copy to be changed."""
        return cls({name: dict(rows) for name, rows in tables.items()})

    def put(self, table: typed.Table, key: tuple[int, ...], row: tuple[int, ...]) -> bool:
        """Put an entry; False where there is no room for it."""
        rows = self.tables.setdefault(table.name, {})
        if table.kind == "array":
            if key[0] >= table.entries:
                return False
        elif table.kind == "lru":
            # The kernel takes room for the new value before it gives up the old one of its key, and
            # keeps up to half of the room for other CPUs (htab_lru_map_update_elem and
            # bpf_common_lru_populate, kernel/bpf).
            if 2 * len(rows) >= table.entries:
                self.evicted.add(table.name)
        elif key not in rows and len(rows) >= table.entries:
            return False
        rows[key] = row
        return True

    def remove(self, table: typed.Table, key: tuple[int, ...]) -> bool:
        """Remove an entry, if there is one."""
        self.tables.setdefault(table.name, {}).pop(key, None)
        return True

    def set(
        self,
        table: typed.Table,
        key: tuple[int, ...],
        member: typed.Member,
        value: int,
        atomic: str | None,
    ) -> bool:
        """Change a field of an entry."""
        rows = self.tables.setdefault(table.name, {})
        row = list(rows.get(key, (0,) * len(table.fields)))
        place = table.fields.index(member)
        row[place] = compute(atomic, row[place], value, member.type.bits) if atomic else value
        rows[key] = tuple(row)
        return True

    def count(self, table: typed.Table, key: tuple[int, ...], amount: int) -> bool:
        """Add to the count at a key."""
        (count,) = self.tables.get(table.name, {}).get(key, (0,))
        self.lost += not self.put(table, key, ((count + amount) % (1 << 64),))
        return True


def changed(edits: Sequence[typed.Edit], context: Context) -> Changes:
    """The tables after a rule; `failed` where there was no room for an entry, and what comes
    behind it did not happen. Raises AbsentError.

    Every value is the one before the packet. Puts come first, then removals, then all else.
    """
    changes = Changes.of(context.arrival.memory.tables)
    steps = [step for edit in edits for step in _steps(edit, context, changes)]
    for _, act in sorted(steps, key=lambda step: step[0]):
        if not act():
            changes.failed = True
            break
    return changes


def _steps(
    edit: typed.Edit, context: Context, changes: Changes
) -> Iterator[tuple[int, Callable[[], bool]]]:
    """What an edit does to tables and when, with all that it reads read now."""
    match edit:
        case typed.Put(table=table, key=exprs, values=values):
            key, row = context.key(table, exprs), tuple(context.value(v) for v in values)
            yield 0, lambda: changes.put(table, key, row)
        case typed.RemoveEntry(table=table, key=exprs):
            key = context.key(table, exprs)
            yield 1, lambda: changes.remove(table, key)
        case typed.SetEntry(entry=entry, member=member, value=expr, atomic=atomic):
            found, value = context.find(entry), context.value(expr)
            if found is None:
                raise AbsentError
            yield 2, lambda: changes.set(entry.table, found, member, value, atomic)
        case typed.SetState(state=state, value=expr, atomic=atomic):
            value = context.value(expr)
            yield 2, lambda: changes.set(state.table, (0,), state.member, value, atomic)
        case typed.CountKey(table=table, key=exprs, amount=expr):
            key, value = context.key(table, exprs), context.value(expr)
            yield 2, lambda: changes.count(table, key, value)


def after(memory: Memory, context: Context, changes: Changes | None) -> Memory:
    """What lasts, behind a packet."""
    counted = {**memory.counted, **context.counted}
    tables = memory.tables if changes is None else changes.tables
    return replace(memory, counted=counted, tables=tables)
