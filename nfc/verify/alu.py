"""Arithmetic on registers: numbers, and pointers by whole bytes.

check_alu_op, adjust_ptr_min_max_vals (kernel/bpf/verifier.c).
"""

from __future__ import annotations

from typing import Final

from nfc.bpf.isa import ALU64
from nfc.verify import arith
from nfc.verify.machine import Machine
from nfc.verify.program import Insn
from nfc.verify.refusal import Refused
from nfc.verify.scalar import S32_MAX, S32_MIN, S64_MIN, U32, U64, ZERO, Scalar, constant
from nfc.verify.stack import MAX_OFFSET
from nfc.verify.values import (
    CTX,
    FUNCTION,
    MAP,
    MAP_KEY,
    MEM,
    NAMES,
    NULLABLE,
    PACKET,
    SCALAR,
    STACK,
    VALUE,
    Reg,
    mark_precise,
    unknown,
)

_MOVABLE: Final = frozenset((CTX, VALUE, MAP_KEY, STACK, PACKET, MEM, FUNCTION))


def step_move(m: Machine, i: Insn) -> int:
    """dst = src or a constant."""
    if i.dst == 10:
        raise _frame_pointer()
    if i.value is not None:
        m.regs[i.dst] = Reg(SCALAR, i.value)
        return i.next
    source = m.operand(i.src)
    regs = m.regs
    if source.kind != SCALAR:
        regs[i.dst] = source if i.wide and not i.off else unknown()
    elif i.wide and not i.off:
        regs[i.src] = regs[i.dst] = m.with_id(source)
    elif i.off:
        regs[i.dst] = _extended(m, i, source)
    else:
        fits = source.number.umax <= U32
        if fits and m.rules.linked_narrow:
            regs[i.src] = source = m.with_id(source)
        low = arith.truncate(source.number)
        if fits and low is source.number:
            regs[i.dst] = source
        else:
            keeps = fits and m.rules.linked_narrow
            id_, about = (source.id, source.about) if keeps else (0, None)
            regs[i.dst] = Reg(SCALAR, low, 0, id_, about, 0, (source,))
    return i.next


def _extended(m: Machine, i: Insn, source: Reg) -> Reg:
    small = source.number.umax < 1 << (i.off - 1)
    if small:
        m.regs[i.src] = source = m.with_id(source)
    found = arith.extend(source.number, i.off, i.wide)
    if small:
        return Reg(SCALAR, found, 0, source.id, source.about, 0, (source,))
    return Reg(SCALAR, found, deps=(source,))


def step_alu(m: Machine, i: Insn) -> int:
    """dst = dst operation src or a constant."""
    regs = m.regs
    a = m.operand(i.dst)
    constant = i.value
    if constant is not None:
        if a.kind != SCALAR:
            regs[i.dst] = move_pointer(m, i, a, constant)
            return i.next
        a = _forked(m, i, a, constant)
        found = arith.compute(i.operation, i.wide, a.number, constant)
        kept = _link(m, i, a, constant)
        regs[i.dst] = Reg(SCALAR, found, 0, *kept, 0, (a,))
        return i.next
    b = m.operand(i.src)
    if a.kind == SCALAR:
        if b.kind == SCALAR:
            a = _forked(m, i, a, b.number)
            found = arith.compute(i.operation, i.wide, a.number, b.number)
            kept = (0, None) if i.src == i.dst else _link(m, i, a, b.number)
            regs[i.dst] = Reg(SCALAR, found, 0, *kept, 0, (a, b))
            return i.next
        mark_precise(a)
        if i.operation == arith.SUB and i.wide:
            raise Refused(f"a pointer (r{i.src}) is subtracted from a number (r{i.dst})")
        regs[i.dst] = move_pointer(m, i, b, a.number)
    elif b.kind == SCALAR:
        mark_precise(b)
        regs[i.dst] = move_pointer(m, i, a, b.number)
    elif i.operation == arith.SUB:
        regs[i.dst] = unknown()
    else:
        raise Refused(
            f"arithmetic on two pointers, r{i.dst} and r{i.src}", registers=(i.dst, i.src)
        )
    return i.next


def _forked(m: Machine, i: Insn, a: Reg, by: Scalar) -> Reg:
    """`n & c` and `n | c` where n is -1 or 0, as compilers make them of a choice: both are
    followed apart (maybe_fork_scalars). What `a` is on this way."""
    if i.operation not in (arith.AND, arith.OR) or by.mask or not m.rules.known_results:
        return a
    low = a.number
    if (low.smin, low.smax) == (-1, 0):
        ones, zeros = constant(-1), ZERO
    elif (low.s32min, low.s32max) == (-1, 0):
        ones, zeros = arith.with_low(low, U32), arith.with_low(low, 0)
    else:
        return a
    other = m.push_to(i.slot, i)
    other.frames[-1].regs[i.dst] = Reg(SCALAR, zeros, deps=(a,))
    return Reg(SCALAR, ones, deps=(a,))


def _link(m: Machine, i: Insn, a: Reg, added: Scalar) -> tuple[int, object]:
    """The id of a sum that stays linked to what it was made from: `r2 = r1; r2 += 5`."""
    if not a.id or i.operation not in (arith.ADD, arith.SUB) or a.about is not None:
        return 0, None
    by = added.smin if i.wide else added.s32min
    if added.mask & (U64 if i.wide else U32) or not S32_MIN < by <= S32_MAX:
        return 0, None
    if not m.rules.linked_widely:
        plain = i.operation == arith.ADD and i.wide and by >= 0
        return (a.id, (by, True)) if plain and m.rules.linked_sums else (0, None)
    if not i.wide and a.number.umax > U32:
        return 0, None
    return a.id, (by if i.operation == arith.ADD else -by, i.wide)


def step_unary(m: Machine, i: Insn) -> int:
    """Negation and byte order: before `known_results`, nothing is known of what comes out."""
    a = m.operand(i.dst)
    if a.kind != SCALAR or not m.rules.known_results:
        m.regs[i.dst] = unknown(a)
    elif i.operation == arith.NEG:
        m.regs[i.dst] = Reg(SCALAR, arith.compute(arith.SUB, i.wide, ZERO, a.number), deps=(a,))
    else:
        swaps = i.op & 7 == ALU64 or bool(i.op & 8)  # le16 and the like swap nothing here
        found = arith.ordered(a.number, i.imm, swaps)
        m.regs[i.dst] = a if found is a.number and not swaps else Reg(SCALAR, found, deps=(a,))
    return i.next


def step_frame_pointer(m: Machine, i: Insn) -> int:
    """Anything that changes r10."""
    raise _frame_pointer()


def _frame_pointer() -> Refused:
    return Refused("r10, the frame pointer, cannot be changed")


def move_pointer(m: Machine, i: Insn, pointer: Reg, by: Scalar) -> Reg:
    """A pointer with a number added or subtracted. Raises Refused."""
    kind = pointer.kind
    adds, known = i.operation == arith.ADD, not by.mask
    where = (i.dst, i.src) if i.value is None else (i.dst,)
    if not i.wide:
        if i.operation == arith.SUB:
            return unknown()
        raise Refused("32-bit arithmetic on a pointer", registers=where)
    if kind in NULLABLE:
        raise Refused(
            f"r{i.dst} may be null here, and is calculated with", "compare it with 0 first", where
        )
    if kind not in _MOVABLE and not (kind == MAP and adds and known and not by.value):
        raise Refused(f"{NAMES[kind]} cannot be calculated with", registers=where)
    _require_sane(by, 0, where)
    _require_sane(pointer.number, pointer.off, where)
    if i.operation not in (arith.ADD, arith.SUB):
        raise Refused("a pointer can be added to and subtracted from only", registers=where)
    if not adds and kind == STACK:
        raise Refused("a number is subtracted from a pointer to the stack", "add -n", where)
    step = by.smin if adds else -by.smin
    if known and S32_MIN <= pointer.off + step <= S32_MAX:
        found = Reg(
            kind, pointer.number, pointer.off + step, pointer.id, pointer.about, pointer.ref
        )
    else:
        offset = arith.offset(i.operation, pointer.number, by)
        id_, about = pointer.id, pointer.about
        if kind == PACKET:
            id_ = m.new_id()
            about = 0 if adds or by.smin < 0 else about
        found = Reg(kind, offset, pointer.off, id_, about, pointer.ref)
    _require_sane(found.number, found.off, where)
    return found


def _require_sane(offset: Scalar, fixed: int, registers: tuple[int, ...]) -> None:
    """Offsets that the kernel is willing to think about (check_reg_sane_offset)."""
    if not -MAX_OFFSET < fixed < MAX_OFFSET:
        raise Refused(f"a pointer is moved by {fixed} bytes", registers=registers)
    if offset.smin == S64_MIN:
        raise Refused(
            "a pointer is moved by a number without a lower bound",
            "mask the number (& 0xff), or compare it before",
            registers,
        )
    if not -MAX_OFFSET < offset.smin < MAX_OFFSET:
        raise Refused(f"a pointer is moved by {offset.smin} bytes or more", registers=registers)
