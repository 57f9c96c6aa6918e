"""From the bytes of an ELF object to an `Object`: what its sections mean to BPF.

Conventions: libbpf's (docs/libbpf/program_types.rst, BTF maps in bpf/libbpf.c) and LLVM's
(Documentation/bpf/llvm_reloc.rst).
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, replace

from nfc.bpf.btf import Btf, Layout, fix_datasecs, has_extern, parse_btf
from nfc.bpf.btfext import BtfExt, Record, parse_btf_ext
from nfc.bpf.elf import (
    SHT_NOBITS,
    SHT_PROGBITS,
    STB_LOCAL,
    STT_OBJECT,
    Elf,
    Section,
    Symbol,
    read_elf,
)
from nfc.bpf.functions import Targets, find_functions, relocate
from nfc.bpf.isa import SLOT
from nfc.bpf.maps import read_maps
from nfc.bpf.object import (
    DataSection,
    FuncInfo,
    LineInfo,
    Object,
    Program,
    Relocation,
)
from nfc.errors import ObjectError

DATA_SECTIONS = (".data", ".rodata", ".bss")
MAX_DATA = 16 << 20  # bytes of all data sections together; .bss can claim any size
NO_EXT = BtfExt({}, {}, {})
CORE = (
    "needs CO-RE relocations: a loader fills in what the types of the kernel at hand say, "
    "which is not known before"
)


@dataclass(frozen=True)
class _Parts:
    """What all the steps below look at."""

    elf: Elf
    symbols: dict[int, list[Symbol]]  # by section number
    btf: Btf | None
    ext: BtfExt


def read_object(data: bytes) -> Object:
    """Everything in a BPF object that a loader, verifier or simulator needs.

    Programs are all functions, subprograms in `.text` included; their calls of each other and
    their uses of maps and data are relocations (`nfc.bpf.link` puts a program and what it calls
    together). Raises ObjectError, with the place, for anything malformed or not supported.
    """
    elf = read_elf(data)
    symbols: dict[int, list[Symbol]] = {}
    for symbol in elf.symbols:
        symbols.setdefault(symbol.section, []).append(symbol)
    raw = _content(elf, ".BTF")
    btf = parse_btf(raw) if raw else None
    raw_ext = _content(elf, ".BTF.ext")
    ext = parse_btf_ext(raw_ext, btf.strings) if btf and raw_ext else NO_EXT
    parts = _Parts(elf, symbols, btf, ext)
    maps = read_maps(elf, btf, symbols)
    return Object(
        _programs(parts, {place: definition.name for place, definition in maps.items()}),
        tuple(maps.values()),
        _data(elf),
        _license(elf),
        fix_datasecs(raw, layouts(elf)) if raw else b"",
        btf is not None and any(has_extern(btf, section) for section in btf.types),
    )


def layouts(elf: Elf) -> dict[str, Layout]:
    """Sizes and variables of all sections, by name, for `fix_datasecs`."""
    found: dict[str, Layout] = {}
    by_section: dict[int, dict[str, int]] = {}
    for symbol in elf.symbols:
        if symbol.type == STT_OBJECT and symbol.binding != STB_LOCAL:
            by_section.setdefault(symbol.section, {})[symbol.name] = symbol.value
    for section in elf.sections:
        found.setdefault(section.name, Layout(section.size, by_section.get(section.index, {})))
    return found


def is_data(section: Section) -> bool:
    """Whether a section holds variables: `.data`, `.rodata`, `.bss`, or one of those and a dot."""
    root = "." + section.name[1:].partition(".")[0]
    return (
        section.name.startswith(".")
        and root in DATA_SECTIONS
        and section.type in (SHT_PROGBITS, SHT_NOBITS)
    )


def _content(elf: Elf, name: str) -> bytes:
    section = elf.section(name)
    return elf.content(section) if section else b""


def _license(elf: Elf) -> str:
    raw = _content(elf, "license").partition(b"\0")[0]
    if not raw.isascii() or len(raw) > 127:  # the kernel reads 128 (bpf_prog_load, syscall.c)
        raise ObjectError("is no short ASCII text", where="section license")
    return raw.decode("ascii")


def _data(elf: Elf) -> tuple[DataSection, ...]:
    found = []
    left = MAX_DATA
    for section in elf.sections:
        if not is_data(section) or not section.size:
            continue
        left -= section.size
        if left < 0:
            raise ObjectError(f"more than {MAX_DATA} bytes of data", where=section.where)
        elf.relocations(section)  # addresses in data: libbpf leaves them as they are, too
        empty = section.type == SHT_NOBITS
        content = bytes(section.size) if empty else elf.content(section)
        readonly = section.name.startswith(".rodata")
        found.append(DataSection(section.name, content, readonly))
    names = [section.name for section in found]
    if len(set(names)) < len(names):
        raise ObjectError("two data sections have one name", where=f"sections {', '.join(names)}")
    return tuple(found)


def _programs(parts: _Parts, maps: dict[tuple[int, int], str]) -> tuple[Program, ...]:
    elf = parts.elf
    functions = {
        section.index: find_functions(section, parts.symbols.get(section.index, []))
        for section in elf.sections
        if section.executable
    }
    targets = Targets(
        {(s.section, s.value): s.name for found in functions.values() for s in found},
        maps,
        {s.index: s.name for s in elf.sections if is_data(s)},
    )
    names = Counter(targets.functions.values())
    if twice := [name for name, count in names.items() if count > 1 or not name]:
        raise ObjectError(f"two functions are called '{twice[0]}', or one has no name")
    programs: list[Program] = []
    for index, found in functions.items():
        section = elf.sections[index]
        code, relocations, nowhere = relocate(elf, section, found, targets)
        obstacles = dict.fromkeys(parts.ext.core.get(section.name, ()), CORE) | nowhere
        places = sorted(obstacles)
        for symbol in found:
            program = _program(parts, symbol, code, relocations)
            first = bisect_left(places, symbol.value)
            if first < len(places) and places[first] < symbol.value + symbol.size:
                at = places[first]
                program = replace(
                    program, obstacle=f"instruction {(at - symbol.value) // SLOT}: {obstacles[at]}"
                )
            programs.append(program)
    return tuple(programs)


def _program(
    parts: _Parts, symbol: Symbol, code: bytes, relocations: dict[int, Relocation]
) -> Program:
    section = parts.elf.sections[symbol.section].name
    start, end = symbol.value, symbol.value + symbol.size
    records = _within(parts.ext.lines.get(section, ()), start, end)
    return Program(
        symbol.name,
        section,
        code[start:end],
        tuple(
            replace(relocations[offset], offset=offset - start)
            for offset in range(start, end, SLOT)
            if offset in relocations
        ),
        tuple(
            FuncInfo(record.offset - start, record.words[0])
            for record in _within(parts.ext.functions.get(section, ()), start, end)
        ),
        tuple(_line(parts, record, start) for record in records),
        b"".join(
            struct.pack("<IIII", (record.offset - start) // SLOT, *record.words)
            for record in records
        ),
    )


def _within(records: tuple[Record, ...], start: int, end: int) -> tuple[Record, ...]:
    """The records, ascending, of the bytes from `start` to before `end`."""
    first = bisect_left(records, start, key=lambda record: record.offset)
    last = bisect_left(records, end, key=lambda record: record.offset)
    return records[first:last]


def _line(parts: _Parts, record: Record, start: int) -> LineInfo:
    assert parts.btf is not None  # there are no records without it
    file, text, place = record.words
    strings = parts.btf.strings
    return LineInfo(
        record.offset - start, strings.line(file), strings.line(text), place >> 10, place & 0x3FF
    )
