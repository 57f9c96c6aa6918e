"""The third column: the same object's bytecode in the simulator, packet by packet.

Each packet's result has been explained by the oracle already; the simulator has to come to the
same one, with the same clock. Random numbers are the kernel's own: where a program draws, the
simulator is given the least and the greatest number at every draw (a sample that is taken, or is
not) until it comes to that result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from generated_router import ROUTER, Place, Seen, fill
from generated_sources import LINKS, Generated

from nfc.compiler import Compilation, Compiled
from nfc.kernel.maps import possible_cpus
from nfc.observe.counters import Counters, read_counters
from nfc.oracle import Result
from nfc.oracle.outcomes import Rows
from nfc.vm.fib import Fib, Route
from nfc.vm.maps import RingMap
from nfc.vm.simulator import Outcome, Packet, Simulator

FIB = Fib(
    tuple(Route(r.table, r.prefix, r.link) for r in ROUTER.routes),
    ROUTER.own,
    ROUTER.marks,
    ROUTER.tunnel_source,
    ROUTER.mtu,
)
TAKEN, NOT_TAKEN = 0, 0xFFFFFFFF
MAX_DRAWS = 12
RANDOM = 7  # bpf_get_prandom_u32
FATES = {"error": "dropped"}  # what the oracle calls otherwise


@dataclass(frozen=True)
class Explained:
    """A packet's result as the oracle has it, and the time at which it came."""

    result: Result
    now: int


class Column:
    """A simulator with a program's params and tables."""

    def __init__(
        self,
        place: Place,
        compilation: Compilation,
        compiled: Compiled,
        program: Generated,
        seen: Seen,
        engine: str = "jit",
    ) -> None:
        self.place, self.compiled = place, compiled
        function = compiled.function
        self.simulator = Simulator(
            seen.obj,
            function.name,
            function.hook,
            fib=replace(FIB, links=place.links),
            engine=engine,
            cpus=possible_cpus(),
            drain=False,
        )
        code = self.simulator.image.code
        self.draws = any(i is not None and i.calls_helper and i.imm == RANDOM for i in code)
        maps = self.simulator.maps
        self.tables, _ = fill(maps, compilation, compiled, program.params, program.tables)

    def run(self, packet: bytes, wanted: Explained) -> str:
        """Run a packet; what is wrong with what comes of it, "" if nothing is."""
        simulator = self.simulator
        simulator.now = wanted.now
        arrival = Packet(packet, ingress=self.place.ingress, cpu=self.place.cpu)
        draws = self.draws
        saved = [(m, m.save()) for m in simulator.maps.values()] if draws else []
        problem = ""
        for tried in _sequences():
            simulator.draws[:] = tried
            before = simulator.drawn
            outcome = simulator.run(arrival)
            problem = differs(outcome, wanted.result)
            if not problem or simulator.drawn == before or not draws:
                return problem
            for one, content in saved:
                one.restore(content)
        return problem

    def counters(self) -> Counters:
        """The counters now."""
        manifest = self.compiled.manifest
        return read_counters(self.simulator.maps[manifest.stats_map], manifest)

    def rows(self) -> dict[str, Rows]:
        """The tables now."""
        return {e.table.name: self.place.rows(e) for e in self.tables}

    def records(self) -> tuple[bytes, ...]:
        """The ring buffer's records."""
        ring = self.simulator.maps.get("events")
        return tuple(ring.take()) if isinstance(ring, RingMap) else ()


def _sequences() -> Iterator[list[int]]:
    """Samples taken and not taken, short sequences first; further draws are not taken."""
    yield [NOT_TAKEN] * MAX_DRAWS
    for length in range(1, MAX_DRAWS + 1):
        for bits in range(1 << (length - 1)):
            head = [TAKEN if bits >> i & 1 else NOT_TAKEN for i in range(length - 1)]
            yield [*head, TAKEN, *[NOT_TAKEN] * (MAX_DRAWS - length)]


def differs(outcome: Outcome, result: Result) -> str:
    """What the simulator says that the oracle does not; "" if they agree."""
    if outcome.fault is not None:
        return f"simulator: {outcome.fault}"
    records = tuple(record for name, record in outcome.records if name == "events")
    if result.fate == "unsure":
        return ""
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
