"""What each rule of a compiled function costs, read off its object.

The control-flow graph of the program's instructions, its loops taken together, has no circles: so
the longest way through it can be found. A rule's way is one through the place where the rule's
packets are counted. Rounds of loops are told apart: how many there are is the packet's doing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nfc.bpf.helper_names import helper_name
from nfc.bpf.isa import JMP, JMP32, LDX, ST, STX, decode
from nfc.bpf.object import Program
from nfc.explain.flow import Lines, after, order, parts
from nfc.manifest import Manifest

_FRAME_POINTER = 10
_SIZE_DW, _MODE_MEM = 0x18, 0x60
_MOV, _ADD = 0xBF, 0x07  # of 64 bits: a register, a number
_MORE_THAN = (0x25, 0x26)  # jgt with a number, 64 and 32 bits wide
_NEAR = 8  # instructions between a count's load and its store, at most
MAX_ROUNDS = 255  # no loop of nfc's has more; larger numbers are offsets


@dataclass(frozen=True)
class Loop:
    """A loop on the way: the instructions of one round, each counted once; the most rounds, None
    where no comparison with a number says."""

    instructions: int
    rounds: int | None


@dataclass(frozen=True)
class RuleCost:
    """A rule's way through the program, at its longest.

    `instructions` counts each once, also those of `loops`. `calls` are the helpers on the way, in
    order. `stack`: bytes that the way reaches below the frame pointer.
    """

    line: int
    instructions: int
    loops: tuple[Loop, ...]
    calls: tuple[str, ...]
    stack: int

    def __str__(self) -> str:
        """In words."""
        text = f"{self.instructions} instructions at most"
        rounds = [
            f"{x.instructions} a round" + (f", {x.rounds} rounds at most" if x.rounds else "")
            for x in self.loops
        ]
        if rounds:
            text += f", of which in loops {' and '.join(rounds)}"
        calls = Counter(self.calls)
        named = [f"{name} ×{n}" if n > 1 else name for name, n in calls.items()]
        said = "call of a helper" if len(self.calls) == 1 else "calls of helpers"
        return f"{text}; {len(self.calls)} {said}: {', '.join(named)}; {self.stack} bytes of stack"


def rule_costs(program: Program, manifest: Manifest) -> tuple[RuleCost | None, ...]:
    """The cost of each rule of a linked program, in order; None for one whose code LLVM has left
    out, since no packet can take it."""
    graph = _Graph(program)
    rules = [c for c in manifest.counters if c.kind == "rule"]
    return tuple(graph.cost(graph.counted(n, c.line), c.line) for n, c in enumerate(rules))


class _Graph:
    def __init__(self, program: Program) -> None:
        self.code = dict(decode(program.code))
        self.lines = Lines(program)
        self.after = {slot: tuple(after(slot, insn)) for slot, insn in self.code.items()}
        self.part = parts(self.after)  # of each instruction: the first one of its loop, or itself
        self.members: dict[int, list[int]] = {}
        for slot, part in self.part.items():
            self.members.setdefault(part, []).append(slot)
        ordered = order(self.after, self.part)
        following = {part: self._next(part) for part in ordered}
        before: dict[int, list[int]] = {part: [] for part in ordered}
        for part, nexts in following.items():
            for later in nexts:
                before[later].append(part)
        self.down = self._longest(list(reversed(ordered)), following)
        self.up = self._longest(ordered, before)

    def _next(self, part: int) -> list[int]:
        slots = self.members[part]
        found = {self.part[t] for s in slots for t in self.after[s] if t in self.part}
        return sorted(found - {part})

    def _longest(
        self, order: Sequence[int], to: Mapping[int, Sequence[int]]
    ) -> dict[int, tuple[int, int | None]]:
        """Of each part: the instructions of the longest way on, and the next part on it."""
        found: dict[int, tuple[int, int | None]] = {}
        for part in order:
            best = max(((found[p][0], -p) for p in to[part] if p in found), default=None)
            size = len(self.members[part])
            found[part] = (size, None) if best is None else (size + best[0], -best[1])
        return found

    def counted(self, number: int, line: int) -> int | None:
        """Where the packets of a rule are counted: this CPU's count is loaded and stored again."""
        ours = (s for s in self.code if self.lines.at(s) == line and s in self.part)
        return next((s for s in ours if self._counts(s, 8 * number)), None)

    def _counts(self, slot: int, offset: int) -> bool:
        """Whether a number is loaded from an offset here, and stored there again one larger. LLVM
        may take a copy of the address or of the number in between."""
        insn = self.code[slot]
        if (insn.opcode, insn.off) != (LDX | _SIZE_DW | _MODE_MEM, offset):
            return False
        more = {insn.dst: 0}  # registers with the number: how much larger it is there
        for insn in (self.code[slot + n] for n in range(1, _NEAR) if slot + n in self.code):
            if (insn.opcode, insn.off) == (STX | _SIZE_DW | _MODE_MEM, offset):
                if more.get(insn.src) == 1:
                    return True
            elif insn.opcode == _MOV and insn.src in more:
                more[insn.dst] = more[insn.src]
            elif insn.opcode == _ADD and insn.dst in more:
                more[insn.dst] += insn.imm
            elif insn.cls in (JMP, JMP32):
                return False
            elif insn.cls not in (ST, STX):
                more.pop(insn.dst, None)
        return False

    def cost(self, at: int | None, line: int) -> RuleCost | None:
        if at is None:
            return None
        here = self.part[at]
        way = [*list(self._follow(here, self.up))[:0:-1], *self._follow(here, self.down)]
        slots = [s for part in way for s in sorted(self.members[part])]
        calls = tuple(helper_name(i.imm) for i in (self.code[s] for s in slots) if i.calls_helper)
        loops = tuple(self._loop(p) for p in way if len(self.members[p]) > 1)
        return RuleCost(line, len(slots), loops, calls, max(map(self._depth, slots), default=0))

    def _loop(self, part: int) -> Loop:
        """A loop that is left when a count is more than a number has that many rounds, and one."""
        members = self.members[part]
        counts = [
            insn.imm
            for slot in members
            if (insn := self.code[slot]).opcode in _MORE_THAN
            and 0 < insn.imm <= MAX_ROUNDS
            and any(self.part.get(target) != part for target in self.after[slot])
        ]
        return Loop(len(members), min(counts) + 1 if counts else None)

    def _follow(self, part: int | None, ways: dict[int, tuple[int, int | None]]) -> Iterator[int]:
        while part is not None:
            yield part
            part = ways[part][1]

    def _depth(self, slot: int) -> int:
        """Bytes below the frame pointer that an instruction reaches."""
        insn = self.code[slot]
        base = insn.src if insn.cls == LDX else insn.dst
        if insn.cls in (LDX, ST, STX) and base == _FRAME_POINTER:
            return -insn.off
        before = self.code.get(slot - 1)
        made = before is not None and before.opcode == _MOV and before.src == _FRAME_POINTER
        if insn.opcode == _ADD and made and before is not None and before.dst == insn.dst:
            return -insn.imm
        return 0
