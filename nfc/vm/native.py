"""The state that native code works on, and how it is brought together with a `Machine`.

Both see the same buffers: stack, packet, context, values of maps. What a machine holds in Python
besides (where the packet lies, what is known of its SRH, where it goes) is copied before and after
native code runs: `push` and `pull`.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator

from nfc.vm.buffers import RingMap
from nfc.vm.machine import Machine
from nfc.vm.maps import ArrayMap, VmMap
from nfc.vm.memory import (
    MAPS,
    MAX_REGIONS,
    PACKET,
    RESERVED,
    STACK,
    Descriptor,
    host_address,
)

REGIONS = 1 << 12  # as many as an address can name
RECORDS_SIZE = 1 << 18  # bytes of ring buffer records that native code keeps for Python
WITH_FUNCTION = 1 << 32  # in the number of a link: the route there has the function on it
MAX_ROUTES = 64  # with more, or more of the next two, Python looks routes up
MAX_OWN, MAX_MARKS = 64, 16
MAX_LINK = 255  # a byte says by which link a packet left
RECORD = struct.Struct("<IIQ")  # before each of them: map, size, packet
ARRAY_KIND, RING_KIND = 1, 2

U64, I64, U32 = ctypes.c_uint64, ctypes.c_int64, ctypes.c_uint32
FAULT_LOAD, FAULT_STORE, FAULT_ATOMIC, FAULT_BUDGET, FAULT_RAISED, FAULT_SAID, FAULT_DEEP = range(
    1, 8
)


class MapEntry(ctypes.Structure):
    """What native code knows of a map, by its number."""

    _fields_ = [
        ("kind", U64),  # ARRAY_KIND, RING_KIND; 0: ask Python
        ("entries", U64),
        ("base", U64),  # the address of its first value, as programs see it
        ("per_cpu", U64),  # elements from one CPU's values to the next's
        ("size", U64),  # of a ring, bytes
        ("used", U64),  # of a ring: what no reader has taken
    ]


class RouteEntry(ctypes.Structure):
    """A route, longest prefix first in its table; words as they lie in a packet."""

    _fields_ = [
        ("mask_high", U64),
        ("mask_low", U64),
        ("high", U64),
        ("low", U64),
        ("table", U64),
        ("link", U64),
    ]


class OwnEntry(ctypes.Structure):
    """An address of the router; words as they lie in a packet."""

    _fields_ = [("high", U64), ("low", U64)]


class MarkEntry(ctypes.Structure):
    """A rule: packets with that mark are looked up in that table first."""

    _fields_ = [("mark", U64), ("table", U64)]


class Native(ctypes.Structure):
    """All of it. Scalars first, so that code reaches them with short offsets."""

    _fields_ = [
        ("buffer", U64),
        ("start", U64),
        ("end", U64),
        ("context", U64),
        ("stack", U64),
        ("budget", I64),
        ("depth", U64),
        ("fault", U64),
        ("fault_slot", U64),
        ("fault_address", U64),
        ("fault_size", U64),
        ("srh_there", U64),
        ("srh_at", U64),
        ("srh_length", U64),
        ("srh_valid", U64),
        ("routed", U64),
        ("route_error", U64),
        ("link", U64),  # number of a name; 0: none
        ("tai", U64),
        ("monotonic", U64),
        ("boot", U64),
        ("random", U64),
        ("draws", U64),  # random numbers that are given: Python hands them out
        ("drawn", U64),
        ("cpu", U64),
        ("arrival_mark", U64),
        ("callback", U64),
        ("after", U64),
        ("packets", U64),  # counts packets, so that Python knows when one is new
        ("mtu", U64),
        ("rest", U64),  # the link of what no route covers; 0: none
        ("routes", U64),  # how many; more than MAX_ROUTES: ask Python
        ("owns", U64),  # how many addresses are the router's own
        ("marks", U64),  # how many rules there are
        ("simple", U64),  # 0: the FIB is too large for this: ask Python
        ("encap_seg6", U64),  # whether bpf_lwt_push_encap is that of the hook `in`
        ("tunnel_high", U64),
        ("tunnel_low", U64),
        ("records_at", U64),  # host address
        ("records_used", U64),
        ("records_mark", U64),  # where those of the packet at hand begin
        ("route", RouteEntry * MAX_ROUTES),
        ("own", OwnEntry * MAX_OWN),
        ("rule", MarkEntry * MAX_MARKS),
        ("ifindex", U32 * (MAX_LINK + 1)),  # of links, by number
        ("map", MapEntry * (MAX_REGIONS - MAPS)),
        ("regions", Descriptor * REGIONS),
    ]


def unpacked(block: bytes | memoryview) -> Iterator[tuple[int, int, bytes]]:
    """The records of a block: (packet, map, bytes)."""
    at = 0
    while at < len(block):
        number, size, packet = RECORD.unpack_from(block, at)
        begin = at + RECORD.size
        yield packet, number, bytes(block[begin : begin + size])
        at = begin + ((size + 7) & ~7)


def words(address: bytes) -> tuple[int, int]:
    """An address as two numbers, as native code loads them."""
    return int.from_bytes(address[:8], "little"), int.from_bytes(address[8:], "little")


class Bridge:
    """A machine's native state."""

    def __init__(self, machine: Machine, drain: bool) -> None:
        """Describe what does not change. `drain`: as for Simulator."""
        self.machine, self.drain = machine, drain
        self.exact = False  # whether a program asks for the rings' positions
        self.native = native = Native()
        self.address = ctypes.addressof(native)
        self.records = bytearray(RECORDS_SIZE)
        self.links: list[str] = [""]
        self.pending: BaseException | None = None
        native.buffer = host_address(machine.skb.buffer)
        native.context = host_address(machine.context.raw)
        native.stack = host_address(machine.stack.data)
        native.encap_seg6 = machine.hook == "in"
        native.records_at = host_address(self.records)
        for number, region in enumerate(machine.memory.regions):
            region.describe(native.regions[number])
        self.rings: list[RingMap] = []
        for one in machine.map_list.values():
            self._map(one)
        machine.on_adopted = self._map
        self.rerouted()

    def _map(self, one: VmMap) -> None:
        """Describe a map."""
        entry = self.native.map[one.number]
        one.region.describe(self.native.regions[one.region_number])
        if isinstance(one, ArrayMap):
            entry.kind = ARRAY_KIND
            entry.entries = one.info.max_entries
            entry.base = one.value_address(0, 0)
            entry.per_cpu = one.elements if one.per_cpu else 0
        elif isinstance(one, RingMap):
            entry.kind, entry.size = RING_KIND, one.size
            entry.used = one.produced - one.consumed
            self.rings.append(one)

    def rerouted(self) -> None:
        """Describe the machine's forwarding table, which is another now."""
        fib, native = self.machine.fib, self.native
        native.mtu = fib.mtu
        native.rest = self.link_number(fib.rest)
        native.tunnel_high, native.tunnel_low = words(fib.tunnel_source.packed)
        native.routes, native.owns, native.marks = len(fib.routes), len(fib.own), len(fib.marks)
        native.simple = (
            len(fib.own) <= MAX_OWN
            and len(fib.marks) <= MAX_MARKS
            and len(fib.routes) <= MAX_ROUTES
        )
        if not native.simple:
            return
        routes = sorted(fib.routes, key=lambda r: -r.prefix.prefixlen)
        for row, route in zip(native.route, routes, strict=False):
            row.mask_high, row.mask_low = words(route.prefix.netmask.packed)
            row.high, row.low = words(route.prefix.network_address.packed)
            row.table, row.link = route.table, self.link_number(route.link)
            row.link |= WITH_FUNCTION * route.function
        for entry, address in zip(native.own, fib.own, strict=False):
            entry.high, entry.low = words(address.packed)
        for rule, (mark, table) in zip(native.rule, fib.marks, strict=False):
            rule.mark, rule.table = mark, table
        for name, index in fib.links.items():
            if (number := self.link_number(name)) <= MAX_LINK:
                native.ifindex[number] = index

    def link_number(self, name: str) -> int:
        """The number by which native code knows a link."""
        if name not in self.links:
            self.links.append(name)
        return self.links.index(name)

    def push(self) -> None:
        """From the machine to native code."""
        machine, native = self.machine, self.native
        skb, srh, clock = machine.skb, machine.srh, machine.clock
        native.start, native.end = skb.start, skb.end
        packet = native.regions[PACKET]
        packet.base, packet.limit = native.buffer + skb.start, skb.end - skb.start
        packet.first, packet.count = skb.generation, 1
        native.srh_there, native.srh_valid = srh.there, srh.valid
        native.srh_at, native.srh_length = srh.at, srh.length & (1 << 64) - 1
        native.routed, native.link = machine.routed, self.link_number(machine.link)
        native.link |= WITH_FUNCTION * machine.function
        native.route_error = machine.route_error & (1 << 64) - 1
        native.tai = clock.tai
        native.monotonic = max(0, clock.tai - clock.monotonic)
        native.boot = max(0, clock.tai - clock.monotonic + clock.suspended)
        native.random, native.draws, native.drawn = (
            machine.random,
            len(machine.draws),
            machine.drawn,
        )
        native.cpu, native.arrival_mark = machine.cpu, machine.arrival_mark
        native.budget, native.depth = machine.budget, machine.depth
        native.regions[STACK].count = machine.depth + 1
        for ring in self.rings:
            native.map[ring.number].used = ring.produced - ring.consumed
        for number in range(RESERVED, MAPS):
            region = machine.memory.regions[number]
            if region.count or native.regions[number].count:
                region.describe(native.regions[number])

    def pull(self) -> None:
        """From native code to the machine."""
        machine, native = self.machine, self.native
        skb, srh = machine.skb, machine.srh
        skb.start, skb.end = native.start, native.end
        skb.generation = native.regions[PACKET].first
        skb.region.first, skb.region.base = skb.generation, skb.start
        skb.region.limit = skb.end - skb.start
        srh.there, srh.valid = bool(native.srh_there), bool(native.srh_valid)
        srh.at, length = native.srh_at, native.srh_length
        srh.length = length - (1 << 64) if length >> 63 else length
        machine.routed = bool(native.routed)
        function, number = divmod(native.link, WITH_FUNCTION)
        machine.function = bool(function)
        machine.link = self.links[number]
        error = native.route_error
        machine.route_error = error - (1 << 64) if error >> 63 else error
        machine.clock.tai = native.tai  # a capture's packets have each their own
        machine.random, machine.drawn = native.random, native.drawn
        machine.budget, machine.depth = native.budget, native.depth
        machine.stack.count = native.depth + 1
        if native.records_used:
            self.take_records()
        self.new_packet(native.packets)

    def take_records(self) -> None:
        """Put what native code has sent to ring buffers into them. What is of earlier packets of
        a batch a reader has taken already: those are kept as they are."""
        native, machine = self.native, self.machine
        used, at = native.records_used, native.records_mark if self.drain else 0
        native.records_used = native.records_mark = 0
        if at:
            block = bytes(memoryview(self.records)[:at])
            machine.blocks.append(block)
            if self.exact:
                self._advance(block)
        for packet, number, record in unpacked(memoryview(self.records)[at:used]):
            ring = machine.map_list[number]
            assert isinstance(ring, RingMap)
            self.new_packet(packet)
            machine.emit(ring, record)

    def _advance(self, block: bytes) -> None:
        """The rings' positions after records that a reader has taken."""
        for _, number, record in unpacked(block):
            ring = self.machine.map_list[number]
            assert isinstance(ring, RingMap)
            ring.produced += (len(record) + ring.HEADER + 7) & ~7
            ring.consumed = ring.produced

    def new_packet(self, number: int) -> None:
        """Begin another packet in Python, if it is another: native code has begun it there."""
        machine = self.machine
        if number == machine.packet:
            return
        machine.packet = number
        machine.renew()
        if self.drain:
            for ring in self.rings:
                if ring.waiting:
                    ring.take()
