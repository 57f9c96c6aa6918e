"""What the kernel's verifier wrote, as a value: the reason first, where, and how much it did.

The log is for people and changes between kernels; this reads those of 5.10 to 6.18
(kernel/bpf/verifier.c, kernel/bpf/log.c). Every line is an instruction, a source line, the
statistics, one of the known kinds of state dump in `_NOISE`, or else a message. A log that
nobody has seen before gives more message lines than needed, never an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nfc.bpf.object import LineInfo, Program

_INSTRUCTION = re.compile(r"(\d+): \([0-9a-f]{2}\) ?(.*)")
# 6.9 and later end the comment with " @ file.nf:12"; earlier ones have the text alone.
_SOURCE = re.compile(r"; ?(.*?)(?: @ ([^@]*):(\d+))?$")
_STATS = re.compile(
    r"processed (\d+) insns \(limit (\d+)\) max_states_per_insn (\d+) total_states (\d+) "
    r"peak_states (\d+)"
)
_INSN_IN_MESSAGE = re.compile(r"\binsn (\d+)")
_NOISE = tuple(
    re.compile(pattern)
    for pattern in (
        r"\d+: (R\d|frame\d|safe|\[)",  # state at an instruction
        r" *R\d+(_rw|_[rw])?=",  # state after a branch, or of `cur state`
        r"(from \d+ to \d+|caller|callee|returning from callee|to caller at \d+).*:",
        r"(cur|old) state:",
        r" *frame ?\d+:",
        r"func#\d+ @\d+",
        r"(Live regs before insn|mark_precise|last_idx|parent (didn't|already)|regs=|propagating)",
        r" +\d+: [.0-9]{10} \(",  # the table of live registers
        r"(verification time|stack depth|insns processed)",
        r"(Validating|Func#\d+ \('|Processing) ",
        r"\((truncated|\d+ lines)",
        r"processed \d+ insns",
        r"\s*$",
    )
)


@dataclass(frozen=True)
class SourceNote:
    """A source line that the log shows before instruction `insn`; `line` 0: it does not say."""

    insn: int
    text: str
    file: str
    line: int


@dataclass(frozen=True)
class Stats:
    """The verifier's effort: instructions walked (of how many allowed), states kept."""

    processed: int
    limit: int
    max_states_per_insn: int
    total_states: int
    peak_states: int


@dataclass(frozen=True)
class VerifierLog:
    """`message`: the lines that say why, the last of them last (empty when it was accepted).

    `insn`: index of the instruction (of 8 bytes, counted from the program's start) that was
    refused, or None when the log names none.
    """

    message: tuple[str, ...]
    insn: int | None
    instruction: str
    sources: tuple[SourceNote, ...]
    stats: Stats | None


def parse(text: str) -> VerifierLog:
    """Read a whole log, or its head or tail. Never raises."""
    message: list[str] = []
    sources: list[SourceNote] = []
    pending: re.Match[str] | None = None
    insn: int | None = None
    instruction = ""
    stats: Stats | None = None
    for line in text.splitlines():
        if found := _STATS.match(line):
            stats = Stats(*map(int, found.groups()))
        elif found := _INSTRUCTION.match(line):
            insn, instruction = int(found[1]), _without_state(found[2])
            message.clear()
            if pending:
                place = (pending[2] or "", int(pending[3] or 0))
                sources.append(SourceNote(insn, pending[1].strip(), *place))
                pending = None
        elif line.startswith(";"):
            pending = _SOURCE.match(line)
        elif not any(noise.match(line) for noise in _NOISE):
            message.append(line.strip())
    if message:
        named = [int(n) for line in message for n in _INSN_IN_MESSAGE.findall(line)]
        insn = named[0] if named else insn
    return VerifierLog(tuple(message), insn, instruction, tuple(sources), stats)


def locate(log: VerifierLog, program: Program) -> LineInfo | None:
    """The source line of the refused instruction: the last one that begins at or before it.

    None when the log names no instruction, when it lies behind `program`'s own code (in a
    function that it calls), or when the program has no line info.
    """
    if log.insn is None or log.insn * 8 >= len(program.code):
        return None
    before = [line for line in program.line_info if line.offset <= log.insn * 8]
    return max(before, key=lambda line: line.offset, default=None)


def explain(text: str, program: Program) -> str:
    """The log for an operator: `delay.nf:12: reason`, the source line, what the kernel said.

    Without line info the place is the log's own, and failing that the instruction.
    """
    log = parse(text)
    reason = log.message[-1] if log.message else "no reason given"
    line = locate(log, program)
    shown = [note for note in log.sources if log.insn is None or note.insn <= log.insn]
    if line is not None:
        place, source = f"{line.file}:{line.line}", line.text
    elif shown and shown[-1].line:
        place, source = f"{shown[-1].file}:{shown[-1].line}", shown[-1].text
    elif log.insn is not None:
        place, source = f"instruction {log.insn}", log.instruction
    else:
        place, source = program.name, ""
    lines = [f"{place}: {reason}"]
    if source.strip():
        lines.append(f"    {source.strip()}")
    lines += [f"  kernel: {said}" for said in log.message]
    return "\n".join(lines)


def _without_state(instruction: str) -> str:
    return instruction.split(" ; ", 1)[0].rstrip()
