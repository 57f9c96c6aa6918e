"""Captures at full speed: records of a pcap file in, records out, without Python in between.

    batch = Batch(simulator, linktype=101)
    done = batch.run(chunk)          # bytes of records, as they are in the file
    done.out                         # the records of packets that left, as they go into a file

What comes of a packet is what `Simulator.run` says, for the same packets in the same order.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from nfc.packet.base import PacketError
from nfc.packet.pcap import LINKTYPE_ETHERNET, LINKTYPE_RAW, MAX_RECORD, Record
from nfc.vm import drive
from nfc.vm.drive import RECORD_HEADER, Drive
from nfc.vm.maps import RingMap
from nfc.vm.memory import host_address
from nfc.vm.native import unpacked
from nfc.vm.runtime import function_type, runtime
from nfc.vm.simulator import Outcome, Packet, Simulator

PACKETS = 1 << 15  # that one turn takes at most
OUT_SIZE = 8 << 20

REASONS = {
    drive.SENT: ("sent", ""),
    drive.DROPPED: ("dropped", "program returned BPF_DROP"),
    drive.NO_SEGMENTS: ("refused", "no segment routing header with segments left"),
    drive.SKIPPED: ("skipped", "not an IPv6 packet"),
}


@dataclass(frozen=True)
class Done:
    """What came of the packets of a chunk.

    `used` bytes were whole records, `count` of them; the rest belongs to the next chunk.
    `verdicts` has a code each (a key of REASONS, or drive.SLOW: see `slow`), `links` the number of
    the link by which it left (see `Batch.link`). `out` are records of those that left, of link
    type RAW.
    """

    used: int
    count: int
    verdicts: bytes
    links: bytes
    out: bytes
    slow: dict[int, Outcome] = field(default_factory=dict)
    _said: tuple[tuple[int, str, bytes], ...] = ()
    _blocks: tuple[bytes, ...] = ()
    _maps: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def records(self) -> tuple[tuple[int, str, bytes], ...]:
        """What went to ring and perf buffers, in the order of packets: (packet, map, bytes)."""
        found = list(self._said)
        for block in self._blocks:
            for packet, number, record in unpacked(block):
                found.append((packet - 1, self._maps[number], record))
        # Of one packet, what Python has seen came first: it takes what is there whenever it runs.
        found.sort(key=lambda row: row[0])
        return tuple(found)

    def fates(self) -> Counter[tuple[str, str]]:
        """How many packets came to each fate, with its reason."""
        counts = Counter(self.verdicts)
        found: Counter[tuple[str, str]] = Counter()
        for code, known in REASONS.items():
            if counts[code]:
                found[known] += counts[code]
        for outcome in self.slow.values():
            found[outcome.fate, outcome.reason] += 1
        return found


class Batch:
    """A simulator, and the buffers that its packets go through."""

    def __init__(
        self,
        simulator: Simulator,
        *,
        linktype: int = LINKTYPE_RAW,
        swapped: bool = False,
        nano: bool = True,
        clock: bool = True,
        tai_offset: int = 0,
        packet: Packet | None = None,
        optimized: bool = True,
        prepare: Callable[[Record], Record] | None = None,
        stop_at_fault: bool = False,
    ) -> None:
        """`swapped`, `nano`: how the file's numbers are written. `clock`: a packet meets the time
        at which it was captured, `tai_offset` nanoseconds on; else the simulator's time. `packet`
        has mark, priority, ingress, hash and CPU of all packets. `optimized`: compile so that it
        runs fast, which takes longer. `prepare`: what is done first to records that are out of the
        ordinary, such as those that hold less than their packet says. `stop_at_fault`: `run` ends
        behind a packet that makes the program fault. Raises PacketError for another link type."""
        if linktype not in (LINKTYPE_RAW, LINKTYPE_ETHERNET):
            raise PacketError(f"link type {linktype} is neither RAW nor ETHERNET", 20)
        self.simulator, self.linktype, self.swapped = simulator, linktype, swapped
        self.unit, self.clock, self.tai_offset = (1 if nano else 1000), clock, tai_offset
        self.kind = packet or Packet(b"")
        self.prepare, self.stop_at_fault = prepare, stop_at_fault
        self.machine = machine = simulator.machine
        self.bridge = simulator.bridge
        self.jit = simulator.compiled(simulator.program, optimized=optimized)
        self.verdicts, self.links = bytearray(PACKETS), bytearray(PACKETS)
        self.out = bytearray(OUT_SIZE)
        self.template = bytearray(machine.context.raw)
        self.d = d = Drive()
        d.out, d.out_size = host_address(self.out), len(self.out)
        d.verdicts, d.links = host_address(self.verdicts), host_address(self.links)
        d.swapped, d.unit, d.ethernet = swapped, self.unit, linktype == LINKTYPE_ETHERNET
        d.hook = drive.HOOKS[simulator.hook]
        d.clocked, d.behind, d.tai_offset = clock, machine.clock.monotonic, tai_offset
        d.suspended = machine.clock.suspended
        d.program = self.jit.address
        d.template = host_address(self.template)
        d.drain, d.budget = simulator.drain, machine.limit
        d.rings = 1 + max(machine.map_list, default=-1)
        self._drive = function_type(2)(runtime().address("nfc_drive"))
        self._names = {one.number: one.info.name for one in machine.map_list.values()}

    def link(self, number: int) -> str:
        """The name of a link in `Done.links`."""
        return self.bridge.links[number]

    def run(self, chunk: bytes | bytearray | memoryview) -> Done:
        """Run the packets of whole records in a chunk, PACKETS of them at most.

        Raises PacketError for a record that is too long.
        """
        source = chunk if isinstance(chunk, bytearray) else bytearray(chunk)
        d, machine, native = self.d, self.machine, self.bridge.native
        d.source, d.source_size, d.source_used = host_address(source), len(source), 0
        d.count, d.limit, d.out_used = 0, PACKETS, 0
        kind = self.kind
        device = 0 if self.simulator.hook == "xmit" else kind.ingress
        machine.context.reset(kind.mark, kind.priority, kind.ingress, device, kind.hash)
        self.template[:] = machine.context.raw
        machine.cpu, machine.arrival_mark = self.kind.cpu, self.kind.mark
        machine.arrival_hash = self.kind.hash
        machine.records, machine.stamps, machine.blocks = [], [], []
        slow: dict[int, Outcome] = {}
        self.jit.prepare()
        machine.begin()
        self.bridge.push()
        native.packets = machine.packet = 0
        while True:
            why = self._drive(self.bridge.address, ctypes.addressof(d))
            if why in (drive.MORE, drive.FULL, drive.LIMIT):
                break
            if why == drive.BAD:
                raise PacketError(f"a record is over {MAX_RECORD} bytes", d.source_used + 8)
            self.bridge.pull()
            if why == drive.RECORDS:
                self._drained()
                continue
            if d.count >= d.limit or d.out_used + drive.OUT_ROOM > d.out_size:
                break
            self._slowly(why, source, slow)
            self.jit.prepare()
            self.bridge.push()
            if self.stop_at_fault and slow[d.count - 1].fault is not None:
                break
        self.bridge.pull()
        self._drained()
        count = d.count
        stamped = zip(machine.stamps, machine.records, strict=True)
        return Done(
            d.source_used,
            count,
            bytes(self.verdicts[:count]),
            bytes(self.links[:count]),
            bytes(memoryview(self.out)[: d.out_used]),
            slow,
            tuple((at, name, record) for at, (name, record) in stamped),
            tuple(machine.blocks),
            self._names,
        )

    def _drained(self) -> None:
        """A reader takes what is in the rings, as after each packet."""
        if self.simulator.drain:
            for one in self.machine.map_list.values():
                if isinstance(one, RingMap):
                    one.take()

    def _slowly(self, why: int, source: bytearray, slow: dict[int, Outcome]) -> None:
        """A packet, or the rest of what happens to it, in Python."""
        d, machine, simulator = self.d, self.machine, self.simulator
        order = "big" if self.swapped else "little"
        used = d.source_used
        head = source[used : used + RECORD_HEADER]
        seconds, fraction, size, original = (
            int.from_bytes(head[at : at + 4], order)  # type: ignore[arg-type]
            for at in (0, 4, 8, 12)
        )
        data = bytes(source[used + RECORD_HEADER : used + RECORD_HEADER + size])
        time_ns = seconds * 1_000_000_000 + fraction * self.unit
        index = d.count
        native = self.bridge.native
        if why == drive.PACKET:
            record = Record(time_ns, data, original, self.linktype)
            inside = (self.prepare(record) if self.prepare else record).ipv6()
            if inside is None:
                outcome = Outcome("skipped", "not an IPv6 packet")
            else:
                if self.clock:
                    simulator.now = time_ns + self.tai_offset
                kind = self.kind
                keep = machine.records, machine.stamps
                native.packets = machine.packet
                outcome = simulator.run(
                    Packet(inside, kind.mark, kind.priority, kind.ingress, kind.hash, kind.cpu)
                )
                machine.records, machine.stamps = keep
                machine.records += outcome.records
                machine.stamps += [index] * len(outcome.records)
        else:
            outcome = self._rest()
        self._drained()
        slow[index] = outcome
        self.verdicts[index] = drive.SLOW
        if outcome.packet is not None:
            self.links[index] = self.bridge.link_number(outcome.link) & 0xFF
            length = len(outcome.packet).to_bytes(4, order)  # type: ignore[arg-type]
            left = bytes(head[:8]) + length + length + outcome.packet
            self.out[d.out_used : d.out_used + len(left)] = left
            d.out_used += len(left)
        d.source_used = used + RECORD_HEADER + size
        d.count = index + 1

    def _rest(self) -> Outcome:
        """What happens after the program has run, or failed."""
        simulator, machine = self.simulator, self.machine

        def ran() -> int:
            self.jit.raise_fault()
            return int(self.d.returned)

        first = len(machine.records)
        outcome = simulator.finish(ran, None)
        return replace(outcome, records=outcome.records[first:])
