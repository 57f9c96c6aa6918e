r"""One router that functions are put on, one after the other, and packets sent through.

    h1 - r1 - h2        fd20::/16 and the transit route fd2f::/16 lead to h2,
            \- h3       fd30::/16, and all of tables 100 and 107, to h3

Packets with mark 7 are looked up in table 107. The SID is fd00:a::d.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, IPv6Network

from generated_packets import SID
from generated_words import LINKS

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
from nfc.manifest import Manifest
from nfc.observe.tables import Entries
from nfc.oracle import Route, Router
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
class Step:
    """What came of one packet: what left, by which links; its events' records. After it: all
    counters in the order of the manifest, as the packets' CPU has them, and the tables. TAI before
    and after."""

    left: tuple[tuple[str, bytes], ...]
    events: tuple[bytes, ...]
    counters: tuple[int, ...]
    tables: dict[str, Rows]
    begin: int
    end: int


@dataclass(frozen=True)
class Seen:
    """What came of packets, one after the other; what was in tables before; the object that ran."""

    steps: tuple[Step, ...]
    before: dict[str, Rows]
    obj: Object


def fill(
    maps: Mapping[str, AnyMap],
    compilation: Compilation,
    compiled: Compiled,
    params: dict[str, int],
    tables: Mapping[str, Rows],
) -> list[Entries]:
    """Put params and entries into maps; the open tables."""
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
    for entries in opened:
        for key, row in tables.get(entries.table.name, {}).items():
            entries.put(key, row)
    return opened


@dataclass(frozen=True)
class Place:
    """The lab, up."""

    lab: Lab
    captures: dict[str, Capture]
    out: socket.socket
    ingress: int
    cpu: int
    links: dict[str, int]  # index by name
    mac: bytes  # of the router, where packets come in
    last: dict[str, bytes]  # a packet that comes by a link, after all others

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
            opened = fill(loaded.maps, compilation, compiled, params, tables)
            before = {e.table.name: self.rows(e) for e in opened}
            ring = RingBuffer(loaded.maps["events"]) if "events" in loaded.maps else None
            program = RouteProgram(function.hook, loaded.fd, "f")
            steps: list[Step] = []
            with ring or nullcontext(), self.on_route(program), self.on_cpu():
                self.flush()
                for packet in packets:
                    begin = time.clock_gettime_ns(time.CLOCK_TAI)
                    left = self.send(packet)
                    end = time.clock_gettime_ns(time.CLOCK_TAI)
                    events = tuple(ring.records(0)) if ring else ()
                    counters = self.counters(loaded.maps[manifest.stats_map], manifest)
                    after = {e.table.name: self.rows(e) for e in opened}
                    steps.append(Step(left, events, counters, after, begin, end))
            return Seen(tuple(steps), before, obj)

    def rows(self, entries: Entries) -> Rows:
        """A table as our CPU sees it; all that is zero is left out of arrays."""
        here = self.cpu if entries.table.per_cpu else 0
        if entries.table.kind != "array":
            return {key: rows[here] for key, rows in entries.items()}
        every = ((key, entries.get(key)) for key in zip(range(entries.table.entries)))
        return {key: rows[here] for key, rows in every if rows and any(rows[here])}

    def counters(self, stats: AnyMap, manifest: Manifest) -> tuple[int, ...]:
        """All counters in the order of the manifest, as our CPU has them."""
        slots = stats.lookup_percpu(bytes(4))
        assert slots is not None
        return struct.unpack_from(f"={len(manifest.counters)}Q", slots[self.cpu])

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

    @contextmanager
    def on_cpu(self) -> Iterator[None]:
        """Stay on the packets' CPU, so that they stay in order."""
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.cpu})
        try:
            yield
        finally:
            os.sched_setaffinity(0, allowed)

    def flush(self) -> None:
        """Take what a run that failed has left."""
        for capture in self.captures.values():
            while capture.packets(1, timeout=0.0):
                pass

    def send(self, packet: bytes) -> tuple[tuple[str, bytes], ...]:
        """Send a packet and one last one for each link; what came before those."""
        for one in (packet, *self.last.values()):
            self.out.sendto(one, ("eth0", 0x86DD, 0, 0, self.mac))
        found = []
        for link, capture in self.captures.items():
            until = time.monotonic() + ARRIVE_S
            while True:
                got = capture.packets(1, timeout=max(0.0, until - time.monotonic()))
                assert got, f"nothing arrives at {link} any more"
                if got[0] == _forwarded(self.last[link]):
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
            by_name = dict(zip(LINKS, links, strict=True))
            mac = lab.end("h1", "eth0").peer_mac
            yield Place(lab, captures, out, ingress, cpu, by_name, mac, _last())
        finally:
            out.close()


def _last() -> dict[str, bytes]:
    """A packet to each link that no generated function sees."""
    return {
        link: b"\x60\x0f\xff\xff"
        + len(LAST).to_bytes(2, "big")
        + bytes([59, 9])
        + IPv6Address("fd00:1::1").packed
        + IPv6Address(to).packed
        + LAST
        for link, to in LAST_TO.items()
    }


def _forwarded(packet: bytes) -> bytes:
    return packet[:7] + bytes([packet[7] - 1]) + packet[8:]


def _noise(packet: bytes) -> bool:
    """What the kernel says by itself: on the link, and ICMPv6 errors (RFC 4443, section 2.1: types
    below 128) about packets whose source lies there. What is cut off within its header is none of
    that: Linux forwards it after decap."""
    link_local, to_all_on_link = b"\xfe\x80", b"\xff\x02"
    return len(packet) >= 40 and (
        packet[8:10] == link_local
        or packet[24:26] in (link_local, to_all_on_link)
        or (packet[8:24] in OWN and packet[6] == ICMP6 and packet[40:41] < b"\x80")
    )
