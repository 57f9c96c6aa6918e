"""Tests in the simulator: the object's own bytecode, without a kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

from nfc.bpf.reader import read_object
from nfc.compiler import Compiled
from nfc.errors import UsageError
from nfc.manifest import EVENTS_MAP
from nfc.nft.machine import MTU, OUT, RouteTo, Seen, UnableError, leads
from nfc.nft.subject import Subject
from nfc.nft.walk import EPOCH
from nfc.vm.fib import Fib, Route
from nfc.vm.maps import VmMap
from nfc.vm.packet import IPV6_SIZE
from nfc.vm.simulator import Packet, Simulator


class Simulated:
    """The simulator as a machine for tests."""

    name = "simulator"

    def __init__(self, *, trace: bool = False) -> None:
        """`trace`: note which instructions are executed, in `executed`."""
        self._trace = trace
        # By file and function: the line of each instruction by its slot, and the executed slots.
        self.executed: dict[tuple[str, str], tuple[dict[int, int], set[int]]] = {}

    def close(self) -> None:
        """Nothing was made."""

    @contextmanager
    def session(
        self, subject: Subject, compiled: Compiled, routes: Sequence[RouteTo]
    ) -> Iterator[SimulatedSession]:
        """A simulator of its own for each test."""
        function = compiled.function
        listed = tuple(Route(r.table, r.prefix, r.link) for r in routes)
        fib = Fib(listed, rest=OUT, mtu=Fib.default().mtu)
        obj = read_object(subject.objects[function.name])
        simulator = Simulator(obj, function.name, function.hook, fib=fib)
        slots: set[int] | None = None
        if self._trace:
            key = (str(subject.path), function.name)
            _, slots = self.executed.setdefault(key, (_lines(simulator), set()))
        yield SimulatedSession(simulator, slots)


def _lines(simulator: Simulator) -> dict[int, int]:
    """The source line of every instruction, by its slot."""
    image = simulator.image
    lines = {slot: image.line(slot) for slot, insn in enumerate(image.code) if insn is not None}
    return {slot: line.line for slot, line in lines.items() if line is not None}


class SimulatedSession:
    """A function in the simulator."""

    def __init__(self, simulator: Simulator, executed: set[int] | None = None) -> None:
        """Begin at a time of its own, which only the test moves. `executed` takes the slots of
        instructions, where it is given."""
        self._simulator, self._executed = simulator, executed
        self._on: set[IPv6Address] = set()
        simulator.now = EPOCH

    @property
    def maps(self) -> Mapping[str, VmMap]:
        """The maps of the function's object by name."""
        return self._simulator.maps

    @property
    def cpu(self) -> int:
        """The first."""
        return 0

    def now(self) -> int:
        """The simulator's clock."""
        return self._simulator.now

    def clock(self, now: int) -> None:
        """Set it."""
        self._simulator.now = now

    def wait(self, nanoseconds: int) -> None:
        """Move it on."""
        self._simulator.now += nanoseconds

    def seed(self, seed: int) -> None:
        """Begin the random numbers again."""
        self._simulator.seed(seed)

    def draws(self, values: Sequence[int]) -> None:
        """Make the next random numbers these."""
        self._simulator.draws.extend(values)

    def fail(self, helper: str, error: int | None) -> None:
        """Let a helper fail."""
        self._simulator.fail(helper, error)

    def send(self, packet: bytes, meta: Mapping[str, int]) -> Seen:
        """Run the function on a packet."""
        now = self._simulator.now
        self._lead(packet)
        try:
            if self._executed is None:
                outcome = self._simulator.run(Packet(packet, **meta))
            else:
                outcome = self._simulator.trace(Packet(packet, **meta))
                self._executed |= {step.slot for step in outcome.steps}
        except UsageError as error:
            raise UnableError(error.message) from None
        return Seen(
            outcome.link,
            outcome.packet,
            tuple(data for name, data in outcome.records if name == EVENTS_MAP),
            now,
            now,
            outcome.mark,
            outcome.priority,
            meta.get("cpu", 0),
            tuple(link for link, _ in outcome.clones),
            str(outcome.fault) if outcome.fault else "",
            outcome.reason,
        )

    def _lead(self, packet: bytes) -> None:
        """Put the function on the route of this packet's destination, as on real routes: packets
        that it sends there come to it again. And have links of their MTU."""
        fib = self._simulator.fib
        to = IPv6Address(packet[24:40]) if len(packet) >= IPV6_SIZE else None
        if to is not None and to not in self._on and leads(to):
            self._on.add(to)
            fib = fib.with_function(IPv6Network(to), OUT)
        # No real link carries a packet that is longer from the beginning; here it is let through.
        mtu = MTU if len(packet) <= MTU else Fib.default().mtu
        if fib is not self._simulator.fib or mtu != fib.mtu:
            self._simulator.fib = replace(fib, mtu=mtu)
