"""What was expected of a packet, and what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nfc.compiler import LOST
from nfc.nft import tree
from nfc.nft.machine import UnableError
from nfc.nft.scene import Scene
from nfc.nft.step import Failure, Step
from nfc.nft.values import Wanted, show, show_wanted
from nfc.packet import diff
from nfc.packet import show as show_packet
from nfc.sema import types
from nfc.sema.types import Int
from nfc.syntax.diagnostics import nearest
from nfc.syntax.source import Span

_COUNT = Int(64)


def compare(scene: Scene, statement: tree.Statement, step: Step) -> Sequence[Failure]:
    """What is not as expected. Where nothing runs, only the mistakes in it are noted."""
    match statement:
        case tree.ExpectPacket():
            return list(_packet(scene, statement, step))
        case tree.ExpectFate():
            return list(_fate(scene, statement, step))
        case tree.ExpectEvent():
            return list(_event(scene, statement, step))
        case tree.ExpectNoEvent(span=span):
            names = ", ".join(e.name for e in step.events)
            return [Failure(span, f"there was an event: {names}")] if names else []
        case tree.ExpectCount():
            return list(_count(scene, statement, step))
        case tree.ExpectState(name=name, value=value, span=span):
            state = scene.state(name)
            wanted = state and scene.values.wanted(value, state.member.type, name.text)
            if state and wanted and step.seen:
                rows = scene.entries(state.table).get((0,)) or ((0,) * len(state.table.fields),)
                row = rows[step.cpu if len(rows) > step.cpu else 0]
                got = row[state.table.fields.index(state.member)]
                return list(_number(span, f"state {name.text}", wanted, got, state.member.type))
            return []
        case tree.ExpectEntry():
            return list(_entry(scene, statement, step))
        case tree.ExpectRule():
            return list(_rule(scene, statement, step))
        case tree.ExpectMeta(what=what, value=value, span=span):
            wanted = scene.values.wanted(value, Int(32), f"packet.{what}")
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


def _packet(scene: Scene, statement: tree.ExpectPacket, step: Step) -> Iterator[Failure]:
    pattern = scene.packets.pattern(statement.chain)
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
    known = scene.subject.known
    said = "\n".join([*outside, *filter(None, [diff(expected, seen.packet, known)])])
    if said:
        yield Failure(statement.span, "the packet that left differs", said)


def _fate(scene: Scene, statement: tree.ExpectFate, step: Step) -> Iterator[Failure]:
    reason = statement.reason
    if reason is not None:
        known = [c.name for c in step.compiled.manifest.counters if c.kind == "error"]
        if reason.text not in known:
            name = step.compiled.function.name
            hint = nearest(reason.text, known) or f"it counts: {', '.join(known) or 'none'}"
            scene.values.error(reason.span, f"{name} has no error '{reason.text}'", hint)
            return
    if step.seen is None:
        return
    wanted = reason.text if reason else ""
    if (step.fate, step.error) != (statement.fate, wanted):
        said = ""
        if step.seen.packet is not None:
            said = show_packet(step.seen.packet, scene.subject.known)
        wish = f"{statement.fate} {wanted}".strip()
        yield Failure(statement.span, f"expected {wish}, but {step.told()}", said)


def _rule(scene: Scene, statement: tree.ExpectRule, step: Step) -> Iterator[Failure]:
    count = len(step.compiled.function.rules)
    if not 1 <= statement.number <= count:
        said = f"{step.compiled.function.name} has rules 1 to {count}"
        scene.values.error(statement.span, said)
    elif step.seen is not None and statement.number - 1 not in step.rules:
        got = ", ".join(str(rule + 1) for rule in step.rules) or "none"
        said = f"rule\n  expected {statement.number}\n  got      {got}"
        yield Failure(statement.span, "another rule took the packet", said)


# ---- events ---------------------------------------------------------------------------------


def _event(scene: Scene, statement: tree.ExpectEvent, step: Step) -> Iterator[Failure]:
    events = {e.name: e for e in scene.subject.program.events}
    emitted = [e.name for e in step.compiled.manifest.events]
    name = statement.name
    if name.text not in emitted:
        hint = nearest(name.text, emitted) or f"its events: {', '.join(emitted) or 'none'}"
        said = f"{step.compiled.function.name} emits no event '{name.text}'"
        scene.values.error(name.span, said, hint)
        return
    declared = events[name.text]
    known = {m.name: m.type for m in declared.fields}
    wanted = scene.values.fields(statement.fields, known, name.text)
    pattern = scene.packets.pattern(statement.chain) if statement.chain else None
    if statement.chain is not None and not declared.packet_bytes:
        scene.values.error(statement.chain.span, f"{name.text} holds no bytes of the packet")
    if wanted is None or step.seen is None:
        return
    place = scene.counted - 1
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
        lines += [*outside, *filter(None, [diff(expected, got.packet, scene.subject.known)])]
    if lines:
        yield Failure(statement.span, f"the event {name.text} differs", "\n".join(lines))


# ---- counters and tables --------------------------------------------------------------------


def _count(scene: Scene, statement: tree.ExpectCount, step: Step) -> Iterator[Failure]:
    name = statement.name
    wanted = scene.values.wanted(statement.value, _COUNT, f"the count {name.text}")
    if statement.key or name.text in scene.subject.scope.keyed:
        table = scene.table(name, counters=True)
        key = scene.values.key(table, statement.key, name.span) if table else None
        if table is None or key is None or wanted is None or step.seen is None:
            return
        rows = scene.entries(table).get(key) or ()
        got = sum(row[0] for row in rows)
        yield from _number(statement.span, f"count {name.text}", wanted, got, _COUNT)
        return
    counters = step.compiled.manifest.counters
    known = [c.name for c in counters if c.kind in ("named", "error", "lost")]
    if name.text not in known:
        hint = nearest(name.text, known) or f"it counts: {', '.join(known) or 'nothing'}"
        function = step.compiled.function.name
        scene.values.error(name.span, f"{function} has no counter '{name.text}'", hint)
        return
    if wanted is None or step.after is None:
        return
    after = step.after
    lost = dict(zip(LOST, (after.events_lost, after.counts_lost), strict=True))
    got = {**after.errors, **lost, **after.named}[name.text]
    yield from _number(statement.span, f"count {name.text}", wanted, got, _COUNT)


def _entry(scene: Scene, statement: tree.ExpectEntry, step: Step) -> Iterator[Failure]:
    table = scene.table(statement.table)
    if table is None:
        return
    key = scene.values.key(table, statement.key, statement.table.span)
    known = {m.name: m.type for m in table.fields}
    wanted = scene.values.fields(statement.fields, known, table.name)
    if key is None or wanted is None or step.seen is None:
        return
    rows = scene.entries(table).get(key)
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
