"""Rewriting an LLVM-made BPF object so that it holds only what loaders need."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from nfc.bpf.btf import fix_datasecs
from nfc.bpf.elf import (
    EM_BPF,
    ET_REL,
    HEADER,
    HEADER_SIZE,
    IDENT,
    REL,
    REL_SIZE,
    SECTION,
    SECTION_SIZE,
    SHF_ALLOC,
    SHN_LORESERVE,
    SHN_UNDEF,
    SHT_NOBITS,
    SHT_NULL,
    SHT_REL,
    SHT_STRTAB,
    SHT_SYMTAB,
    STB_LOCAL,
    STT_FUNC,
    STT_OBJECT,
    SYMBOL,
    SYMBOL_SIZE,
    Elf,
    Rel,
    Section,
    Symbol,
    read_elf,
)
from nfc.bpf.reader import layouts
from nfc.errors import ObjectError

BTF_SECTIONS = (".BTF", ".BTF.ext")
UNWANTED = (".eh_frame",)  # allocated, and of no use without a stack unwinder


def strip(data: bytes) -> bytes:
    """The object without debug sections, unwind tables, comments and symbols that nobody uses.

    Keeps what is allocated (programs, maps, data, license), relocations of programs and data,
    `.BTF` (its DATASECs made fit for the kernel, see `fix_datasecs`) and `.BTF.ext`. Same input,
    same output; stripping twice changes nothing. Raises ObjectError.
    """
    elf = read_elf(data)
    kept = [s for s in elf.sections if _wanted(s)]
    rels = {
        s.index: found for s in kept if s.name not in BTF_SECTIONS and (found := elf.relocations(s))
    }
    symbols = _wanted_symbols(elf, {s.index for s in kept}, rels)
    return _Writer(elf, kept, rels, symbols).write()


def _wanted(section: Section) -> bool:
    if section.type in (SHT_NULL, SHT_REL, SHT_SYMTAB, SHT_STRTAB):
        return False  # made anew
    if section.name in BTF_SECTIONS:
        return True
    return bool(section.flags & SHF_ALLOC) and section.size > 0 and section.name not in UNWANTED


def _wanted_symbols(elf: Elf, kept: set[int], rels: dict[int, tuple[Rel, ...]]) -> list[Symbol]:
    """Functions and variables of kept sections, and whatever a kept relocation names; local ones
    first, as the gABI wants."""
    used = {rel.symbol.index for found in rels.values() for rel in found}
    wanted = []
    for symbol in elf.symbols[1:]:
        if SHN_UNDEF < symbol.section < SHN_LORESERVE and symbol.section not in kept:
            if symbol.index in used:
                raise ObjectError(
                    f"is used, but in {elf.sections[symbol.section].where}", where=symbol.where
                )
            continue
        declares = symbol.type in (STT_FUNC, STT_OBJECT) and symbol.section != SHN_UNDEF
        if symbol.index in used or declares:
            wanted.append(symbol)
    return sorted(wanted, key=lambda s: (s.binding != STB_LOCAL, s.index))


@dataclass(frozen=True)
class _Writer:
    """One new object: sections in their old order, each followed by its relocations."""

    elf: Elf
    kept: list[Section]
    rels: dict[int, tuple[Rel, ...]]
    symbols: list[Symbol]

    def write(self) -> bytes:
        """The bytes of the file."""
        numbers: dict[int, int] = {}
        plan: list[tuple[Section, bool]] = []  # (section, whether it is that one's relocations)
        for section in self.kept:
            plan.append((section, False))
            numbers[section.index] = len(plan)
            if section.index in self.rels:
                plan.append((section, True))
        symtab = len(plan) + 1
        strtab = symtab + 1
        names = sorted(
            {(".rel" if rel else "") + s.name for s, rel in plan}
            | {s.name for s in self.symbols}
            | {".symtab", ".strtab"}
        )
        table = b"\0"
        places = {"": 0}
        for name in names:
            if name:
                places[name] = len(table)
                table += name.encode() + b"\0"
        body = bytearray(HEADER_SIZE)
        headers = [bytes(SECTION_SIZE)]

        def put(
            name: str,
            kind: int,
            flags: int,
            content: bytes,
            size: int,
            link: int,
            info: int,
            align: int,
            entry: int,
        ) -> None:
            body.extend(bytes(-len(body) % max(align, 1)))
            headers.append(
                struct.pack(
                    "<" + SECTION,
                    places[name],
                    kind,
                    flags,
                    0,
                    len(body),
                    size,
                    link,
                    info,
                    align,
                    entry,
                )
            )
            body.extend(content)

        for s, rel in plan:
            if rel:
                content = self._rel_content(self.rels[s.index])
                put(
                    ".rel" + s.name,
                    SHT_REL,
                    0,
                    content,
                    len(content),
                    symtab,
                    numbers[s.index],
                    8,
                    REL_SIZE,
                )
                continue
            content = self._content(s)
            align = s.align if s.align in (1, 2, 4, 8, 16, 32) else 1
            size = s.size if s.type == SHT_NOBITS else len(content)
            put(s.name, s.type, s.flags, content, size, 0, 0, align, s.entry_size)
        content, first_global = self._symbol_content(numbers, places)
        put(".symtab", SHT_SYMTAB, 0, content, len(content), strtab, first_global, 8, SYMBOL_SIZE)
        put(".strtab", SHT_STRTAB, 0, table, len(table), 0, 0, 1, 0)
        body.extend(bytes(-len(body) % 8))
        struct.pack_into(
            "<" + HEADER,
            body,
            0,
            IDENT.ljust(16, b"\0"),
            ET_REL,
            EM_BPF,
            1,
            0,
            0,
            len(body),
            self.elf.flags,
            HEADER_SIZE,
            0,
            0,
            SECTION_SIZE,
            len(headers),
            strtab,
        )
        return bytes(body) + b"".join(headers)

    def _content(self, section: Section) -> bytes:
        content = self.elf.content(section)
        return fix_datasecs(content, layouts(self.elf)) if section.name == ".BTF" else content

    def _rel_content(self, rels: tuple[Rel, ...]) -> bytes:
        number = {0: 0} | {symbol.index: i for i, symbol in enumerate(self.symbols, 1)}
        return b"".join(
            struct.pack("<" + REL, rel.offset, number[rel.symbol.index] << 32 | rel.type)
            for rel in rels
        )

    def _symbol_content(self, numbers: dict[int, int], places: dict[str, int]) -> tuple[bytes, int]:
        """(the symbol table, number of its first global symbol)."""
        rows = [bytes(SYMBOL_SIZE)] + [
            struct.pack(
                "<" + SYMBOL,
                places[s.name],
                s.binding << 4 | s.type,
                s.other,
                numbers.get(s.section, s.section),
                s.value,
                s.size,
            )
            for s in self.symbols
        ]
        return b"".join(rows), 1 + sum(s.binding == STB_LOCAL for s in self.symbols)
