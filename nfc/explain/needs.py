"""The oldest kernel that a function runs on, and what in it asks for that."""

from __future__ import annotations

from dataclasses import dataclass

from nfc.bpf.facts import BOUNDED_LOOPS_SINCE, HOOKS, ISA_SINCE
from nfc.bpf.helpers import HELPERS
from nfc.bpf.isa import decode
from nfc.bpf.maptypes import MAP_TYPES
from nfc.bpf.object import Object, Program
from nfc.bpf.version import KernelVersion
from nfc.explain.flow import Lines, after, parts


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
    code = list(decode(program.code))
    part = parts({slot: tuple(after(slot, insn)) for slot, insn in code})
    for slot, insn in code:
        if insn.calls_helper and insn.imm in HELPERS:
            helper = HELPERS[insn.imm]
            need(helper.since_at(hook) or helper.since, helper.name, lines.at(slot))
        extension = insn.extension
        if extension:
            need(ISA_SINCE[extension], f"instruction set {extension}", lines.at(slot))
        # Code may be placed so that a jump leads back to what does not come here again: no loop.
        back = None if insn.jump is None or insn.jump >= 0 else slot + 1 + insn.jump
        if back is not None and slot in part and part.get(back) == part[slot]:
            need(BOUNDED_LOOPS_SINCE, "loops", lines.at(slot))
    for one in obj.maps:
        if one.type in MAP_TYPES:
            need(MAP_TYPES[one.type].since, f"maps of type {MAP_TYPES[one.type].name}")
    return tuple(sorted(found.values(), key=lambda n: (n.since, n.what), reverse=True))
