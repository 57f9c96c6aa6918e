"""Jumps: which ways a program may go, and what is known on each.

check_cond_jmp_op, find_good_pkt_pointers, mark_ptr_or_null_regs (kernel/bpf/verifier.c).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nfc.verify import arith
from nfc.verify.branch import EQ, FLIPPED, GE, GT, LE, LT, NE, compare
from nfc.verify.machine import Machine
from nfc.verify.program import Insn
from nfc.verify.scalar import ZERO, Scalar, constant
from nfc.verify.stack import MAX_OFFSET
from nfc.verify.state import Slot, State
from nfc.verify.values import (
    AT_END,
    BEYOND_END,
    MAP,
    NEVER_NULL,
    NULLABLE,
    PACKET,
    PACKET_END,
    SCALAR,
    VALUE_OR_NULL,
    Map,
    Reg,
    mark_precise,
    number,
)

MAX_PACKET_OFFSET: Final = 0xFFFF  # MAX_PACKET_OFF, kernel/bpf/verifier.c


def step_goto(m: Machine, i: Insn) -> int:
    """An unconditional jump."""
    m.jumps += 1
    return i.target


def step_branch(m: Machine, i: Insn) -> int:
    """A conditional jump: where it is not decided, the way on is taken first, and the jump kept
    for later, as the kernel does."""
    m.jumps += 1
    a = m.operand(i.dst)
    b = number(i.value) if i.value is not None else m.operand(i.src)
    if a.kind == SCALAR and b.kind == SCALAR:
        if not m.rules.both_refined:
            return _before_6_8(m, i, a, b)
        decided, holds, fails = compare(i.operation, i.wide, a.number, b.number)
        if decided is None:
            return _both_ways(m, i, a, b, holds, fails)
        mark_precise(a)
        mark_precise(b)
        return _decided(m, i, decided)
    taken = _pointers(m, i, a, b)
    if taken is not None:
        return _decided(m, i, taken)
    other = m.push(i)
    if i.wide:
        if i.value is ZERO and i.operation in (EQ, NE) and a.kind in NULLABLE:
            _null(m.state, a, i.operation == NE)
            _null(other, a, i.operation == EQ)
        elif i.value is None:
            _packet_end(m, i, a, b, other)
            if i.operation in (EQ, NE) and m.rules.equal_not_null:
                _equal_to_pointer(m, i, a, b, other if i.operation == EQ else m.state)
    return i.next


def _before_6_8(m: Machine, i: Insn, a: Reg, b: Reg) -> int:
    """Two numbers: decided only where the second is known, and nothing is learnt where none is,
    but that equal ones are equal (check_cond_jmp_op, reg_combine_min_max; 5.10 and 6.1)."""
    bits = (1 << 64) - 1 if i.wide else 0xFFFFFFFF
    first, second = not a.number.mask & bits, not b.number.mask & bits
    decided, holds, fails = compare(i.operation, i.wide, a.number, b.number)
    same = (a.number, b.number)
    if decided is not None:
        if second:
            mark_precise(a)
            mark_precise(b)
            return _decided(m, i, decided)
        holds = fails = same
    elif not (m.rules.subregisters or i.wide):
        holds = fails = same
    elif not (first or second):
        holds = holds if i.wide and i.operation == EQ else same
        fails = fails if i.wide and i.operation == NE else same
    return _both_ways(m, i, a, b, holds, fails)


def _decided(m: Machine, i: Insn, taken: bool) -> int:
    m.decide(i, taken)
    return i.target if taken else i.next


# ---- numbers --------------------------------------------------------------------------------


def _both_ways(
    m: Machine,
    i: Insn,
    a: Reg,
    b: Reg,
    holds: tuple[Scalar, Scalar],
    fails: tuple[Scalar, Scalar],
) -> int:
    other = m.push(i)
    for state, (x, y) in ((m.state, fails), (other, holds)):
        regs = state.frames[-1].regs
        if x is not a.number:
            regs[i.dst] = Reg(SCALAR, x, 0, a.id, a.about, 0, (a, b))
        if i.value is None and y is not b.number:
            regs[i.src] = Reg(SCALAR, y, 0, b.id, b.about, 0, (a, b))
        if i.value is None and b.id:
            tie(state, i.src, b.id)
        if a.id:
            tie(state, i.dst, a.id)
    return i.next


def tie(state: State, register: int, id_: int) -> None:
    """What is now known of a number holds for its copies too (sync_linked_regs)."""
    known = state.frames[-1].regs[register]

    def follow(reg: Reg) -> Reg:
        if reg is known or reg.id != id_ or reg.kind != SCALAR:
            return reg
        there, wide = added(reg)
        here, known_wide = added(known)
        if reg.about and known.about and wide != known_wide:
            return reg
        if there == here:
            found = known.number
        else:
            found = arith.shifted(known.number, constant(there - here))
            if not (wide and known_wide):
                found = arith.truncate(found)
        if found is reg.number:
            return reg
        return Reg(SCALAR, found, 0, reg.id, reg.about, 0, (reg, known))

    _everywhere(state, follow)


def added(reg: Reg) -> tuple[int, bool]:
    """What was added to a copy of a number, and whether in 64 bits."""
    return reg.about if isinstance(reg.about, tuple) and reg.about else (0, True)


def _everywhere(state: State, change: Callable[[Reg], Reg]) -> None:
    """Put `change(reg)` in the place of every register and spilled value."""
    for frame in state.frames:
        regs = frame.regs
        for n, reg in enumerate(regs):
            if reg.kind:
                regs[n] = change(reg)
        for spi, (kinds, reg) in list(frame.stack.items()):
            if reg.kind:
                new = change(reg)
                if new is not reg:
                    frame.put(spi, Slot(kinds, new))


# ---- pointers -------------------------------------------------------------------------------


def _pointers(m: Machine, i: Insn, a: Reg, b: Reg) -> bool | None:
    """Whether a comparison with a pointer in it is decided (is_branch_taken)."""
    if not i.wide:
        return None
    operation = i.operation
    if a.kind in (PACKET, PACKET_END) and b.kind in (PACKET, PACKET_END):
        if a.kind == PACKET_END:
            a, b, operation = b, a, FLIPPED[operation]
        if a.kind != PACKET or b.kind != PACKET_END:
            return None
        if a.about == BEYOND_END and operation in (LE, GT):
            return operation == GT
        if a.about in (BEYOND_END, AT_END) and operation in (LT, GE):
            return operation == GE
        return None
    if a.kind == SCALAR:
        a, b = b, a
    if b.kind != SCALAR or b.number is not ZERO or operation not in (EQ, NE):
        return None
    if a.kind not in NEVER_NULL or a.number.smin <= -MAX_OFFSET or a.number.smax >= MAX_OFFSET:
        return None
    mark_precise(b)
    return operation == NE


def _null(state: State, pointer: Reg, is_null: bool) -> None:
    """A pointer, and all its copies, is null, or is not."""
    if is_null and pointer.ref and pointer.ref == pointer.id:
        state.refs = tuple(r for r in state.refs if r[0] != pointer.ref)

    def change(reg: Reg) -> Reg:
        if reg.id != pointer.id or reg.kind not in NULLABLE:
            return reg
        if is_null:
            return number(ZERO)
        return not_null(reg)

    _everywhere(state, change)


def not_null(reg: Reg, id_: int = 0) -> Reg:
    """A pointer that may be null, where it is not (mark_ptr_not_null_reg); what a map of maps
    holds is a map."""
    about = reg.about
    if reg.kind == VALUE_OR_NULL and isinstance(about, Map) and about.inner is not None:
        return Reg(MAP, reg.number, reg.off, id_ or reg.id, about.inner)
    return Reg(NULLABLE[reg.kind], reg.number, reg.off, id_, about, reg.ref)


def _equal_to_pointer(m: Machine, i: Insn, a: Reg, b: Reg, equal: State) -> None:
    """What equals a pointer that is not null is not null either."""
    regs = equal.frames[-1].regs
    for register, one, two in ((i.src, b, a), (i.dst, a, b)):
        if one.kind in NULLABLE and two.kind in NEVER_NULL:
            regs[register] = not_null(one, one.id)


def _packet_end(m: Machine, i: Insn, a: Reg, b: Reg, other: State) -> None:
    """A comparison with skb->data_end shows how much of the packet is there."""
    operation, register = i.operation, i.dst
    if a.kind == PACKET_END and b.kind == PACKET:
        a, b, operation, register = b, a, FLIPPED[operation], i.src
    if a.kind != PACKET or b.kind != PACKET_END or operation not in (GT, LT, GE, LE):
        return
    here = m.state
    # inside: where the pointer is at most (or, `less`: before) the end
    inside, outside = (here, other) if operation in (GT, GE) else (other, here)
    less = operation in (GE, LT)
    _found_in_packet(inside, a, less)
    old = outside.frames[-1].regs[register]
    about = AT_END if less else BEYOND_END
    outside.frames[-1].regs[register] = Reg(PACKET, old.number, old.off, old.id, about)


def _found_in_packet(state: State, shown: Reg, less: bool) -> None:
    if shown.off < 0 or (shown.off == 0 and less):
        return
    if shown.number.umax > MAX_PACKET_OFFSET:
        return
    if shown.number.umax + shown.off > MAX_PACKET_OFFSET:
        return
    known = shown.off + less

    def change(reg: Reg) -> Reg:
        if reg.kind != PACKET or reg.id != shown.id or reg.about >= known:  # type: ignore[operator]
            return reg
        return Reg(PACKET, reg.number, reg.off, reg.id, known)

    _everywhere(state, change)


def forget_packet(state: State, about: Callable[[], Reg]) -> None:
    """The packet may have moved: pointers into it are numbers of which nothing is known."""
    _everywhere(state, lambda reg: about() if reg.kind in (PACKET, PACKET_END) else reg)


def forget_reference(state: State, ref: int, about: Callable[[], Reg]) -> None:
    """What was reserved is given back: no pointer to it is one any more."""
    _everywhere(state, lambda reg: about() if reg.ref == ref else reg)
