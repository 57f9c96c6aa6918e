"""How one packet came to its fate: the rules that were tried, why each was not taken, and what
changed.

What ran is taken from the instructions that were executed: each has a source line, and a rule was
tried where one of its lines was. Which rule was taken is what the function's own counters say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nfc.bpf.helper_names import helper_name
from nfc.bpf.prototypes import NUMBER, PROTOTYPES
from nfc.errors import NfcError
from nfc.observe.tables import Entries
from nfc.oracle import kernel, wire
from nfc.oracle.outcomes import Arrival, Memory
from nfc.oracle.run import every_sites
from nfc.oracle.values import Context
from nfc.packet import changes
from nfc.run.declared import dissect
from nfc.run.explain import why_not
from nfc.run.session import Ran, Session
from nfc.sema import typed
from nfc.syntax.source import Source
from nfc.vm.image import Image
from nfc.vm.interpreter import Step
from nfc.vm.simulator import Outcome

MAX_LINES = 200  # of source that are shown of one packet's way through somebody's object
_BOLD = "\x1b[1m"


Run = tuple[Image, Sequence[Step]]  # a program, and what of it was executed


@dataclass(frozen=True)
class Tried:
    """A rule that the program tried; `why` says what kept it from being taken."""

    line: int
    taken: bool
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """A helper that was called, with what it answered where that is a number."""

    name: str
    line: int
    answer: int | None

    def __str__(self) -> str:
        """`bpf_lwt_seg6_store_bytes = 0`."""
        return self.name if self.answer is None else f"{self.name} = {self.answer}"


@dataclass(frozen=True)
class Line:
    """Source lines that ran: how many instructions of it one after the other."""

    place: str
    text: str
    instructions: int


@dataclass(frozen=True)
class Trace:
    """The way of one packet. `rules` are there for what nfc has compiled from source, `lines` for
    other objects; `instructions` is how many were executed, `printed` what bpf_printk gave."""

    rules: tuple[Tried, ...]
    lines: tuple[Line, ...]
    calls: tuple[Call, ...]
    changes: tuple[changes.Change, ...]
    instructions: int
    note: str = ""
    printed: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The trace as a JSON-ready object."""
        found: dict[str, Any] = {"instructions": self.instructions}
        if self.rules:
            found["rules"] = [
                {"line": r.line, "taken": r.taken, "why": list(r.why)} for r in self.rules
            ]
        if self.lines:
            found["lines"] = [
                {"place": one.place, "text": one.text, "instructions": one.instructions}
                for one in self.lines
            ]
        found["calls"] = [
            {"helper": c.name, "line": c.line, "answer": c.answer} for c in self.calls
        ]
        found["changes"] = [
            {
                "header": change.title,
                "change": "added" if not change.was else "changed" if change.now else "removed",
                "fields": {
                    (was or now).name: [was and was.text, now and now.text]  # type: ignore[union-attr]
                    for was, now in change.pairs()
                },
            }
            for change in self.changes
        ]
        if self.printed:
            found["printed"] = list(self.printed)
        if self.note:
            found["note"] = self.note
        return found

    def render(self, source: Source | None, *, color: bool) -> list[str]:
        """Lines for a terminal."""
        bold, green, dim, reset = (
            (_BOLD, changes.GREEN, changes.DIM, changes.RESET) if color else ("", "", "", "")
        )
        shown: list[str] = []
        for rule in self.rules:
            text = f": {source.line(rule.line).strip()}" if source else ""
            verdict = f"{green}taken{reset}" if rule.taken else "not taken"
            shown.append(f"  {bold}line {rule.line}{reset} {verdict}{dim}{text}{reset}")
            shown += [f"      {reason}" for reason in rule.why]
        for line in self.lines:
            shown.append(f"  {line.place:<20} {line.text}  {dim}({line.instructions}){reset}")
        if self.calls:
            shown.append(f"  helpers: {', '.join(map(str, self.calls))}")
        shown += [f"  printed: {text!r}" for text in self.printed]
        if self.note:
            shown.append(f"  {self.note}")
        shown += [f"  {line}" for line in changes.render(self.changes, color=color)]
        return shown


class Tracer:
    """Takes down the ways of packets through a session's function."""

    def __init__(self, session: Session) -> None:
        """Look at nothing yet."""
        self.session = session

    def run(self, packet: bytes, now: int) -> tuple[Ran, Trace]:
        """Run one packet, and tell how. Raises as `Session.run`."""
        function = self.session.subject.function
        context = _context(self.session, function, packet, now) if function else None
        ran = self.session.run(packet, now, traced=True)
        runs, notes = self._runs(ran.outcome)
        rules: tuple[Tried, ...] = ()
        lines: tuple[Line, ...] = ()
        if function is not None:
            rules = _rules(function, runs, ran.rule, context)
        else:
            lines, more = _lines(runs)
            notes += more
        if ran.outcome.runs > 1:
            notes.append(f"the packet came to the function {ran.outcome.runs} times")
        after = ran.outcome.packet
        tlvs = self.session.subject.tlvs
        changed = (
            changes.changes(packet, after, partial(dissect, tlvs)) if after is not None else ()
        )
        calls = tuple(call for image, steps in runs for call in _calls(image, steps))
        note = "; ".join(notes)
        took, said = len(ran.outcome.steps), ran.outcome.printed
        return ran, Trace(rules, lines, calls, changed, took, note, said)

    def _runs(self, outcome: Outcome) -> tuple[list[Run], list[str]]:
        """What was executed, program by program; and a note that says where tail calls led to."""
        simulator, steps, runs = self.session.simulator, outcome.steps, list[Run]()
        end = len(steps)
        for begin, name in reversed(outcome.programs):
            runs.insert(0, (simulator.image_of(name), steps[begin:end]))
            end = begin
        names = dict.fromkeys(name for _, name in outcome.programs)
        called = [name for name in names if name != simulator.program]
        return runs, [f"tail calls led to {', '.join(called)}"] if called else []


def _rules(
    function: typed.Function,
    runs: Sequence[Run],
    taken: int | None,
    context: Context | None,
) -> tuple[Tried, ...]:
    """The rules whose lines were executed, in order, and the one that was taken."""
    spans = [rule.span for rule in function.rules]
    ends = [span.source.position(max(span.start, span.end - 1))[0] for span in spans]
    last = taken if taken is not None else len(spans)
    tried = set() if taken is None else {taken}
    ran = {step.slot: image for image, steps in runs for step in steps}
    for slot, image in ran.items():
        line = image.line(slot)
        for number, span in enumerate(spans[:last]):  # several rules may stand on one line
            if line is not None and span.line <= line.line <= ends[number]:
                tried.add(number)
    return tuple(
        Tried(spans[n].line, True)
        if n == taken
        else Tried(spans[n].line, False, _reasons(function.rules[n], context))
        for n in sorted(tried)
    )


def _reasons(rule: typed.Rule, context: Context | None) -> tuple[str, ...]:
    return why_not(rule, context) if context is not None else ()


def _lines(runs: Sequence[Run]) -> tuple[tuple[Line, ...], list[str]]:
    """The source lines in the order in which they ran; instructions where there are none."""
    found: list[Line] = []
    total = 0
    last = ("", "")
    for info in (image.line(step.slot) for image, steps in runs for step in steps):
        if info is None and total:  # of none: what a compiler adds of its own
            here = last
        elif info is not None:
            here = (f"{info.file.rsplit('/', 1)[-1]}:{info.line}", info.text.strip())
        else:
            here = ("(no line)", "")
        if here == last:
            if total <= MAX_LINES:
                found[-1] = Line(*here, found[-1].instructions + 1)
            continue
        last = here
        total += 1
        if total <= MAX_LINES:
            found.append(Line(*here, 1))
    more = [f"… and {total - MAX_LINES} lines more"] if total > MAX_LINES else []
    return tuple(found), more


def _calls(image: Image, steps: Sequence[Step]) -> tuple[Call, ...]:
    """The helpers that were called; the answer is what r0 held when the program went on behind the
    call, which helpers that call a function of the program come back to late."""
    found = []
    behind: dict[int, Step] = {}  # the next step at each slot
    for step in reversed(steps):
        following = behind.get(step.slot + 1)
        behind[step.slot] = step
        insn = image.code[step.slot] if step.slot < len(image.code) else None
        if insn is None or not insn.calls_helper:
            continue
        prototype = PROTOTYPES.get(insn.imm)
        answer: int | None = None
        if prototype is not None and prototype.result == NUMBER and following is not None:
            answer = following.registers[0]
            answer -= (1 << 64) if answer >> 63 else 0
        line = image.line(step.slot)
        name = helper_name(insn.imm)
        found.append(Call(name, line.line if line else 0, answer))
    return tuple(reversed(found))


# ---- what the function saw ------------------------------------------------------------------


def _context(session: Session, function: typed.Function, packet: bytes, now: int) -> Context | None:
    """The packet and the memory as the function is about to see them; None if it will not."""
    data = kernel.received(packet)
    srh = None
    if data is not None and function.hook == "endpoint":
        advanced = kernel.advanced(data)
        data, srh = advanced if advanced else (None, None)
        if srh is not None and srh.extensions > wire.MAX_EXTENSIONS:
            srh = None
    elif data is not None:
        if function.hook != "in" and data[7] > 1:
            data = data[:7] + bytes([data[7] - 1]) + data[8:]
        srh = wire.any_srh(data)
    if data is None:
        return None
    arrival = Arrival(
        packet, params=_params(session), now=now, memory=Memory(_counted(session), _tables(session))
    )
    return Context(arrival, data, srh, partial(every_sites, function))


def _params(session: Session) -> Mapping[str, int]:
    manifest, copy = session.subject.manifest, session.params()
    if manifest is None:
        return {}
    found = {}
    for param in manifest.params:
        field = param.field
        raw = copy[field.offset : field.offset + field.size]
        order = "big" if field.type == "ipv6" or field.type.startswith("bytes") else "little"
        found[field.name] = int.from_bytes(raw, order)  # type: ignore[arg-type]
    return found


def _counted(session: Session) -> dict[int, int]:
    """What each every(N) has counted: the function's hidden counters, in order."""
    return dict(enumerate(session.hidden()))


def _tables(session: Session) -> dict[str, Mapping[tuple[int, ...], tuple[int, ...]]]:
    def rows(entries: Entries) -> dict[tuple[int, ...], tuple[int, ...]]:
        return {key: found[0] for key, found in entries.items()}

    try:
        return {table.name: rows(session.entries(table)) for table in session.tables()}
    except NfcError:
        return {}
