"""Tables, state and keyed counters of deployed functions: found, shown, changed.

The functions of a file that are deployed in one namespace share its tables: each pins the maps
for itself, and one that is deployed later takes over those that are there (`shared`).
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nfc.deploy import values
from nfc.deploy.places import generation, table_pin
from nfc.deploy.recovery import recover_all
from nfc.deploy.select import select_all, select_one
from nfc.deploy.state import Record, Store, open_store
from nfc.errors import KernelError, UsageError
from nfc.manifest import Field, Table
from nfc.observe.tables import Entries, Key, Row, pack, unpack
from nfc.syntax.diagnostics import nearest

if TYPE_CHECKING:
    from nfc.kernel.maps import Map


# ---- sharing --------------------------------------------------------------------------------


@contextmanager
def shared(store: Store, record: Record, notes: list[str]) -> Iterator[dict[str, Map]]:
    """The maps, by name in the object, that a deployment takes over, open for the block.

    They are those of the same function before, or of other functions of the same file in the
    namespace, where they are declared in the same way; `notes` says which start empty.
    """
    from nfc.kernel.maps import Map
    from nfc.kernel.pins import open_pinned

    records, _ = select_all(store, record.netns)
    family = [r for r in records if r.source == record.source and r.netns == record.netns]
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
class Shown:
    """An entry: key and fields by name, as an operator writes them; a row for each CPU, or one."""

    key: dict[str, str]
    rows: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON-ready object, in the form that `load` takes."""
        if len(self.rows) == 1:
            return {"key": self.key, "value": self.rows[0]}
        return {"key": self.key, "cpus": list(self.rows)}


@dataclass(frozen=True)
class Listed:
    """A table with the functions that use it."""

    table: Table
    functions: tuple[str, ...]
    netns: str
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
                with _entries(record, table) as entries:
                    key = (record.netns, entries.map.info.id)
                    old = found.get(key)
                    functions = (*(old.functions if old else ()), record.name)
                    used = old.used if old else sum(1 for _ in entries.map.keys())  # noqa: SIM118
                    found[key] = Listed(table, functions, record.netns, used)
        return list(found.values())


def entries(name: str, table: str, netns: str | None) -> tuple[Table, list[Shown]]:
    """All entries of a function's table. Raises UsageError, KernelError."""
    with _opened(name, table, netns) as found:
        shown = [_shown(found.table, key, rows) for key, rows in sorted(found.items())]
        return found.table, shown


def _shown(table: Table, key: Key, rows: tuple[Row, ...]) -> Shown:
    if table.role == "counter":
        total = sum(row[0] for row in rows) % (1 << 64)
        return Shown(_key_text(table, key), ({"count": total},))
    return Shown(_key_text(table, key), tuple(_fields_text(table.fields, row) for row in rows))


def _key_text(table: Table, key: Key) -> dict[str, str]:
    if table.kind != "prefix":
        texts = _fields_text(table.keys, key)
        return {name: str(value) for name, value in texts.items()}
    length, address = key
    (field,) = table.keys
    shown = (ipaddress.IPv6Address if field.type == "ipv6" else ipaddress.IPv4Address)(address)
    return {field.name: f"{shown}/{length}"}


def _fields_text(fields: Sequence[Field], row: Sequence[int]) -> dict[str, Any]:
    data = pack(fields, row, max((f.offset + f.size for f in fields), default=0))
    found = {f.name: values.decode(f, data) for f in fields}
    return {
        f.name: values.show(f, found[f.name]) if f.type == "duration" else found[f.name]
        for f in fields
    }


# ---- changing -------------------------------------------------------------------------------


def put(
    name: str, table: str, netns: str | None, keys: Sequence[str], settings: Mapping[str, str]
) -> None:
    """Put an entry; fields that are not given keep their values, or are zero in a new one."""
    with _opened(name, table, netns) as found:
        key = parse_key(found.table, keys)
        found.put(key, _new_row(found, key, settings))


def remove(name: str, table: str, netns: str | None, keys: Sequence[str]) -> bool:
    """Remove an entry; False if there was none."""
    with _opened(name, table, netns) as found:
        return found.remove(parse_key(found.table, keys))


def clear(name: str, table: str, netns: str | None) -> int:
    """Remove all entries, or make those of an array zero; how many there were."""
    with _opened(name, table, netns) as found:
        return _clear(found, ())


def load(
    name: str, table: str, netns: str | None, items: Iterable[Any], *, only: bool = False
) -> int:
    """Put entries of the form that `Shown.to_json` gives; with `only`, remove all others.

    Everything is checked before anything is put. Raises UsageError, which says what is wrong
    with which entry; KernelError where the table is full, with the entries that were there back.
    """
    with _opened(name, table, netns) as found:
        wanted: dict[Key, Row] = {}
        for number, item in enumerate(items, start=1):
            try:
                key, settings = _item(found.table, item)
                wanted[key] = _new_row(found, key, settings, fresh=only)
            except UsageError as error:
                raise UsageError(f"entry {number}: {error.message}", hint=error.hint) from None
        before = dict(found.items())
        try:
            if only:
                _clear(found, wanted)
            for key, row in wanted.items():
                found.put(key, row)
        except KernelError:
            _clear(found, before)
            for key, rows in before.items():
                found.put(key, rows[0])
            raise
        return len(wanted)


def parse_key(table: Table, texts: Sequence[str]) -> Key:
    """A key from an operator's words. Raises UsageError."""
    if len(texts) != len(table.keys):
        shown = " ".join(field.name.upper() for field in table.keys)
        raise UsageError(
            f"{table.name} has keys of {len(table.keys)}, not {len(texts)}", hint=f"keys: {shown}"
        )
    if table.kind == "prefix":
        return _prefix(table.keys[0], texts[0])
    fields = [replace(field, offset=0) for field in table.keys]
    raw = [values.parse(f, text) for f, text in zip(fields, texts, strict=True)]
    key = tuple(unpack([f], data)[0] for f, data in zip(fields, raw, strict=True))
    if table.kind == "array" and key[0] >= table.entries:
        raise UsageError(f"{table.name} has entries 0 to {table.entries - 1}, not {key[0]}")
    return key


def _prefix(field: Field, text: str) -> Key:
    make = ipaddress.IPv6Network if field.type == "ipv6" else ipaddress.IPv4Network
    try:
        network = make(text)
    except ValueError as error:
        raise UsageError(f"{field.name}: {error}") from None
    return network.prefixlen, int(network.network_address)


def _new_row(found: Entries, key: Key, settings: Mapping[str, str], *, fresh: bool = False) -> Row:
    table = found.table
    known = {field.name: i for i, field in enumerate(table.fields)}
    old = None if fresh else found.get(key)
    row = list(old[0]) if old else [0] * len(known)
    for name, text in settings.items():
        if name not in known:
            raise UsageError(
                f"an entry of {table.name} has no field '{name}'",
                hint=nearest(name, known) or f"its fields: {', '.join(known)}",
            )
        field = replace(table.fields[known[name]], offset=0)
        row[known[name]] = unpack([field], values.parse(field, text))[0]
    return tuple(row)


def _item(table: Table, item: Any) -> tuple[Key, dict[str, str]]:
    key = item.get("key") if isinstance(item, dict) else None
    value = item.get("value") if isinstance(item, dict) else None
    if not isinstance(key, dict) or not isinstance(value, dict) or len(item) > 2:
        raise UsageError('this is not of the form {"key": {…}, "value": {…}}')
    names = [field.name for field in table.keys]
    if sorted(key) != sorted(names):
        raise UsageError(f"its key has {', '.join(map(str, key))}, not {', '.join(names)}")
    return parse_key(table, [_text(key[n]) for n in names]), {
        str(n): _text(v) for n, v in value.items()
    }


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _clear(found: Entries, keep: Iterable[Key]) -> int:
    kept, count = set(keep), 0
    for key, rows in list(found.items()):
        if key in kept or (found.table.kind == "array" and not any(map(any, rows))):
            continue
        count += 1
        if found.table.kind == "array":
            found.put(key, (0,) * len(found.table.fields))
        else:
            found.remove(key)
    return count


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
        with _entries(record, known[table]) as found:
            yield found


@contextmanager
def _entries(record: Record, table: Table) -> Iterator[Entries]:
    from nfc.kernel.maps import Map
    from nfc.kernel.pins import open_pinned

    with Map.of(open_pinned(generation(record) / table_pin(table))) as opened:
        yield Entries(opened, table)
