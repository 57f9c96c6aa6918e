"""A program ready to be followed: its instructions, functions, and what is live before each.

Done once, before any value is looked at: the checks that need none are here (check_subprogs and
check_cfg, kernel/bpf/verifier.c), and the points at which states are worth comparing.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from nfc.bpf.isa import (
    ALU,
    ALU64,
    CALL,
    EXIT,
    GOTO,
    GOTOL,
    JMP,
    JMP32,
    LD,
    LD_IMM64,
    LDX,
    LOAD_ACQUIRE,
    SRC_FUNC,
    ST,
    STORE_RELEASE,
    STX,
    Instruction,
)
from nfc.bpf.object import Program
from nfc.errors import ObjectError
from nfc.verify.refusal import Refused
from nfc.verify.scalar import Scalar, constant

MAX_FUNCTIONS: Final = 256  # BPF_MAX_SUBPROGS, linux/bpf_verifier.h
CALLBACK_HELPERS: Final = (164, 181)  # bpf_for_each_map_elem, bpf_loop
_SIZES: Final = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
_ARGUMENTS: Final = 0b111110  # r1 to r5
_CLOBBERED: Final = 0b111111  # r0 to r5
_CALLEE_SAVED: Final = 0b1111000000  # r6 to r9


class Insn:
    """One instruction. `slot` is its place, `next` that of the one behind it, `target` where it
    jumps to or what it calls (-1: nowhere). `live` has a bit for each register that may be read
    before it is written from here on; `prune`: states are compared here."""

    __slots__ = (
        *("call", "dst", "force", "imm", "live", "next", "off", "op", "operation", "prune"),
        *("size", "slot", "src", "target", "value", "wide"),
    )

    def __init__(self, slot: int, op: int, dst: int, src: int, off: int, imm: int) -> None:
        """From the fields of the encoding."""
        self.slot = slot
        self.op = op
        self.dst = dst
        self.src = src
        self.off = off
        self.imm = imm
        self.next = slot + 1
        self.operation = op & 0xF0
        self.size = _SIZES[op & 0x18]
        self.target = -1
        self.wide = op & 7 in (ALU64, JMP)
        self.value: Scalar | None = None
        self.prune = False
        self.force = False
        self.live = 0
        self.call: Any = None

    def __str__(self) -> str:
        """The kernel's words."""
        return str(Instruction(self.op, self.dst, self.src, self.off, self.imm))


@dataclass(frozen=True, slots=True)
class Function:
    """A function: slots from `start` to before `end`; `name` for people; `arguments` of a global
    one (see nfc.verify.signatures); `returns_number`: type information says so."""

    number: int
    start: int
    end: int
    name: str
    arguments: tuple[str, ...] | None = None
    type_id: int = 0
    returns_number: bool = False


@dataclass(frozen=True, slots=True)
class Code:
    """A whole program; `insns` is by slot, None in the second half of a ld_imm64."""

    insns: tuple[Insn | None, ...]
    functions: tuple[Function, ...]
    by_start: dict[int, Function]

    def function_at(self, slot: int) -> Function:
        """The function that an instruction belongs to."""
        starts = [f.start for f in self.functions]
        return self.functions[bisect_right(starts, slot) - 1]

    def at(self, slot: int) -> Insn:
        """The instruction at a slot."""
        insn = self.insns[slot]
        assert insn is not None
        return insn


class Malformed(Refused):
    """A program that is refused before any path of it is followed; `slot` is where."""

    def __init__(self, slot: int | None, message: str, advice: str = "") -> None:
        """At a slot; None: the program as a whole."""
        super().__init__(message, advice)
        self.slot = slot


def prepare(
    program: Program,
    signatures: Mapping[int, tuple[str, ...]] = MappingProxyType({}),
    numbers: frozenset[int] = frozenset(),
) -> Code:
    """Decode a linked program (nfc.bpf.link). `signatures`: by BTF type, what the arguments of
    global functions are; `numbers`: the BTF types of functions that return one.

    Raises Malformed.
    """
    insns = _decode(program.code)
    if not any(insns):
        raise Malformed(None, "the program is empty")
    functions = _functions(program, insns, signatures, numbers)
    code = Code(tuple(insns), functions, {f.start: f for f in functions})
    for insn in insns:
        if insn is not None:
            _resolve(insn, code)
    for function in functions:
        _check_ends(code, function)
    _check_reachable(code)
    _mark_prune_points(code)
    for function in functions:
        _mark_live(code, function)
    return code


def _decode(code: bytes) -> list[Insn | None]:
    insns: list[Insn | None] = []
    slots = struct.iter_unpack("<BBhi", code)
    for op, registers, off, imm in slots:
        insn = Insn(len(insns), op, registers & 15, registers >> 4, off, imm)
        insns.append(insn)
        if op == LD_IMM64:
            second = next(slots, None)
            if second is None or any(second[:3]):
                raise Malformed(insn.slot, "a 64-bit constant lacks its second half")
            insn.next += 1
            insn.value = constant((second[3] & 0xFFFFFFFF) << 32 | imm & 0xFFFFFFFF)
            insn.target = second[3]
            insns.append(None)
        elif not known(insn):
            raise Malformed(insn.slot, f"opcode {op:#04x} is not an instruction")
    return insns


def known(i: Insn) -> bool:
    """Whether the kernel knows the opcode. What it does not know it refuses even where nothing
    leads to it (resolve_pseudo_ldimm64)."""
    kind, mode = i.op & 7, i.op & 0xE0
    if kind == LDX:
        return not i.imm and (mode == 0x60 or (mode == 0x80 and i.size < 8))
    if kind in (ST, STX):
        return mode == 0x60 or (kind == STX and mode == 0xC0 and (i.size >= 4 or ordered(i)))
    if kind in (ALU, ALU64):
        return i.operation <= 0xD0 and not (i.op & 8 and i.operation == 0x80) and i.op != 0xDF
    if kind in (JMP, JMP32):
        return i.op in (CALL, EXIT, GOTO, GOTOL) or i.operation in _COMPARISONS
    return False  # packet loads of classic BPF: check_ld_abs refuses them at these hooks


def ordered(i: Insn) -> bool:
    """Whether it is a load-acquire or a store-release, which may be of any size."""
    return i.op & 0xE7 == 0xC3 and i.imm in (LOAD_ACQUIRE, STORE_RELEASE)


def valid(i: Insn) -> bool:
    """Whether all fields that have no meaning are zero, and registers are registers."""
    return i.dst <= 10 and i.src <= 10 and (i.op == LD_IMM64 or _VALID[i.op & 7](i))


_COMPARISONS: Final = (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0)


def _valid_alu(i: Insn) -> bool:
    register = i.op & 8
    if i.operation in (0x80, 0xD0):  # negation, byte order
        if i.src or i.off:
            return False
        if i.operation == 0x80:
            return not register and not i.imm
        return i.imm in (16, 32, 64) and not (i.op & 7 == ALU64 and register)
    if i.operation > 0xD0:
        return False
    if (register and i.imm) or (not register and i.src):
        return False
    if i.operation == 0xB0:
        widths = (0, 8, 16, 32) if i.op & 7 == ALU64 else (0, 8, 16)
        return i.off in widths if register else not i.off
    if not register and i.operation in (0x60, 0x70, 0xC0):
        return not i.off and 0 <= i.imm < (64 if i.op & 7 == ALU64 else 32)
    if i.operation not in (0x30, 0x90):
        return not i.off
    return i.off in (0, 1) and bool(register or i.imm)  # no division by the constant 0


def _valid_jump(i: Insn) -> bool:
    if i.op in (CALL, EXIT, GOTO, GOTOL):
        if i.op == CALL:
            return not i.dst and not i.off and i.src in (0, 1)
        if i.op == EXIT:
            return not (i.dst or i.src or i.imm)
        return not (i.dst or i.src or (i.imm if i.op == GOTO else i.off))
    return not i.imm if i.op & 8 else not i.src


def _valid_load(i: Insn) -> bool:
    return True  # the kernel looks at all of them before: see `known`


def _valid_store(i: Insn) -> bool:
    mode = i.op & 0xE0
    if i.op & 7 == ST:
        return mode == 0x60 and not i.src
    if mode == 0x60:
        return not i.imm
    atomic = (0x00, 0x40, 0x50, 0xA0, 0x01, 0x41, 0x51, 0xA1, 0xE1, 0xF1)
    return mode == 0xC0 and (ordered(i) or (i.size >= 4 and i.imm in atomic))


_VALID: Final = {
    ALU: _valid_alu, ALU64: _valid_alu, JMP: _valid_jump, JMP32: _valid_jump, LDX: _valid_load,
    ST: _valid_store, STX: _valid_store,
}  # fmt: skip


# ---- functions and jumps --------------------------------------------------------------------


def _functions(
    program: Program,
    insns: list[Insn | None],
    signatures: Mapping[int, tuple[str, ...]],
    numbers: frozenset[int],
) -> tuple[Function, ...]:
    starts = {0}
    for insn in insns:
        if insn is None:
            continue
        if (insn.op == CALL and insn.src == 1) or (insn.op == LD_IMM64 and insn.src == SRC_FUNC):
            target = insn.slot + 1 + insn.imm
            if not 0 <= target < len(insns) or insns[target] is None:
                raise Malformed(insn.slot, "this calls something outside the program")
            starts.add(target)
    if len(starts) > MAX_FUNCTIONS:
        raise Malformed(None, f"more than {MAX_FUNCTIONS} functions")
    ordered = sorted(starts)
    types = {info.offset // 8: info.type_id for info in program.func_info}
    return tuple(
        Function(
            number,
            start,
            ordered[number + 1] if number + 1 < len(ordered) else len(insns),
            program.name if not start else f"the function at {start}",
            arguments=signatures.get(types.get(start, 0)) if start else None,
            type_id=types.get(start, 0),
            returns_number=types.get(start, 0) in numbers,
        )
        for number, start in enumerate(ordered)
    )


def _resolve(insn: Insn, code: Code) -> None:
    kind = insn.op & 7
    if insn.op == LD_IMM64:
        if insn.src == SRC_FUNC:
            insn.target = insn.slot + 1 + insn.imm
    elif insn.op == CALL:
        insn.target = insn.slot + 1 + insn.imm if insn.src == 1 else -1
    elif insn.op == GOTOL:
        insn.target = insn.slot + 1 + insn.imm
    elif kind in (JMP, JMP32) and insn.op != EXIT:
        insn.target = insn.slot + 1 + insn.off
    if kind in (ALU, ALU64, JMP, JMP32) and not insn.op & 8:
        cut = kind == ALU and insn.operation == 0xB0  # a 32-bit move clears the upper half
        insn.value = constant(insn.imm & 0xFFFFFFFF if cut else insn.imm)


def _check_ends(code: Code, function: Function) -> None:
    last = code.insns[function.end - 1]
    if last is None or last.op not in (EXIT, GOTO, GOTOL):
        raise Malformed(function.end - 1, f"{function.name} runs off its end")
    for slot in range(function.start, function.end):
        insn = code.insns[slot]
        if insn is None or insn.op in (CALL, EXIT) or insn.op & 7 not in (JMP, JMP32):
            continue
        if not function.start <= insn.target < function.end:
            raise Malformed(slot, "this jumps out of its function")
        if code.insns[insn.target] is None:
            raise Malformed(slot, "this jumps into the middle of a 64-bit constant")


def _check_reachable(code: Code) -> None:
    seen = bytearray(len(code.insns))
    waiting = [0]
    while waiting:
        slot = waiting.pop()
        while not seen[slot]:
            seen[slot] = 1
            insn = code.at(slot)
            if insn.target >= 0 and (insn.op != LD_IMM64 or insn.src == SRC_FUNC):
                waiting.append(insn.target)
            if insn.op == EXIT or insn.op in (GOTO, GOTOL):
                break
            slot = insn.next
    for slot, found in enumerate(code.insns):
        if found is not None and not seen[slot]:
            raise Malformed(
                slot, "nothing leads to this instruction", "remove it: compile with optimisation"
            )


def _mark_prune_points(code: Code) -> None:
    for insn in code.insns:
        if insn is None:
            continue
        if insn.op in (GOTO, GOTOL):
            code.at(insn.target).prune = True
        elif insn.op == CALL:
            code.at(insn.next).prune = True
            insn.prune = insn.src == 1
            if insn.src == 0 and insn.imm in CALLBACK_HELPERS:
                insn.prune = insn.force = True
        elif insn.op & 7 in (JMP, JMP32) and insn.op != EXIT:
            insn.prune = True
            code.at(insn.target).prune = True


# ---- live registers -------------------------------------------------------------------------


def _uses_and_defines(i: Insn) -> tuple[int, int]:
    """Registers that an instruction reads and writes, a bit for each."""
    dst, src, kind = 1 << i.dst, 1 << i.src, i.op & 7
    if i.op == CALL:
        return _ARGUMENTS, _CLOBBERED
    if i.op == EXIT:
        return 1, 0
    if kind == LD:
        return 0, dst
    if kind == LDX:
        return src, dst
    if kind == ST:
        return dst, 0
    if kind == STX:
        if ordered(i) and i.imm == LOAD_ACQUIRE:
            return src, dst
        if i.op & 0xE0 != 0xC0 or not i.imm & 1:
            return dst | src, 0
        return (dst | src | 1, 1) if i.imm == 0xF1 else (dst | src, src)
    if i.op in (GOTO, GOTOL):
        return 0, 0
    by_register = src if i.op & 8 and i.operation not in (0xD0,) else 0
    if kind in (JMP, JMP32):
        return dst | by_register, 0
    return (by_register if i.operation == 0xB0 else dst | by_register), dst


def _mark_live(code: Code, function: Function) -> None:
    insns = [i for i in code.insns[function.start : function.end] if i is not None]
    uses = [(i, *_uses_and_defines(i)) for i in reversed(insns)]
    changed = True
    while changed:
        changed = False
        for i, used, defined in uses:
            after = 0
            if i.op != EXIT:
                if i.op not in (GOTO, GOTOL):
                    after = code.at(i.next).live
                if i.target >= 0 and i.op & 7 in (JMP, JMP32) and i.op != CALL:
                    after |= code.at(i.target).live
            live = used | (after & ~defined)
            if live != i.live:
                i.live = live
                changed = True


def require_whole(code: bytes) -> None:
    """Raises ObjectError if the code is not whole instructions."""
    if len(code) % 8:
        raise ObjectError(f"{len(code)} bytes are not whole instructions")
