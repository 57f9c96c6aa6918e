"""A router's forwarding table, as far as a function can see it: prefixes to names of links.

mtu = 1500                      # of every link, bytes
tunnel_source = "fd00:a::1"     # the source of outer headers (`ip sr tunsrc`)
own = ["fd00:a::1"]             # the router's addresses: packets to them are not forwarded

[routes.main]                   # by routing table: a name or a number
"fd20::/16" = "h2"
"10.20.0.0/16" = "h2"           # for what a program has put behind an IPv4 header (main only)
"fd2f::/16" = {link = "h2", function = true}  # the function that is run lies on this route, too
[routes.100]
"::/0" = "h3"

[marks]                         # ip -6 rule add fwmark 7 lookup 107
7 = 107

[links]                         # interface numbers, where a program uses them
h2 = 3
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

from nfc import config
from nfc.errors import NfcError, UsageError
from nfc.kernel.tables import table_id

MAIN, LOCAL = 254, 255
DEFAULT_LINK = "out"
MIN_MTU, MAX_MTU = 1280, 65535  # RFC 8200, section 5
MAX_ROUTES = 100_000
_LOOPBACK = bytes(15) + b"\x01"
_LINK_LOCAL = b"\xfe\x80" + bytes(6)  # each link has a route to it in table main
_RESERVED = frozenset(bytes((0xFE, second)) for second in range(0x80, 0xC0))  # fe80::/10
TUNNEL_SOURCE = IPv6Address("fd00::1")


@dataclass(frozen=True)
class Route:
    """Packets to `prefix`, looked up in `table`, leave by `link`; with `function`, after the one
    that is run has seen them."""

    table: int
    prefix: IPv6Network
    link: str
    function: bool = False


@dataclass(frozen=True)
class IPv4Route:
    """The same of IPv4, in table main."""

    prefix: IPv4Network
    link: str
    function: bool = False


class Hop(NamedTuple):
    """Where a packet goes: `link`, or "" and an `error`, negative; whether the function that is run
    lies on the route."""

    link: str = ""
    error: int = 0
    function: bool = False


_Row = tuple[int, int, int, Hop]  # mask, network, length


@dataclass(frozen=True)
class Fib:
    """Routes and what else the kernel looks at when it forwards.

    `marks` are rules (mark, table), asked before table main, in order. `rest` is the link of
    everything that no route covers, in every table; empty: there is none. `links` are interface
    numbers by name.
    """

    routes: tuple[Route, ...] = ()
    own: frozenset[IPv6Address] = frozenset()
    marks: tuple[tuple[int, int], ...] = ()
    tunnel_source: IPv6Address = TUNNEL_SOURCE
    mtu: int = 1500
    rest: str = ""
    links: Mapping[str, int] = field(default_factory=dict)
    ipv4: tuple[IPv4Route, ...] = ()

    @staticmethod
    def default() -> Fib:
        """Everything leaves by a link called "out", whichever table is asked."""
        return Fib(rest=DEFAULT_LINK, mtu=MAX_MTU)

    @staticmethod
    def parse(text: str, name: str) -> Fib:
        """Read the notation above; `name` is the file's, for errors. Raises NfcError."""
        return _Reader(text, name).fib(config.parse(text, name))

    def with_function(self, prefix: IPv6Network, link: str = "") -> Fib:
        """The same where the function lies on the route to `prefix` in table main: on a new one by
        the link that leads there, if there is none, or by `link`. Without either there is none."""
        there = [r for r in self.routes if r.table == MAIN and r.prefix == prefix]
        if there:
            routes = tuple(replace(r, function=True) if r in there else r for r in self.routes)
            return replace(self, routes=routes)
        link = self.hop(prefix.network_address.packed).link or link
        more = (Route(MAIN, prefix, link, True),) if link else ()
        return replace(self, routes=self.routes + more)

    @cached_property
    def _by_table(self) -> dict[int, list[_Row]]:
        """Per table its routes, longest first."""
        found: dict[int, list[_Row]] = {}
        for route in self.routes:
            mask, network = int(route.prefix.netmask), int(route.prefix.network_address)
            row = (mask, network, route.prefix.prefixlen, Hop(route.link, 0, route.function))
            found.setdefault(route.table, []).append(row)
        for rows in found.values():
            rows.sort(key=lambda row: -row[2])
        return found

    @cached_property
    def _own(self) -> frozenset[bytes]:
        return frozenset(a.packed for a in self.own)

    def lookup(self, destination: bytes, mark: int = 0, table: int = 0) -> tuple[str, int]:
        """The link to a destination, and 0; or "" and what the kernel's lookup says, negative."""
        return self.hop(destination, mark, table)[:2]

    def hop(self, destination: bytes, mark: int = 0, table: int = 0) -> Hop:
        """Where packets to a destination go.

        With a `table`, only that one is asked; else rules are followed (seg6_lookup_nexthop,
        net/ipv6/seg6_local.c: what is for the router itself is discarded, -EINVAL). A link-local
        address is looked for on the link that the packet came in by, and found there, as a group
        is: "" and 0 (rt6_need_strict, net/ipv6/route.c).
        """
        if destination in self._own and table in (0, LOCAL):
            return Hop("", -errno.EINVAL)
        if destination[:8] == _LINK_LOCAL and table in (0, MAIN):
            return Hop()
        if not table and destination[0] == 0xFF:
            return Hop()
        if not table and (destination == _LOOPBACK or destination[:2] in _RESERVED):
            return Hop("", -errno.ENETUNREACH)
        address = int.from_bytes(destination, "big")
        if table and table not in (MAIN, LOCAL, *self._by_table) and not self.rest:
            return Hop("", -errno.EINVAL)  # there is no such table
        tables = [table or MAIN]
        if not table:
            tables = [number for wanted, number in self.marks if mark == wanted] + tables
        for number in tables:
            for mask, network, _, hop in self._by_table.get(number, ()):
                if address & mask == network:
                    return hop
        return Hop(self.rest) if self.rest else Hop("", -errno.ENETUNREACH)

    def lookup_ipv4(self, destination: bytes) -> str:
        """The link to an IPv4 destination; empty: there is no route."""
        return self.hop_ipv4(destination).link

    def hop_ipv4(self, destination: bytes) -> Hop:
        """Where packets to an IPv4 destination go; nowhere without a route."""
        hits = [r for r in self.ipv4 if IPv4Address(destination) in r.prefix]
        if not hits:
            return Hop(self.rest, 0 if self.rest else -errno.ENETUNREACH)
        best = max(hits, key=lambda r: r.prefix.prefixlen)
        return Hop(best.link, 0, best.function)

    def link_of(self, index: int) -> str:
        """The link with an interface number; `if7` where the table does not say."""
        names = {number: name for name, number in self.links.items()}
        return names.get(index, "lo" if index == 1 else f"if{index}")


class _Reader:
    """From parsed TOML to a Fib; errors name the line."""

    def __init__(self, text: str, name: str) -> None:
        self.lines = text.splitlines()
        self.name = name

    def fail(self, key: str, message: str) -> NfcError:
        """The error for what stands at a key: its first line that begins with it."""
        pattern = re.compile(r"\s*(\[.*)?[\"']?" + re.escape(key) + r"[\"'\]\s=]")
        for number, line in enumerate(self.lines, 1):
            if pattern.match(line + " "):
                return NfcError(f"{self.name}:{number}: {key}: {message}")
        return NfcError(f"{self.name}: {key}: {message}")

    def fib(self, parsed: dict[str, object]) -> Fib:
        known = ("mtu", "tunnel_source", "own", "routes", "marks", "rest", "links")
        for key in parsed:
            if key not in known:
                raise self.fail(key, f"is not known; there are: {', '.join(known)}")
        found = Fib.default()
        routes, ipv4 = self.routes(self.table(parsed, "routes"))
        return Fib(
            routes,
            self.own(parsed.get("own", [])),
            self.marks(self.table(parsed, "marks")),
            self.address("tunnel_source", parsed.get("tunnel_source", str(found.tunnel_source))),
            self.number("mtu", parsed.get("mtu", found.mtu), MIN_MTU, MAX_MTU),
            self.link("rest", parsed.get("rest", "")) if "rest" in parsed else "",
            {
                self.link(name, name): self.number(name, index, 1, (1 << 31) - 1)
                for name, index in self.table(parsed, "links").items()
            },
            ipv4,
        )

    def table(self, parsed: dict[str, object], key: str) -> dict[str, object]:
        value = parsed.get(key, {})
        if not isinstance(value, dict):
            raise self.fail(key, f"is a table: [{key}]")
        return value

    def routes(self, tables: dict[str, object]) -> tuple[tuple[Route, ...], tuple[IPv4Route, ...]]:
        found: list[Route] = []
        ipv4: list[IPv4Route] = []
        for name in tables:
            number = self.table_number(name, name)
            for prefix, value in self.table(tables, name).items():
                network, (link, function) = self.prefix(prefix), self.way(prefix, value)
                if isinstance(network, IPv6Network):
                    found.append(Route(number, network, link, function))
                elif number == MAIN:
                    ipv4.append(IPv4Route(network, link, function))
                else:
                    raise self.fail(prefix, "IPv4 routes are those of table main")
                if len(found) + len(ipv4) > MAX_ROUTES:
                    raise self.fail(name, f"there are more than {MAX_ROUTES} routes")
        return tuple(found), tuple(ipv4)

    def marks(self, rules: dict[str, object]) -> tuple[tuple[int, int], ...]:
        found = []
        for mark, table in rules.items():
            try:
                number = int(mark, 0)
            except ValueError:
                raise self.fail(mark, "is no number") from None
            number = self.number(mark, number, 0, (1 << 32) - 1)
            found.append((number, self.table_number(mark, table)))
        return tuple(found)

    def table_number(self, key: str, table: object) -> int:
        if not isinstance(table, str | int) or isinstance(table, bool):
            raise self.fail(key, "a routing table is a name or a number")
        try:
            return table_id(table)
        except UsageError as error:
            raise self.fail(key, error.message) from None

    def own(self, value: object) -> frozenset[IPv6Address]:
        if not isinstance(value, list):
            raise self.fail("own", 'is a list of addresses: own = ["fd00:a::1"]')
        return frozenset(self.address("own", one) for one in value)

    def address(self, key: str, value: object) -> IPv6Address:
        try:
            return IPv6Address(value if isinstance(value, str) else "")
        except ValueError:
            raise self.fail(key, f"{value!r} is no IPv6 address") from None

    def prefix(self, value: str) -> IPv6Network | IPv4Network:
        four = "." in value and ":" not in value
        try:
            return IPv4Network(value) if four else IPv6Network(value)
        except ValueError as error:
            raise self.fail(value, f"is no IPv{4 if four else 6} prefix: {error}") from None

    def way(self, key: str, value: object) -> tuple[str, bool]:
        """What stands behind a prefix: a link, or {link = "h2", function = true}."""
        if not isinstance(value, dict):
            return self.link(key, value), False
        for name in value:
            if name not in ("link", "function"):
                raise self.fail(key, f"{name} is not known; there are: link, function")
        function = value.get("function", False)
        if not isinstance(function, bool):
            raise self.fail(key, "function is true or false")
        return self.link(key, value.get("link")), function

    def link(self, key: str, value: object) -> str:
        if not isinstance(value, str) or not value or not value.isprintable():
            raise self.fail(key, "the name of a link is a string")
        return value

    def number(self, key: str, value: object, least: int, most: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.fail(key, f"is a number from {least} to {most}")
        return value
