r"""One router that functions are put on, one after the other, and packets sent through.

    h1 - r1 - h2        fd20::/16 and the transit route fd2f::/16 lead to h2,
            \- h3       fd30::/16, and all of tables 100 and 107, to h3

Packets with mark 7 are looked up in table 107. The SID is fd00:a::d.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, IPv6Network

from generated_packets import SID
from generated_sources import LINKS

from nfc.bpf.object import Object
from nfc.bpf.reader import read_object
from nfc.compiler import Compilation, Compiled
from nfc.kernel import loader, routes
from nfc.kernel.anymap import AnyMap
from nfc.kernel.encap import RouteProgram
from nfc.kernel.params import write_params
from nfc.kernel.ringbuf import RingBuffer
from nfc.lab import Lab
from nfc.lab.traffic import Capture, sender
from nfc.observe.counters import Counters, read_counters
from nfc.observe.tables import Entries
from nfc.oracle import Memory, Route, Router
from nfc.oracle.outcomes import Rows
from nfc.sema import types

MTU = 9000
TRANSIT_PREFIX = "fd2f::/16"
LAST = b"that was the last"
LAST_TO = {"h2": "fd20::5e", "h3": "fd30::5e"}
ARRIVE_S = 5.0

ROUTER = Router(
    routes=(
        Route(254, IPv6Network("fd20::/16"), "h2"),
        Route(254, IPv6Network("fd2f::/16"), "h2"),
        Route(254, IPv6Network("fd30::/16"), "h3"),
        Route(254, IPv6Network("fd00:1::/64"), "h1"),
        Route(254, IPv6Network("fd00:2::/64"), "h2"),
        Route(254, IPv6Network("fd00:3::/64"), "h3"),
        Route(100, IPv6Network("::/0"), "h3"),
        Route(107, IPv6Network("::/0"), "h3"),
    ),
    own=frozenset(map(IPv6Address, ("fd00:1::2", "fd00:2::1", "fd00:3::1", "fd00:a::1"))),
    marks=((7, 107),),
    tunnel_source=IPv6Address("fd00:a::1"),
    mtu=MTU,
)


OWN = {address.packed for address in ROUTER.own}
ICMP6 = 58  # IANA's number


@dataclass(frozen=True)
class Seen:
    """What came of packets: what left by which link in order, events' records, counters, tables
    before and after; TAI before and after; the object that ran."""

    left: tuple[tuple[str, bytes], ...]
    events: tuple[bytes, ...]
    counters: Counters
    begin: int
    end: int
    before: Memory
    after: dict[str, Rows]
    obj: Object


def fill(
    maps: Mapping[str, AnyMap],
    compilation: Compilation,
    compiled: Compiled,
    params: dict[str, int],
    tables: Mapping[str, Rows],
) -> tuple[list[Entries], dict[str, dict[tuple[int, ...], tuple[int, ...]]]]:
    """Put params and entries into maps; the open tables, and what is in them now."""
    manifest = compiled.manifest
    if manifest.params:
        copy = bytearray(compilation.program.params_size)
        for p in compilation.program.params:
            order = "big" if types.is_raw(p.type) else "little"
            size = types.memory_size(p.type)
            raw = params.get(p.name, p.default).to_bytes(size, order)  # type: ignore[arg-type]
            copy[p.offset : p.offset + size] = raw
        write_params(maps[".data"], bytes(copy))
    opened = [Entries(maps[t.map], t) for t in manifest.tables]
    filled = {t.name: dict(tables.get(t.name, {})) for t in manifest.tables}
    for entries in opened:
        for key, row in filled[entries.table.name].items():
            entries.put(key, row)
    return opened, filled


@dataclass(frozen=True)
class Place:
    """The lab, up."""

    lab: Lab
    captures: dict[str, Capture]
    out: socket.socket
    ingress: int
    cpu: int
    links: dict[str, int]  # index by name

    @property
    def router(self) -> Router:
        """What the oracle has to know of it."""
        return replace(ROUTER, links=tuple((index, link) for link, index in self.links.items()))

    def try_out(
        self,
        compilation: Compilation,
        compiled: Compiled,
        params: dict[str, int],
        tables: Mapping[str, Rows],
        packets: list[bytes],
    ) -> Seen:
        """Load a function, put it on its route, send packets through it.

        Raises KernelError when the verifier refuses it.
        """
        function, manifest = compiled.function, compiled.manifest
        obj = read_object(compilation.object([compiled]))
        with loader.load(obj, function.name, hook=function.hook) as loaded:
            opened, filled = fill(loaded.maps, compilation, compiled, params, tables)
            program = RouteProgram(function.hook, loaded.fd, "f")
            with self.on_route(program):
                begin = time.clock_gettime_ns(time.CLOCK_TAI)
                left = self.send(packets)
                end = time.clock_gettime_ns(time.CLOCK_TAI)
            counters = read_counters(loaded.maps[manifest.stats_map], manifest)
            events: tuple[bytes, ...] = ()
            if "events" in loaded.maps:
                with RingBuffer(loaded.maps["events"]) as ring:
                    events = tuple(ring.records(0))
            after = {e.table.name: self.rows(e) for e in opened}
            return Seen(left, events, counters, begin, end, Memory({}, filled), after, obj)

    def rows(self, entries: Entries) -> Rows:
        """A table as our CPU sees it; all that is zero is left out of arrays."""
        here = self.cpu if entries.table.per_cpu else 0
        found = {key: rows[here] for key, rows in entries.items()}
        sparse = entries.table.kind == "array"
        return {key: row for key, row in found.items() if any(row) or not sparse}

    @contextmanager
    def on_route(self, program: RouteProgram) -> Iterator[None]:
        """Put a program on its route; the transit route is as it was after the block."""
        netns = self.lab.name("r1")
        if program.hook == "endpoint":
            routes.replace_route(str(SID), [program], netns=netns, dev="eth1")
            yield
            return
        before = routes.replace_route(TRANSIT_PREFIX, [program], netns=netns)
        assert before is not None
        try:
            yield
        finally:
            routes.put_route(before, netns=netns)

    def send(self, packets: list[bytes]) -> tuple[tuple[str, bytes], ...]:
        """Send packets and one last one for each link; what came before those."""
        last = {
            link: b"\x60\x0f\xff\xff"
            + len(LAST).to_bytes(2, "big")
            + bytes([59, 9])
            + IPv6Address("fd00:1::1").packed
            + IPv6Address(to).packed
            + LAST
            for link, to in LAST_TO.items()
        }
        for capture in self.captures.values():  # what a run that failed has left
            while capture.packets(1, timeout=0.0):
                pass
        mac = self.lab.end("h1", "eth0").peer_mac
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.cpu})  # one CPU: packets stay in order
        try:
            for packet in (*packets, *last.values()):
                self.out.sendto(packet, ("eth0", 0x86DD, 0, 0, mac))
        finally:
            os.sched_setaffinity(0, allowed)
        found = []
        for link, capture in self.captures.items():
            until = time.monotonic() + ARRIVE_S
            while True:
                got = capture.packets(1, timeout=max(0.0, until - time.monotonic()))
                assert got, f"nothing arrives at {link} any more"
                if got[0].endswith(LAST):
                    break
                found.append((link, got[0]))
        return tuple(found)


@contextmanager
def router() -> Iterator[Place]:
    """The lab, for as long as the block runs."""
    with Lab() as lab:
        for node in ("h1", "r1", "h2", "h3"):
            lab.namespace(node, forwarding=node == "r1")
        lab.link("h1", "r1", "fd00:1::1/64", "fd00:1::2/64")
        lab.link("r1", "h2", "fd00:2::1/64", "fd00:2::2/64")
        lab.link("r1", "h3", "fd00:3::1/64", "fd00:3::2/64")
        for node, count in (("h1", 1), ("r1", 3), ("h2", 1), ("h3", 1)):
            for i in range(count):
                lab.execute(node, f"ip link set eth{i} mtu {MTU}".split())
        lab.address("r1", "lo", "fd00:a::1/128")
        for prefix, via, table in (
            ("fd20::/16", "fd00:2::2", 254),
            ("fd2f::/16", "fd00:2::2", 254),
            ("fd30::/16", "fd00:3::2", 254),
            ("default", "fd00:3::2", 100),
            ("default", "fd00:3::2", 107),
        ):
            lab.route("r1", prefix, via=via, table=table)
        lab.execute(
            "r1", ["ip", "-6", "rule", "add", "pref", "100", "fwmark", "7", "lookup", "107"]
        )
        lab.execute("r1", ["ip", "sr", "tunsrc", "set", "fd00:a::1"])
        lab.execute("r1", ["ip", "-6", "route", "flush", "cache"])
        ingress = lab.run("r1", socket.if_nametoindex, "eth0")
        links = [lab.run("r1", socket.if_nametoindex, eth) for eth in ("eth1", "eth2")]
        captures = {link: lab.capture(link, "eth0", _noise) for link in LINKS}
        out = lab.run("h1", sender)
        try:
            cpu = min(os.sched_getaffinity(0))
            yield Place(lab, captures, out, ingress, cpu, dict(zip(LINKS, links, strict=True)))
        finally:
            out.close()


def _noise(packet: bytes) -> bool:
    """What the kernel says by itself: on the link, and ICMPv6 errors (RFC 4443, section 2.1: types
    below 128) about packets whose source lies there. And what is cut off within its header, as
    Linux forwards it after decap (the oracle is unsure of it)."""
    link_local, to_all_on_link = b"\xfe\x80", b"\xff\x02"
    return (
        len(packet) < 40
        or packet[8:10] == link_local
        or packet[24:26] in (link_local, to_all_on_link)
        or (packet[8:24] in OWN and packet[6] == ICMP6 and packet[40:41] < b"\x80")
    )
