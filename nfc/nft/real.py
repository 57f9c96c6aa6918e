r"""Tests on real routes: a router made of namespaces, each function on a route of its own.

    h1 - r1 - out, and a namespace for each other link that a test names

Everything that no route of the test covers leaves by `out`, whichever table is asked, as in the
simulator. After each packet a last one goes to every link: what has not come before that one
will not come.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from nfc.bpf.reader import read_object
from nfc.compiler import Compiled
from nfc.errors import KernelError
from nfc.kernel import loader, routes, rtattr
from nfc.kernel.encap import RouteProgram
from nfc.kernel.ringbuf import RingBuffer
from nfc.kernel.route import new_route
from nfc.kernel.tables import MAIN
from nfc.lab import Lab
from nfc.lab.traffic import Capture, sender
from nfc.manifest import EVENTS_MAP
from nfc.nft.machine import META, MTU, OUT, RouteTo, Seen, UnableError, leads
from nfc.nft.subject import Subject
from nfc.sema import typed
from nfc.vm.fib import TUNNEL_SOURCE

if TYPE_CHECKING:
    from nfc.kernel.maps import Map

MAX_LINKS = 8
MAX_WAIT = 2_000_000_000  # ns
ARRIVE_S = 5.0
_OWN = IPv6Network("fdff::/16")  # the lab's own addresses; no test sees them
_LAST = b"that was the last"
_ICMP6 = 58
_DEFAULT = IPv6Network("::/0")


class Real:
    """Namespaces as a machine for tests. A context manager; raises KernelError, PrivilegeError."""

    name = "kernel"

    def __init__(self) -> None:
        """Nothing is made before the first session."""
        self._undo = ExitStack()
        self._lab: Lab | None = None
        self._links: dict[str, int] = {}
        self._captures: dict[str, Capture] = {}

    def close(self) -> None:
        """Take everything away."""
        self._undo.close()

    @contextmanager
    def session(
        self, subject: Subject, compiled: Compiled, routes_: Sequence[RouteTo]
    ) -> Iterator[RealSession]:
        """Load a function, and put routes; they are gone after the block."""
        lab = self._up()
        for route in routes_:
            self._link(lab, route.link)
        function = compiled.function
        obj = read_object(subject.objects[function.name])
        with ExitStack() as undo:
            loaded = undo.enter_context(loader.load(obj, function.name, hook=function.hook))
            ring = None
            if EVENTS_MAP in loaded.maps:
                ring = undo.enter_context(RingBuffer(loaded.maps[EVENTS_MAP]))
            place = Place(lab, self._links, self._captures, self._out, self._mac)
            session = RealSession(place, compiled, loaded, ring, routes_)
            undo.callback(session.close)
            session.begin()
            yield session

    def _up(self) -> Lab:
        """The lab, which is made once."""
        if self._lab is not None:
            return self._lab
        lab = self._undo.enter_context(Lab())
        lab.namespace("h1")
        lab.namespace("r1", forwarding=True)
        lab.link("h1", "r1", "fdff:1::1/64", "fdff:1::2/64")
        for node in ("h1", "r1"):
            lab.execute(node, f"ip link set eth0 mtu {MTU}".split())
        lab.execute("r1", ["ip", "sr", "tunsrc", "set", str(TUNNEL_SOURCE)])
        self._mac = lab.end("h1", "eth0").peer_mac
        self._out = lab.run("h1", sender)
        self._undo.callback(self._out.close)
        self._link(lab, OUT)
        self._lab = lab
        return lab

    def _link(self, lab: Lab, link: str) -> None:
        """A link of the router, with a namespace at its far end."""
        if link in self._links:
            return
        if len(self._links) >= MAX_LINKS:
            raise UnableError(f"more than {MAX_LINKS} links")
        number = len(self._links) + 1
        node = f"l{number}"
        lab.namespace(node)
        lab.link("r1", node, f"fdff:{number + 1:x}::1/64", f"fdff:{number + 1:x}::2/64")
        lab.execute("r1", f"ip link set eth{number} mtu {MTU}".split())
        lab.execute(node, f"ip link set eth0 mtu {MTU}".split())
        self._captures[link] = lab.capture(node, "eth0", _noise)
        self._links[link] = number


class Place:
    """Where packets go in and come out."""

    def __init__(
        self,
        lab: Lab,
        links: Mapping[str, int],
        captures: Mapping[str, Capture],
        out: socket.socket,
        mac: bytes,
    ) -> None:
        """Of that lab: the number of each link, its capture, and the socket to send with."""
        self.netns, self._lab = lab.name("r1"), lab
        self.links, self.captures, self.out, self.mac = links, captures, out, mac

    def gateway(self, link: str) -> str:
        """The far end of a link."""
        return f"fdff:{self.links[link] + 1:x}::2"

    def device(self, link: str) -> str:
        """The router's interface."""
        return f"eth{self.links[link]}"

    def index(self, link: str) -> int:
        """The interface's number."""
        return self._lab.run("r1", socket.if_nametoindex, self.device(link))

    def through(self, packet: bytes, cpu: int) -> tuple[list[tuple[str, bytes]], int, int]:
        """Send a packet on a CPU: what comes, by link, and the clock before and after."""
        for capture in self.captures.values():  # what a run that failed has left
            while capture.packets(1, timeout=0.0):
                pass
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {cpu})  # one CPU: packets stay in order
        try:
            before = time.clock_gettime_ns(time.CLOCK_TAI)
            self._send(packet)
            for link in self.links:
                self._send(_last(self.gateway(link)))
        finally:
            os.sched_setaffinity(0, allowed)
        found = []
        for link, capture in self.captures.items():
            until = time.monotonic() + ARRIVE_S
            while True:
                got = capture.packets(1, timeout=max(0.0, until - time.monotonic()))
                if not got:
                    raise KernelError(f"nothing arrives on link {link} any more")
                if got[0].endswith(_LAST):
                    break
                found.append((link, got[0]))
        return found, before, time.clock_gettime_ns(time.CLOCK_TAI)

    def _send(self, packet: bytes) -> None:
        try:
            self.out.sendto(packet, ("eth0", 0x86DD, 0, 0, self.mac))
        except OSError as error:
            raise UnableError(f"cannot send {len(packet)} bytes: {error.strerror}") from None


class RealSession:
    """A function on its routes."""

    def __init__(
        self,
        place: Place,
        compiled: Compiled,
        loaded: loader.LoadedProgram,
        ring: RingBuffer | None,
        routes_: Sequence[RouteTo],
    ) -> None:
        """Nothing is on a route yet."""
        self._place, self._loaded, self._ring, self._routes = place, loaded, ring, routes_
        self._function = compiled.function
        self._program = RouteProgram(self._function.hook, loaded.fd, "nfc test")
        self._put: list[tuple[str, int]] = []
        self._on: set[IPv6Address] = set()

    @property
    def maps(self) -> Mapping[str, Map]:
        """The maps of the function's object by name."""
        return self._loaded.maps

    def begin(self) -> None:
        """Put the test's routes, and the one for all the rest in each table that counts."""
        for table in sorted({MAIN, *_tables(self._function), *(r.table for r in self._routes)}):
            if table == MAIN or (table, _DEFAULT) not in {
                (r.table, r.prefix) for r in self._routes
            }:
                self._route(_DEFAULT, table, OUT)
        for route in self._routes:
            self._route(route.prefix, route.table, route.link)

    def close(self) -> None:
        """Take the routes away."""
        for prefix, table in reversed(self._put):
            for route in routes.get_routes(prefix, table=table, netns=self._place.netns):
                routes.delete_route(route, netns=self._place.netns)

    def _route(self, prefix: IPv6Network, table: int, link: str) -> None:
        index = rtattr.u32(self._place.index(link))
        gateway = IPv6Address(self._place.gateway(link)).packed
        route = new_route(prefix, table).with_attributes(
            {rtattr.GATEWAY: gateway, rtattr.OIF: index}
        )
        routes.put_route(route, netns=self._place.netns)
        self._put.append((str(prefix), table))

    # ---- what a test asks for ---------------------------------------------------------------

    @property
    def cpu(self) -> int:
        """The first of those that this process may use."""
        return min(os.sched_getaffinity(0))

    def now(self) -> int:
        """The kernel's clock."""
        return time.clock_gettime_ns(time.CLOCK_TAI)

    def clock(self, now: int) -> None:
        """Nobody sets the clock of a machine for a test."""
        raise UnableError("a real clock is not set")

    def wait(self, nanoseconds: int) -> None:
        """Sleep."""
        if nanoseconds > MAX_WAIT:
            raise UnableError(f"waiting longer than {MAX_WAIT // 10**9} s")
        time.sleep(nanoseconds / 1e9)

    def seed(self, seed: int) -> None:
        """The kernel draws its own."""
        raise UnableError("the kernel's random numbers have no seed")

    def draws(self, values: Sequence[int]) -> None:
        """The kernel draws its own."""
        raise UnableError("the kernel's random numbers are its own")

    def fail(self, helper: str, error: int | None) -> None:
        """Helpers fail when they fail."""
        raise UnableError("a helper of the kernel does not fail on demand")

    def send(self, packet: bytes, meta: Mapping[str, int]) -> Seen:
        """Send a packet to the function's route."""
        for name in META:
            if name != "cpu" and meta.get(name):
                raise UnableError(f"packet.{name} is the kernel's to say")
        cpu = meta.get("cpu", self.cpu)
        if cpu not in os.sched_getaffinity(0):
            raise UnableError(f"there is no CPU {cpu} here")
        self._lead(packet)
        left, before, after = self._place.through(packet, cpu)
        records = tuple(self._ring.records(0)) if self._ring else ()
        link, got = left[0] if left else ("", None)
        others = tuple(link for link, _ in left[1:])
        return Seen(link, got, records, before, after, cpu=cpu, others=others)

    def _lead(self, packet: bytes) -> None:
        """Put the function on the route of this packet's destination."""
        if len(packet) < 40 or packet[0] >> 4 != 6:
            raise UnableError("no route leads what is no IPv6 packet to a function")
        to = IPv6Address(packet[24:40])
        if to in self._on:
            return
        if not leads(to) or to in _OWN:
            raise UnableError(f"no route leads packets to {to} to a function")
        link = self._link_of(to)
        gateway = None if self._function.hook == "endpoint" else self._place.gateway(link)
        routes.replace_route(
            f"{to}/128",
            [self._program],
            netns=self._place.netns,
            dev=self._place.device(link),
            gateway=gateway,
        )
        self._on.add(to)
        self._put.append((f"{to}/128", MAIN))

    def _link_of(self, to: IPv6Address) -> str:
        fits = [r for r in self._routes if r.table == MAIN and to in r.prefix]
        return max(fits, key=lambda r: r.prefix.prefixlen).link if fits else OUT


def _tables(function: typed.Function) -> set[int]:
    """The routing tables that a function's verdicts name."""
    verdicts = [rule.verdict for rule in function.rules]
    kinds = typed.ForwardTable | typed.DecapTable
    return {v.table for v in verdicts if isinstance(v, kinds)} - {255}


def _last(to: str) -> bytes:
    source = IPv6Address("fdff:1::1").packed
    head = b"\x60\0\0\0" + len(_LAST).to_bytes(2, "big") + bytes([59, 9])
    return head + source + IPv6Address(to).packed + _LAST


def _noise(packet: bytes) -> bool:
    """What the kernel says by itself: on the link, and ICMPv6 errors (RFC 4443, section 2.1: types
    below 128) of the router."""
    if len(packet) < 40:
        return False
    source, to = IPv6Address(packet[8:24]), packet[24:26]
    if source.is_link_local or to in (b"\xfe\x80", b"\xff\x02"):
        return True
    error = packet[6] == _ICMP6 and packet[40:41] < b"\x80"
    return error and (source in _OWN or source == TUNNEL_SOURCE)
