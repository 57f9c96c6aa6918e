"""Whether a state has been seen: is what may happen from here among what was followed already?

states_equal, regsafe, stacksafe (kernel/bpf/verifier.c). Numbers that never mattered behind the
kept state, registers that are not read again, and stack slots that nobody read are not compared.
"""

from __future__ import annotations

from enum import Enum
from functools import cache

from nfc.verify.program import Code
from nfc.verify.scalar import UNKNOWN, ZERO, within
from nfc.verify.state import EMPTY, INVALID, MISC, SPILL, ZEROED, Checkpoint, Frame, Slot, State
from nfc.verify.values import (
    MAP_KEY,
    MEM,
    MEM_OR_NULL,
    NOT_INIT,
    PACKET,
    SCALAR,
    VALUE,
    VALUE_OR_NULL,
    Reg,
    mark_precise,
)


class Level(Enum):
    """How alike states must be (enum exact_level)."""

    ENOUGH = 0  # the kept one allows all that the new one does, where it matters
    WITHIN = 1  # the same, for all numbers and slots: in loops it is not known yet what matters
    EXACT = 2  # the same: a loop that makes no progress


@cache
def registers(live: int) -> tuple[int, ...]:
    """The numbers of the registers whose bits are set, but for r10."""
    return tuple(n for n in range(10) if live >> n & 1)


_SIZED = frozenset((VALUE, VALUE_OR_NULL, MEM, MEM_OR_NULL, MAP_KEY))
_CALLEE_SAVED = 0b1111000000


class Comparison:
    """One comparison of a kept state with a new one: which ids stand for which."""

    __slots__ = ("ids", "level", "matters")

    def __init__(self, level: Level) -> None:
        """Nothing stands for anything yet."""
        self.level = level
        self.ids: dict[int, int] = {}
        self.matters: list[Reg] = []  # of the new state: as precise as the kept one's

    def states(self, kept: Checkpoint, new: State, code: Code, live: int) -> bool:
        """Whether the kept state covers the new one."""
        if len(kept.frames) != len(new.frames) or len(kept.refs) != len(new.refs):
            return False
        depth = len(kept.frames) - 1
        for n in range(depth, -1, -1):
            old, now = kept.frames[n], new.frames[n]
            if old.callsite != now.callsite or old.unrolled > now.unrolled:
                return False
            if n < depth:
                live = _live_behind(kept.frames[n + 1], code)
            if not self._registers(old, now, live):
                return False
            if not self._stack(kept, n, old, now):
                return False
        for (old_id, old_depth), (new_id, new_depth) in zip(kept.refs, new.refs, strict=True):
            if old_depth != new_depth or not self._same_id(old_id, new_id):
                return False
        if self.level is Level.ENOUGH:
            for reg in self.matters:
                mark_precise(reg)
        return True

    def _registers(self, old: Frame, new: Frame, live: int) -> bool:
        before, now = old.regs, new.regs
        enough = self.level is Level.ENOUGH
        for n in registers(live):
            a, b = before[n], now[n]
            if a is b:
                if a.id and not self._pair(a.id, a.id):
                    return False
            elif enough and a.kind == SCALAR == b.kind and not a.precise:
                continue
            elif not self._reg(a, b):
                return False
        return True

    def _same_id(self, old: int, new: int) -> bool:
        """Whether ids may stand for each other (check_ids)."""
        if bool(old) != bool(new):
            return False
        return not old or self._pair(old, new)

    def _pair(self, old: int, new: int) -> bool:
        found = self.ids.get(old)
        if found is not None:
            return found == new
        if new in self.ids.values():
            return False
        self.ids[old] = new
        return True

    def _scalar_id(self, old: Reg, new: Reg) -> bool:
        """Numbers tied together in the kept state must be tied in the new one
        (check_scalar_ids)."""
        if not old.id:
            return True
        if (old.about is None) != (new.about is None) or old.about != new.about:
            return False
        # An id of its own for a number that has none: it is tied to nothing.
        return self._pair(old.id, new.id or -1 - len(self.ids))

    def _reg(self, old: Reg, new: Reg) -> bool:
        kind = old.kind
        if self.level is Level.EXACT:
            return (
                kind == new.kind
                and old.number is new.number
                and old.off == new.off
                and old.about == new.about
                and (self._scalar_id(old, new) if kind == SCALAR else self._same_id(old.id, new.id))
                and self._same_id(old.ref, new.ref)
            )
        if kind == NOT_INIT:
            return self.level is Level.ENOUGH or new.kind == NOT_INIT
        if kind != new.kind:
            return False
        if kind == SCALAR:
            if not old.precise and self.level is Level.ENOUGH:
                return True
            if not within(old.number, new.number) or not self._scalar_id(old, new):
                return False
            self.matters.append(new)
            return True
        if old.off != new.off:
            return False
        if kind == PACKET:
            a, b = old.about, new.about
            assert isinstance(a, int)
            assert isinstance(b, int)
            if ((a < 0 or b < 0) and a != b) or a > b:
                return False
        elif old.about != new.about or not self._same_id(old.ref, new.ref):
            return False
        if not self._same_id(old.id, new.id):
            return False
        if kind == PACKET or kind in _SIZED:
            return within(old.number, new.number)
        return old.number is new.number

    # ---- stack ------------------------------------------------------------------------------

    def _stack(self, kept: Checkpoint, depth: int, old: Frame, new: Frame) -> bool:
        everything = self.level is not Level.ENOUGH
        if old.stack is new.stack and everything:
            return True
        if everything and old.stack.keys() != new.stack.keys():
            return False
        now, reads = new.stack, kept.reads
        for spi, slot in old.stack.items():
            if not everything and (depth, spi) not in reads:
                continue
            there = now.get(spi, EMPTY)
            if slot is there:
                if slot.reg.id and not self._pair(slot.reg.id, slot.reg.id):
                    return False
            elif not self._slot(slot, there):
                return False
        return True

    def _slot(self, old: Slot, new: Slot) -> bool:
        if self.level is not Level.ENOUGH and old.kinds != new.kinds:
            return False
        a, b = _as_number(old), _as_number(new)
        if a is not None and b is not None:
            return self._reg(a, b)
        for was, is_ in zip(old.kinds, new.kinds, strict=True):
            if was in (INVALID, is_) or (was == MISC and is_ != SPILL):
                continue
            if was == MISC and self.level is Level.ENOUGH:
                # what was read as bytes then, and spilled now: the bytes of a number
                if new.reg.kind == SCALAR:
                    continue
                return False
            return False
        if old.kinds[7] == SPILL:
            return self._reg(old.reg, new.reg)
        return ZEROED not in old.kinds or self._zeros(new)

    def _zeros(self, new: Slot) -> bool:
        return True


def _as_number(slot: Slot) -> Reg | None:
    """A slot as one number of 8 bytes: spilled whole, or bytes of which nothing is known."""
    if slot.kinds[0] == SPILL and slot.kinds[7] == SPILL and slot.reg.kind == SCALAR:
        return slot.reg
    if all(kind == MISC for kind in slot.kinds):
        return _ANY
    return None


_ANY = Reg(SCALAR, UNKNOWN)
assert ZERO


def _live_behind(callee: Frame, code: Code) -> int:
    """Registers of a caller that are read after, or for a callback at, the call."""
    call = code.at(callee.callsite)
    if callee.callback:
        return call.live
    return code.at(call.next).live & _CALLEE_SAVED


def seen(kept: Checkpoint, new: State, code: Code, live: int, level: Level) -> bool:
    """Whether `kept` covers `new`, which is about to do the same instruction."""
    return Comparison(level).states(kept, new, code, live)
