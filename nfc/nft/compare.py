"""What was expected of a packet, and what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nfc.compiler import LOST, Compiled
from nfc.nft import tree
from nfc.nft.machine import Seen, UnableError
from nfc.nft.values import Wanted, show, show_wanted
from nfc.observe.counters import Counters
from nfc.packet import diff
from nfc.packet import show as show_packet
from nfc.sema import typed, types
from nfc.sema.types import Int
from nfc.syntax.diagnostics import nearest
from nfc.syntax.source import Span

if TYPE_CHECKING:
    from nfc.nft.walk import Walk

_COUNT = Int(64)


@dataclass(frozen=True)
class Failure:
    """Something that is not as expected: where that is written, what, and the difference."""

    span: Span
    message: str
    difference: str = ""

    def to_json(self) -> dict[str, Any]:
        """The failure as a JSON-ready object."""
        return {
            "file": self.span.source.name,
            "line": self.span.line,
            "column": self.span.column,
            "source": self.span.source.line(self.span.line).strip(),
            "message": self.message,
            "difference": self.difference,
        }


@dataclass(frozen=True)
class Event:
    """An event that came: its declaration, its fields' numbers, bytes of the packet."""

    declared: typed.Event
    fields: dict[str, int]
    packet: bytes = b""
    length: int = 0

    @property
    def name(self) -> str:
        """The event's name."""
        return self.declared.name


@dataclass(frozen=True)
class Step:
    """A packet that was sent, and all that was seen of it. `seen` is None where nothing runs."""

    span: Span
    compiled: Compiled
    sent: bytes = b""
    cpu: int = 0
    seen: Seen | None = None
    before: Counters | None = None
    after: Counters | None = None
    events: tuple[Event, ...] = ()

    def with_events(self, program: typed.Program) -> Step:
        """With its records decoded."""
        assert self.seen is not None
        return replace(self, events=tuple(_events(program, self.seen.records)))

    @property
    def rule(self) -> int | None:
        """The rule that the packet took, counted from 0."""
        if self.before is None or self.after is None:
            return None
        pairs = zip(self.before.rules, self.after.rules, strict=True)
        return next((i for i, (a, b) in enumerate(pairs) if b.packets > a.packets), None)

    @property
    def error(self) -> str:
        """The reason for which the function dropped it, or ""."""
        if self.before is None or self.after is None:
            return ""
        old = self.before.errors
        return next((n for n, c in self.after.errors.items() if c > old.get(n, 0)), "")

    @property
    def fate(self) -> str:
        """sent, drop (by the function), refused (by the kernel before it), lost (after it)."""
        assert self.seen is not None and self.after is not None
        if self.seen.packet is not None:
            return "sent"
        if self.rule is None:
            return "refused"
        return "drop" if self.error or self.after.rules[self.rule].drops else "lost"

    def told(self) -> str:
        """What became of the packet, in words."""
        assert self.seen is not None
        why = f" ({self.seen.why})" if self.seen.why else ""
        match self.fate:
            case "sent":
                return f"it left on {self.seen.link}"
            case "refused":
                return f"the kernel refused it before the function{why}"
            case "lost":
                return f"{self._by()} let it go, and the kernel lost it{why}"
        reason = f": {self.error}" if self.error else ""
        return f"{self._by()} dropped it{reason}"

    def _by(self) -> str:
        assert self.after is not None and self.rule is not None
        return f"rule {self.rule + 1}, line {self.after.rules[self.rule].line},"


def compare(walk: Walk, statement: tree.Statement, step: Step) -> Sequence[Failure]:
    """What is not as expected. Where nothing runs, only the mistakes in it are noted."""
    match statement:
        case tree.ExpectPacket():
            return list(_packet(walk, statement, step))
        case tree.ExpectFate():
            return list(_fate(walk, statement, step))
        case tree.ExpectEvent():
            return list(_event(walk, statement, step))
        case tree.ExpectNoEvent(span=span):
            names = ", ".join(e.name for e in step.events)
            return [Failure(span, f"there was an event: {names}")] if names else []
        case tree.ExpectCount():
            return list(_count(walk, statement, step))
        case tree.ExpectState(name=name, value=value, span=span):
            state = walk.state(name)
            wanted = state and walk.values.wanted(value, state.member.type, name.text)
            if state and wanted and step.seen:
                rows = walk.entries(state.table).get((0,)) or ((0,) * len(state.table.fields),)
                row = rows[step.cpu if len(rows) > step.cpu else 0]
                got = row[state.table.fields.index(state.member)]
                return list(_number(span, f"state {name.text}", wanted, got, state.member.type))
            return []
        case tree.ExpectEntry():
            return list(_entry(walk, statement, step))
        case tree.ExpectRule():
            return list(_rule(walk, statement, step))
        case tree.ExpectMeta(what=what, value=value, span=span):
            wanted = walk.values.wanted(value, Int(32), f"packet.{what}")
            if wanted and step.seen:
                got_meta = step.seen.mark if what == "mark" else step.seen.priority
                if got_meta is None:
                    raise UnableError(f"nobody sees packet.{what} on a real link")
                return list(_number(span, f"packet.{what}", wanted, got_meta, Int(32)))
            return []
    raise TypeError(type(statement))


def _number(
    span: Span, what: str, wanted: Wanted, got: int, type_: types.Type
) -> Iterator[Failure]:
    if not wanted.takes(got):
        said = f"  expected {show_wanted(wanted, type_)}\n  got      {show(got, type_)}"
        yield Failure(span, f"{what} differs", f"{what}\n{said}")


def _packet(walk: Walk, statement: tree.ExpectPacket, step: Step) -> Iterator[Failure]:
    pattern = walk.packets.pattern(statement.chain)
    seen = step.seen
    if pattern is None or seen is None:
        return
    if seen.packet is None:
        yield Failure(statement.span, f"no packet left: {step.told()}")
        return
    if statement.link is not None and statement.link.text != seen.link:
        said = f"link\n  expected {statement.link.text}\n  got      {seen.link}"
        yield Failure(statement.span, f"the packet left on {seen.link}", said)
    expected, outside = pattern.beside(seen.packet)
    known = walk.subject.known
    said = "\n".join([*outside, *filter(None, [diff(expected, seen.packet, known)])])
    if said:
        yield Failure(statement.span, "the packet that left differs", said)


def _fate(walk: Walk, statement: tree.ExpectFate, step: Step) -> Iterator[Failure]:
    reason = statement.reason
    if reason is not None:
        known = [c.name for c in step.compiled.manifest.counters if c.kind == "error"]
        if reason.text not in known:
            name = step.compiled.function.name
            hint = nearest(reason.text, known) or f"it counts: {', '.join(known) or 'none'}"
            walk.values.error(reason.span, f"{name} has no error '{reason.text}'", hint)
            return
    if step.seen is None:
        return
    wanted = reason.text if reason else ""
    if (step.fate, step.error) != (statement.fate, wanted):
        said = ""
        if step.seen.packet is not None:
            said = show_packet(step.seen.packet, walk.subject.known)
        wish = f"{statement.fate} {wanted}".strip()
        yield Failure(statement.span, f"expected {wish}, but {step.told()}", said)


def _rule(walk: Walk, statement: tree.ExpectRule, step: Step) -> Iterator[Failure]:
    count = len(step.compiled.function.rules)
    if not 1 <= statement.number <= count:
        said = f"{step.compiled.function.name} has rules 1 to {count}"
        walk.values.error(statement.span, said)
    elif step.seen is not None and step.rule != statement.number - 1:
        got = "none" if step.rule is None else str(step.rule + 1)
        said = f"rule\n  expected {statement.number}\n  got      {got}"
        yield Failure(statement.span, "another rule took the packet", said)


# ---- events ---------------------------------------------------------------------------------


def _events(program: typed.Program, records: Sequence[bytes]) -> Iterator[Event]:
    """Records of the ring buffer, decoded: see `nfc.manifest.Event`."""
    for record in records:
        index = int.from_bytes(record[:8], "little")
        declared = next((e for e in program.events if e.index == index), None)
        if declared is None:
            continue
        fields = {m.name: _member(m, record) for m in declared.fields}
        if not declared.packet_bytes:
            yield Event(declared, fields)
            continue
        at = declared.size
        length = int.from_bytes(record[at : at + 4], "little")
        copied = int.from_bytes(record[at + 4 : at + 8], "little")
        yield Event(declared, fields, record[at + 8 : at + 8 + copied], length)


def _member(member: typed.Member, record: bytes) -> int:
    raw = record[member.offset : member.offset + member.size]
    return int.from_bytes(raw, "big" if types.is_raw(member.type) else "little")


def _event(walk: Walk, statement: tree.ExpectEvent, step: Step) -> Iterator[Failure]:
    events = {e.name: e for e in walk.subject.program.events}
    emitted = [e.name for e in step.compiled.manifest.events]
    name = statement.name
    if name.text not in emitted:
        hint = nearest(name.text, emitted) or f"its events: {', '.join(emitted) or 'none'}"
        said = f"{step.compiled.function.name} emits no event '{name.text}'"
        walk.values.error(name.span, said, hint)
        return
    declared = events[name.text]
    known = {m.name: m.type for m in declared.fields}
    wanted = walk.values.fields(statement.fields, known, name.text)
    pattern = walk.packets.pattern(statement.chain) if statement.chain else None
    if statement.chain is not None and not declared.packet_bytes:
        walk.values.error(statement.chain.span, f"{name.text} holds no bytes of the packet")
    if wanted is None or step.seen is None:
        return
    place = walk.counted - 1
    if place >= len(step.events):
        came = ", ".join(e.name for e in step.events) or "none"
        yield Failure(statement.span, f"this event did not come (events: {came})")
        return
    got = step.events[place]
    if got.name != name.text:
        yield Failure(statement.span, f"another event came: {got.name}")
        return
    lines = [
        f"{name.text}.{f}\n  expected {show_wanted(w, known[f])}\n  got      "
        f"{show(got.fields[f], known[f])}"
        for f, w in wanted.items()
        if not w.takes(got.fields[f])
    ]
    if pattern is not None:
        expected, outside = pattern.beside(got.packet)
        if len(expected) != got.length:
            lines.append(f"packet's length\n  expected {len(expected)}\n  got      {got.length}")
        expected = expected[: declared.packet_bytes]
        lines += [*outside, *filter(None, [diff(expected, got.packet, walk.subject.known)])]
    if lines:
        yield Failure(statement.span, f"the event {name.text} differs", "\n".join(lines))


# ---- counters and tables --------------------------------------------------------------------


def _count(walk: Walk, statement: tree.ExpectCount, step: Step) -> Iterator[Failure]:
    name = statement.name
    wanted = walk.values.wanted(statement.value, _COUNT, f"the count {name.text}")
    if statement.key or name.text in walk.subject.scope.keyed:
        table = walk.table(name, counters=True)
        key = walk.values.key(table, statement.key, name.span) if table else None
        if table is None or key is None or wanted is None or step.seen is None:
            return
        rows = walk.entries(table).get(key) or ()
        got = sum(row[0] for row in rows)
        yield from _number(statement.span, f"count {name.text}", wanted, got, _COUNT)
        return
    counters = step.compiled.manifest.counters
    known = [c.name for c in counters if c.kind in ("named", "error", "lost")]
    if name.text not in known:
        hint = nearest(name.text, known) or f"it counts: {', '.join(known) or 'nothing'}"
        function = step.compiled.function.name
        walk.values.error(name.span, f"{function} has no counter '{name.text}'", hint)
        return
    if wanted is None or step.after is None:
        return
    after = step.after
    lost = dict(zip(LOST, (after.events_lost, after.counts_lost), strict=True))
    got = {**after.errors, **lost, **after.named}[name.text]
    yield from _number(statement.span, f"count {name.text}", wanted, got, _COUNT)


def _entry(walk: Walk, statement: tree.ExpectEntry, step: Step) -> Iterator[Failure]:
    table = walk.table(statement.table)
    if table is None:
        return
    key = walk.values.key(table, statement.key, statement.table.span)
    known = {m.name: m.type for m in table.fields}
    wanted = walk.values.fields(statement.fields, known, table.name)
    if key is None or wanted is None or step.seen is None:
        return
    rows = walk.entries(table).get(key)
    if rows is None or not statement.there:
        if statement.there:
            yield Failure(statement.span, f"{table.name} has no such entry")
        elif rows is not None:
            yield Failure(statement.span, f"{table.name} has that entry")
        return
    row = rows[step.cpu if len(rows) > step.cpu else 0]
    lines = [
        f"{table.name}.{m.name}\n  expected {show_wanted(wanted[m.name], m.type)}\n  got      "
        f"{show(value, m.type)}"
        for m, value in zip(table.fields, row, strict=True)
        if m.name in wanted and not wanted[m.name].takes(value)
    ]
    if lines:
        yield Failure(statement.span, f"the entry of {table.name} differs", "\n".join(lines))
