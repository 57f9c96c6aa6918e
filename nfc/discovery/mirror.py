"""What the table of `stdlib/oamp.nf` has to hold, given what the kernel routes by.

The answer to a destination changes only at prefixes that a rule or a route names: whoever lies in
the same of them, and in no longer one, matches the same rules and the same routes. So the table
holds each of these prefixes, with what the kernel's look-up comes to there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeVar

from nfc.discovery.bell import Host
from nfc.discovery.rib import Entry, Prefix, Rib
from nfc.discovery.rules import DROPS, GOTO, TO_TABLE, Rule

MOST_HOPS: Final = 8
HERE: Final = bytes(16)  # the next hop of what is on the link, or of the router itself
LINK_LOCAL: Final = bytes((0xFE, 0x80))
_MOST_ENCAPS: Final = 8  # routes that encapsulate, one after the other

T = TypeVar("T")
Hops = tuple[bytes, ...]  # none: packets are dropped
_State = dict[int, tuple[int, Entry]]  # of each table the longest match: length, what it says


class Globals:
    """Finds a global address of a neighbour that a route knows by its link-local one: another
    address at the same link-layer address of the same link."""

    def __init__(self, neighbours: Mapping[Host, bytes]) -> None:
        """Remember their link-layer addresses."""
        self._neighbours = neighbours
        self._globals: dict[Host, bytes] = {}  # by the link-layer address
        self._asked: set[Host] = set()
        for (ifindex, address), lladdr in neighbours.items():
            if not address.startswith(LINK_LOCAL):
                key = (ifindex, lladdr)
                self._globals[key] = min(self._globals.get(key, address), address)

    def of(self, ifindex: int, address: bytes) -> bytes:
        """The global address if one is known, else the address itself."""
        if not address.startswith(LINK_LOCAL):
            return address
        self._asked.add((ifindex, address))
        lladdr = self._neighbours.get((ifindex, address))
        return self._globals.get((ifindex, lladdr), address) if lladdr else address

    def concern(self, neighbours: Mapping[Host, bytes | None]) -> bool:
        """Whether what was asked for so far may have another answer now that neighbours have
        these link-layer addresses, or none."""
        at = {(host[0], self._neighbours.get(host)) for host in self._asked}
        for host, lladdr in neighbours.items():
            before = self._neighbours.get(host)
            if lladdr == before:
                continue
            if host in self._asked:
                return True
            if not host[1].startswith(LINK_LOCAL) and any(
                one is not None and (host[0], one) in at for one in (before, lladdr)
            ):
                return True
        return False


def wanted(rib: Rib, known: Globals, table: int | None = None) -> Mapping[Prefix, Hops]:
    """The next hops at each prefix; one hop of zeros for what is on the link or here. With `table`
    that one alone is looked up, and no rule."""
    rules = rib.rules if table is None else (Rule(0, TO_TABLE, table),)
    found = {prefix: Entry() if entry is None else entry for prefix, entry in _entries(rib, rules)}
    lengths = sorted({length for length, _ in found}, reverse=True)

    def match(address: bytes) -> Entry:
        value = int.from_bytes(address, "big")
        for length in lengths:
            network = (value >> (128 - length) << (128 - length)).to_bytes(16, "big")
            if (length, network) in found:
                return found[length, network]
        return Entry()

    def hops(entry: Entry, on_link: bytes = HERE, encaps: int = 0) -> Hops:
        made: list[bytes] = []
        for way in entry.ways:
            if way.segment is None:
                made.append(known.of(way.ifindex, way.gateway or on_link))
            elif encaps < _MOST_ENCAPS:  # beyond, it leads round in a circle
                made += hops(match(way.segment), way.segment, encaps + 1)
        return tuple(made)

    return {prefix: hops(entry) for prefix, entry in found.items()}


def _entries(rib: Rib, rules: Sequence[Rule]) -> Iterable[tuple[Prefix, Entry | None]]:
    """What the look-up comes to at each prefix, the wider ones first."""
    used = {rule.table for rule in rules}
    prefixes: dict[Prefix, list[tuple[int, Entry]]] = {}
    for table, entries in rib.tables.items():
        if table in used:
            for prefix, entry in entries.items():
                prefixes.setdefault(prefix, []).append((table, entry))
    for rule in rules:
        prefixes.setdefault((rule.to[0], rule.to[1].to_bytes(16, "big")), [])
    places = {rule.priority: number for number, rule in reversed(list(enumerate(rules)))}
    above: list[tuple[int, int, _State]] = []  # the prefixes around this one
    for prefix in sorted(prefixes, key=lambda one: (one[1], one[0])):
        length, address = prefix[0], int.from_bytes(prefix[1], "big")
        while above and (address ^ above[-1][1]) >> (128 - above[-1][0]):
            above.pop()
        state = above[-1][2] if above else {}
        if prefixes[prefix]:
            state = state | {table: (length, entry) for table, entry in prefixes[prefix]}
        above.append((length, address, state))
        yield prefix, _follow(rules, places, state, length, address)


def _follow(
    rules: Sequence[Rule], places: Mapping[int, int], state: _State, length: int, address: int
) -> Entry | None:
    """As net/core/fib_rules.c, fib_rules_lookup; None where no rule leads to a route."""
    at = 0
    while at < len(rules):
        rule = rules[at]
        at += 1
        if not rule.matches(length, address):
            continue
        if rule.action == GOTO:
            at = max(at, places.get(rule.target, at))  # where none is there, it does nothing
        elif rule.action in DROPS:
            return Entry()
        elif rule.action == TO_TABLE and rule.table in state:
            bits, entry = state[rule.table]
            # A route that drops is an error, and errors are not suppressed.
            if not entry.throw and (bits > rule.suppress or not entry.ways):
                return entry
    return None


def changes(has: Mapping[Prefix, T], wants: Mapping[Prefix, T]) -> Iterable[Prefix]:
    """In which order to put what is new or other, and then remove what is gone, so that the answer
    to each destination goes from the old one to the new one and is never a third: the longest
    first, and of what goes the shortest."""
    yield from sorted((p for p in wants if has.get(p) != wants[p]), reverse=True)
    yield from sorted(p for p in has if p not in wants)


def doubts(rib: Rib) -> list[str]:
    """What another packet to the same destination might be routed by, which a table of
    destinations cannot hold."""
    told = [
        f"{rule}: packets of a VRF have a table of their own (--table)"
        if rule.needs == ("l3mdev",)
        else f"{rule} looks at more than the destination: "
        f"followed as for a forwarded packet without it"
        for rule in rib.rules
        if rule.needs
    ]
    if rib.from_sources:
        told.append(f"{rib.from_sources} routes for certain sources only are left out")
    return told
