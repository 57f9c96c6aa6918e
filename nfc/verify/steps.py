"""Which function follows which instruction; and loading constants."""

from __future__ import annotations

from collections.abc import Callable

from nfc.bpf.isa import ALU, ALU64, CALL, EXIT, GOTO, GOTOL, LD_IMM64, LDX, SRC_FUNC, ST, STX
from nfc.verify import alu, calls, functions, jumps, memory
from nfc.verify.machine import Machine
from nfc.verify.program import Insn, valid
from nfc.verify.refusal import Refused
from nfc.verify.values import FUNCTION, MAP, SCALAR, VALUE, Reg

Step = Callable[[Machine, Insn], int]
_BY_OPCODE: dict[int, Step] = {
    EXIT: functions.step_exit,
    GOTO: jumps.step_goto,
    GOTOL: jumps.step_goto,
}
_BY_CLASS: dict[int, Step] = {
    LDX: memory.step_load,
    ST: memory.step_store,
}


def step_constant(m: Machine, i: Insn) -> int:
    """ld_imm64: a number, a map, an address in data, a function."""
    if i.dst == 10:
        raise Refused("r10, the frame pointer, cannot be changed")
    if i.slot in m.maps:
        found, off = m.maps[i.slot]
        m.regs[i.dst] = Reg(MAP, about=found) if off is None else Reg(VALUE, off=off, about=found)
    elif i.src == SRC_FUNC:
        if not m.rules.callbacks:
            raise Refused("callbacks came with kernel 5.13")
        if not m.code.by_start[i.target].type_id:
            raise Refused(
                "a callback needs type information, and the object has none",
                "compile with -g, which makes BTF",
            )
        functions.require_callback(m.code.by_start[i.target])
        m.regs[i.dst] = Reg(FUNCTION, about=i.target)
    elif i.src == 0 and i.value is not None:
        m.regs[i.dst] = Reg(SCALAR, i.value)
    else:
        raise Refused("the check does not follow this kind of 64-bit constant")
    return i.next


def step_invalid(m: Machine, i: Insn) -> int:
    """An instruction that uses bits without a meaning; refused where a path comes to it."""
    raise Refused("this instruction has no meaning: a field of it is not what it has to be")


def step_of(i: Insn) -> Step:
    """The function that follows an instruction: it gives the slot of the next one, -1 at the end
    of a path."""
    if not valid(i):
        return step_invalid
    if i.op in _BY_OPCODE:
        return _BY_OPCODE[i.op]
    kind = i.op & 7
    if i.op == LD_IMM64:
        return step_constant
    if kind in _BY_CLASS:
        return _BY_CLASS[kind]
    if kind == STX:
        return memory.step_atomic if i.op & 0xE0 == 0xC0 else memory.step_store
    if i.op == CALL:
        return functions.step_call if i.src else calls.step_helper
    if kind in (ALU, ALU64):
        if i.dst == 10:
            return alu.step_frame_pointer
        if i.operation == 0xB0:
            return alu.step_move
        return alu.step_unary if i.operation in (0x80, 0xD0) else alu.step_alu
    return jumps.step_branch
