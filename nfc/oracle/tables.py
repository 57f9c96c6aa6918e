"""Tables, state and counters with keys: docs/language.md, "Tables"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nfc.oracle.outcomes import Memory, Rows
from nfc.oracle.values import AbsentError, Context, compute
from nfc.sema import typed


@dataclass
class Changes:
    """The tables, while a packet changes them."""

    tables: dict[str, dict[tuple[int, ...], tuple[int, ...]]]
    lost: int = 0
    unsure: bool = False  # an entry may have gone that was not used for long
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
        elif key not in rows and len(rows) >= table.entries:
            if table.kind != "lru":
                return False
            self.unsure = True
        rows[key] = row
        return True


def changed(edits: Sequence[typed.Edit], context: Context) -> Changes:
    """The tables after a rule; `failed` where there was no room for an entry, and what comes
    behind it did not happen. Raises AbsentError.

    Every value is the one before the packet. Puts come first, then removals, then all else.
    """
    changes = Changes.of(context.arrival.memory.tables)
    for edit in edits:
        if isinstance(edit, typed.Put):
            row = tuple(context.value(v) for v in edit.values)
            if not changes.put(edit.table, context.key(edit.table, edit.key), row):
                changes.failed = True
                break
    if changes.failed:
        return changes
    for edit in edits:
        if isinstance(edit, typed.RemoveEntry):
            key = context.key(edit.table, edit.key)
            changes.tables.setdefault(edit.table.name, {}).pop(key, None)
    for edit in edits:
        match edit:
            case typed.SetEntry(entry=entry, member=member, value=value, atomic=atomic):
                found = context.find(entry)
                if found is None:
                    raise AbsentError
                _set(changes, entry.table, found, member, context.value(value), atomic)
            case typed.SetState(state=state, value=value, atomic=atomic):
                _set(changes, state.table, (0,), state.member, context.value(value), atomic)
            case typed.CountKey(table=table, key=exprs, amount=amount):
                key = context.key(table, exprs)
                (count,) = changes.tables.get(table.name, {}).get(key, (0,))
                total = (count + context.value(amount)) % (1 << 64)
                changes.lost += not changes.put(table, key, (total,))
    return changes


def _set(
    changes: Changes,
    table: typed.Table,
    key: tuple[int, ...],
    member: typed.Member,
    value: int,
    atomic: str | None,
) -> None:
    rows = changes.tables.setdefault(table.name, {})
    row = list(rows.get(key, (0,) * len(table.fields)))
    place = table.fields.index(member)
    row[place] = compute(atomic, row[place], value, member.type.bits) if atomic else value
    rows[key] = tuple(row)


def after(memory: Memory, context: Context, changes: Changes | None) -> Memory:
    """What lasts, behind a packet."""
    counted = {**memory.counted, **context.counted}
    tables = memory.tables if changes is None else changes.tables
    return replace(memory, counted=counted, tables=tables)
