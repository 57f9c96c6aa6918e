"""`.BTF.ext`: which function type and which source line each instruction belongs to.

Format: Documentation/bpf/btf.rst, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

from nfc.bpf.raw import Strings, unpack
from nfc.errors import ObjectError

MAGIC = 0xEB9F
HEADER = "HBBIIIII"
HEADER_SIZE = 24
FUNC_INFO = "II"
LINE_INFO = "IIII"
CORE_RELO = "IIII"
MAX_RECORDS = 1 << 18


@dataclass(frozen=True, slots=True)
class Record:
    """One record: `offset` in bytes from the start of its section; `words` as in the file.

    Words of func_info: type id. Of line_info: file name, line text (both offsets of strings),
    and line << 10 | column.
    """

    offset: int
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BtfExt:
    """The records by name of the section that they describe, ascending."""

    functions: dict[str, tuple[Record, ...]]
    lines: dict[str, tuple[Record, ...]]
    core: dict[str, tuple[int, ...]]  # bytes at which there are CO-RE relocations, ascending


def parse_btf_ext(data: bytes, strings: Strings) -> BtfExt:
    """Parse a `.BTF.ext` section; `strings` are those of `.BTF`. Raises ObjectError."""
    magic, version, _, length, func_at, func_size, line_at, line_size = unpack(
        HEADER, data, 0, ".BTF.ext header"
    )
    if magic != MAGIC or version != 1 or length < HEADER_SIZE:
        raise ObjectError("is not BTF version 1 in little-endian order", where=".BTF.ext header")
    core: dict[str, tuple[Record, ...]] = {}
    if length >= HEADER_SIZE + 8:
        at, size = unpack("II", data, HEADER_SIZE, ".BTF.ext header")
        core = _part(data, length + at, size, CORE_RELO, strings, ".BTF.ext core_relo")
    return BtfExt(
        _part(data, length + func_at, func_size, FUNC_INFO, strings, ".BTF.ext func_info"),
        _part(data, length + line_at, line_size, LINE_INFO, strings, ".BTF.ext line_info"),
        {name: tuple(record.offset for record in rows) for name, rows in core.items()},
    )


def _part(
    data: bytes, at: int, size: int, layout: str, strings: Strings, where: str
) -> dict[str, tuple[Record, ...]]:
    if size == 0:
        return {}
    end = at + size
    if end > len(data):
        raise ObjectError("is outside the section", where=where)
    data = data[:end]
    (record_size,) = unpack("I", data, at, where)
    if record_size < 4 * len(layout) or record_size % 4 or record_size > 256:
        raise ObjectError(f"records of {record_size} bytes", where=where)
    at += 4
    records: dict[str, list[Record]] = {}
    total = 0
    while at < end:
        name, count = unpack("II", data, at, where)
        at += 8
        total += count
        if total > MAX_RECORDS or at + count * record_size > end:
            raise ObjectError(f"{count} records do not fit", where=where)
        rows = records.setdefault(strings.at(name), [])
        for _ in range(count):
            offset, *words = unpack(layout, data, at, where)
            rows.append(Record(offset, tuple(words)))
            at += record_size
    return {name: tuple(sorted(rows, key=lambda r: r.offset)) for name, rows in records.items()}
