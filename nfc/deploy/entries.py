"""Entries of tables, state and keyed counters as an operator writes them: shown, parsed, loaded.

Works on any `Entries`: of a map in the kernel, or of one in the simulator.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Any

from nfc.errors import KernelError, NfcError, UsageError
from nfc.manifest import Field, Table
from nfc.observe import values
from nfc.observe.tables import Entries, Key, Row, pack, unpack
from nfc.syntax.diagnostics import nearest


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

    def lines(self) -> list[str]:
        """The entry for a terminal, a line for each CPU where they differ."""
        key = " ".join(self.key.values())
        found = []
        for cpu, row in enumerate(self.rows):
            where = f" cpu {cpu}" if len(self.rows) > 1 else ""
            found.append(f"{key}{where}  {' '.join(f'{n}={_text(v)}' for n, v in row.items())}")
        return found


def show(found: Entries) -> list[Shown]:
    """All entries, by key. Raises KernelError."""
    return [_shown(found.table, key, rows) for key, rows in sorted(found.items())]


def show_first(found: Entries, most: int) -> tuple[list[Shown], int]:
    """The first entries by key, `most` of them, and how many there are. Raises KernelError."""
    if found.table.kind == "array":  # all are there, in order
        rows, count = list(islice(found.items(), most)), found.table.entries
    else:
        every = sorted(found.items())
        rows, count = every[:most], len(every)
    return [_shown(found.table, key, row) for key, row in rows], count


def _shown(table: Table, key: Key, rows: tuple[Row, ...]) -> Shown:
    if table.role == "counter":
        total = sum(row[0] for row in rows) % (1 << 64)
        return Shown(_key_text(table, key), ({"count": total},))
    return Shown(_key_text(table, key), tuple(_row_text(table.fields, row) for row in rows))


@lru_cache(1024)
def _row_text(fields: tuple[Field, ...], row: Row) -> dict[str, Any]:
    """The same for the same row: most of a large array's are alike."""
    return _fields_text(fields, row)


def _key_text(table: Table, key: Key) -> dict[str, str]:
    if table.kind == "array":
        return {table.keys[0].name: str(key[0])}
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


def put(found: Entries, keys: Sequence[str], settings: Mapping[str, str]) -> None:
    """Put an entry; fields that are not given keep their values, or are zero in a new one. Raises
    UsageError, KernelError."""
    key = parse_key(found.table, keys)
    found.put(key, _new_row(found, key, settings))


def load(found: Entries, items: Iterable[Any], *, only: bool = False) -> int:
    """Put entries of the form that `Shown.to_json` gives, and return how many; with `only`, remove
    all others.

    Everything is checked before anything is put. Raises NfcError, which says what is wrong
    with which entry; KernelError where the table is full, with the entries that were there back.
    """
    wanted: dict[Key, Row] = {}
    for number, item in enumerate(items, start=1):
        try:
            key, settings = _item(found.table, item)
            wanted[key] = _new_row(found, key, settings, fresh=only)
        except UsageError as error:
            raise NfcError(f"entry {number}: {error.message}", hint=error.hint) from None
    before = dict(found.items())
    try:
        if only:
            clear(found, wanted)
        for key, row in wanted.items():
            found.put(key, row)
    except KernelError:
        clear(found, before)
        for key, rows in before.items():
            found.put(key, rows[0])
        raise
    return len(wanted)


def clear(found: Entries, keep: Iterable[Key] = ()) -> int:
    """Remove all entries but those at `keep`, or make those of an array zero; how many there
    were. Raises KernelError."""
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
