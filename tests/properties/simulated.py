"""The third column: the same object's bytecode in the simulator, by each of its ways.

Each packet's result is what the oracle says and the kernel did; the simulator has to come to the
same one, with the same clock. What the oracle cannot know, the simulator is given as the kernel had
it. Random numbers: where a program draws, the least and the greatest number at every draw (a sample
that is taken, or is not) until it comes to that result. What lies behind a packet that ends within
its header: an address by each link, or none. Which entries made room in an LRU table: afterwards it
holds what the kernel's does.

Packets go one by one through the interpreter or native code; and where native code is asked for,
through the loop that `nfc run` takes captures with, as records of a file.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from itertools import product

from generated_router import ROUTER, Place, Seen, Step, fill
from generated_sources import Generated
from generated_words import LINKS

from nfc.compiler import Compilation, Compiled
from nfc.kernel.maps import possible_cpus
from nfc.observe.tables import Entries
from nfc.oracle import Result
from nfc.vm import drive
from nfc.vm.batch import REASONS, Batch
from nfc.vm.fib import Fib, Route
from nfc.vm.simulator import Outcome, Packet, Simulator

FIB = Fib(
    tuple(Route(r.table, r.prefix, r.link) for r in ROUTER.routes),
    ROUTER.own,
    ROUTER.marks,
    ROUTER.tunnel_source,
    ROUTER.mtu,
)
TAKEN, NOT_TAKEN = 0, 0xFFFFFFFF
MAX_DRAWS, ALL_DRAWS = 12, 64
RANDOM = 7  # bpf_get_prandom_u32
FATES = {"error": "dropped"}  # what the oracle calls otherwise
BILLION = 1_000_000_000


@dataclass(frozen=True)
class Explained:
    """A packet's result as the oracle has it, and the time at which it came."""

    result: Result
    now: int


@dataclass
class Ready:
    """A simulator with a program's params and tables."""

    simulator: Simulator
    tables: list[Entries]


@dataclass
class Group:
    """Packets for one turn of the loop, what each came to, and the random numbers that they got."""

    records: bytearray = field(default_factory=bytearray)
    outcomes: list[Outcome] = field(default_factory=list)
    draws: list[int] = field(default_factory=list)


class Column:
    """A program in the simulator, twice."""

    def __init__(
        self,
        place: Place,
        compilation: Compilation,
        compiled: Compiled,
        program: Generated,
        seen: Seen,
        native: bool,
    ) -> None:
        self.place, self.compiled, self.native = place, compiled, native
        self.number = zlib.crc32(program.source.encode())
        engine = "jit" if native and self.number % 4 == 0 else "interpreter"

        def ready(engine: str) -> Ready:
            function = compiled.function
            fib = replace(FIB, links=place.links)
            simulator = Simulator(
                seen.obj, function.name, function.hook, fib=fib, engine=engine, cpus=possible_cpus()
            )
            simulator.warm_up = 0
            maps = simulator.maps
            return Ready(
                simulator, fill(maps, compilation, compiled, program.params, program.tables)
            )

        self.one = ready(engine)
        self.many = ready("jit") if native else self.one
        code = self.one.simulator.image.code
        self.draws = any(i is not None and i.calls_helper and i.imm == RANDOM for i in code)
        self.batch: Batch | None = None
        self.group = Group()
        self.beyond = bytes(40)
        self.last: Step | None = None
        self.way = f"one by one, {engine}"
        self.ways = Counter[str]()

    def run(self, packet: bytes, wanted: Explained, step: Step) -> str:
        """Run a packet; what is wrong with what comes of it, "" if nothing is."""
        result, self.last = wanted.result, step
        if result.beyond and (problem := self.flush()):
            return problem
        problem, outcome, drawn = self._one_by_one(packet, wanted, step)
        if problem:
            return problem
        self.ways[self.way] += 1
        seconds, rest = divmod(wanted.now, BILLION)
        self.group.records += struct.pack("<IIII", seconds, rest, len(packet), len(packet)) + packet
        self.group.outcomes.append(outcome)
        self.group.draws += drawn
        if (result.beyond or result.evicted) and (problem := self.flush()):
            return problem
        for name in result.evicted:
            for ready in (self.one, self.many):
                self._follow(next(e for e in ready.tables if e.table.name == name), step)
        return ""

    def _one_by_one(
        self, packet: bytes, wanted: Explained, step: Step
    ) -> tuple[str, Outcome, list[int]]:
        """What is wrong, what comes of the packet, and the random numbers that it took."""
        simulator = self.one.simulator
        simulator.now = wanted.now
        arrival = Packet(packet, ingress=self.place.ingress, cpu=self.place.cpu)
        several = self.draws or wanted.result.beyond
        saved = [(m, m.save()) for m in simulator.maps.values()] if several else []
        first = ""
        for tried, beyond in self._given(wanted.result):
            simulator.draws[:], before = tried, simulator.drawn
            simulator.machine.skb.beyond = self.beyond = beyond
            outcome = simulator.run(arrival)
            problem = differs(outcome, wanted.result)
            if several and not problem:
                problem = self._state(self.one, step, wanted.result.evicted)
            drawn = simulator.drawn - before
            if not problem or not (drawn or wanted.result.beyond):
                return problem, outcome, tried[:drawn]
            first = first or problem
            for one, content in saved:
                one.restore(content)
        return first, outcome, []

    def _given(self, result: Result) -> Iterator[tuple[list[int], bytes]]:
        """What the simulator may have to be given: random numbers, and what lies behind a packet.
        One after the other: hardly any packet takes more than a few of 4,000."""
        for tried in _sequences() if self.draws else ([NOT_TAKEN],):
            for beyond in _headers() if result.beyond else (bytes(40),):
                yield tried, beyond

    def flush(self) -> str:
        """Run the packets that wait through the loop over records; what is wrong, "" if nothing."""
        group, self.group = self.group, Group()
        if not group.outcomes or not self.native:
            return ""
        simulator = self.many.simulator
        if self.batch is None:
            kind = Packet(b"", ingress=self.place.ingress, cpu=self.place.cpu)
            self.batch = Batch(simulator, packet=kind, optimized=self.number % 16 == 0)
        simulator.draws[:] = group.draws
        simulator.machine.skb.beyond = self.beyond
        done = self.batch.run(group.records)
        if (done.used, done.count) != (len(group.records), len(group.outcomes)):
            return f"loop: {done.count} of {len(group.outcomes)} packets"
        if simulator.draws:
            return f"loop: {len(simulator.draws)} of {len(group.draws)} random numbers are left"
        said: dict[int, list[tuple[str, bytes]]] = {}
        for index, name, record in done.records:
            said.setdefault(index, []).append((name, record))
        at = 0
        for index, (code, outcome) in enumerate(zip(done.verdicts, group.outcomes, strict=True)):
            slow = done.slow[index] if code == drive.SLOW else None
            fate, reason = (slow.fate, slow.reason) if slow else REASONS[code]
            link, packet = "", None
            if fate == "sent":
                size = int.from_bytes(done.out[at + 8 : at + 12], "little")
                packet, at = done.out[at + 16 : at + 16 + size], at + 16 + size
                link = self.batch.link(done.links[index])
            got = (fate, reason, link, packet, tuple(said.get(index, ())))
            o = outcome
            if got != (o.fate, o.reason, o.link, o.packet, o.records):
                return f"loop, packet {index} of {done.count}: {got}\none by one: {outcome}"
            self.ways["from records, Python" if slow else "from records, native code"] += 1
        return ""

    def end(self) -> str:
        """Whether counters and tables are what the kernel's are; what is wrong, "" if nothing."""
        problem = self.flush()
        if problem or self.last is None:
            return problem
        for ready in (self.one, self.many) if self.native else (self.one,):
            problem = problem or self._state(ready, self.last, frozenset())
        return problem

    def _state(self, ready: Ready, step: Step, evicted: frozenset[str]) -> str:
        manifest = self.compiled.manifest
        counters = self.place.counters(ready.simulator.maps[manifest.stats_map], manifest)
        if counters != step.counters:
            return f"simulator: counters {counters}\nkernel: {step.counters}"
        for entries in ready.tables:
            rows, name = self.place.rows(entries), entries.table.name
            if rows != step.tables[name] and name not in evicted:
                return f"simulator: table {name} {rows}\nkernel: {step.tables[name]}"
        return ""

    def _follow(self, entries: Entries, step: Step) -> None:
        """Have a table hold what the kernel's holds."""
        rows, want = self.place.rows(entries), step.tables[entries.table.name]
        for key in rows.keys() - want.keys():
            entries.remove(key)
        for key, row in want.items():
            if rows.get(key) != row:
                entries.put(key, row)


def _sequences() -> Iterator[list[int]]:
    """Samples taken and not taken, short sequences first; further draws are not taken."""
    yield [NOT_TAKEN] * ALL_DRAWS
    for length in range(1, MAX_DRAWS + 1):
        for bits in range(1 << (length - 1)):
            head = [TAKEN if bits >> i & 1 else NOT_TAKEN for i in range(length - 1)]
            yield [*head, TAKEN, *[NOT_TAKEN] * (ALL_DRAWS - length)]


def _headers() -> Iterator[bytes]:
    """Headers whose last bytes may lie behind a packet: with a route and without one, sent on and
    not."""
    for target, hops, source in product(("fd99::1", "fd20::1", "fd30::1"), (64, 1), (1, 0)):
        head = bytes([0x60, 0, 0, 0, 0, 0, 59, hops])
        yield head + IPv6Address(source << 112).packed + IPv6Address(target).packed


def differs(outcome: Outcome, result: Result) -> str:
    """What the simulator says that the oracle does not; "" if they agree."""
    if outcome.fault is not None:
        return f"simulator: {outcome.fault}"
    records = tuple(record for name, record in outcome.records if name == "events")
    fate = FATES.get(result.fate, result.fate)
    said = (outcome.fate, outcome.link, outcome.packet, records)
    want = (fate, result.link, result.packet, result.events)
    if said == want:
        if fate == "sent" and result.link in LINKS:
            marks = (outcome.mark, outcome.priority) == (result.mark, result.priority)
            return "" if marks else f"simulator: mark, priority {outcome.mark, outcome.priority}"
        return ""
    packet = outcome.packet.hex() if outcome.packet is not None else None
    return (
        f"simulator: {outcome.fate} ({outcome.reason}) {outcome.link}, returned "
        f"{outcome.returned}, events {[r.hex() for r in records]}, packet {packet}"
    )
