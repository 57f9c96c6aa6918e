"""Which flows are probed, and what comes of it, on networks in memory: routers that spread flows
by a hash, are silent, limit their answers, loop, or lie. Real routers: tests/kernel."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st

from nfc.discovery.ask import DROPS, SILENT, Told
from nfc.discovery.explore import MOST_NODES, Explorer, Probe, Router, Seen
from nfc.discovery.graph import Graph
from nfc.discovery.segtrace import Tracer
from nfc.discovery.stopping import flows as flows_needed

END = IPv6Address("fd00::99")
Network = dict[int, list[int]]  # routers from 1 on, and their next hops; 0 is the destination


def address(router: int) -> IPv6Address:
    return END if router == 0 else IPv6Address(f"fd00::{router:x}")


def sid(router: int) -> IPv6Address:
    return IPv6Address(f"fd00:f::{router:x}")


@dataclass
class Fake:
    """A network, and the clock that it goes by. `rates`: how many answers a second a router gives
    (after six at once), `silent` ones give none."""

    network: Network
    seed: int = 0
    silent: frozenset[int] = frozenset()
    rates: dict[int, float] = field(default_factory=dict)
    delay: float = 0.01
    now: float = 0.0
    sent: int = 0
    _tokens: dict[int, tuple[float, float]] = field(default_factory=dict)
    _coming: list[tuple[float, Probe, Seen]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def send(self, probe: Probe) -> None:
        self.sent += 1
        flow, hops = probe
        here = 1
        for _ in range(hops - 1):
            if here == 0:
                break
            nexts = self.network[here]
            told = hashlib.blake2b(f"{self.seed} {here} {flow}".encode()).digest()
            here = nexts[int.from_bytes(told[:8], "big") % len(nexts)]
        if self._answers(here):
            seen = Seen(address(here), end=here == 0)
            self._coming.append((self.now + self.delay, probe, seen))

    def _answers(self, router: int) -> bool:
        if router in self.silent:
            return False
        rate = self.rates.get(router)
        if rate is None:
            return True
        tokens, last = self._tokens.get(router, (6.0, self.now))
        tokens = min(6.0, tokens + (self.now - last) * rate)
        self._tokens[router] = (tokens - (tokens >= 1), self.now)
        return tokens >= 1

    def receive(self, wait: float) -> Iterator[tuple[Probe, Seen]]:
        first = min((one[0] for one in self._coming), default=self.now + wait)
        self.now = max(self.now + 1e-4, min(self.now + wait, first))
        come = [one for one in self._coming if one[0] <= self.now]
        self._coming = [one for one in self._coming if one[0] > self.now]
        yield from ((probe, seen) for _, probe, seen in come)


def traced(
    fake: Fake, deployed: set[int] | frozenset[int] = frozenset(), **more: float | int
) -> Graph:
    routers = [
        Router(f"r{n}", (address(n),), sid(n) if n in deployed else None) for n in fake.network
    ]
    routers.append(Router("r0", (END,)))

    def asker(at: IPv6Address) -> Told:
        hops = fake.network[int(at) & 0xFF]
        return Told(True, tuple(IPv6Address(0) if h == 0 else address(h) for h in hops), len(hops))

    explorer = Explorer(END, routers, asker, **more)  # type: ignore[arg-type]
    Tracer(explorer, fake, clock=fake.clock).run()
    return explorer.graph()


def all_paths(network: Network, router: int = 1) -> set[tuple[str, ...]]:
    if router == 0:
        return {("r0",)}
    return {(f"r{router}", *rest) for hop in network[router] for rest in all_paths(network, hop)}


@st.composite
def networks(draw: st.DrawFn, most: int = 6) -> Network:
    """Routers 1 to n, each with next hops of a higher number."""
    count = draw(st.integers(1, most))
    made = {}
    for router in range(1, count + 1):
        above = st.sampled_from([*range(router + 1, count + 1), 0])
        made[router] = sorted(draw(st.sets(above, min_size=1, max_size=3 if most > 4 else 2)))
    return made


@settings(max_examples=25)
@given(networks(), st.sets(st.integers(1, 7)), st.integers(0, 1000))
def test_all_paths_are_found_whoever_is_asked(
    network: Network, deployed: set[int], seed: int
) -> None:
    """For every network, and whichever routers have End.OAMP."""
    graph = traced(Fake(network, seed), deployed, confidence=99.9, most_flows=1000)
    paths = all_paths(network)
    assert set(graph.paths()) == paths
    asked = {node.name for node in graph.nodes.values() if node.how == "asked"}
    assert asked == {f"r{n}" for n in deployed} & {name for path in paths for name in path}
    assert len(graph.lines()) >= len(graph.nodes)
    assert not graph.warnings


@settings(max_examples=6)
@given(
    networks(3),
    st.dictionaries(st.integers(0, 3), st.sampled_from((2.0, 5.0))),
    st.integers(0, 1000),
)
def test_limits_hide_nothing(network: Network, rates: dict[int, float], seed: int) -> None:
    """For every network, and whoever limits its answers."""
    graph = traced(Fake(network, seed, rates=rates), confidence=99, most_flows=128)
    assert set(graph.paths()) == all_paths(network)


LADDER: Network = {1: [2, 3], 2: [4, 5], 3: [5, 6], 4: [7], 5: [7], 6: [7], 7: [8], 8: [0]}


def test_no_more_is_missed_than_stated() -> None:
    """Of 40 traces each of the lab's eight routers; less confidence takes fewer probes."""
    efforts = []
    for confidence in (70, 97):
        fakes = [Fake(LADDER, seed) for seed in range(40)]
        missed = sum(len(traced(fake, confidence=confidence).paths()) < 4 for fake in fakes)
        assert missed <= 0.4 * (100 - confidence)
        efforts.append(sum(fake.sent for fake in fakes) / 40)
    assert efforts[0] < efforts[1] < 250


def test_flows_needed_are_those_of_the_papers() -> None:
    """Table 1 of Augustin and others, and for 99 %. They leave out the chance to have stopped
    before, which from seven on makes a difference of one."""
    assert [flows_needed(k, 0.05) for k in range(1, 7)] == [6, 11, 16, 21, 27, 33]
    assert [flows_needed(k, 0.01) for k in range(1, 4)] == [8, 15, 21]


def test_who_is_silent_is_a_star_and_what_is_behind_is_found() -> None:
    network: Network = {1: [2], 2: [3, 4], 3: [0], 4: [0]}
    graph = traced(Fake(network, silent=frozenset({2})))
    assert graph.lines() == [
        "└─ r1  (probed)",
        "   └─ * at hop 2  (probed)",
        "      ├─ r3  (probed)",
        "      │  └─ r0  (destination)",
        "      └─ r4  (probed)",
        "         └─ r0  (destination)",
    ]


def test_of_two_one_is_silent() -> None:
    """Beside a router that answers: it is only silent after many tries, and then it is shown."""
    network: Network = {1: [2, 3], 2: [4], 3: [4], 4: [0]}
    graph = traced(Fake(network, silent=frozenset({3}), rates={2: 1.0}))
    assert graph.nodes["r1"].next == ["* at hop 2", "r2"]
    assert graph.nodes["* at hop 2"].next == ["r4"]
    assert len(graph.paths()) == 2


def test_a_silent_router_that_another_has_told_of_has_its_name() -> None:
    network: Network = {1: [2, 3], 2: [4, 5], 3: [4], 4: [0], 5: [0]}
    graph = traced(Fake(network, silent=frozenset({2})), {1})
    assert set(graph.paths()) == all_paths(network)
    assert graph.nodes["r2"].how == "probed"


def test_nothing_behind_a_router() -> None:
    graph = traced(Fake({1: [2], 2: [3], 3: [4], 4: [0]}, silent=frozenset({0, 2, 3, 4})))
    assert graph.lines() == ["└─ r1  (probed)", "   └─ * at hop 2  (silent)"]
    assert graph.paths() == []


def test_a_loop_ends() -> None:
    network: Network = {1: [2], 2: [3], 3: [2]}
    fake = Fake(network)
    graph = traced(fake)
    assert graph.paths() == []
    assert graph.lines() == [
        "└─ r1  (probed)",
        "   └─ r2  (probed)",
        "      └─ r3  (probed)",
        "         └─ r2  …",
    ]
    assert fake.sent < 400
    told = traced(Fake(network), {1, 2, 3})
    assert [line.split("  (")[0] for line in graph.lines()] == told.lines()


def test_few_flows_are_said_to_be_few() -> None:
    graph = traced(Fake({1: list(range(2, 10)), **{n: [0] for n in range(2, 10)}}), most_flows=20)
    assert any("not enough flows" in note for node in graph.nodes.values() for note in node.notes)


def test_a_network_without_end_ends() -> None:
    """Somebody answers each probe in another name."""

    class Liar(Fake):
        def send(self, probe: Probe) -> None:
            self.sent += 1
            liar = Seen(IPv6Address(0xFE << 120 | self.sent))
            self._coming.append((self.now, probe, liar))

    fake = Liar({1: [0]})
    graph = traced(fake, most_flows=100)
    assert len(graph.nodes) < 2 * MOST_NODES
    assert fake.sent < 100 * 33
    assert len(graph.lines()) < 3000


def test_what_is_late_twice_or_of_nobody() -> None:
    seen = Seen(address(1))
    explorer = Explorer(END, [], lambda at: SILENT)
    assert (0, 1) in explorer.wanted()
    explorer.note((0, 1), Seen(None))
    explorer.note((0, 1), seen)  # late
    explorer.note((0, 1), seen)  # twice
    assert explorer.graph().first == [str(address(1))]
    assert not explorer.graph().warnings
    explorer.note((0, 1), Seen(address(2)))
    assert "several routers" in explorer.graph().warnings[0]
    assert explorer.graph().first == [str(address(1))]


def test_an_end_that_is_none() -> None:
    """A router without a route says so, at every hop limit from its own on."""
    explorer = Explorer(END, [], lambda at: SILENT)
    router = address(1)
    for flow in range(30):
        explorer.note((flow, 1), Seen(router))
        explorer.note((flow, 2), Seen(router, end=True, mark="no route to the destination"))
    assert not explorer.wanted()
    assert explorer.graph().lines() == ["└─ fd00::1  (silent; no route to the destination)"]


def test_what_a_router_does_not_tell() -> None:
    """Behind it flows are probed; why is said."""
    network: Network = {1: [2], 2: [0]}
    fake = Fake(network)
    eight = tuple(address(n) for n in range(0x10, 0x18))
    answers = {sid(1): DROPS, sid(2): Told(True, eight, 11)}
    routers = [Router(f"r{n}", (address(n),), sid(n)) for n in network]
    explorer = Explorer(END, routers, answers.__getitem__)
    Tracer(explorer, fake, clock=fake.clock).run()
    graph = explorer.graph()
    assert graph.lines()[:2] == [
        "└─ r1  (probed; has no route)",
        "   └─ r2  (3 more next hops are not told)",
    ]
    assert graph.nodes["r2"].next == sorted([*map(str, eight), str(END)])
    assert graph.nodes[str(eight[0])].mark() == "  (silent; no flow came here)"


def test_more_next_hops_than_can_be_counted() -> None:
    told = Told(True, tuple(address(n) for n in range(0x10, 0x18)), 255)
    explorer = Explorer(END, [Router("r1", (address(1),), sid(1))], lambda at: told)
    explorer.note((0, 1), Seen(address(1)))
    assert explorer.graph().nodes["r1"].notes == ["at least 247 more next hops are not told"]


def test_a_link_local_next_hop_is_next_to_somebody() -> None:
    """Two routers may tell of the same one, and mean two."""
    near = Told(True, (IPv6Address("fe80::1"),), 1)
    told = {sid(1): Told(True, (address(2), address(3)), 2), sid(2): near, sid(3): near}
    routers = [Router(f"r{n}", (address(n),), sid(n)) for n in (1, 2, 3)]
    fake = Fake({1: [2, 3], 2: [4], 3: [5], 4: [0], 5: [0]})
    explorer = Explorer(END, routers, told.__getitem__)
    Tracer(explorer, fake, clock=fake.clock).run()
    assert explorer.graph().nodes["r2"].next == ["fe80::1 next to r2"]
    assert explorer.graph().nodes["r3"].next == ["fe80::1 next to r3"]


def test_one_answer_a_second() -> None:
    """What Linux allows when nobody has set anything, of all routers at once."""
    fake = Fake(LADDER, 1, rates=dict.fromkeys(range(9), 1.0))
    assert len(traced(fake).paths()) == 4
    assert fake.now < 60
