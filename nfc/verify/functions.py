"""Calls of the program's own functions, and leaving them.

check_func_call, prepare_func_exit (kernel/bpf/verifier.c).
"""

from __future__ import annotations

from typing import Final

from nfc.bpf.facts import MAX_CALL_FRAMES
from nfc.bpf.isa import CALL
from nfc.bpf.prototypes import PROTOTYPES
from nfc.verify.jumps import forget_packet
from nfc.verify.machine import Machine
from nfc.verify.program import Function, Insn
from nfc.verify.refusal import Refused
from nfc.verify.signatures import CONTEXT, OTHER
from nfc.verify.state import Frame
from nfc.verify.values import (
    CTX,
    MAP,
    MAP_KEY,
    NOTHING,
    SCALAR,
    STACK,
    VALUE,
    Map,
    Reg,
    mark_precise,
    unknown,
)
from nfc.verify.visited import widen

LOOP: Final = 181  # bpf_loop
CLEARED: Final = [NOTHING] * 6  # r0 to r5


def require_nothing_reserved(m: Machine, frame: Frame | None = None) -> None:
    """Raises Refused if a reservation is still open."""
    mine = [r for r, depth in m.state.refs if frame is None or depth == frame.depth]
    if mine:
        raise Refused(
            "what bpf_ringbuf_reserve gave is not given back on this path",
            "end every path with bpf_ringbuf_submit or bpf_ringbuf_discard",
        )


def step_call(m: Machine, i: Insn) -> int:
    """A function of the program is called: its instructions follow, in a frame of their own."""
    function = m.code.by_start[i.target]
    if function.arguments is not None:
        return _call_global(m, i, function)
    caller = m.frame
    frame = Frame(function.number, caller.depth + 1, i.slot)
    _enter(m, frame)
    frame.regs[1:6] = caller.regs[1:6]
    caller.regs[0:6] = CLEARED
    return i.target


def _enter(m: Machine, frame: Frame) -> None:
    if frame.depth >= MAX_CALL_FRAMES:
        raise Refused(f"calls nest deeper than {MAX_CALL_FRAMES} functions")
    frame.regs[10] = Reg(STACK, about=frame.depth)
    m.state.frames.append(frame)
    m.enter()


def step_exit(m: Machine, i: Insn) -> int:
    """The end of a function: back to its caller, or of the program (-1)."""
    m.jumps += 1
    frame = m.frame
    if frame.depth == 0 or frame.callback:
        require_nothing_reserved(m, frame if frame.callback else None)
    if frame.depth == 0:
        return _end_of_program(m)
    result = frame.regs[0]
    if result.kind == STACK:
        raise Refused("a function returns a pointer to its own stack")
    m.state.frames.pop()
    m.enter()
    if not frame.callback:
        m.regs[0] = result
        return m.code.at(frame.callsite).next
    if result.kind != SCALAR:
        raise Refused("a callback returns something that is no number")
    mark_precise(result)
    if result.number.smin < 0 or result.number.smax > 1:
        raise Refused(
            f"a callback returns {result.number}; 0 goes on, 1 stops, nothing else is allowed"
        )
    widen(m, frame.callsite)
    return frame.callsite


def _call_global(m: Machine, insn: Insn, function: Function) -> int:
    """A function that is verified by itself is called (check_func_call)."""
    for n, argument in enumerate(function.arguments or (), 1):
        given = m.operand(n)
        if n > 5 or argument == OTHER:
            raise Refused(
                f"argument {n} of {function.name}, a global function, is {OTHER}",
                "make the function static",
            )
        if given.kind != (CTX if argument == CONTEXT else SCALAR) or given.off:
            raise Refused(f"argument {n} of {function.name} must be {argument}", "", (n,))
    if function not in m.called:
        m.called.append(function)
    if _moves_packet(m, function):
        forget_packet(m.state, unknown)
    m.regs[0:6] = [unknown(), *[NOTHING] * 5]
    return insn.next


def _moves_packet(m: Machine, function: Function, above: tuple[Function, ...] = ()) -> bool:
    """Whether it, or what it calls, may move the packet. Kernels before 6.13 did not ask."""
    if function in above:
        return False
    for slot in range(function.start, function.end):
        insn = m.code.insns[slot]
        if insn is None or insn.op != CALL:
            continue
        prototype = PROTOTYPES.get(insn.imm) if insn.src == 0 else None
        if prototype is not None and prototype.moves:
            return True
        if insn.src == 1 and _moves_packet(m, m.code.by_start[insn.target], (*above, function)):
            return True
    return False


def _end_of_program(m: Machine) -> int:
    """The main function returns; any number that fits will do at these hooks."""
    result = m.operand(0)
    if m.frame.function and result.kind != SCALAR:
        raise Refused("a global function returns something that is no number")
    return -1


def callback(m: Machine, i: Insn, function: Function, over: Map | None) -> None:
    """The helper may call the function any number of times: the way on is without a call, and
    one that does it once and then comes back to the helper is kept for later. `over`: the map
    whose entries it is called for."""
    caller = m.frame
    require_callback(function)
    if i.imm == LOOP:
        rounds = caller.regs[1]
        if rounds.kind != SCALAR:
            raise Refused("bpf_loop: argument 1 is no number of rounds")
        mark_precise(rounds)
        if caller.unrolled >= rounds.number.umax:
            caller.unrolled = 0
            return
    other = m.push_to(function.start, i)
    other.rounds += 1
    theirs = other.frames[-1]
    theirs.unrolled += 1
    caller.unrolled = 0
    frame = Frame(function.number, caller.depth + 1, i.slot, callback=i.imm)
    if frame.depth >= MAX_CALL_FRAMES:
        raise Refused(f"calls nest deeper than {MAX_CALL_FRAMES} functions")
    frame.regs[10] = Reg(STACK, about=frame.depth)
    if i.imm == LOOP:
        frame.regs[1:3] = [unknown(), theirs.regs[3]]
    else:
        assert over is not None
        frame.regs[1] = Reg(MAP, about=over)
        frame.regs[2] = Reg(MAP_KEY, about=over)
        frame.regs[3] = Reg(VALUE, about=over)
        frame.regs[4] = theirs.regs[3]
    other.frames.append(frame)


def require_callback(function: Function) -> None:
    """Raises Refused if a function may not be a callback."""
    if function.number == 0:
        raise Refused("the main function cannot be a callback")
