"""States that were kept at prune points, and what they spare (is_state_visited,
kernel/bpf/verifier.c)."""

from __future__ import annotations

from nfc.verify import prune
from nfc.verify.machine import Machine
from nfc.verify.program import Insn
from nfc.verify.refusal import Refused
from nfc.verify.state import SPILL, Checkpoint, Slot
from nfc.verify.values import SCALAR, Reg, mark_precise, unknown


def seen(m: Machine, insn: Insn) -> bool:
    """Whether what may happen from here was followed already; else the state may be kept
    (is_state_visited, with the same thrift)."""
    state = m.state
    kept = m.kept.get(insn.slot)
    since_insns = m.processed - m.last[0]
    since_jumps = m.jumps - m.last[1]
    keep = insn.force or (since_jumps >= 2 and since_insns >= 8)
    if kept:
        n = len(kept) - 1
        while n >= 0:
            old = kept[n]
            if old.open:
                if _looping(m, insn, old):
                    return True
                if not insn.force and since_jumps < 20 and since_insns < 100:
                    keep = False
            elif prune.seen(old, state, m.code, insn.live, prune.Level.ENOUGH):
                old.hits += 1
                for key in old.reads:
                    state.read(key)
                return True
            if keep:
                old.misses += 1
            often = 64 if insn.force and old.open else 3
            if old.misses > old.hits * often + often:
                del kept[n]
            n -= 1
    if keep:
        m.states += 1
        m.last = (m.processed, m.jumps)
        m.kept.setdefault(insn.slot, []).append(state.checkpoint())
    return False


def _looping(m: Machine, insn: Insn, old: Checkpoint) -> bool:
    """A state on this very path: a loop that makes no progress never ends, unless a helper
    makes it, in which case another round shows nothing new."""
    if insn.force:
        if not prune.seen(old, m.state, m.code, insn.live, prune.Level.WITHIN):
            return False
        old.hits += 1
        for n, frame in enumerate(m.state.frames):
            for reg in frame.regs:
                mark_precise(reg)
            for spi, slot in frame.stack.items():
                m.state.read((n, spi))
                mark_precise(slot.reg)
        for frame in old.frames:
            for reg in (*frame.regs, *(slot.reg for slot in frame.stack.values())):
                mark_precise(reg)
        return True
    if old.rounds == m.state.rounds and prune.seen(
        old, m.state, m.code, insn.live, prune.Level.EXACT
    ):
        raise Refused(
            "this loop may go on for ever: it comes back here with nothing changed",
            "count its rounds, and leave when the count is reached",
        )
    return False


def widen(m: Machine, callsite: int) -> None:
    """After a callback: numbers that it changes, and that have not mattered so far, may have
    any value, so that the rounds come to an end (widen_imprecise_scalars)."""
    before = next((c for c in reversed(m.kept.get(callsite, [])) if c.open), None)
    if before is None or len(before.frames) != len(m.state.frames):
        return
    for old, new in zip(before.frames, m.state.frames, strict=True):
        for n, (was, is_) in enumerate(zip(old.regs, new.regs, strict=True)):
            new.regs[n] = _widened(was, is_)
        for spi, slot in list(new.stack.items()):
            known = old.stack.get(spi)
            if known is None or slot.kinds[7] != SPILL:
                continue
            reg = _widened(known.reg, slot.reg)
            if reg is not slot.reg and slot.kinds[0] == SPILL:
                new.put(spi, Slot(slot.kinds, reg))


def _widened(was: Reg, is_: Reg) -> Reg:
    if was.kind != SCALAR or is_.kind != SCALAR or was.number is is_.number or was.precise:
        return is_
    return unknown()
