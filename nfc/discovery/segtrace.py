"""Every path that packets to a destination may take, asked of routers that have End.OAMP and
probed where one has not.

From a router whose SID is known its next hops come all at once. Behind one that has none, flows
are probed: UDP with a hop limit and a flow label of its own, whose ICMPv6 "time exceeded" tells
which router was that far (RFC 4443, section 3.3). Addresses of a router's incoming interface are
what both ways tell, so they meet.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from itertools import pairwise
from typing import Any, Final

from nfc.discovery.ask import Told
from nfc.errors import KernelError
from nfc.kernel.netns import run_in

MOST_NODES: Final = 256
_MOST_PATHS: Final = 1000
FLOWS: Final = 32  # so many flows miss one of two equal next hops once in 2^31
MOST_HOPS: Final = 32
PORT: Final = 33434
_FLOWINFO_SEND, _RECVERR, _HOPS = 33, 25, 16  # linux/in6.h
_ERROR = struct.Struct("@IBBBBII")  # struct sock_extended_err
_TIME_EXCEEDED, _UNREACHABLE, _FROM_ICMP6 = 3, 1, 3  # ICMPv6 types; SO_EE_ORIGIN_ICMP6


@dataclass(frozen=True)
class Router:
    """What the operator tells of a router: its name, its addresses, and the SID of its end_oamp
    if it has one. What no router is said to have is a router of its own."""

    name: str
    addresses: tuple[IPv6Address, ...]
    sid: IPv6Address | None = None


@dataclass
class Node:
    """A router or the destination, and what comes next. `how` is `asked` (its SID answered),
    `probed`, `end`, or `silent` (nothing is known of what comes next)."""

    name: str
    how: str = "silent"
    next: list[str] = field(default_factory=list)


@dataclass
class Graph:
    """All nodes by name, and those that come first."""

    destination: str
    first: list[str]
    nodes: dict[str, Node]

    def paths(self) -> list[tuple[str, ...]]:
        """Every path to the destination, up to 1000 of them."""
        found: list[tuple[str, ...]] = []

        def follow(name: str, path: tuple[str, ...]) -> None:
            node = self.nodes[name]
            if name in path or len(found) >= _MOST_PATHS:
                return
            if node.how == "end":
                found.append((*path, name))
            for one in node.next:
                follow(one, (*path, name))

        for one in self.first:
            follow(one, ())
        return found

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "destination": self.destination,
            "first": self.first,
            "paths": [list(path) for path in self.paths()],
            "nodes": {n.name: {"how": n.how, "next": n.next} for n in self.nodes.values()},
        }

    def lines(self) -> list[str]:
        """As a tree; what was shown before is not unfolded again."""
        out: list[str] = []
        shown: set[str] = set()

        def show(name: str, before: str, last: bool) -> None:
            node = self.nodes[name]
            again = name in shown and bool(node.next)
            mark = {"asked": "", "end": "  (destination)"}.get(node.how, f"  ({node.how})")
            out.append(f"{before}{'└─' if last else '├─'} {name}{'  …' if again else mark}")
            if again:
                return
            shown.add(name)
            below = before + ("   " if last else "│  ")
            for n, one in enumerate(node.next):
                show(one, below, n == len(node.next) - 1)

        for n, one in enumerate(self.first):
            show(one, "", n == len(self.first) - 1)
        return out


def trace(
    destination: IPv6Address,
    routers: Sequence[Router],
    asker: Callable[[IPv6Address], Told | None],
    flows: Sequence[Sequence[IPv6Address | None]],
) -> Graph:
    """Find all paths. `asker` asks at a SID for the destination; `flows` are the addresses along
    each of many flows, of which at least the first hop is needed."""
    names = {address: router.name for router in routers for address in router.addresses}
    sids = {router.name: router.sid for router in routers if router.sid is not None}

    def name(address: IPv6Address) -> str:
        return names.get(address, str(address))

    def named(found: Iterable[IPv6Address | None]) -> list[str]:
        return sorted({name(one) for one in found if one is not None})

    along = [[None if one is None else name(one) for one in flow] for flow in flows]
    end = name(destination)
    graph = Graph(end, named(flow[0] for flow in flows if flow), {})
    waiting = list(graph.first)
    while waiting:
        here = waiting.pop()
        if here in graph.nodes:
            continue
        node = graph.nodes[here] = Node(here)
        if here == end:
            node.how = "end"
        elif len(graph.nodes) < MOST_NODES:
            told = asker(sids[here]) if here in sids else None
            if told is not None and told.found:
                node.how = "asked"
                node.next = named(destination if int(hop) == 0 else hop for hop in told.hops)
            else:
                pairs = {pair for flow in along for pair in pairwise(flow)}
                node.next = sorted(b for a, b in pairs if a == here and b is not None)
                node.how = "probed" if node.next else "silent"
        waiting += node.next
    return graph


def probe(
    destination: IPv6Address,
    *,
    netns: str | None = None,
    flows: int = FLOWS,
    wait: float = 0.3,
    tries: int = 2,
) -> list[list[IPv6Address | None]]:
    """The addresses along each flow to the destination, None where nobody said anything; a flow
    ends at the destination, or where three in a row said nothing. Raises KernelError."""
    with contextlib.ExitStack() as opened:
        socks = [opened.enter_context(run_in(netns, _probe_socket)) for _ in range(flows)]
        found: list[list[IPv6Address | None]] = [[] for _ in socks]
        going = set(range(flows))
        for hops in range(1, MOST_HOPS + 1):
            answers: dict[int, IPv6Address] = {}
            for _ in range(tries):
                left = going - answers.keys()
                if not left:
                    break
                for number in left:
                    _send(socks[number], destination, number + 1, hops)
                answers |= _listen(socks, left, wait)
            for number in sorted(going):
                address = answers.get(number)
                found[number].append(address)
                silent = found[number][-3:] == [None] * 3
                if address == destination or silent:
                    going.discard(number)
            if not going:
                break
    for flow in found:
        while flow and flow[-1] is None:
            flow.pop()
    return found


def _probe_socket() -> socket.socket:
    made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IPV6, _RECVERR, 1)
    made.setsockopt(socket.IPPROTO_IPV6, _FLOWINFO_SEND, 1)
    made.setblocking(False)
    return made


def _send(sock: socket.socket, destination: IPv6Address, label: int, hops: int) -> None:
    sock.setsockopt(socket.IPPROTO_IPV6, _HOPS, hops)
    for _ in range(2):  # an error of an earlier probe may come up here
        try:
            sock.sendto(b"nfc segtrace", (str(destination), PORT, label, 0))
            return
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EINVAL, errno.EPERM):
                raise KernelError(
                    f"cannot send to {destination}: {error.strerror}", errno=error.errno
                ) from None


def _listen(socks: list[socket.socket], wanted: set[int], wait: float) -> dict[int, IPv6Address]:
    poll = select.poll()
    numbers = {}
    for number in wanted:
        poll.register(socks[number], 0)  # errors are told in any case
        numbers[socks[number].fileno()] = number
    found: dict[int, IPv6Address] = {}
    deadline = time.monotonic() + wait
    while len(found) < len(wanted) and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            number = numbers[descriptor]
            try:
                _, notes, _, _ = socks[number].recvmsg(64, 512, socket.MSG_ERRQUEUE)
            except OSError:
                continue
            for level, kind, data in notes:
                if (level, kind) == (socket.IPPROTO_IPV6, _RECVERR):
                    address = _offender(data)
                    if address is not None:
                        found[number] = address
    return found


def _offender(data: bytes) -> IPv6Address | None:
    """Who sent the ICMPv6 error: behind the struct stands a struct sockaddr_in6."""
    if len(data) < _ERROR.size + 24:
        return None
    _, origin, kind, *_ = _ERROR.unpack_from(data)
    if origin != _FROM_ICMP6 or kind not in (_TIME_EXCEEDED, _UNREACHABLE):
        return None
    return IPv6Address(data[_ERROR.size + 8 : _ERROR.size + 24])
