"""Functions of an executable section, and what their relocated instructions refer to.

Relocations: Documentation/bpf/llvm_reloc.rst. The addend is in the instruction: bytes in the
immediate of ld_imm64, slots less one in that of a call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nfc.bpf.elf import (
    R_BPF_64_32,
    R_BPF_64_64,
    SHN_LORESERVE,
    SHN_UNDEF,
    STB_GLOBAL,
    STT_FUNC,
    STT_NOTYPE,
    Elf,
    Rel,
    Section,
    Symbol,
)
from nfc.bpf.isa import SLOT, Instruction, decode
from nfc.bpf.object import Relocation, RelocationKind
from nfc.errors import ObjectError

MAX_SLOTS = 1_000_000  # instructions that the kernel takes (BPF_COMPLEXITY_LIMIT_INSNS)


@dataclass(frozen=True)
class Targets:
    """Names of what can be referred to; places are (section number, byte in the section)."""

    functions: Mapping[tuple[int, int], str]
    maps: Mapping[tuple[int, int], str]
    data: Mapping[int, str]  # by section number


def find_functions(section: Section, symbols: Sequence[Symbol]) -> list[Symbol]:
    """The function symbols of a section, ascending. Raises ObjectError if two overlap.

    A section without any is one function, as old compilers leave it: that of the global symbol
    at its start, or of the section's own name.
    """
    found = sorted((s for s in symbols if s.type == STT_FUNC), key=lambda s: s.value)
    if not found:
        starts = [s for s in symbols if s.type == STT_NOTYPE and not s.value and s.name]
        named = [s.name for s in starts if s.binding == STB_GLOBAL]
        name = named[0] if named else section.name
        found = [Symbol(0, name, STT_FUNC, STB_GLOBAL, 0, section.index, 0, section.size)]
    end = 0
    for symbol in found:
        if symbol.value < end:
            raise ObjectError("overlaps with the function before it", where=symbol.where)
        if symbol.value % SLOT or symbol.size % SLOT or not symbol.size:
            raise ObjectError(
                f"{symbol.size} bytes at byte {symbol.value} are not whole instructions",
                where=symbol.where,
            )
        end = symbol.value + symbol.size
    return found


def relocate(
    elf: Elf, section: Section, functions: Sequence[Symbol], targets: Targets
) -> tuple[bytes, dict[int, Relocation], dict[int, str]]:
    """The code of a section; its relocations, and why one leads nowhere, by byte in the section.

    Immediates of relocated ld_imm64 are zero in the code: what they said is in the relocation.
    Raises ObjectError for one that is not of an instruction, or does not fit it.
    """
    if section.size > MAX_SLOTS * SLOT:
        raise ObjectError(f"more than {MAX_SLOTS} instructions", where=section.where)
    wanted: dict[int, Rel] = {}
    for rel in elf.relocations(section):
        if rel.offset in wanted or rel.offset % SLOT:
            raise _misplaced(section, rel.offset)
        wanted[rel.offset] = rel
    code = bytearray(elf.content(section))
    begins = bytearray(section.size // SLOT + 1)  # 1 where an instruction begins
    begins[-1] = 1
    found: dict[int, Relocation] = {}
    nowhere: dict[int, str] = {}
    for number, insn in decode(bytes(code), section.where):
        begins[number] = 1
        offset = number * SLOT
        if offset in wanted:
            where = f"{section.where}, byte {offset}"
            resolved = _resolve(wanted[offset], insn, targets, where)
            if isinstance(resolved, str):
                nowhere[offset] = resolved
            else:
                found[offset] = resolved
            if insn.wide:
                code[offset + 1] &= 0x0F  # the source says how to read the immediates
                code[offset + 4 : offset + 8] = bytes(4)
                code[offset + 12 : offset + 16] = bytes(4)
        elif insn.calls_local:  # LLVM resolves calls within a section itself
            place = offset + (insn.imm + 1) * SLOT
            called = targets.functions.get((section.index, place))
            if called is None:
                nowhere[offset] = _no_target(section.index, place)
            else:
                found[offset] = Relocation(offset, RelocationKind.CALL, called)
    for offset in wanted:
        if not begins[offset // SLOT]:
            raise _misplaced(section, offset)
    for symbol in functions:
        if not (begins[symbol.value // SLOT] and begins[(symbol.value + symbol.size) // SLOT]):
            raise ObjectError("begins or ends inside an instruction", where=symbol.where)
    return bytes(code), found, nowhere


def _misplaced(section: Section, offset: int) -> ObjectError:
    return ObjectError(
        "is not the only one of an instruction",
        where=f"{section.where}, relocation of byte {offset}",
    )


def _resolve(rel: Rel, insn: Instruction, targets: Targets, where: str) -> Relocation | str:
    """What a relocation means, or why that is not known here."""
    symbol = rel.symbol
    if not symbol.index:
        raise ObjectError("refers to no symbol", where=where)
    if not (insn.calls_local if rel.type == R_BPF_64_32 else rel.type == R_BPF_64_64 and insn.wide):
        raise ObjectError(f"type {rel.type} does not fit '{insn}'", where=where)
    if not SHN_UNDEF < symbol.section < SHN_LORESERVE:
        return (
            f"'{symbol.name}' is not defined in this object; kernel functions (kfuncs) and extern "
            "variables are not followed"
        )
    if rel.type == R_BPF_64_32:
        place = symbol.value + (insn.imm + 1) * SLOT
        called = targets.functions.get((symbol.section, place))
        if called is None:
            return _no_target(symbol.section, place)
        return Relocation(rel.offset, RelocationKind.CALL, called)
    place = symbol.value + insn.imm64
    if symbol.section in targets.data:
        if place >= 1 << 32:
            return f"byte {place} is outside '{symbol.name}'"
        name = targets.data[symbol.section]
        return Relocation(rel.offset, RelocationKind.DATA, name, place)
    if (symbol.section, place) in targets.maps:
        name = targets.maps[symbol.section, place]
        return Relocation(rel.offset, RelocationKind.MAP, name)
    function = targets.functions.get((symbol.section, place))
    if function is None:
        return _no_target(symbol.section, place)
    return Relocation(rel.offset, RelocationKind.FUNC, function)


def _no_target(section: int, place: int) -> str:
    return f"no function, map or data at byte {place} of section number {section}"
