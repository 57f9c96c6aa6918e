"""What holds at one point of one path: registers, stack slots, references, of every frame.

A stack slot is 8 bytes: what each byte is, and the value that was spilled there whole, or in its
low bytes. Byte 7 of `kinds` is the one at the lowest address, as in struct bpf_stack_state
(linux/bpf_verifier.h).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from nfc.verify.values import NOTHING, Reg

INVALID, MISC, ZEROED, SPILL = range(4)  # what a byte of the stack is


class Slot(NamedTuple):
    """8 bytes of stack."""

    kinds: bytes
    reg: Reg


EMPTY: Final = Slot(bytes(8), NOTHING)
ALL_MISC: Final = bytes([MISC] * 8)
ALL_ZERO: Final = bytes([ZEROED] * 8)
ALL_SPILL: Final = bytes([SPILL] * 8)


class Frame:
    """A function's registers and stack; `stack` is by slot number, 0 the one below r10.

    `callsite` is the slot of the call instruction; `callback` says of a function that a helper
    calls by which helper (0: none is involved).
    """

    __slots__ = ("callback", "callsite", "depth", "function", "regs", "shared", "stack", "unrolled")

    def __init__(self, function: int, depth: int, callsite: int = -1, callback: int = 0) -> None:
        """A new frame: no register holds anything, but r10."""
        self.function = function
        self.depth = depth
        self.callsite = callsite
        self.callback = callback
        self.regs: list[Reg] = [NOTHING] * 11
        self.stack: dict[int, Slot] = {}
        self.shared = False  # `stack` is also another frame's, and must be copied to be changed
        self.unrolled = 0  # rounds of the callback that it is calling

    def copy(self) -> Frame:
        """The same, to go another way."""
        twin = Frame.__new__(Frame)
        twin.function = self.function
        twin.depth = self.depth
        twin.callsite = self.callsite
        twin.callback = self.callback
        twin.regs = self.regs.copy()
        twin.stack = self.stack
        twin.unrolled = self.unrolled
        self.shared = twin.shared = True
        return twin

    def put(self, slot: int, value: Slot) -> None:
        """Write a stack slot."""
        if self.shared:
            self.stack = self.stack.copy()
            self.shared = False
        self.stack[slot] = value


class Step(NamedTuple):
    """A decision on the way: at `slot`, the jump was `taken`, coming from `before`."""

    before: Step | None
    slot: int
    taken: bool


Key = tuple[int, int]  # number of the frame, number of the slot


@dataclass(slots=True)
class Checkpoint:
    """A state that was kept, to compare others with (struct bpf_verifier_state_list).

    `open` counts the ways from here that have not been followed to their end. `reads` are the
    stack slots that some way read before it wrote them; `written` those that were written
    between `parent` and here.
    """

    frames: list[Frame]
    refs: tuple[Key, ...]
    parent: Checkpoint | None
    written: frozenset[Key]
    rounds: int
    open: int = 1
    hits: int = 0
    misses: int = 0
    reads: set[Key] = field(default_factory=set)


class State:
    """A path's end: where the exploration goes on from."""

    __slots__ = ("frames", "parent", "path", "refs", "rounds", "slot", "written")

    def __init__(
        self,
        slot: int,
        frames: list[Frame],
        refs: tuple[Key, ...] = (),
        parent: Checkpoint | None = None,
        path: Step | None = None,
        rounds: int = 0,
    ) -> None:
        """A state about to do the instruction at `slot`."""
        self.slot = slot
        self.frames = frames
        self.refs = refs  # (id, number of the frame it was taken in)
        self.parent = parent
        self.path = path
        self.written: set[Key] = set()
        self.rounds = rounds  # of callbacks, all together

    def fork(self, slot: int) -> State:
        """The same, to go on at `slot`."""
        twin = State(
            slot, [f.copy() for f in self.frames], self.refs, self.parent, self.path, self.rounds
        )
        twin.written = set(self.written)
        if self.parent is not None:
            self.parent.open += 1
        return twin

    def checkpoint(self) -> Checkpoint:
        """Keep what holds here; what follows has it as its parent."""
        kept = Checkpoint(
            [f.copy() for f in self.frames],
            self.refs,
            self.parent,
            frozenset(self.written),
            self.rounds,
        )
        self.parent = kept
        self.written = set()
        return kept

    def read(self, key: Key) -> None:
        """A stack slot is read: every checkpoint since it was written needs it."""
        if key in self.written:
            return
        kept = self.parent
        while kept is not None and key not in kept.reads:
            kept.reads.add(key)
            if key in kept.written:
                return
            kept = kept.parent

    def finish(self) -> None:
        """This path has come to its end."""
        kept = self.parent
        while kept is not None:
            kept.open -= 1
            if kept.open:
                return
            kept = kept.parent
