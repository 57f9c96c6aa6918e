"""The oldest kernel that a function runs on, and what in it asks for that."""

from __future__ import annotations

from dataclasses import dataclass

from nfc.bpf.facts import BOUNDED_LOOPS_SINCE, HOOKS, ISA_SINCE
from nfc.bpf.helpers import HELPERS
from nfc.bpf.isa import decode
from nfc.bpf.maptypes import MAP_TYPES
from nfc.bpf.object import Object, Program
from nfc.bpf.version import KernelVersion


@dataclass(frozen=True)
class Need:
    """Something that a kernel has since a version."""

    since: KernelVersion
    what: str
    line: int = 0  # of the source, the first that asks for it; 0: the whole function

    def __str__(self) -> str:
        """6.1: bpf_ktime_get_tai_ns (line 30)."""
        return f"{self.since}: {self.what}" + (f" (line {self.line})" if self.line else "")


def needs(obj: Object, program: Program, hook: str) -> tuple[Need, ...]:
    """What a linked program asks of a kernel, the newest first."""
    found: dict[str, Need] = {}

    def need(since: KernelVersion, what: str, line: int = 0) -> None:
        if what not in found:
            found[what] = Need(since, what, line)

    need(BOUNDED_LOOPS_SINCE, "the oldest that nfc compiles for")
    need(HOOKS[hook].since, f"programs at {hook}")
    lines = Lines(program)
    for slot, insn in decode(program.code):
        if insn.calls_helper and insn.imm in HELPERS:
            helper = HELPERS[insn.imm]
            need(helper.since_at(hook) or helper.since, helper.name, lines.at(slot))
        extension = insn.extension
        if extension:
            need(ISA_SINCE[extension], f"instruction set {extension}", lines.at(slot))
        if insn.jump is not None and insn.jump < 0:
            need(BOUNDED_LOOPS_SINCE, "loops", lines.at(slot))
    for one in obj.maps:
        if one.type in MAP_TYPES:
            need(MAP_TYPES[one.type].since, f"maps of type {MAP_TYPES[one.type].name}")
    return tuple(sorted(found.values(), key=lambda n: (n.since, n.what), reverse=True))


class Lines:
    """The source line of each instruction of a program."""

    def __init__(self, program: Program) -> None:
        """Read the program's line information, which is in order."""
        self._starts = [(info.offset // 8, info.line) for info in program.line_info]

    def at(self, slot: int) -> int:
        """The line of the instruction at a slot; 0 where the object does not say."""
        line = 0
        for start, number in self._starts:
            if start > slot:
                break
            line = number
        return line
