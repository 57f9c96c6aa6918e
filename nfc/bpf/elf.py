"""ELF64 relocatables for EM_BPF: sections, symbols, relocations as plain values.

Only the container: what a section means is `nfc.bpf.reader`'s business. Layouts: System V gABI,
chapter 4 (Object Files); machine and relocation numbers: Documentation/bpf/llvm_reloc.rst.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from nfc.bpf.raw import Strings, unpack
from nfc.errors import ObjectError

HEADER = "16sHHIQQQIHHHHHH"
SECTION = "IIQQQQIIQQ"
SYMBOL = "IBBHQQ"
REL = "QQ"
HEADER_SIZE, SECTION_SIZE, SYMBOL_SIZE, REL_SIZE = 64, 64, 24, 16

IDENT = b"\x7fELF\x02\x01\x01"  # 64 bits, little endian, version 1
ET_REL, EM_NONE, EM_BPF = 1, 0, 247

SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOBITS, SHT_REL = 0, 1, 2, 3, 4, 8, 9
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE = 0, 1, 2, 3, 4
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
SHN_UNDEF, SHN_LORESERVE = 0, 0xFF00

R_BPF_64_64, R_BPF_64_32 = 1, 10

# No BPF object comes near these; they keep time and memory small whatever the headers say.
MAX_FILE = 64 << 20
MAX_SECTIONS = 4096
MAX_SYMBOLS = 1 << 16
MAX_RELOCATIONS = 1 << 18


@dataclass(frozen=True, slots=True)
class Section:
    """A section header; `offset`, `size`, `align` in bytes, `link` and `info` as in the gABI."""

    index: int
    name: str
    type: int  # SHT_*
    flags: int  # SHF_*
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int

    @property
    def where(self) -> str:
        """For error messages."""
        return f"section {self.name or '(no name)'} (number {self.index})"

    @property
    def executable(self) -> bool:
        """Whether it holds instructions."""
        return self.type == SHT_PROGBITS and bool(self.flags & SHF_EXECINSTR) and self.size > 0


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol; `value` and `size` in bytes, `value` from the start of section `section`."""

    index: int
    name: str
    type: int  # STT_*
    binding: int  # STB_*
    other: int  # visibility
    section: int  # index, SHN_UNDEF, or SHN_LORESERVE and above
    value: int
    size: int

    @property
    def where(self) -> str:
        """For error messages."""
        return f"symbol {self.name or '(no name)'} (number {self.index})"


@dataclass(frozen=True, slots=True)
class Rel:
    """A relocation: `offset` in bytes from the start of the section it changes."""

    offset: int
    type: int  # R_BPF_*
    symbol: Symbol


@dataclass(frozen=True)
class Elf:
    """A relocatable object whose headers, names and symbols have been checked."""

    data: bytes
    flags: int
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]

    def content(self, section: Section) -> bytes:
        """The bytes of a section; none for SHT_NOBITS, whatever its size."""
        if section.type in (SHT_NOBITS, SHT_NULL):
            return b""
        return self.data[section.offset : section.offset + section.size]

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((s for s in self.sections if s.name == name), None)

    def relocations(self, target: Section) -> tuple[Rel, ...]:
        """What changes `target`, by ascending offset. Raises ObjectError."""
        found = [rel for section in self._rel_sections(target) for rel in self._rels(section)]
        if len(found) > MAX_RELOCATIONS:
            raise ObjectError(f"has more than {MAX_RELOCATIONS} relocations", where=target.where)
        return tuple(sorted(found, key=lambda rel: rel.offset))

    @cached_property
    def _rel_targets(self) -> dict[int, list[Section]]:
        by_target: dict[int, list[Section]] = {}
        for section in self.sections:
            if section.type in (SHT_REL, SHT_RELA):
                by_target.setdefault(section.info, []).append(section)
        return by_target

    def _rel_sections(self, target: Section) -> list[Section]:
        return self._rel_targets.get(target.index, [])

    def _rels(self, section: Section) -> Iterator[Rel]:
        if section.type == SHT_RELA:
            raise ObjectError("BPF has no relocations with addends (RELA)", where=section.where)
        if section.size % REL_SIZE or section.entry_size != REL_SIZE:
            raise ObjectError(f"is not made of {REL_SIZE}-byte entries", where=section.where)
        if section.size // REL_SIZE > MAX_RELOCATIONS:
            raise ObjectError(f"has more than {MAX_RELOCATIONS} entries", where=section.where)
        target = self.sections[section.info]
        content = self.content(section)
        for at in range(0, len(content), REL_SIZE):
            offset, info = unpack(REL, content, at, section.where)
            number, kind = info >> 32, info & 0xFFFFFFFF
            where = f"{section.where}, entry {at // REL_SIZE}"
            if offset >= target.size:
                raise ObjectError(
                    f"changes byte {offset} of {target.name}, which has {target.size}", where=where
                )
            if number >= len(self.symbols):
                raise ObjectError(
                    f"names symbol {number}, there are {len(self.symbols)}", where=where
                )
            yield Rel(offset, kind, self.symbols[number])


def read_elf(data: bytes) -> Elf:
    """Check and split a BPF relocatable. Raises ObjectError, with the place, for anything else.

    Sections may not overlap, so that all of them together are no larger than the file.
    """
    if len(data) > MAX_FILE:
        raise ObjectError(f"has {len(data)} bytes; the most that is read is {MAX_FILE}")
    header = unpack(HEADER.replace("16s", "16x"), data, 0, "ELF header")
    if data[: len(IDENT)] != IDENT:
        raise ObjectError("is not a 64-bit little-endian ELF file", where="ELF header")
    kind, machine, version, _, _, table, flags, _, _, _, entry, count, names = header
    # Compilers before LLVM 5 leave the machine open.
    if (kind, version) != (ET_REL, 1) or machine not in (EM_BPF, EM_NONE):
        raise ObjectError(
            f"is not a BPF relocatable (type {kind}, machine {machine})",
            where="ELF header",
            hint=f"a compiled BPF object has type {ET_REL} and machine {EM_BPF}",
        )
    if entry != SECTION_SIZE or not 0 < count <= MAX_SECTIONS:
        raise ObjectError(f"{count} section headers of {entry} bytes", where="ELF header")
    if table < HEADER_SIZE or table + count * SECTION_SIZE > len(data):
        raise ObjectError(f"the section headers at byte {table} are outside", where="ELF header")
    if names >= count:
        raise ObjectError(f"section names in section {names} of {count}", where="ELF header")
    sections = _sections(data, table, count, names)
    _check_overlaps(sections, table, count)
    return Elf(data, flags, sections, _symbols(data, sections))


def _sections(data: bytes, table: int, count: int, names: int) -> tuple[Section, ...]:
    headers = [
        unpack(SECTION, data, table + i * SECTION_SIZE, f"section {i}, header")
        for i in range(count)
    ]
    for i, (_, kind, _, _, offset, size, *_) in enumerate(headers):
        if kind not in (SHT_NULL, SHT_NOBITS) and offset + size > len(data):
            raise ObjectError(
                f"{size} bytes at byte {offset} are outside the file", where=f"section {i}"
            )
    _, kind, _, _, offset, size, *_ = headers[names]
    if kind != SHT_STRTAB:
        raise ObjectError(
            "holds the section names, but is no string table", where=f"section {names}"
        )
    strings = Strings(data[offset : offset + size], "section names")
    sections = []
    for i, (name, kind, flags, _, offset, size, link, info, align, entry) in enumerate(headers):
        section = Section(i, strings.at(name), kind, flags, offset, size, link, info, align, entry)
        if link >= count or (kind in (SHT_REL, SHT_RELA) and info >= count):
            raise ObjectError("refers to a section that does not exist", where=section.where)
        sections.append(section)
    return tuple(sections)


def _check_overlaps(sections: tuple[Section, ...], table: int, count: int) -> None:
    spans = sorted(
        [
            (s.offset, s.offset + s.size, s.where)
            for s in sections
            if s.type not in (SHT_NULL, SHT_NOBITS) and s.size
        ]
        + [(0, HEADER_SIZE, "ELF header"), (table, table + count * SECTION_SIZE, "section headers")]
    )
    for (_, end, first), (start, _, second) in itertools.pairwise(spans):
        if start < end:
            raise ObjectError(f"overlaps with {first}", where=second)


def _symbols(data: bytes, sections: tuple[Section, ...]) -> tuple[Symbol, ...]:
    tables = [s for s in sections if s.type == SHT_SYMTAB]
    if not tables:
        return ()
    if len(tables) > 1:
        raise ObjectError("is a second symbol table", where=tables[1].where)
    table = tables[0]
    if table.entry_size != SYMBOL_SIZE or table.size % SYMBOL_SIZE:
        raise ObjectError(f"is not made of {SYMBOL_SIZE}-byte entries", where=table.where)
    if table.size // SYMBOL_SIZE > MAX_SYMBOLS:
        raise ObjectError(f"has more than {MAX_SYMBOLS} symbols", where=table.where)
    names = sections[table.link]
    if names.type != SHT_STRTAB:
        raise ObjectError(f"takes its names from {names.where}, no string table", where=table.where)
    strings = Strings(data[names.offset : names.offset + names.size], names.where)
    symbols = []
    for i in range(table.size // SYMBOL_SIZE):
        name, info, other, section, value, size = unpack(
            SYMBOL, data, table.offset + i * SYMBOL_SIZE, f"symbol {i}"
        )
        symbol = Symbol(i, strings.at(name), info & 15, info >> 4, other, section, value, size)
        if SHN_UNDEF < section < SHN_LORESERVE:
            if section >= len(sections):
                raise ObjectError(
                    f"is in section {section}, which does not exist", where=symbol.where
                )
            if value + size > sections[section].size:
                raise ObjectError(f"is outside {sections[section].where}", where=symbol.where)
        symbols.append(symbol)
    return tuple(symbols)
