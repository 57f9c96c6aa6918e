"""A program as the engines take it: one run of instructions, addresses in the place of names."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from nfc.bpf import isa
from nfc.bpf.isa import SLOT, SRC_FUNC, SRC_IMM64, Instruction, decode
from nfc.bpf.link import link
from nfc.bpf.object import LineInfo, Object, RelocationKind
from nfc.errors import ObjectError
from nfc.vm.maps import VmMap
from nfc.vm.memory import CODE, MAP, address, element_of

FRAME_POINTER = 10


@dataclass(frozen=True)
class Image:
    """`code` holds an instruction a slot, None for the second half of a ld_imm64; `constants` the
    values of ld_imm64 by slot."""

    name: str
    code: tuple[Instruction | None, ...]
    constants: Mapping[int, int]
    lines: Mapping[int, LineInfo] = field(default_factory=dict)

    @cached_property
    def functions(self) -> frozenset[int]:
        """Slots at which functions begin: the program, what it calls, what helpers may call."""
        found = {0}
        for slot, insn in enumerate(self.code):
            if insn is None or not insn.extension:
                continue
            if insn.calls_local:
                found.add(slot + 1 + insn.imm)
            elif insn.wide and insn.src == SRC_FUNC and slot in self.constants:
                found.add(element_of(self.constants[slot]))
        return frozenset(slot for slot in found if 0 <= slot < len(self.code))

    def problem(self, slot: int) -> str:
        """What is wrong with an instruction, whatever the registers hold; "" if nothing is."""
        if slot >= len(self.code):
            return "runs on behind its last instruction"
        insn = self.code[slot]
        if insn is None:
            return "jumps into the middle of an instruction"
        if not insn.extension:
            return f"is not an instruction: {insn}"
        if FRAME_POINTER in _written(insn):
            return "writes to r10, the frame pointer"
        if insn.cls == isa.LD:
            if not insn.wide:
                return "is packet access of the old kind, which these hooks do not have"
            return "" if slot in self.constants else f"is not modelled: {insn}"
        if insn.cls in (isa.JMP, isa.JMP32):
            return self._jump_problem(insn, slot)
        return ""

    def _jump_problem(self, insn: Instruction, slot: int) -> str:
        if insn.opcode == isa.EXIT or insn.calls_helper:
            return ""
        if insn.calls_local:
            inside = 0 <= slot + 1 + insn.imm < len(self.code)
            return "" if inside else "calls outside the program"
        if insn.jump is None:
            return f"is not modelled: {insn}"
        inside = 0 <= slot + 1 + insn.jump <= len(self.code)
        return "" if inside else "jumps out of the program"

    def line(self, slot: int) -> LineInfo | None:
        """The source line of an instruction, where the object says it."""
        before = bisect_right(self._marks, slot) - 1
        found = self.lines[self._marks[before]] if before >= 0 else None
        return found if found is not None and found.line else None

    @cached_property
    def _marks(self) -> list[int]:
        """The slots at which a line begins."""
        return sorted(self.lines)


def _written(insn: Instruction) -> tuple[int, ...]:
    """The registers that an instruction writes."""
    if insn.cls == isa.STX and insn.opcode & 0xE0 == isa.MODE_ATOMIC:
        if insn.imm == isa.LOAD_ACQUIRE:
            return (insn.dst,)
        if insn.imm == isa.CMPXCHG:
            return (0,)
        return (insn.src,) if insn.imm & isa.FETCH and insn.imm != isa.STORE_RELEASE else ()
    if insn.cls in (isa.ST, isa.STX, isa.JMP, isa.JMP32):
        return ()
    return (insn.dst,)


def make_image(obj: Object, name: str, maps: Mapping[str, VmMap]) -> Image:
    """Link a program with what it calls. Raises ObjectError."""
    program = link(obj, name)
    code: list[Instruction | None] = []
    for _, insn in decode(program.code, f"program {name}"):
        code += [insn, *[None] * (insn.slots - 1)]
    return Image(
        name,
        tuple(code),
        _constants(program.relocations, code, maps, name),
        {line.offset // SLOT: line for line in program.line_info},
    )


def _constants(
    relocations: object, code: list[Instruction | None], maps: Mapping[str, VmMap], name: str
) -> dict[int, int]:
    found: dict[int, int] = {}
    for slot, insn in enumerate(code):
        if insn is None or not insn.wide:
            continue
        if insn.src == SRC_IMM64:
            found[slot] = insn.imm64
        elif insn.src == SRC_FUNC:
            found[slot] = address(CODE, slot + 1 + insn.imm)
    for relocation in relocations:  # type: ignore[attr-defined]
        slot = relocation.offset // SLOT
        where = f"program {name}, byte {relocation.offset}"
        if relocation.offset % SLOT or not 0 <= slot < len(code) or code[slot] is None:
            raise ObjectError("a relocation outside the code", where=where)
        if relocation.symbol not in maps:
            raise ObjectError(f"refers to '{relocation.symbol}', which is not there", where=where)
        target = maps[relocation.symbol]
        if relocation.kind is RelocationKind.DATA:
            if not 0 <= relocation.addend < target.info.value_size + 1:
                raise ObjectError(f"points outside {relocation.symbol}", where=where)
            found[slot] = address(target.region_number, 0, relocation.addend)
        else:
            found[slot] = address(MAP, target.number)
    return found
