"""A program's flow of control: where it goes on, its loops, the source lines of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

from nfc.bpf.isa import EXIT, GOTO, GOTOL, Instruction
from nfc.bpf.object import Program


class Lines:
    """The source line of each instruction of a program."""

    def __init__(self, program: Program) -> None:
        """Read the program's line information, which is in order."""
        self._starts = [info.offset // 8 for info in program.line_info]
        self._lines = [info.line for info in program.line_info]

    def at(self, slot: int) -> int:
        """The line of the instruction at a slot; 0 where the object does not say."""
        number = bisect_right(self._starts, slot)
        return self._lines[number - 1] if number else 0


def after(slot: int, insn: Instruction) -> Iterator[int]:
    """Where a program goes on behind an instruction at a slot."""
    if insn.opcode == EXIT:
        return
    if insn.opcode not in (GOTO, GOTOL):
        yield slot + insn.slots
    if insn.jump is not None:
        yield slot + 1 + insn.jump


def parts(graph: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """The strongly connected parts that can be reached from 0 (Tarjan), by their first member."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    within: set[int] = set()
    part: dict[int, int] = {}
    work: list[tuple[int, Iterator[int]]] = []

    def enter(slot: int) -> None:
        index[slot] = low[slot] = len(index)
        stack.append(slot)
        within.add(slot)
        work.append((slot, iter(graph.get(slot, ()))))

    enter(0)
    while work:
        slot, rest = work[-1]
        for target in rest:
            if target not in index:
                enter(target)
                break
            if target in within:
                low[slot] = min(low[slot], index[target])
        else:
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[slot])
            if low[slot] == index[slot]:
                members: list[int] = []
                while not members or members[-1] != slot:
                    members.append(stack.pop())
                within.difference_update(members)
                part |= dict.fromkeys(members, min(members))
    return part


def order(graph: Mapping[int, Sequence[int]], part: Mapping[int, int]) -> list[int]:
    """The parts, each behind all that lead to it."""
    to: dict[int, set[int]] = {p: set() for p in part.values()}
    for slot, targets in graph.items():
        if slot in part:
            to[part[slot]] |= {part[t] for t in targets if t in part and part[t] != part[slot]}
    waiting = dict.fromkeys(to, 0)
    for onward in to.values():
        for target in onward:
            waiting[target] += 1
    ready, found = [part[0]], []
    while ready:
        one = ready.pop()
        found.append(one)
        for target in sorted(to[one]):
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return found
