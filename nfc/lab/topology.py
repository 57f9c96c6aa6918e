"""Ready-made labs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from itertools import pairwise
from typing import Final

from nfc.errors import UsageError
from nfc.lab.lab import End, Lab

_MAX_NODES: Final = 10  # so that fd00:1:: to fd00:9:: are links and fd00:a:: on are locators


@dataclass(frozen=True)
class Node:
    """One node of a chain: the ends of its links to the left and right, if it has them.

    Routers have a `locator`: the prefix their SIDs are taken from, which every other node
    routes to them.
    """

    name: str
    left: End | None
    right: End | None
    locator: IPv6Network | None

    @property
    def address(self) -> IPv6Address:
        """Its address: on the left link, or on the right one where that is all it has."""
        end = self.left or self.right
        assert end is not None  # a chain has two nodes or more
        return end.address.ip

    def sid(self, function: int) -> IPv6Address:
        """The SID of this function in the locator. Raises UsageError for a host."""
        if self.locator is None:
            raise UsageError(f"{self.name} is a host and has no locator")
        return self.locator[function]


@dataclass(frozen=True)
class Chain:
    """A chain that stands; `lab` sends, captures and configures."""

    lab: Lab
    nodes: dict[str, Node]

    def __getitem__(self, name: str) -> Node:
        """The node of that name. Raises UsageError if there is none."""
        if name not in self.nodes:
            raise UsageError(f"there is no node {name!r}; there are: {', '.join(self.nodes)}")
        return self.nodes[name]


@contextmanager
def chain(*names: str) -> Iterator[Chain]:
    """host - router - ... - router - host; by default h1 - r1 - r2 - h2.

    Link n (from 1, left to right) is fd00:n::/64, with ::1 at its left end and ::2 at its
    right one. The routers' locators are fd00:a::/48, fd00:b::/48, ... Hosts have a default
    route; routers a route to every link and every locator, so nothing loops. A node's eth0
    leads left, eth1 right; a host's only link is eth0. Takes 2 to 10 names; raises as Lab does.
    """
    names = names or ("h1", "r1", "r2", "h2")
    if not 2 <= len(names) <= _MAX_NODES:
        raise UsageError(f"a chain has 2 to {_MAX_NODES} nodes, not {len(names)}")
    with Lab() as lab:
        for index, name in enumerate(names):
            lab.namespace(name, forwarding=0 < index < len(names) - 1)
        links = [
            lab.link(left, right, f"fd00:{n}::1/64", f"fd00:{n}::2/64")
            for n, (left, right) in enumerate(pairwise(names), start=1)
        ]
        nodes = [
            Node(
                name,
                links[i - 1][1] if i > 0 else None,
                links[i][0] if i < len(links) else None,
                IPv6Network(f"fd00:{9 + i:x}::/48") if 0 < i < len(names) - 1 else None,
            )
            for i, name in enumerate(names)
        ]
        for index in range(len(nodes)):
            _routes(lab, nodes, links, index)
        yield Chain(lab, {node.name: node for node in nodes})


def _routes(lab: Lab, nodes: list[Node], links: list[tuple[End, End]], own: int) -> None:
    """The routes of node number `own`."""
    node = nodes[own]
    if node.locator is None:
        gateway = links[0][1] if own == 0 else links[-1][0]
        lab.route(node.name, "default", via=str(gateway.address.ip))
        return
    left, right = str(links[own - 1][0].address.ip), str(links[own][1].address.ip)
    for index, (end, _) in enumerate(links):
        if index not in (own - 1, own):
            via = left if index < own else right
            lab.route(node.name, str(end.address.network), via=via)
    for index, other in enumerate(nodes):
        if other.locator is not None and index != own:
            lab.route(node.name, str(other.locator), via=left if index < own else right)
