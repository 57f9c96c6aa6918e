"""Which flows to probe at which hop limit, and what the answers come to: no packets here.

Routers whose SID is known are asked. Behind the others it is as in the multipath detection
algorithm: of the flows that pass a router so many are probed one hop further that a next hop is
missed with no more than a stated risk (`nfc.discovery.stopping`), and where too few flows pass
it, more are sent out to find some that do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from itertools import chain, islice
from math import ceil
from typing import Final

from nfc.discovery.ask import MOST_COUNTED, Told
from nfc.discovery.graph import Graph, Node
from nfc.discovery.stopping import flows as flows_needed

MOST_NODES: Final = 256
MOST_HOPS: Final = 32
MOST_ROUNDS: Final = 2  # through one router, and a flow goes in a circle
SILENT_HOPS: Final = 3  # in a row, and a flow is not followed further
FLOWS: Final = 256
CONFIDENCE: Final = 95.0  # per cent

Probe = tuple[int, int]  # the flow's number, the hop limit
Asker = Callable[[IPv6Address], Told]


@dataclass(frozen=True)
class Router:
    """What the operator tells of a router: its name, its addresses, and the SID of its end_oamp
    if it has one. What no router is said to have is a router of its own."""

    name: str
    addresses: tuple[IPv6Address, ...]
    sid: IPv6Address | None = None


@dataclass(frozen=True)
class Seen:
    """Who answered a probe: None where nobody did. `end`: the packet would go no further;
    `mark` says why, unless it has arrived."""

    address: IPv6Address | None
    end: bool = False
    mark: str = ""


_Layer = dict[int, str]  # at one hop: the router that each flow has come to


class Explorer:
    """Knows what has been seen, and what should be probed next."""

    def __init__(
        self,
        destination: IPv6Address,
        routers: Sequence[Router],
        asker: Asker,
        *,
        confidence: float = CONFIDENCE,
        most_flows: int = FLOWS,
    ) -> None:
        """`confidence`, in per cent: how likely it is that all next hops are found, of all routers
        on the way taken together. `most_flows` bounds the effort."""
        self.names = {address: router.name for router in routers for address in router.addresses}
        self._listed = frozenset(self.names)
        self.sids = {router.name: router.sid for router in routers if router.sid is not None}
        self.end = self.names.get(destination, str(destination))
        self.confidence = confidence
        self.most_flows = most_flows
        self.seen: list[dict[int, Seen]] = [{} for _ in range(MOST_HOPS + 2)]
        self.unsteady: set[Probe] = set()
        self._asker = asker
        self._told: dict[str, Told] = {}
        self._order: dict[tuple[int, str], int] = {}
        self._short: set[str] = set()

    # ---- what comes in ----------------------------------------------------------------------

    def note(self, probe: Probe, seen: Seen) -> None:
        """An answer, or that none came. A late answer counts, a second one only if it differs:
        then the flow's way is not a fixed one."""
        flow, hop = probe
        before = self.seen[hop].get(flow)
        if before is None or before.address is None:
            self.seen[hop][flow] = seen
        elif seen.address is not None and seen.address != before.address:
            self.unsteady.add(probe)

    def told(self, name: str) -> Told:
        """What the router answers; it is asked once."""
        if name not in self._told:
            sid = self.sids.get(name)
            self._told[name] = Told.nothing("") if sid is None else self._asker(sid)
        return self._told[name]

    # ---- what should be probed --------------------------------------------------------------

    def wanted(self) -> set[Probe]:
        """Probes that are still needed, with those that are on their way."""
        layers = self.layers()
        self._short = set()
        need = self._needed(0, "", set(layers[1].values()))
        found = {(flow, 1) for flow in range(min(need, self.most_flows)) if flow not in layers[1]}
        passed: dict[tuple[int, str], int] = {}
        silence: dict[int, int] = {}
        for hop in range(1, MOST_HOPS):
            for name, flows in _groups(layers[hop]).items():
                going = []
                for flow in flows:
                    passed[flow, name] = times = passed.get((flow, name), 0) + 1
                    seen = self.seen[hop][flow]
                    silence[flow] = silence.get(flow, 0) + 1 if seen.address is None else 0
                    if (
                        not seen.end
                        and name != self.end
                        and times <= MOST_ROUNDS
                        and silence[flow] < SILENT_HOPS
                    ):
                        going.append(flow)
                if not going:
                    continue
                after = {layers[hop + 1][flow] for flow in going if flow in layers[hop + 1]}
                rest = [flow for flow in going if flow not in layers[hop + 1]]
                wants = self._needed(hop, name, after) - (len(going) - len(rest))
                found |= {(flow, hop + 1) for flow in rest[: max(0, wants)]}
                if wants > len(rest):
                    share = (len(going) + 1) / (len(layers[hop]) + 1)
                    more = self._more(layers, hop, name, ceil((wants - len(rest)) / share))
                    found |= more
                    if not more:
                        self._short.add(name)
        return found

    def _needed(self, hop: int, name: str, after: set[str]) -> int:
        """How many flows through the router have to be seen one hop further."""
        told = self.told(name)
        if told.whole:
            nexts = set(self._next_told(name, told))
            if all(one in after or self._all_told(one) for one in nexts):
                return 0
            return flows_needed(max(1, len(nexts) - 1), self._risk(hop, name))
        if len(self._order) >= MOST_NODES:
            return 0
        return flows_needed(max(1, len(after)), self._risk(hop, name))

    def _all_told(self, name: str) -> bool:
        """Whether from here on everybody has told, up to the destination."""
        waiting, passed = [name], {self.end}
        while waiting:
            one = waiting.pop()
            if one in passed:
                continue
            passed.add(one)
            told = self.told(one)
            if not told.whole:
                return False
            waiting += self._next_told(one, told)
        return True

    def _risk(self, hop: int, name: str) -> float:
        """The i-th router may miss something with 1/(i(i+1)) of the risk: however many come, all
        together have no more than the whole."""
        number = self._order.setdefault((hop, name), len(self._order) + 1)
        return (100 - self.confidence) / 100 / (number * (number + 1))

    def _more(self, layers: list[_Layer], hop: int, name: str, count: int) -> set[Probe]:
        """Flows to send out in the hope that some pass the router: first such as have come to a
        router before it, then others."""
        here, before = layers[hop], layers[hop - 1]
        known = {before[flow] for flow in here if here[flow] == name and flow in before}
        likely = (flow for flow in before if before[flow] in known and flow not in here)
        fresh = (flow for flow in range(self.most_flows) if not (flow in here or flow in before))
        return {(flow, hop) for flow in islice(chain(likely, fresh), count)}

    # ---- what it comes to -------------------------------------------------------------------

    def layers(self) -> list[_Layer]:
        """The name of whom each flow has come to, by hop. A silent one is named by its hop, unless
        the router before it has told of one next hop that has not been seen otherwise."""
        layers: list[_Layer] = [{}]
        for hop in range(1, MOST_HOPS + 2):
            before, seen = layers[-1], self.seen[hop]
            if not seen:
                layers.append({})
                continue
            layer = {
                flow: self._name(one.address)
                for flow, one in seen.items()
                if one.address is not None
            }
            ways = set(before.values())
            usual = ways.pop() if len(ways) == 1 else ""  # all have come by the same
            heard: dict[str, set[str]] = {}
            for flow, name in layer.items():
                heard.setdefault(before.get(flow, usual), set()).add(name)
            for flow, one in seen.items():
                if one.address is None:
                    layer[flow] = f"* at hop {hop}"
                    router = before.get(flow, usual)
                    told = self.told(router)
                    if told.whole:
                        left = set(self._next_told(router, told)) - heard.get(router, set())
                        if len(left) == 1:
                            (layer[flow],) = left
            layers.append(layer)
        return layers

    def _name(self, address: IPv6Address) -> str:
        if address not in self.names:
            self.names[address] = str(address)
        return self.names[address]

    def _next_told(self, name: str, told: Told) -> Iterable[str]:
        """By name. What is on the link is the destination; a link-local address says little
        without the router that it is next to."""
        for hop in told.hops:
            if int(hop) == 0:
                yield self.end
            elif hop.is_link_local and hop not in self._listed:
                yield f"{hop} next to {name}"
            else:
                yield self._name(hop)

    def graph(self) -> Graph:
        """All that is known."""
        layers = self.layers()
        edges: dict[str, set[str]] = {}
        marks: dict[str, set[str]] = {}
        passed: set[str] = set()
        for flow in {flow for layer in layers for flow in layer}:
            for hop in range(1, self._last(flow) + 1):
                one, other = layers[hop].get(flow), layers[hop + 1].get(flow)
                if one is None:
                    continue
                passed.add(one)
                if self.seen[hop][flow].mark:
                    marks.setdefault(one, set()).add(self.seen[hop][flow].mark)
                if other is not None:
                    passed.add(other)
                if other is not None and (one != other or not self.seen[hop + 1][flow].mark):
                    edges.setdefault(one, set()).add(other)
        first = sorted(set(layers[1].values()))
        graph = Graph(self.end, first, {}, self.confidence)
        waiting = list(first)
        while waiting:
            name = waiting.pop()
            if name in graph.nodes:
                continue
            node = graph.nodes[name] = Node(name)
            if name == self.end:
                node.how = "end"
            elif len(graph.nodes) >= MOST_NODES:
                graph.warnings = [f"there are more than {MOST_NODES} routers: not all are shown"]
            else:
                self._describe(node, edges.get(name, set()))
                node.notes += sorted(marks.get(name, ()))
                if node.how == "silent" and name not in passed:
                    node.notes.append("no flow came here")
                if name in self._short and node.how != "asked":
                    node.notes.append("not enough flows for the confidence")
            waiting += node.next
        if self.unsteady:
            graph.warnings.append(
                "probes of one flow were answered by several routers at one hop: routes changed "
                "meanwhile, or a router does not keep flows together"
            )
        return graph

    def _describe(self, node: Node, edges: set[str]) -> None:
        told = self.told(node.name)
        nexts = set(self._next_told(node.name, told))
        if told.whole:
            node.how, node.next = "asked", sorted(nexts)
            return
        node.next = sorted(nexts | edges)
        if told.hops:
            node.how = "asked"
            least = "at least " if told.count == MOST_COUNTED else ""
            node.notes.append(f"{least}{told.count - len(told.hops)} more next hops are not told")
        elif node.next:
            node.how = "probed"
        if told.problem:
            node.notes.append(told.problem)

    def _last(self, flow: int) -> int:
        """The last hop from which the flow was answered: of the silence behind one hop is shown."""
        return max((hop for hop in range(1, MOST_HOPS + 1) if self._heard(hop, flow)), default=0)

    def _heard(self, hop: int, flow: int) -> bool:
        seen = self.seen[hop].get(flow)
        return seen is not None and seen.address is not None


def _groups(layer: _Layer) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for flow, name in layer.items():
        groups.setdefault(name, []).append(flow)
    return groups
