"""Goes through the steps of a test: on a machine, or without one to find the mistakes in it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Network
from typing import Any

from nfc.bpf.helpers import BY_NAME
from nfc.manifest import PARAMS_SECTION
from nfc.nft import changes, tree
from nfc.nft.compare import compare
from nfc.nft.machine import META, RouteTo, Session, UnableError
from nfc.nft.packets import BASES, Packets
from nfc.nft.scene import Scene
from nfc.nft.step import Failure, Skipped, Step
from nfc.nft.subject import Subject
from nfc.nft.values import Values
from nfc.sema import typed, types
from nfc.sema.types import Int
from nfc.syntax.diagnostics import Diagnostics, nearest
from nfc.syntax.tree import Ident
from nfc.vm.helpers.failures import can_fail

EPOCH = 1_700_000_000 * 1_000_000_000  # TAI: what the simulator's clock shows at first
_AFTER_FORWARDING = ("out", "xmit")  # hooks that see the hop limit that leaves
_ALL = 0xFFFF_FFFF


@dataclass
class Walk(Scene):
    """One test on its way. Without a session, only what is written is checked."""

    test: tree.Test = field(kw_only=True)
    watch: Any = None  # told of every packet before it is sent: see nfc.nft.cover
    failures: list[Failure] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    sends: int = 0
    checks: int = 0
    step: Step | None = None  # the packet that was sent last

    # ---- steps ------------------------------------------------------------------------------

    def go(self) -> None:
        """Take every step, up to the one in which something fails, or cannot be done."""
        for statement in self.test.statements:
            if isinstance(statement, tree.Send) and not self._ends():
                return
            try:
                self._take(statement)
            except UnableError as unable:
                self.skipped.append(Skipped(statement.span, str(unable)))
                if not isinstance(statement, tree.ExpectMeta):
                    return
        self._ends()

    def _ends(self) -> bool:
        """The end of a step: events that nobody asked for, if others were."""
        step = self.step
        if self.session and step and self.counted and len(step.events) > self.counted:
            more = len(step.events) - self.counted
            names = ", ".join(e.name for e in step.events[self.counted :])
            said = f"{more} more event{'s' * (more > 1)} came: {names}"
            self.failures.append(Failure(step.span, said))
        self.counted = 0
        return not self.failures

    def _take(self, statement: tree.Statement) -> None:
        values, session = self.values, self.session
        values.expecting = False
        values.now = (now := session.now() if session else EPOCH, now)
        match statement:
            case tree.SetParam(name=name, value=value):
                self._param(name, value)
            case tree.SetState(name=name, value=value):
                state = self.state(name)
                if state is not None:
                    number = values.one(value, state.member.type, name.text)
                    if number is not None and session:
                        self._set_state(state, number)
            case tree.Put(table=name, key=key, fields=given):
                self._put(name, key, given)
            case tree.Forget(table=name, key=key):
                table = self.table(name)
                if table is not None:
                    at = values.key(table, key, name.span)
                    if at is not None and session:
                        self.entries(table).remove(at)
            case tree.Clock(value=value):
                time = values.one(value, types.Timestamp(), "the clock")
                if time is not None and session:
                    session.clock(time)
            case tree.Wait(value=value):
                length = values.one(value, types.Duration(), "the time to wait")
                if length is not None and session:
                    session.wait(length)
            case tree.Route(span=span, prefix=prefix):
                if prefix.bits != 128:
                    values.error(prefix.span, "routes are IPv6 prefixes")
                if self.step is not None:
                    values.error(span, "routes are said before the first packet is sent")
            case tree.Seed(value=seed):
                if session:
                    session.seed(seed)
            case tree.Draws(values=draws):
                if session:
                    session.draws([_ALL * (not d) if isinstance(d, bool) else d for d in draws])
            case tree.Fail():
                self._fail(statement)
            case tree.LetPacket(name=name):
                if name.text in self.packets.named:
                    values.error(name.span, f"there is a packet '{name.text}' already")
                self.packets.named = {**self.packets.named, name.text: statement}
                if session is None:
                    self._try(statement.chain)
            case tree.Send():
                self._send(statement)
            case _:
                self._expect(statement)

    def _try(self, chain: tree.Chain) -> None:
        """Find the mistakes in a packet that is only declared; it may have wildcards."""
        if any(isinstance(p, tree.Named) and p.name.text in BASES for p in chain.parts):
            return  # it is checked where it is used
        self.values.expecting = True
        self.packets.pattern(chain)

    def _param(self, name: Ident, value: tree.Value) -> None:
        params = self.subject.scope.params
        if name.text not in params:
            hint = nearest(name.text, params) or f"its params: {', '.join(params) or 'none'}"
            self.values.error(name.span, f"there is no param '{name.text}'", hint)
            return
        number = self.values.one(value, params[name.text].type, name.text)
        if number is None:
            return
        self.values.params[name.text] = number
        if self.session and PARAMS_SECTION in self.session.maps:
            self._write_params(self.session)

    def _write_params(self, session: Session) -> None:
        from nfc.kernel.params import write_params

        program = self.subject.program
        copy = bytearray(program.params_size)
        for param in program.params:
            size = types.memory_size(param.type)
            order = "big" if types.is_raw(param.type) else "little"
            number = self.values.params.get(param.name, param.default)
            copy[param.offset : param.offset + size] = number.to_bytes(size, order)  # type: ignore[arg-type]
        write_params(session.maps[PARAMS_SECTION], bytes(copy))

    def _put(
        self, name: Ident, key: tuple[tree.Value, ...], given: tuple[tree.Assign, ...]
    ) -> None:
        table = self.table(name)
        if table is None:
            return
        at = self.values.key(table, key, name.span)
        known = {m.name: m.type for m in table.fields}
        found = self.values.fields(given, known, table.name)
        if at is None or found is None or self.session is None:
            return
        row = tuple(found[m.name].low if m.name in found else 0 for m in table.fields)
        self.entries(table).put(at, row)

    def _set_state(self, state: typed.State, number: int) -> None:
        entries = self.entries(state.table)
        place = state.table.fields.index(state.member)
        rows = entries.get((0,))
        row = list(rows[0] if rows else (0,) * len(state.table.fields))
        row[place] = number
        entries.put((0,), tuple(row))

    def _fail(self, statement: tree.Fail) -> None:
        name = statement.helper.text
        helper = BY_NAME.get(name) or BY_NAME.get(f"bpf_{name}")
        if helper is None:
            known = [n.removeprefix("bpf_") for n in BY_NAME]
            hint = nearest(name, [*known, *BY_NAME])
            self.values.error(statement.helper.span, f"no helper is called '{name}'", hint)
            return
        number = None
        if statement.error is None and not can_fail(helper.number):
            said = f"{helper.name} does not fail in any kernel"
            self.values.error(statement.helper.span, said, "with an error it does, all the same")
            return
        if statement.error is not None:
            code = getattr(errno, statement.error.text, None)
            if not isinstance(code, int):
                hint = nearest(statement.error.text, errno.errorcode.values())
                said = f"there is no error '{statement.error.text}'"
                self.values.error(statement.error.span, said, hint)
                return
            number = code
        if self.session:
            self.session.fail(name, number)

    def _send(self, statement: tree.Send) -> None:
        known: dict[str, types.Type] = {name: Int(32) for name in META}
        meta = self.values.fields(statement.meta, known, "packet")
        self.step = None
        for _ in range(statement.times if self.session else 1):
            if self.session:
                self.values.now = (now := self.session.now(), now)
            packet = self.packets.sent(statement.chain)
            self.packets.broken = packet is None
            if packet is None or meta is None:
                self.packets.bases = {}
                self.step = Step(statement.span, self.compiled)
                return
            self.packets.bases = self._bases(packet)
            self.step = Step(statement.span, self.compiled, sent=packet)
            if self.session is None:
                continue
            plain = {name: wanted.low for name, wanted in meta.items()}
            self._one(statement, packet, plain, self.session)
            if self.failures:
                return

    def _one(
        self, statement: tree.Send, packet: bytes, meta: dict[str, int], session: Session
    ) -> None:
        before = self.counters(session)
        if self.watch is not None:
            self.watch.before(self, packet, {"cpu": session.cpu, **meta})
        seen = session.send(packet, {"cpu": session.cpu, **meta})
        self.sends += 1
        after = self.counters(session)
        self.step = Step(statement.span, self.compiled, packet, seen.cpu, seen, before, after)
        if self.watch is not None:
            self.watch.after(self, self.step)
        if seen.others:
            links = ", ".join(seen.others)
            self.failures.append(Failure(statement.span, f"more than one packet left: {links}"))
        if seen.fault:
            self.failures.append(Failure(statement.span, f"the program stopped: {seen.fault}"))
        else:
            self.step = self.step.with_events(self.subject.program)

    def _bases(self, packet: bytes) -> dict[str, bytes]:
        """The packets that an expectation can begin with."""
        endpoint = self.compiled.function.hook == "endpoint"
        arrived = changes.advanced(packet) if endpoint else packet
        forwarded = changes.forwarded(arrived)
        if self.compiled.function.hook in _AFTER_FORWARDING:
            arrived = forwarded
        found = {"sent": packet, "arrived": arrived, "forwarded": forwarded}
        inner = changes.decapsulated(packet)
        return found if inner is None else {**found, "decapsulated": inner}

    def _expect(self, statement: tree.Statement) -> None:
        if self.step is None:
            self.values.error(statement.span, "nothing is expected before a packet is sent")
            return
        self.checks += 1
        if isinstance(statement, tree.ExpectEvent):
            self.counted += 1
        self.values.expecting = True
        if self.step.seen is not None:
            self.values.now = (self.step.seen.before, self.step.seen.after)
        self.failures += compare(self, statement, self.step)


def routes_of(test: tree.Test) -> Iterator[RouteTo]:
    """The routes that a test asks for."""
    for statement in test.statements:
        if isinstance(statement, tree.Route):
            prefix = statement.prefix
            if prefix.bits == 128:
                network = IPv6Network((prefix.value, prefix.length))
                yield RouteTo(statement.table, network, statement.link.text)


def check(subject: Subject, diagnostics: Diagnostics) -> None:
    """Find the mistakes in all tests, and in packets that none of them uses."""
    for test, compiled in subject.tests:
        Walk(subject, compiled, diagnostics, test=test).go()
    values = Values(subject.scope, diagnostics, subject.consts, now=(EPOCH, EPOCH), expecting=True)
    for packet in subject.packets.values():
        Packets(values, subject.packets).pattern(packet.chain)
