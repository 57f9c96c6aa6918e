"""Captures at full speed: records of a file in, records out, without Python in between.

    batch = Batch(simulator)         # records of a pcap file, little-endian, nanoseconds
    done = batch.run(chunk)          # bytes of records, as they are in the file
    done.out                         # the records of packets that left, as they go into a file

What comes of a packet is what `Simulator.run` says, for the same packets in the same order.
"""

from __future__ import annotations

import ctypes
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv6Network

from nfc.packet import links, pcapng
from nfc.packet.pcap import LINKTYPE_RAW, TIME_LIMIT, Record
from nfc.vm import counting, drive
from nfc.vm.buffers import RingMap
from nfc.vm.drive import BILLION, Drive, Interface
from nfc.vm.memory import host_address
from nfc.vm.native import unpacked, words
from nfc.vm.runtime import function_type, runtime
from nfc.vm.simulator import Outcome, Packet, Simulator

PACKETS = 1 << 15  # that one turn takes at most
OUT_SIZE = 8 << 20

REASONS = {
    drive.SENT: ("sent", ""),
    drive.DROPPED: ("dropped", "program returned BPF_DROP"),
    drive.NO_SEGMENTS: ("refused", "no segment routing header with segments left"),
    drive.SKIPPED: ("skipped", "not an IPv6 packet"),
    drive.ELSEWHERE: ("skipped", "to another prefix"),
}
FORMS = {"": drive.NOWHERE, "pcap": drive.AS_PCAP, "pcapng": drive.AS_PCAPNG}


@dataclass(frozen=True)
class Done:
    """What came of the packets of a chunk.

    `used` bytes were whole records, `count` of them; the rest belongs to the next chunk. `stopped`:
    what comes next in the chunk is not for `run`, so that somebody else has to read it. `verdicts`
    has a code each (a key of REASONS, or drive.SLOW: see `slow`), `links` the number of the link by
    which it left (see `Batch.link`). `out` are records of those that left, of link type RAW.
    `padded` packets had been cut short. `faulted`: the packet that made the program fault, with its
    index and time, if `run` ended behind it.
    """

    used: int
    count: int
    stopped: bool
    verdicts: bytes
    links: bytes
    out: bytes
    padded: int
    faulted: tuple[int, int, bytes] | None = None
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

    def kinds(self, numbers: int) -> Counter[tuple[str, int]]:
        """How many records went to each map, by the number that they begin with (8 bytes,
        little-endian); `numbers` where it is not below that, or is cut off."""
        found = counting.count(runtime().address("nfc_count"), self._blocks, self._maps, numbers)
        for _, name, record in self._said:
            first = int.from_bytes(record[:8], "little") if len(record) >= 8 else numbers
            found[name, min(first, numbers)] += 1
        return found

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
        prefix: IPv6Network | None = None,
        out: str = "pcap",
        optimized: bool = True,
        stop_at_fault: bool = False,
    ) -> None:
        """`linktype`, `swapped`, `nano`: how the records of a pcap file are written. `clock`: a
        packet meets the time at which it was captured, `tai_offset` nanoseconds on; else the
        simulator's time. `packet` has mark, priority, ingress, hash and CPU of all packets.
        `prefix`: only packets to it are run. `out`: the form of what leaves: pcap, pcapng, or ""
        for none. `optimized`: compile so that it runs fast, which takes longer. `stop_at_fault`:
        `run` ends behind a packet that makes the program fault."""
        self.simulator = simulator
        self.kind = packet or Packet(b"")
        self.form, self.stop_at_fault = out, stop_at_fault
        self.machine = machine = simulator.machine
        self.bridge = simulator.bridge
        self.jit = simulator.compiled(simulator.program, optimized=optimized)
        self.verdicts, self.links = bytearray(PACKETS), bytearray(PACKETS)
        self.out, self.scratch = bytearray(OUT_SIZE), bytearray(drive.SCRATCH_SIZE)
        self.template = bytearray(machine.context.raw)
        self.interfaces = (Interface * 1)()
        self._known: list[pcapng.Interface] = []
        self.d = d = Drive()
        d.out, d.out_size = host_address(self.out), len(self.out)
        d.scratch, d.out_form = host_address(self.scratch), FORMS[out]
        d.time_limit = TIME_LIMIT - 1 if out == "pcap" else (1 << 64) - 1
        d.verdicts, d.links = host_address(self.verdicts), host_address(self.links)
        d.form, d.swapped, d.unit = drive.PCAP, swapped, 1 if nano else 1000
        self._describe(pcapng.Interface(linktype, 0))
        d.hook, d.named = drive.HOOKS[simulator.hook], simulator.hook == "xmit"
        d.clocked, d.behind, d.tai_offset = clock, machine.clock.monotonic, tai_offset
        d.suspended = machine.clock.suspended
        d.program = self.jit.address
        d.template = host_address(self.template)
        d.drain, d.budget = simulator.drain, machine.limit
        d.rings = 1 + max(machine.map_list, default=-1)
        if prefix is not None:
            d.routed = True
            d.mask_high, d.mask_low = words(prefix.netmask.packed)
            d.high, d.low = words(prefix.network_address.packed)
        self._drive = function_type(2)(runtime().address("nfc_drive"))
        self._names = {one.number: one.info.name for one in machine.map_list.values()}

    def link(self, number: int) -> str:
        """The name of a link in `Done.links`."""
        return self.bridge.links[number]

    # ---- what is read -------------------------------------------------------------------------

    def follow(self, section: pcapng.Section) -> None:
        """Read blocks of a pcapng file from here on, as somebody has learnt of it who reads those
        that `run` stops at."""
        d = self.d
        d.form, d.swapped, d.last = drive.PCAPNG, section.order == ">", section.last
        if section.interfaces is not self._known:
            self._known, d.interface_count = section.interfaces, 0
        for interface in section.interfaces[d.interface_count :]:
            self._describe(interface)

    @property
    def last(self) -> int:
        """The time of the last packet that was read from a pcapng file."""
        return int(self.d.last)

    def _describe(self, interface: pcapng.Interface) -> None:
        """Add one to those that the driver knows."""
        d, number = self.d, self.d.interface_count
        if number == len(self.interfaces):
            larger = (Interface * (2 * number))()
            ctypes.memmove(larger, self.interfaces, ctypes.sizeof(self.interfaces))
            self.interfaces = larger
        form = links.FORMS.get(interface.linktype, links.Form(0))
        entry = self.interfaces[number]
        entry.kind, entry.at, entry.start = form.kind, form.at, form.start
        factor, entry.shift, divisor, add = interface.nanoseconds()
        fits = divisor < 1 << 64 and -(1 << 63) <= add < 1 << 63
        entry.factor, entry.divisor, entry.add = (factor, divisor, add) if fits else (0, 1, 0)
        entry.snaplen = interface.snaplen
        d.interfaces, d.interface_count = ctypes.addressof(self.interfaces), number + 1

    # ---- packets ------------------------------------------------------------------------------

    def run(self, chunk: bytes | bytearray | memoryview, limit: int = PACKETS) -> Done:
        """Run the packets of whole records in a chunk, `limit` and PACKETS of them at most."""
        source = chunk if isinstance(chunk, bytearray) else bytearray(chunk)
        d = self.d
        d.source, d.source_size = host_address(source) if source else 0, len(source)
        return self._turn(min(limit, PACKETS))

    def one(self, record: Record) -> Done:
        """Run a packet that somebody else has read, of an interface that `follow` has told of."""
        d, data = self.d, bytearray(record.data + b"\0")
        form, d.form = d.form, drive.GIVEN
        d.time, d.frame, d.captured = record.time_ns, host_address(data), len(record.data)
        d.original, d.interface, d.following = record.original_length, record.interface, 0
        done = self._turn(1)
        d.form = form
        return done

    def _turn(self, limit: int) -> Done:
        d, machine, native = self.d, self.machine, self.bridge.native
        d.source_used = d.count = d.out_used = d.padded = 0
        d.limit = limit
        kind = self.kind
        device = 0 if self.simulator.hook == "xmit" else kind.ingress
        machine.context.reset(kind.mark, kind.priority, kind.ingress, device, kind.hash)
        self.template[:] = machine.context.raw
        machine.cpu, machine.arrival_mark = self.kind.cpu, self.kind.mark
        machine.arrival_hash = self.kind.hash
        machine.records, machine.stamps, machine.blocks = [], [], []
        slow: dict[int, Outcome] = {}
        faulted = None
        self.jit.prepare()
        machine.begin()
        self.bridge.push()
        native.packets = machine.packet = 0
        while True:
            why = self._drive(self.bridge.address, ctypes.addressof(d))
            if why in (drive.MORE, drive.FULL, drive.LIMIT, drive.OTHER):
                break
            self.bridge.pull()
            if why == drive.RECORDS:
                self._drained()
                continue
            self._slowly(why, slow)
            self.jit.prepare()
            self.bridge.push()
            index = d.count - 1
            if self.stop_at_fault and slow[index].fault is not None:
                faulted = (index, d.time, ctypes.string_at(d.packet, d.length))
                break
        self.bridge.pull()
        self._drained()
        count = d.count
        stamped = zip(machine.stamps, machine.records, strict=True)
        return Done(
            d.source_used,
            count,
            why == drive.OTHER,
            bytes(self.verdicts[:count]),
            bytes(self.links[:count]),
            bytes(memoryview(self.out)[: d.out_used]),
            d.padded,
            faulted,
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

    def _slowly(self, why: int, slow: dict[int, Outcome]) -> None:
        """A packet, or the rest of what happens to it, in Python."""
        d, machine, simulator = self.d, self.machine, self.simulator
        index = d.count
        native = self.bridge.native
        if why == drive.PACKET:
            if d.clocked:
                simulator.now = d.time + d.tai_offset
            kind = self.kind
            keep = machine.records, machine.stamps
            native.packets = machine.packet
            data = ctypes.string_at(d.packet, d.length)
            outcome = simulator.run(
                Packet(data, kind.mark, kind.priority, kind.ingress, kind.hash, kind.cpu)
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
            left = self._written(d.time, outcome.packet)
            self.out[d.out_used : d.out_used + len(left)] = left
            d.out_used += len(left)
        d.source_used = d.following
        d.count = index + 1

    def _written(self, time: int, data: bytes) -> bytes:
        """A packet that leaves, as the driver writes it."""
        if self.form == "pcapng":
            return pcapng.packet_block(Record(time, data, len(data)))
        if not self.form:
            return b""
        return struct.pack("<IIII", *divmod(time, BILLION), len(data), len(data)) + data

    def _rest(self) -> Outcome:
        """What happens after the program has run, or failed."""
        simulator, machine = self.simulator, self.machine

        def ran() -> int:
            self.jit.raise_fault()
            return int(self.d.returned)

        first = len(machine.records)
        outcome = simulator.finish(ran, None)
        return replace(outcome, records=outcome.records[first:])
