"""How much stack a program uses, from its instructions alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nfc.bpf.isa import LDX, ST, STX, Instruction, decode
from nfc.bpf.object import Program

FRAME_POINTER = 10
_MOV64_REG, _ADD64_IMM = 0xBF, 0x07


def stack_depth(program: Program) -> int:
    """Bytes of stack that a program's own instructions reach below its frame pointer."""
    accesses = _stack_accesses(dict(decode(program.code)))
    return max((at for at in accesses if at > 0), default=0)


def _stack_accesses(code: Mapping[int, Instruction]) -> Iterable[int]:
    """Bytes below the frame pointer of accesses, and of addresses made from it directly."""
    previous: tuple[int, Instruction] | None = None
    for slot, instruction in code.items():
        base = instruction.src if instruction.cls == LDX else instruction.dst
        if instruction.cls in (LDX, ST, STX) and base == FRAME_POINTER:
            yield -instruction.off
        if (
            previous is not None
            and instruction.opcode == _ADD64_IMM
            and previous[1].opcode == _MOV64_REG
            and previous[1].src == FRAME_POINTER
            and previous[1].dst == instruction.dst
            and previous[0] + 1 == slot
        ):
            yield -instruction.imm
        previous = (slot, instruction)
