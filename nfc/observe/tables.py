"""A function's tables, state and keyed counters: entries between maps and numbers."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nfc.errors import KernelError, UsageError
from nfc.manifest import Field, Table

if TYPE_CHECKING:
    from nfc.kernel.anymap import AnyMap

Key = tuple[int, ...]
Row = tuple[int, ...]
PREFIX_LENGTH = 4  # bytes before a prefix: its length in bits, u32 (struct bpf_lpm_trie_key)


def is_raw(field: Field) -> bool:
    """Whether a field lies in memory as on the wire."""
    return field.type == "ipv6" or field.type.startswith("bytes")


def pack(fields: Sequence[Field], values: Sequence[int], size: int, *, raw: bool = False) -> bytes:
    """Numbers as they lie in `size` bytes of memory, zero between them; `raw`: all as on the
    wire."""
    data = bytearray(size)
    for field, value in zip(fields, values, strict=True):
        order = "big" if raw or is_raw(field) else "little"
        data[field.offset : field.offset + field.size] = value.to_bytes(field.size, order)  # type: ignore[arg-type]
    return bytes(data)


def unpack(fields: Sequence[Field], data: bytes, *, raw: bool = False) -> tuple[int, ...]:
    """What `pack` has packed."""
    return tuple(
        int.from_bytes(data[f.offset : f.offset + f.size], "big" if raw or is_raw(f) else "little")
        for f in fields
    )


@dataclass(frozen=True)
class Entries:
    """The entries of an open map. Keys are numbers as declared; a prefix's are (length in bits,
    address), an array's the index. Raises KernelError for a map of other sizes."""

    map: AnyMap
    table: Table

    def __post_init__(self) -> None:
        """Look at the sizes: a record may be older than the map, or somebody's own."""
        info, table = self.map.info, self.table
        there = (info.key_size, info.value_size, info.per_cpu)
        wanted = (table.key_size, table.value_size, table.per_cpu)
        if there != wanted:
            has, ought = (
                f"keys of {key} and values of {value} bytes{', a value per CPU' * per_cpu}"
                for key, value, per_cpu in (there, wanted)
            )
            raise KernelError(f"map {info.name} is not {table.name}: it has {has}, not {ought}")

    def items(self) -> Iterator[tuple[Key, tuple[Row, ...]]]:
        """Every key, and its row on each possible CPU; one row where CPUs share it."""
        for raw in self.map.keys():  # noqa: SIM118 - a Map is no mapping
            rows = self._rows(raw)
            if rows is not None:
                yield self._key_of(raw), rows

    def get(self, key: Key) -> tuple[Row, ...] | None:
        """The rows at exactly that key, as `items` gives them."""
        return self._rows(self._raw(key))

    def put(self, key: Key, row: Row) -> None:
        """Put an entry, the same for each CPU. Raises KernelError (E2BIG where it is full)."""
        value = pack(self.table.fields, row, self.table.value_size)
        if self.table.per_cpu:
            self.map.update_percpu(self._raw(key), [value] * self.map.cpus)
        else:
            self.map.update(self._raw(key), value)

    def remove(self, key: Key) -> bool:
        """Remove an entry; False if there was none. Raises UsageError for an array."""
        if self.table.kind == "array":
            raise UsageError(f"{self.table.name} is an array: its entries are always there")
        return self.map.delete(self._raw(key))

    def _rows(self, raw: bytes) -> tuple[Row, ...] | None:
        if self.table.per_cpu:
            slots = self.map.lookup_percpu(raw)
        else:
            value = self.map.lookup(raw)
            slots = None if value is None else (value,)
        if slots is None:
            return None
        return tuple(unpack(self.table.fields, slot) for slot in slots)

    def _raw(self, key: Key) -> bytes:
        if self.table.kind == "prefix":
            length, *rest = key
            data = pack(self.table.keys, rest, self.table.key_size, raw=True)
            return struct.pack("<I", length) + data[PREFIX_LENGTH:]
        return pack(self.table.keys, key, self.table.key_size)

    def _key_of(self, raw: bytes) -> Key:
        if self.table.kind == "prefix":
            length: int = struct.unpack_from("<I", raw)[0]
            return (length, *unpack(self.table.keys, raw, raw=True))
        return unpack(self.table.keys, raw)
