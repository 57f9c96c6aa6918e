r"""A router on whose routes probes lie, and a simulator that is asked the same.

    h1 - r1 - h2        fd20::/16, 10.20.0.0/16 and the transit route fd2f::/16 lead to h2,
            \- h3       fd30::/16, 10.30.0.0/16 and all of table 100 to h3; fd10::/16 back to h1

Packets with mark 7 are looked up in table 107, which leads to h3. The SID is fd00:a::d. Programs
lie on the SID, or on the transit route and 10.47.0.0/16, which lead to h2.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Any

from perf_reader import PerfReader
from probing import HASHES, INNER, SLOTS, START, Probe
from seen import Seen

from nfc.bpf.object import Object
from nfc.kernel import loader, pins, routes, syscall
from nfc.kernel.encap import RouteProgram
from nfc.kernel.loader import LoadedProgram
from nfc.kernel.maps import Map, index_key, possible_cpus
from nfc.kernel.ringbuf import RingBuffer
from nfc.kernel.syscall import Fd
from nfc.lab import Lab
from nfc.packet import ip, packet, srh, udp
from nfc.packet.tlvs import PadN
from nfc.vm.buffers import PerfMap, ProgArrayMap, QueueMap, RingMap
from nfc.vm.fib import Fib, IPv4Route, Route
from nfc.vm.simulator import Outcome, Packet, Simulator

SID, H1 = "fd00:a::d", "fd00:1::1"
TRANSIT, TRANSIT_V4 = "fd2f::/16", "10.47.0.0/16"
ON_WAY, NEXT, INSIDE = "fd2f::9", "fd20::9", "fd30::9"
LINKS = ("h1", "h2", "h3")
LAST = b"that was the last of them"
LAST_TO = {"h1": "fd10::5e", "h2": "fd20::5e", "h3": "fd30::5e"}
OWN = ("fd00:1::2", "fd00:2::1", "fd00:3::1", "fd00:a::1")
OWN_V4 = ("10.0.1.2", "10.0.2.1", "10.0.3.1")
MTU = 1500
ARRIVE_S = 5.0
CPUS = possible_cpus()
PERF_OTHER, PERF_WRONG, PERF_NONE = 13, 14, 15  # indexes: another CPU's event, no output, none


# ---- packets ------------------------------------------------------------------------------------


def _head(to: str) -> tuple[Any, Any]:
    return ip(H1, to, hop_limit=64), srh([to, NEXT], left=1, tag=7, tlvs=[PadN(bytes(6))])


def _own(to: str, times: int) -> bytes:
    """With the same segment so many times."""
    return bytes(packet(ip(H1, to), srh([to] * times + [NEXT]), udp(4000, 5000), b"again"))


def _hop_by_hop(data: bytes) -> bytes:
    """With a Hop-by-Hop header of 8 bytes of padding."""
    length = int.from_bytes(data[4:6], "big") + 8
    head = data[:4] + length.to_bytes(2, "big") + b"\0" + data[7:40]
    return head + bytes((data[6], 0, 1, 4)) + bytes(4) + data[40:]


def _cut(data: bytes, size: int) -> bytes:
    """The first bytes, with a payload length that says so."""
    return data[:4] + (size - 40).to_bytes(2, "big") + data[6:size]


def packets(hook: str) -> dict[str, bytes]:
    """What probes are sent, by name."""
    to = SID if hook == "endpoint" else ON_WAY
    return {
        "srh": bytes(packet(*_head(to), udp(4000, 5000), bytes(range(65, 81)))),
        "udp": bytes(packet(ip(H1, to, hop_limit=64), udp(4000, 5000), b"0123456789abcdef")),
        "long": bytes(packet(ip(H1, to, hop_limit=64), udp(4000, 5000), bytes(1400))),
        "hop": _hop_by_hop(bytes(packet(ip(H1, to), udp(4000, 5000), b"0123456789abcdef"))),
        "inside": bytes(packet(*_head(to), ip(H1, INSIDE), udp(4000, 5000), b"inside")),
        "srh inside": bytes(
            packet(
                *_head(to), ip(H1, INSIDE), srh([INSIDE, NEXT], left=1), udp(4000, 5000), b"inside"
            )
        ),
        **{f"own {n}": _own(to, n) for n in (2, 8, 9)},
        "cut inside": _cut(bytes(packet(*_head(to), ip(H1, INSIDE), udp(4000, 5000))), 108),
    }


# ---- maps as probes find them -------------------------------------------------------------------


def reset(maps: Mapping[str, Any], names: Sequence[str]) -> None:
    """Put maps into the state in which probes begin."""
    for name in names:
        one, content = maps[name], START.get(name, {})
        if name in HASHES or name == "trie":
            for key in list(one.keys()):
                one.delete(key)
        for key, value in content.items():
            if name.startswith("percpu"):
                one.update_percpu(key, (value,) * CPUS)
            else:
                one.update(key, value)


def dumped(maps: Mapping[str, Any], names: Sequence[str]) -> dict[str, object]:
    """What is in them."""
    found: dict[str, object] = {}
    for name in names:
        if name in START:
            one = maps[name]
            read = one.lookup_percpu if name.startswith("percpu") else one.lookup
            found[name] = dict(zip(keys := list(one.keys()), map(read, keys), strict=True))
    return found


# ---- the kernel ---------------------------------------------------------------------------------


class Sniffer:
    """Every frame that arrives at a link's far end, link-layer header and all."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE
        self.socket.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
        self.socket.bind(("eth0", 3))  # ETH_P_ALL

    def until_last(self) -> list[bytes]:
        """The frames before the one that says so. Raises AssertionError if that does not come."""
        found: list[bytes] = []
        until = time.monotonic() + ARRIVE_S
        while True:
            self.socket.settimeout(max(0.001, until - time.monotonic()))
            try:
                frame = self.socket.recv(1 << 17)
            except TimeoutError:
                raise AssertionError("nothing arrives any more") from None
            if frame.endswith(LAST):
                return found
            if not _noise(frame):
                found.append(frame)


def _noise(frame: bytes) -> bool:
    """What the kernel says by itself: discovery on the link, and ICMP errors of the router."""
    kind, data = frame[12:14], frame[14:]
    if kind == b"\x08\x06":
        return True
    if kind == b"\x08\x00" and data[:1] == b"\x45":
        return data[9] == 1 and socket.inet_ntoa(data[12:16]) in OWN_V4
    own = data[8:24] in {IPv6Address(a).packed for a in OWN}
    return (
        data[8:10] == b"\xfe\x80"
        or data[24:26] == b"\xff\x02"
        or (own and data[6:7] == b"\x3a" and data[40:41] < b"\x80")
    )


@dataclass
class Rig:
    """The lab, up."""

    lab: Lab
    sniffers: dict[str, Sniffer]
    out: socket.socket
    ingress: int
    cpu: int
    links: dict[str, int]

    @property
    def fib(self) -> Fib:
        """The router's routes, for the simulator."""
        v6 = {
            "fd20::/16": "h2", TRANSIT: "h2", "fd30::/16": "h3", "fd10::/16": "h1", SID: "h1",
            "fd00:1::/64": "h1", "fd00:2::/64": "h2", "fd00:3::/64": "h3",
        }  # fmt: skip
        v4 = {
            "10.20.0.0/16": "h2", "10.30.0.0/16": "h3", "10.10.0.0/16": "h1", TRANSIT_V4: "h2",
            "10.0.1.0/24": "h1", "10.0.2.0/24": "h2", "10.0.3.0/24": "h3",
        }  # fmt: skip
        return Fib(
            (
                *(Route(254, IPv6Network(p), link, p in (TRANSIT, SID)) for p, link in v6.items()),
                Route(100, IPv6Network("::/0"), "h3"),
                Route(107, IPv6Network("::/0"), "h3"),
            ),
            frozenset(IPv6Address(a) for a in OWN),
            ((7, 107),),
            IPv6Address(OWN[-1]),
            MTU,
            links=self.links,
            ipv4=tuple(IPv4Route(IPv4Network(p), at, p == TRANSIT_V4) for p, at in v4.items()),
        )

    def send(self, data: bytes) -> tuple[tuple[str, bytes], ...]:
        """Send a packet to the router, and one last one for each link; what came before those."""
        mac = self.lab.end("h1", "eth0").peer_mac
        for one in (data, *_LASTS):
            self.out.sendto(one, ("eth0", 0x86DD, 0, 0, mac))
        return tuple(
            (link, frame)
            for link, sniffer in self.sniffers.items()
            for frame in sniffer.until_last()
        )


def _last(to: str) -> bytes:
    head = struct.pack(">IHBB", 0x600FFFFF, len(LAST), 59, 9)
    return head + IPv6Address("fd00:77::1").packed + IPv6Address(to).packed + LAST


_LASTS = tuple(_last(to) for to in LAST_TO.values())


@contextmanager
def rig() -> Iterator[Rig]:
    """The lab, for as long as the block runs."""
    with Lab() as lab, ExitStack() as undo:
        for node in ("h1", "r1", "h2", "h3"):
            lab.namespace(node, forwarding=node == "r1")
        for n, node in enumerate(LINKS, 1):
            own, far = (f"fd00:{n}::{i}/64" for i in ((2, 1) if n == 1 else (1, 2)))
            lab.link("r1", node, own, far)
            here, there = (2, 1) if n == 1 else (1, 2)
            eth = f"eth{n - 1}"
            mac = lab.end("r1", eth).peer_mac.hex(":")
            for command in (
                f"ip addr add 10.0.{n}.{here}/24 dev {eth}",
                f"ip neigh add 10.0.{n}.{there} lladdr {mac} dev {eth} nud permanent",
                f"ip route add 10.{n}0.0.0/16 via 10.0.{n}.{there}",
                f"ip -6 route add fd{n}0::/16 via fd00:{n}::{there}",
            ):
                lab.execute("r1", command.split())
        lab.sysctl("r1", "net.ipv4.conf.all.forwarding", 1)
        for which in ("all", "default", "eth0"):
            lab.sysctl("r1", f"net.ipv4.conf.{which}.rp_filter", 0)
        lab.address("r1", "lo", "fd00:a::1/128")
        lab.route("r1", TRANSIT, via="fd00:2::2")
        for table in (100, 107):
            lab.route("r1", "default", via="fd00:3::2", table=table)
        rule = "ip -6 rule add pref 100 fwmark 7 lookup 107"
        lab.execute("r1", rule.split())
        lab.execute("r1", ["ip", "sr", "tunsrc", "set", "fd00:a::1"])
        links = {n: lab.run("r1", socket.if_nametoindex, f"eth{i}") for i, n in enumerate(LINKS)}
        sniffers = {link: lab.run(link, Sniffer) for link in LINKS}
        for one in sniffers.values():
            undo.callback(one.socket.close)
        out = undo.enter_context(lab.run("h1", _sender))
        allowed = os.sched_getaffinity(0)
        cpu = min(allowed)
        os.sched_setaffinity(0, {cpu})  # one CPU: packets stay in order
        undo.callback(os.sched_setaffinity, 0, allowed)
        yield Rig(lab, sniffers, out, links["h1"], cpu, links)


def _sender() -> socket.socket:
    return socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)


class Kernel:
    """A program of probes on a real route."""

    def __init__(self, rig: Rig, hook: str, obj: Object) -> None:
        self.rig, self.hook = rig, hook
        self.packets = packets(hook)
        with ExitStack() as undo:
            loaded = undo.enter_context(loader.load(obj, "f", hook=hook))
            self.loaded: LoadedProgram = loaded
            self.maps = dict(loaded.maps)
            for outer in (m for m in obj.maps if m.name in INNER):
                assert outer.inner is not None
                inner = undo.enter_context(Map.create(outer.inner))
                self.maps[outer.name].update(NESTED, struct.pack("=I", inner.fd.fileno()))
                self.maps[INNER[outer.name]] = inner
            table = self.maps["programs"]
            for at, name in enumerate(TAIL_PROGRAMS):
                other = undo.enter_context(
                    loader.load(obj, name, hook=hook, reuse_maps=dict(loaded.maps))
                )
                table.update(index_key(at), struct.pack("=I", other.fd.fileno()))
            self.ring = undo.enter_context(RingBuffer(self.maps["ring"]))
            self.perf = undo.enter_context(PerfReader(rig.cpu))
            for at, fd in (
                (rig.cpu, self.perf.fd),
                (PERF_OTHER, undo.enter_context(PerfReader(_other(rig.cpu))).fd),
                (PERF_WRONG, undo.enter_context(PerfReader(rig.cpu, output=False)).fd),
            ):
                self.maps["perf"].update(index_key(at), struct.pack("=I", fd))
            netns = rig.lab.name("r1")
            on_route = [RouteProgram(hook, loaded.fd, "f")]
            if hook == "endpoint":
                routes.replace_route(SID, on_route, netns=netns, dev="eth1")
            else:
                before = routes.replace_route(TRANSIT, on_route, netns=netns)
                assert before is not None
                undo.callback(routes.put_route, before, netns=netns)
                undo.callback(_on_ipv4(rig, hook, loaded.fd))
            self._undo = undo.pop_all()

    def close(self) -> None:
        self._undo.close()

    def run(self, number: int, probe: Probe, given: bytes = b"") -> Seen:
        """Send the probe's packet; what comes of it."""
        reset(self.maps, probe.maps)
        _empty_queues(self.maps, probe.maps)
        self.maps["select"].update(bytes(4), struct.pack("=I", number))
        self.maps["log"].update(bytes(4), bytes(8 * SLOTS))
        if given:
            self.maps["given"].update(bytes(4), given)
        now = time.clock_gettime_ns(time.CLOCK_TAI)
        left = self.rig.send(self.packets[probe.packet])
        took = time.clock_gettime_ns(time.CLOCK_TAI) - now
        log = self.maps["log"].lookup(bytes(4))
        assert log is not None
        found = dumped(self.maps, probe.maps)
        records = [("ring", r) for r in self.ring.records(0)] if "ring" in probe.maps else []
        records += [("perf", r) for r in self.perf.records()] if "perf" in probe.maps else []
        for name in ("queue", "stack"):
            if name in probe.maps:
                found[name] = _taken(self.maps[name])
        return Seen(struct.unpack(f"={SLOTS}Q", log), left, found, tuple(records), now, took)


def _on_ipv4(rig: Rig, hook: str, program: Fd) -> Callable[[], object]:
    """Put it on the IPv4 route as well; what takes that away. nfc's own routes are IPv6."""
    pinned = pins.BPFFS / f"nfc_helpers_{os.getpid()}"
    pins.pin(program, pinned)
    route = ["ip", "route", "replace", TRANSIT_V4, "via", "10.0.2.2", "encap", "bpf"]
    try:
        rig.lab.execute("r1", [*route, hook, "pinned", str(pinned)])
    finally:
        pins.unpin(pinned)
    return lambda: rig.lab.execute("r1", ["ip", "route", "del", TRANSIT_V4])


NESTED = (1).to_bytes(4, "little")  # the key of the map in a map of maps
TAIL_PROGRAMS = ("tail", "spin")


def _other(cpu: int) -> int:
    return next((c for c in range(os.cpu_count() or 1) if c != cpu), cpu)


LOOKUP_AND_DELETE = 21  # BPF_MAP_LOOKUP_AND_DELETE_ELEM, uapi/linux/bpf.h


def _taken(queue: Map) -> list[bytes]:
    """All values of a queue or stack, in the order in which they come out."""
    found: list[bytes] = []
    while True:
        value = bytearray(8)
        buffer = (syscall.ctypes.c_char * 8).from_buffer(value)  # type: ignore[attr-defined]
        attr = struct.pack("=IIQQQ", queue.fd.fileno(), 0, 0, syscall.address(buffer), 0)
        try:
            syscall.attempt(LOOKUP_AND_DELETE, attr)
        except OSError:
            return found
        found.append(bytes(value))


def _empty_queues(maps: Mapping[str, Map], names: Sequence[str]) -> None:
    for name in ("queue", "stack"):
        if name in names:
            _taken(maps[name])


# ---- the simulator ------------------------------------------------------------------------------


class Simulated:
    """The same program in the simulator."""

    def __init__(self, rig: Rig, hook: str, obj: Object, engine: str, *failing: str) -> None:
        self.rig, self.hook = rig, hook
        self.packets = packets(hook)
        self.simulator = Simulator(
            obj,
            "f",
            hook,
            fib=rig.fib,
            engine=engine,
            cpus=CPUS,
            drain=False,
            failing=dict.fromkeys(failing),
        )
        self.simulator.warm_up = 0
        clock = self.simulator.machine.clock
        now = time.clock_gettime_ns(time.CLOCK_TAI)
        monotonic = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        clock.monotonic = now - monotonic
        clock.suspended = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - monotonic
        self.maps = dict(self.simulator.maps)
        for outer in INNER:
            self.maps[INNER[outer]] = self.simulator.nest(outer, NESTED)
        table, perf = self.maps["programs"], self.maps["perf"]
        assert isinstance(table, ProgArrayMap)
        table.programs.update(enumerate(TAIL_PROGRAMS))
        assert isinstance(perf, PerfMap)
        perf.events = {rig.cpu: rig.cpu, PERF_OTHER: _other(rig.cpu), PERF_WRONG: None}

    def run(self, number: int, probe: Probe, now: int, given: bytes = b"") -> Seen:
        """Run the probe's packet at that time."""
        reset(self.maps, probe.maps)
        self._empty(probe.maps)
        self.maps["select"].update(bytes(4), struct.pack("=I", number))
        self.maps["log"].update(bytes(4), bytes(8 * SLOTS))
        if given:
            self.maps["given"].update(bytes(4), given)
        data = self.packets[probe.packet]
        self.simulator.now = now
        outcome = self.simulator.run(Packet(data, ingress=self.rig.ingress, cpu=self.rig.cpu))
        log = self.maps["log"].lookup(bytes(4))
        assert log is not None
        found = dumped(self.maps, probe.maps)
        ring = self.maps["ring"]
        assert isinstance(ring, RingMap)
        records = [("ring", r) for r in ring.take()] if "ring" in probe.maps else []
        records += [r for r in outcome.records if r[0] == "perf"]
        for name in ("queue", "stack"):
            if name in probe.maps:
                found[name] = self._values(name)
        return Seen(
            struct.unpack(f"={SLOTS}Q", log),
            _left(outcome),
            found,
            tuple(records),
            now,
            0,
            str(outcome.fault or outcome.reason),
        )

    def _values(self, name: str) -> list[bytes]:
        queue = self.maps[name]
        assert isinstance(queue, QueueMap)
        found: list[bytes] = []
        while (value := queue.peek(True)) is not None:
            found.append(value)
        return found

    def _empty(self, names: Sequence[str]) -> None:
        for name in ("queue", "stack"):
            if name in names:
                self._values(name)


def _left(outcome: Outcome) -> tuple[tuple[str, bytes], ...]:
    left = [one for one in outcome.clones if one[0] in LINKS]  # not what went to lo
    if outcome.packet is not None:
        left.append((outcome.link, outcome.link_header + outcome.packet))
    order = {link: n for n, link in enumerate(LINKS)}
    return tuple(sorted(left, key=lambda one: order.get(one[0], 9)))
