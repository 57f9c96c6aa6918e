"""What the table of `stdlib/oamp.nf` has to hold, given the kernel's routes and neighbours.

As the kernel looks up a destination with its usual rules: in the table `local`, then in `main`;
the longest prefix counts, and of several routes to it the one with the lowest metric.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from nfc.kernel import rtattr
from nfc.kernel.route import UNICAST, Route

LOCAL_KIND: Final = 2  # RTN_LOCAL
_ANYCAST, _MULTICAST = 4, 5  # RTN_*: not where a packet to one host goes
MOST_HOPS: Final = 8
HERE: Final = bytes(16)  # the next hop of what is on the link, or of the router itself
LINK_LOCAL: Final = bytes((0xFE, 0x80))


@dataclass(frozen=True)
class Neighbour:
    """An entry of the neighbour table: which address is at which link-layer address."""

    ifindex: int
    address: bytes
    lladdr: bytes


Prefix = tuple[int, bytes]  # length in bits, 16 bytes
Hops = tuple[bytes, ...]  # none: the route drops packets


class Globals:
    """Finds a global address of a neighbour that a route knows by its link-local one: another
    address at the same link-layer address of the same link."""

    def __init__(self, neighbours: Iterable[Neighbour]) -> None:
        """Remember them."""
        self._lladdr: dict[tuple[int, bytes], bytes] = {}
        self._globals: dict[tuple[int, bytes], bytes] = {}
        for one in neighbours:
            if not one.lladdr:
                continue
            if one.address.startswith(LINK_LOCAL):
                self._lladdr[one.ifindex, one.address] = one.lladdr
            else:
                key = (one.ifindex, one.lladdr)
                self._globals[key] = min(self._globals.get(key, one.address), one.address)

    def of(self, ifindex: int, address: bytes) -> bytes:
        """The global address if one is known, else the address itself."""
        if not address.startswith(LINK_LOCAL):
            return address
        lladdr = self._lladdr.get((ifindex, address))
        return self._globals.get((ifindex, lladdr), address) if lladdr else address


def wanted(local: Iterable[Route], main: Iterable[Route], known: Globals) -> Mapping[Prefix, Hops]:
    """The next hops of each prefix; one hop of zeros for what is on the link or here."""
    found: dict[Prefix, Hops] = {}
    for table in (local, main):
        best: dict[Prefix, Route] = {}
        for route in table:
            if route.kind in (_ANYCAST, _MULTICAST):
                continue
            network = route.prefix
            key = (network.prefixlen, network.network_address.packed)
            if key not in best or route.metric < best[key].metric:
                best[key] = route
        for key, route in best.items():
            found.setdefault(key, _hops(route, known))
    return found


def _hops(route: Route, known: Globals) -> Hops:
    if route.kind == LOCAL_KIND:
        return (HERE,)
    if route.kind != UNICAST:
        return ()
    made = []
    for hop in route.nexthops:
        gateway = rtattr.find(hop.attributes, rtattr.GATEWAY)
        if gateway is None or len(gateway) != len(HERE):
            gateway = HERE
        made.append(known.of(hop.ifindex, gateway))
    return tuple(made)


def shown(hops: Hops) -> str:
    """For people."""
    return " ".join("here" if hop == HERE else str(IPv6Address(hop)) for hop in hops) or "drop"
