"""The walk over all paths of a program (do_check, kernel/bpf/verifier.c).

One path is followed to its end; what was put off at its branches comes next, the last first. At
prune points the state is compared with those that were kept there, so that what was followed
once is not followed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nfc.bpf.facts import limits
from nfc.verify.machine import Machine
from nfc.verify.program import Function
from nfc.verify.refusal import Refused
from nfc.verify.signatures import CONTEXT
from nfc.verify.state import Frame, State
from nfc.verify.steps import Step, step_invalid, step_of
from nfc.verify.values import CTX, STACK, Reg, unknown
from nfc.verify.visited import seen


@dataclass(frozen=True, slots=True)
class Effort:
    """What it took: instructions processed, counting every path; states kept."""

    processed: int
    states: int


def follow(m: Machine) -> Effort:
    """Follow every path of the program, then those of its global functions.

    Raises Refused; `state.slot` is then the instruction that is to blame.
    """
    steps = [step_invalid if insn is None else step_of(insn) for insn in m.code.insns]
    main = Frame(0, 0)
    main.regs[1] = Reg(CTX)
    _walk(m, steps, main, 0)
    for function in m.called:  # grows while it is walked
        _walk(m, steps, _called_alone(function), function.start)
    return Effort(m.processed, m.states)


def _called_alone(function: Function) -> Frame:
    """The frame of a global function: any arguments of its types."""
    frame = Frame(function.number, 0)
    for n, argument in enumerate(function.arguments or (), 1):
        frame.regs[n] = Reg(CTX) if argument == CONTEXT else unknown()
    return frame


def _walk(m: Machine, steps: Sequence[Step], frame: Frame, start: int) -> None:
    frame.regs[10] = Reg(STACK, about=0)
    m.kept.clear()
    m.pending.clear()
    m.state = State(start, [frame])
    m.enter()
    insns, limit = m.code.insns, limits(m.rules.version).processed
    slot = start
    while True:
        insn = insns[slot]
        m.processed += 1
        if m.processed > limit:
            raise Refused(
                f"more than {limit} instructions, counting every path",
                "simplify: fewer branches in loops, loops with fewer rounds",
            )
        m.state.slot = slot
        assert insn is not None
        slot = -1 if insn.prune and seen(m, insn) else steps[slot](m, insn)
        if slot < 0:
            m.state.finish()
            if not m.pending:
                return
            m.state = m.pending.pop()
            m.enter()
            slot = m.state.slot
