"""A program and where the walk over it stands: what the steps that follow its instructions ask for
and change (struct bpf_verifier_env, linux/bpf_verifier.h)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nfc.bpf.facts import STACK_SIZE, HookFacts
from nfc.verify.program import Code, Function, Insn
from nfc.verify.refusal import Refused
from nfc.verify.rules import Rules
from nfc.verify.state import SPILL, ZEROED, Checkpoint, Frame, State, Step
from nfc.verify.values import (
    NOT_INIT,
    SCALAR,
    STACK,
    Map,
    Reg,
    mark_precise,
)

MAX_PENDING: Final = 8192  # BPF_COMPLEXITY_LIMIT_JMP_SEQ, kernel/bpf/verifier.c


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
        self.pending: list[State] = []
        self.kept: dict[int, list[Checkpoint]] = {}
        self.last = (0, 0)  # processed instructions and jumps when a state was kept last
        self.state = State(0, [])
        self.frame: Frame
        self.regs: list[Reg]

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
        self.pending.append(other)
        if len(self.pending) > MAX_PENDING:
            raise Refused(
                f"more than {MAX_PENDING} branches on one path",
                "a loop with fewer rounds, or bpf_loop",
            )
        return other
