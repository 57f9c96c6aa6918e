"""What the kernel has to route by: rules, tables, next hop objects, neighbours; read in one go.

Which routes of a prefix count, and which of their next hops: net/ipv6/route.c, find_rr_leaf,
find_match and rt6_score_route, on a router (net.ipv6.conf.all.forwarding is 1).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from nfc.discovery.bell import NEIGHBOUR, Bell, Heard, Host, Place, neighbour
from nfc.discovery.rules import HEADER as RULE_HEADER
from nfc.discovery.rules import USUAL, Rule, parse
from nfc.errors import KernelError
from nfc.kernel import rtattr, rtdump
from nfc.kernel.route import CLONED, HEADER

Prefix = tuple[int, bytes]  # length in bits, 16 bytes

_AF_INET6: Final = 10
_UNICAST, _LOCAL, _ANYCAST, _MULTICAST, _THROW = 1, 2, 4, 5, 9  # RTN_*
_HERE: Final = (_LOCAL, _ANYCAST, _MULTICAST)
_DEAD: Final = 1  # RTNH_F_DEAD; also of a link that is down, where such routes are ignored
_SEG6, _SEG6_LOCAL = 5, 7  # LWTUNNEL_ENCAP_*
_SEG6_SRH: Final = 1  # SEG6_IPTUNNEL_SRH: a 32-bit mode, then the SRH
_PREFERENCE: Final = {b"\1": 3, b"\3": 1}  # RFC 4191: high and low; all else is medium, 2
_NEXTHOP: Final = struct.Struct("=BBBBI")  # family, scope, protocol, -, flags
_ID, _GROUP, _BLACKHOLE, _OIF, _GATEWAY, _ENCAP_TYPE, _ENCAP = 1, 2, 4, 5, 6, 7, 8  # NHA_*
_TICKS: Final = 100  # USER_HZ, the unit of rta_expires


@dataclass(frozen=True)
class Way:
    """A next hop: `gateway` is None on a link or at the router itself; `segment` is where packets
    go instead that the route encapsulates."""

    ifindex: int
    gateway: bytes | None = None
    segment: bytes | None = None


@dataclass(frozen=True)
class Entry:
    """What a table says of a prefix. `ways` is empty where packets are dropped; `throw` sends the
    look-up on to the next rule."""

    ways: tuple[Way, ...] = ()
    throw: bool = False


@dataclass(frozen=True)
class Rib:
    """All of it. `from_sources` counts routes for certain sources only (`ip -6 route add … from`),
    which are not in `tables`; `expires` is when the first of the others does, in seconds."""

    rules: tuple[Rule, ...] = USUAL
    tables: Mapping[int, Mapping[Prefix, Entry]] = field(default_factory=dict)
    from_sources: int = 0
    expires: float | None = None


def look(netns: str | None = None) -> Rib:
    """The rules and every table. Raises KernelError; without an errno where the routes do not
    stand still."""
    return Lookout(netns).look()


class Lookout:
    """Looks again and again. With a bell it knows what a look may have missed because routes
    changed under it, and keeps of that what was there before.

    Until one look had routes that stood still, nothing says what was there before: the first
    looks may all have missed the same routes, since each goes on by counting at the same places.
    """

    def __init__(self, netns: str | None = None, bell: Bell | None = None) -> None:
        """Nothing has been seen yet."""
        self.netns, self.bell = netns, bell
        self.overtaken = False  # whether routes changed under the last look
        self.neighbours: Mapping[Host, bytes] = {}
        self.news = Heard()  # what may have come too late for the last look, but for routes
        self.sure = False  # whether they did not under one look, so that none that stays is missing
        self._cache: Cache = {}
        self._places: dict[Place, list[bytes]] = {}
        self._before = Heard()

    def listen(self) -> Heard:
        """What has been heard that no look has had yet."""
        self._before = self._before.then(self._heard())
        return self._before

    def look(self) -> Rib:
        """As `look`; and the neighbours."""
        self.listen()
        self.neighbours = neighbours(self.netns)
        rules = rtdump.dump(rtdump.GETRULE, RULE_HEADER.pack(_AF_INET6, *[0] * 8), self.netns)
        late = self._heard()
        before = self._before = self._before.then(late)  # kept also if the dump fails
        routes = rtdump.dump(rtdump.GETROUTE, HEADER.pack(_AF_INET6, *[0] * 8), self.netns)
        during = self._heard()
        self.overtaken, self._before = during.overtaken, Heard(during.gone, lost=during.lost)
        self.news = Heard(hosts=late.hosts | during.hosts, other=late.other or during.other)
        self.sure = self.sure or not during.overtaken
        places: dict[Place, list[bytes]] = {}
        for body in routes:
            if body not in self._cache:
                self._cache[body] = _Route.read(body)
            one = self._cache[body]
            if one is not None:
                places.setdefault((one.table, *one.prefix), []).append(body)
        if self.overtaken:
            self._keep(places, before.then(during))
        self._places = places
        bodies = (body for several in places.values() for body in several)
        return rib(tuple(map(parse, rules)), bodies, lambda: nexthops(self.netns), self._cache)

    def _heard(self) -> Heard:
        return Heard() if self.bell is None else self.bell.heard()

    def _keep(self, places: dict[Place, list[bytes]], heard: Heard) -> None:
        """What was there, unless it is known to have gone."""
        for place, old in self._places.items():
            new = places.get(place)
            if new is None:
                if heard.lost or not heard.gone.get(place, False):
                    places[place] = old
            elif place not in heard.gone and not heard.lost and set(new) < set(old):
                places[place] = old


def rib(
    rules: tuple[Rule, ...],
    routes: Iterable[bytes],
    objects: Callable[[], Mapping[int, tuple[Way, ...]]],
    cache: Cache | None = None,
) -> Rib:
    """Out of messages. `objects` is called where a route has a next hop object that the kernel
    does not spell out (net.ipv4.nexthop_compat_mode is 0)."""
    found: dict[int, dict[Prefix, list[_Route]]] = {}
    from_sources = 0
    expires: list[int] = []
    known: Mapping[int, tuple[Way, ...]] | None = None
    before, now = cache or {}, {}
    for body in routes:
        now[body] = one = before[body] if body in before else _Route.read(body)
        if one is None:
            continue
        if one.from_source:
            from_sources += 1
            continue
        if one.nexthop and not one.hops and one.kind == _UNICAST:
            known = objects() if known is None else known
            one = replace(one, hops=[(0, way) for way in known.get(one.nexthop, ())])
        if one.expires > 0:
            expires.append(one.expires)
        found.setdefault(one.table, {}).setdefault(one.prefix, []).append(one)
    if cache is not None:
        cache.clear()
        cache.update(now)
    tables: dict[int, dict[Prefix, Entry]] = {}
    for table, prefixes in found.items():
        entries = tables[table] = {}
        for prefix, several in prefixes.items():
            chosen = _chosen(several)
            if chosen is not None:
                entries[prefix] = chosen.entry()
    return Rib(rules, tables, from_sources, min(expires) / _TICKS if expires else None)


@dataclass(frozen=True)
class _Route:
    """One message of a dump; `hops` are flags and next hops."""

    kind: int
    table: int
    prefix: Prefix
    metric: int
    preference: int
    from_source: bool
    expires: int  # ticks; negative: it has
    nexthop: int  # id of the object, or 0
    hops: list[tuple[int, Way]]

    @staticmethod
    def read(body: bytes) -> _Route | None:
        """None for what is no IPv6 route of anybody's. Raises KernelError when it is broken."""
        if len(body) < HEADER.size:
            raise KernelError(f"a route of {len(body)} bytes")
        family, bits, source, _, table, _, _, kind, flags = HEADER.unpack_from(body)
        if family != _AF_INET6 or flags & CLONED:
            return None
        found = dict(rtattr.unpack(body[HEADER.size :]))
        address = found.get(rtattr.DST, bytes(16))
        if bits > 128 or len(address) != 16:
            raise KernelError("a route whose destination is no IPv6 prefix")
        many = found.get(rtattr.MULTIPATH)
        if many is not None:
            hops = [
                (hop.flags, _way(hop.ifindex, dict(hop.attributes)))
                for hop in rtattr.unpack_nexthops(many)
            ]
        elif rtattr.OIF in found:
            hops = [(flags & 0xFF, _way(_u32(found, rtattr.OIF), found))]
        else:
            hops = []
        cache = found.get(rtattr.CACHEINFO, b"")
        return _Route(
            kind=kind,
            table=_u32(found, rtattr.TABLE) or table,
            prefix=(bits, address),
            metric=_u32(found, rtattr.PRIORITY),
            preference=_PREFERENCE.get(found.get(rtattr.PREF, b""), 2),
            from_source=source > 0,
            expires=struct.unpack_from("=i", cache, 8)[0] if len(cache) >= 12 else 0,
            nexthop=_u32(found, rtattr.NH_ID),
            hops=hops,
        )

    @property
    def usable(self) -> bool:
        """Whether packets take it. One that drops them has no link that could be down."""
        if self.expires < 0:
            return False
        return not self.hops or any(not flags & _DEAD for flags, _ in self.hops)

    def entry(self) -> Entry:
        """What it says."""
        if self.kind == _THROW:
            return Entry(throw=True)
        if self.kind in _HERE:
            return Entry((Way(self.hops[0][1].ifindex if self.hops else 0),))
        if self.kind != _UNICAST:
            return Entry()
        return Entry(tuple(way for flags, way in self.hops if not flags & _DEAD))


Cache = dict[bytes, _Route | None]


def _chosen(several: list[_Route]) -> _Route | None:
    """The route of a prefix that counts: of the lowest metric the first with the highest router
    preference, of those that are usable; if none is, of all other metrics. They come in the order
    of the kernel's list."""
    lowest = several[0].metric
    for among in (
        [route for route in several if route.metric == lowest],
        [route for route in several if route.metric != lowest],
    ):
        usable = [route for route in among if route.usable]
        if usable:
            return max(usable, key=lambda route: route.preference)  # the first of equal ones
    return None


def _way(ifindex: int, found: Mapping[int, bytes]) -> Way:
    """A next hop out of RTA_GATEWAY and RTA_ENCAP."""
    gateway = found.get(rtattr.GATEWAY)
    kind = found.get(rtattr.ENCAP_TYPE, b"")
    return _encapsulated(ifindex, gateway, kind, found.get(rtattr.ENCAP, b""))


def _encapsulated(ifindex: int, gateway: bytes | None, kind: bytes, encap: bytes) -> Way:
    number = struct.unpack_from("=H", kind)[0] if len(kind) >= 2 else 0
    if number == _SEG6_LOCAL:
        return Way(ifindex)
    if gateway is not None and len(gateway) != 16:
        gateway = None
    return Way(ifindex, gateway, _first_segment(encap) if number == _SEG6 else None)


def _first_segment(encap: bytes) -> bytes | None:
    """Where packets of a seg6 route go: the last entry of the SRH's segment list (RFC 8754)."""
    srh = (rtattr.find(rtattr.unpack(encap), _SEG6_SRH) or b"")[4:]
    if len(srh) < 8:
        return None
    segment = srh[8 + 16 * srh[4] : 24 + 16 * srh[4]]
    return segment if len(segment) == 16 else None


def nexthops(netns: str | None = None) -> Mapping[int, tuple[Way, ...]]:
    """The next hop objects by id; of a group, those of its members; none of a blackhole. Raises
    KernelError."""
    single: dict[int, tuple[Way, ...]] = {}
    groups: dict[int, list[int]] = {}
    for body in rtdump.dump(rtdump.GETNEXTHOP, _NEXTHOP.pack(0, 0, 0, 0, 0), netns):
        if len(body) < _NEXTHOP.size:
            raise KernelError(f"a next hop object of {len(body)} bytes")
        found = dict(rtattr.unpack(body[_NEXTHOP.size :]))
        flags = _NEXTHOP.unpack_from(body)[4]
        number = _u32(found, _ID)
        if _GROUP in found:  # struct nexthop_grp: a 32-bit id, weight, 8 bytes in all
            group = found[_GROUP]
            members = struct.iter_unpack("=II", group[: len(group) & ~7])
            groups[number] = [member for member, _ in members]
        elif _BLACKHOLE in found or flags & _DEAD:
            single[number] = ()
        else:
            kind, encap = found.get(_ENCAP_TYPE, b""), found.get(_ENCAP, b"")
            way = _encapsulated(_u32(found, _OIF), found.get(_GATEWAY), kind, encap)
            single[number] = (way,)
    several = {
        number: tuple(way for member in members for way in single.get(member, ()))
        for number, members in groups.items()
    }
    return {**single, **several}


def neighbours(netns: str | None = None) -> dict[Host, bytes]:
    """The IPv6 neighbour table, as far as link-layer addresses are known. Raises KernelError."""
    found = {}
    for body in rtdump.dump(rtdump.GETNEIGH, NEIGHBOUR.pack(_AF_INET6, 0, 0, 0, 0, 0, 0), netns):
        if len(body) < NEIGHBOUR.size:
            raise KernelError(f"a neighbour of {len(body)} bytes")
        one = neighbour(body)
        if one is not None and one[1] is not None:
            found[one[0]] = one[1]
    return found


def _u32(found: Mapping[int, bytes], kind: int) -> int:
    value = found.get(kind, b"")
    return struct.unpack_from("=I", value)[0] if len(value) >= 4 else 0
