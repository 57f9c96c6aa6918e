"""The walk over all paths of a program (do_check and is_state_visited, kernel/bpf/verifier.c).

One path is followed to its end; what was put off at its branches comes next, the last first. At
prune points the state is compared with those that were kept there, so that what was followed
once is not followed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nfc.bpf.facts import STACK_SIZE, HookFacts, limits
from nfc.bpf.isa import CALL
from nfc.bpf.prototypes import PROTOTYPES
from nfc.verify import prune
from nfc.verify.jumps import forget_packet
from nfc.verify.program import Code, Function, Insn
from nfc.verify.refusal import Refused
from nfc.verify.rules import Rules
from nfc.verify.scalar import ZERO
from nfc.verify.signatures import CONTEXT, OTHER
from nfc.verify.state import ALL_MISC, SPILL, ZEROED, Checkpoint, Frame, Slot, State, Step
from nfc.verify.values import (
    CTX,
    NOT_INIT,
    NOTHING,
    SCALAR,
    STACK,
    Map,
    Reg,
    mark_precise,
    unknown,
)

MAX_PENDING: Final = 8192  # BPF_COMPLEXITY_LIMIT_JMP_SEQ, kernel/bpf/verifier.c


@dataclass(frozen=True, slots=True)
class Effort:
    """What it took: instructions processed, counting every path; states kept."""

    processed: int
    states: int


class Machine:
    """A program, and where the walk over it is. One of these is made for one verdict."""

    def __init__(
        self,
        code: Code,
        hook: HookFacts,
        rules: Rules,
        maps: Mapping[int, tuple[Map, int | None]],
        license: str,
    ) -> None:
        """`maps`: by slot of a ld_imm64, the map it loads, and for a value the byte offset."""
        self.code = code
        self.hook = hook
        self.rules = rules
        self.maps = maps
        self.license = license
        self.jumps = 0
        self.processed = 0
        self.states = 0
        self.depths = [0] * len(code.functions)
        self.touched: dict[int, int] = {}  # by slot: it accesses the context, a socket, or neither
        self.called: list[Function] = []
        self.tail_calls = False  # in functions other than the main one
        self._ids = 0
        self._pending: list[State] = []
        self._kept: dict[int, list[Checkpoint]] = {}
        self._last = (0, 0)  # processed instructions and jumps when a state was kept last
        self.state = State(0, [])
        self.frame: Frame
        self.regs: list[Reg]

    # ---- what steps ask for -----------------------------------------------------------------

    def operand(self, register: int) -> Reg:
        """What a register holds. Raises Refused if nothing was put there."""
        reg = self.regs[register]
        if reg.kind == NOT_INIT:
            raise Refused(
                f"r{register} is used, and nothing was put there on this path",
                "a call leaves nothing in r1 to r5, and a function begins with its arguments only",
                (register,),
            )
        return reg

    def new_id(self) -> int:
        """A number that no value has yet."""
        self._ids += 1
        return self._ids

    def with_id(self, reg: Reg) -> Reg:
        """The number with an id, so that copies stay tied to it (assign_scalar_id_before_mov)."""
        if reg.kind != SCALAR or not reg.number.mask:
            if reg.about is not None and reg.kind == SCALAR:
                return Reg(SCALAR, reg.number, deps=(reg,))
            return reg
        if reg.id and reg.about is None:
            return reg
        return Reg(SCALAR, reg.number, 0, self.new_id(), deps=(reg,))

    def grow_stack(self, frame: object, depth: int) -> None:
        """A frame's stack is used down to `depth` bytes below its pointer."""
        assert isinstance(frame, int)
        function = self.state.frames[frame].function
        self.depths[function] = max(depth, self.depths[function])

    def constant_at(self, pointer: Reg, size: int) -> int | None:
        """The number of `size` bytes that the stack holds there, if it is known."""
        if not self.rules.constant_key or pointer.kind != STACK or pointer.number.mask:
            return None
        least = pointer.number.smin + pointer.off
        if not -STACK_SIZE <= least < 0:
            return None
        assert isinstance(pointer.about, int)
        slot = self.state.frames[pointer.about].stack.get((-least - 1) >> 3)
        if slot is None:
            return None
        first = (-least - 1) & 7
        if first + 1 >= size and all(slot.kinds[first - n] == ZEROED for n in range(size)):
            return 0
        if (
            least % 8
            or slot.kinds.count(SPILL) != size
            or slot.reg.kind != SCALAR
            or slot.reg.number.mask
        ):
            return None
        mark_precise(slot.reg)
        return slot.reg.number.value

    def enter(self) -> None:
        """The innermost frame is another one now."""
        self.frame = self.state.frames[-1]
        self.regs = self.frame.regs

    def decide(self, insn: Insn, taken: bool) -> None:
        """Note for the path that is shown to people which way it goes."""
        self.state.path = Step(self.state.path, insn.slot, taken)

    def push(self, insn: Insn) -> State:
        """Put the jump's other way off; this state goes on behind it."""
        other = self.push_to(insn.target, insn)
        other.path = Step(self.state.path, insn.slot, True)
        self.decide(insn, False)
        return other

    def push_to(self, slot: int, insn: Insn) -> State:
        """Put a state off that goes on at `slot`."""
        other = self.state.fork(slot)
        self._pending.append(other)
        if len(self._pending) > MAX_PENDING:
            raise Refused(
                f"more than {MAX_PENDING} branches on one path",
                "a loop with fewer rounds, or bpf_loop",
            )
        return other

    # ---- the walk ---------------------------------------------------------------------------

    def run(self) -> Effort:
        """Follow every path of the program, then those of its global functions.

        Raises Refused; `state.slot` is then the instruction that is to blame.
        """
        main = Frame(0, 0)
        main.regs[1] = Reg(CTX)
        self._walk(main, 0)
        for function in self.called:  # grows while it is walked
            self._walk(self._called_alone(function), function.start)
        return Effort(self.processed, self.states)

    def _called_alone(self, function: Function) -> Frame:
        """The frame of a global function: any arguments of its types."""
        frame = Frame(function.number, 0)
        for n, argument in enumerate(function.arguments or (), 1):
            frame.regs[n] = Reg(CTX) if argument == CONTEXT else unknown()
        return frame

    def _walk(self, frame: Frame, start: int) -> None:
        frame.regs[10] = Reg(STACK, about=0)
        self._kept.clear()
        self._pending.clear()
        self.state = State(start, [frame])
        self.enter()
        insns, limit = self.code.insns, limits(self.rules.version).processed
        slot = start
        while True:
            insn = insns[slot]
            self.processed += 1
            if self.processed > limit:
                raise Refused(
                    f"more than {limit} instructions, counting every path",
                    "simplify: fewer branches in loops, loops with fewer rounds",
                )
            self.state.slot = slot
            assert insn is not None
            slot = -1 if insn.prune and self._seen(insn) else insn.step(self, insn)
            if slot < 0:
                self.state.finish()
                if not self._pending:
                    return
                self.state = self._pending.pop()
                self.enter()
                slot = self.state.slot

    def end_of_program(self) -> int:
        """The main function returns; any number that fits will do at these hooks."""
        result = self.operand(0)
        if self.frame.function and result.kind != SCALAR:
            raise Refused("a global function returns something that is no number")
        return -1

    def call_global(self, insn: Insn, function: Function) -> int:
        """A function that is verified by itself is called (check_func_call)."""
        for n, argument in enumerate(function.arguments or (), 1):
            given = self.operand(n)
            if n > 5 or argument == OTHER:
                raise Refused(
                    f"argument {n} of {function.name}, a global function, is {OTHER}",
                    "make the function static",
                )
            if given.kind != (CTX if argument == CONTEXT else SCALAR) or given.off:
                raise Refused(f"argument {n} of {function.name} must be {argument}", "", (n,))
        if function not in self.called:
            self.called.append(function)
        if self._moves_packet(function):
            forget_packet(self.state, unknown)
        self.regs[0:6] = [unknown(), *[NOTHING] * 5]
        return insn.next

    def _moves_packet(self, function: Function, above: tuple[Function, ...] = ()) -> bool:
        """Whether it, or what it calls, may move the packet. Kernels before 6.13 did not ask."""
        if function in above:
            return False
        for slot in range(function.start, function.end):
            insn = self.code.insns[slot]
            if insn is None or insn.op != CALL:
                continue
            prototype = PROTOTYPES.get(insn.imm) if insn.src == 0 else None
            if prototype is not None and prototype.moves:
                return True
            if insn.src == 1 and self._moves_packet(
                self.code.by_start[insn.target], (*above, function)
            ):
                return True
        return False

    def require_callback(self, function: Function) -> None:
        """Raises Refused if a function may not be a callback."""
        if function.number == 0:
            raise Refused("the main function cannot be a callback")

    # ---- states that were seen --------------------------------------------------------------

    def _seen(self, insn: Insn) -> bool:
        """Whether what may happen from here was followed already; else the state may be kept
        (is_state_visited, with the same thrift)."""
        state = self.state
        kept = self._kept.get(insn.slot)
        since_insns = self.processed - self._last[0]
        since_jumps = self.jumps - self._last[1]
        keep = insn.force or (since_jumps >= 2 and since_insns >= 8)
        if kept:
            n = len(kept) - 1
            while n >= 0:
                old = kept[n]
                if old.open:
                    if self._looping(insn, old):
                        return True
                    if not insn.force and since_jumps < 20 and since_insns < 100:
                        keep = False
                elif prune.seen(old, state, self.code, insn.live, prune.Level.ENOUGH):
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
            self.states += 1
            self._last = (self.processed, self.jumps)
            self._kept.setdefault(insn.slot, []).append(state.checkpoint())
        return False

    def _looping(self, insn: Insn, old: Checkpoint) -> bool:
        """A state on this very path: a loop that makes no progress never ends, unless a helper
        makes it, in which case another round shows nothing new."""
        if insn.force:
            if not prune.seen(old, self.state, self.code, insn.live, prune.Level.WITHIN):
                return False
            old.hits += 1
            for n, frame in enumerate(self.state.frames):
                for reg in frame.regs:
                    mark_precise(reg)
                for spi, slot in frame.stack.items():
                    self.state.read((n, spi))
                    mark_precise(slot.reg)
            for frame in old.frames:
                for reg in (*frame.regs, *(slot.reg for slot in frame.stack.values())):
                    mark_precise(reg)
            return True
        if old.rounds == self.state.rounds and prune.seen(
            old, self.state, self.code, insn.live, prune.Level.EXACT
        ):
            raise Refused(
                "this loop may go on for ever: it comes back here with nothing changed",
                "count its rounds, and leave when the count is reached",
            )
        return False

    def widen(self, callsite: int) -> None:
        """After a callback: numbers that it changes, and that have not mattered so far, may have
        any value, so that the rounds come to an end (widen_imprecise_scalars)."""
        before = next((c for c in reversed(self._kept.get(callsite, [])) if c.open), None)
        if before is None or len(before.frames) != len(self.state.frames):
            return
        for old, new in zip(before.frames, self.state.frames, strict=True):
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


__all__ = ["ALL_MISC", "ZERO", "Effort", "Machine"]
