"""Tables, state and keyed counters of deployed functions: found, shown, changed.

The functions of a file that are deployed in one namespace share its tables: each pins the maps
for itself, and one that is deployed later takes over those that are there (`shared`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nfc.deploy import entries as entries_
from nfc.deploy.entries import Shown
from nfc.deploy.places import generation, table_pin
from nfc.deploy.recovery import recover_all
from nfc.deploy.select import select_all, select_one
from nfc.deploy.state import Record, Store, open_store
from nfc.errors import KernelError, UsageError
from nfc.manifest import Table
from nfc.observe.tables import Entries
from nfc.syntax.diagnostics import nearest

if TYPE_CHECKING:
    from nfc.kernel.maps import Map


# ---- sharing --------------------------------------------------------------------------------


@contextmanager
def shared(
    store: Store, record: Record, old: Record | None, notes: list[str]
) -> Iterator[dict[str, Map]]:
    """The maps, by name in the object, that a deployment takes over, open for the block.

    They are those of the same function before (`old`), or of other functions of the same file in
    the namespace, where they are declared in the same way; `notes` says which start empty.
    """
    from nfc.kernel.maps import Map
    from nfc.kernel.pins import open_pinned

    records, _ = select_all(store, None)  # this namespace has no name to select by
    places = {record.netns, *(() if old is None else (old.netns,))}
    family = [r for r in records if r.source == record.source and r.netns in places]
    family.sort(key=lambda r: r.name != record.name)
    found: dict[str, Map] = {}
    with contextlib.ExitStack() as opened:
        for table in record.manifest.tables:
            owners = [r for r in family if table in r.manifest.tables]
            for owner in owners:
                with contextlib.suppress(KernelError):  # its pin is gone
                    pin = open_pinned(generation(owner) / table_pin(table))
                    found[table.map] = opened.enter_context(Map.of(pin))
                    break
            before = [r for r in family if any(t.name == table.name for t in r.manifest.tables)]
            if table.map not in found and before:
                notes.append(f"{table.role} {table.name} is declared otherwise now: starts empty")
        yield found


# ---- looking --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listed:
    """A table with the functions that use it."""

    table: Table
    functions: tuple[str, ...]
    netns: str | None
    used: int

    def to_json(self) -> dict[str, Any]:
        """The table as a JSON-ready object."""
        return {
            "name": self.table.name,
            "role": self.table.role,
            "kind": self.table.kind,
            "per_cpu": self.table.per_cpu,
            "entries": self.table.entries,
            "used": self.used,
            "functions": list(self.functions),
            "netns": self.netns,
        }


def listed(netns: str | None) -> list[Listed]:
    """All tables of deployed functions."""
    with open_store() as store:
        recover_all(store)
        records, _ = select_all(store, netns)
        found: dict[tuple[str, int], Listed] = {}
        for record in records:
            for table in record.manifest.tables:
                with _map(record, table) as opened:
                    key = (record.netns, opened.info.id)
                    old = found.get(key)
                    functions = (*(old.functions if old else ()), record.name)
                    used = old.used if old else sum(1 for _ in opened.keys())  # noqa: SIM118
                    found[key] = Listed(table, functions, record.place, used)
        return list(found.values())


def entries(name: str, table: str, netns: str | None) -> tuple[Table, list[Shown]]:
    """All entries of a function's table. Raises UsageError, KernelError."""
    with _opened(name, table, netns) as found:
        return found.table, entries_.show(found)


# ---- changing -------------------------------------------------------------------------------


def put(
    name: str, table: str, netns: str | None, keys: Sequence[str], settings: Mapping[str, str]
) -> None:
    """Put an entry; fields that are not given keep their values, or are zero in a new one."""
    with _opened(name, table, netns) as found:
        entries_.put(found, keys, settings)


def remove(name: str, table: str, netns: str | None, keys: Sequence[str]) -> bool:
    """Remove an entry; False if there was none."""
    with _opened(name, table, netns) as found:
        return found.remove(entries_.parse_key(found.table, keys))


def clear(name: str, table: str, netns: str | None) -> int:
    """Remove all entries, or make those of an array zero; how many there were."""
    with _opened(name, table, netns) as found:
        return entries_.clear(found)


def load(
    name: str, table: str, netns: str | None, items: Iterable[Any], *, only: bool = False
) -> int:
    """Put entries of the form that `Shown.to_json` gives; with `only`, remove all others.

    Everything is checked before anything is put. Raises NfcError, which says what is wrong
    with which entry; KernelError where the table is full, with the entries that were there back.
    """
    with _opened(name, table, netns) as found:
        return entries_.load(found, items, only=only)


@contextmanager
def _opened(name: str, table: str, netns: str | None) -> Iterator[Entries]:
    """A deployed function's table; other commands wait meanwhile."""
    with open_store() as store:
        recover_all(store)
        record = select_one(store, name, netns)
        known = {t.name: t for t in record.manifest.tables}
        if table not in known:
            raise UsageError(
                f"{name} has no table '{table}'",
                hint=nearest(table, known) or f"its tables: {', '.join(known) or 'none'}",
            )
        with _map(record, known[table]) as opened:
            yield Entries(opened, known[table])


@contextmanager
def _map(record: Record, table: Table) -> Iterator[Map]:
    from nfc.kernel.maps import Map
    from nfc.kernel.pins import open_pinned

    with Map.of(open_pinned(generation(record) / table_pin(table))) as opened:
        yield opened
