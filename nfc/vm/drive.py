"""The loop over a capture's records, in native code: what `Simulator.run` does, many times.

It reads records of pcap files and packet blocks of pcapng files, finds the IPv6 packet in a frame,
and writes what leaves in either form. It stops, and says why, at whatever is out of the ordinary;
`nfc.vm.batch` then has Python do that one packet, or what is left of it, and goes on.
"""

from __future__ import annotations

import ctypes

from nfc.bpf import context
from nfc.packet import links, pcapng
from nfc.packet.pcap import MAX_RECORD
from nfc.packet.pcap import RECORD_SIZE as RECORD_HEADER
from nfc.vm import hooks, ir, lookups
from nfc.vm.context import IFINDEX, LEN, PROTOCOL
from nfc.vm.emit import I64, I128, C, Code, State, V, Var, part
from nfc.vm.memory import CTX, FRAME_SIZE, REGION_SHIFT, STACK, Descriptor
from nfc.vm.native import I64 as SIGNED
from nfc.vm.native import MAX_LINK, U32, U64, WITH_FUNCTION, MapEntry
from nfc.vm.packet import HEADROOM, HOP_BY_HOP, IPV6_SIZE, LONGEST, MAX_LENGTH, ROUTING

BILLION = 1_000_000_000
MAX_BLOCK = MAX_RECORD + (1 << 16)  # bytes of a pcapng block that is read here
SCRATCH_SIZE = 1 << 17
OUT_ROOM = MAX_LENGTH + 64  # what a record may need
RECORDS_ROOM = 1 << 17

# Why the driver stops; OTHER: what comes next is for Python to read
MORE, FULL, OTHER, PACKET, FAULT, AFTER, RECORDS, LIMIT = range(8)
# What became of a packet: SLOW ones are told by Python
SENT, DROPPED, NO_SEGMENTS, SKIPPED, ELSEWHERE, SLOW = range(6)
ENDPOINT, INPUT, TRANSMIT = range(3)
HOOKS = {"endpoint": ENDPOINT, "in": INPUT, "out": TRANSMIT, "xmit": TRANSMIT}
# How records come: GIVEN: one, described by Python
PCAP, PCAPNG, GIVEN = range(3)
# How those that leave are written
NOWHERE, AS_PCAP, AS_PCAPNG = range(3)


class Interface(ctypes.Structure):
    """How the packets of an interface are read: where IPv6 is in a frame (nfc.packet.links.Form),
    and how a time becomes nanoseconds: ((units * factor) >> shift) / divisor + add. A `kind` of 0,
    a link type that is not known, and a `factor` of 0, such times, are for Python."""

    _fields_ = [
        *((name, U64) for name in ("kind", "at", "start", "factor", "shift", "divisor")),
        ("add", SIGNED),
        ("snaplen", U64),
    ]


class Drive(ctypes.Structure):
    """What the driver works on; sizes in bytes, places are host addresses. From `time` on: the
    packet at hand, as it came: its frame, and the IPv6 packet in it."""

    _fields_ = [
        (name, U64)
        for name in (
            "source", "source_size", "source_used", "form", "swapped", "unit", "interfaces",
            "interface_count", "last", "out", "out_size", "out_used", "out_form", "time_limit",
            "verdicts", "links", "count", "limit", "hook", "named", "clocked", "behind",
            "suspended", "tai_offset", "program", "template", "drain", "budget", "returned",
            "rings", "routed", "mask_high", "mask_low", "high", "low", "scratch", "padded",
            "time", "frame", "captured", "original", "interface", "following", "packet", "length",
        )
    ]  # fmt: skip


class _Driver(Code):
    """The driver, being written."""

    def __init__(self, module: ir.Module) -> None:
        super().__init__(module, "nfc_drive", 2, internal=False)
        self.s = State(self, self.arguments[0])
        self.d = self.arguments[1]

    def get(self, name: str) -> V:
        """A field of Drive."""
        return self.load(self.d + getattr(Drive, name).offset, 8)

    def set(self, name: str, value: V | int) -> None:
        """Set it."""
        self.store(self.d + getattr(Drive, name).offset, 8, value)

    def stop(self, condition: C, why: int) -> None:
        """Stop there, if."""
        with self.if_(condition, likely=False):
            self.give(why)

    def number_at(self, place: V, size: int) -> V:
        """A number of the file, whatever the order of its bytes."""
        raw = self.load(place, size)
        return self.select(self.get("swapped") != 0, self.swapped(raw, size), raw)

    def of(self, entry: V, name: str) -> V:
        """A field of an Interface."""
        return self.load(entry + part(Interface, name)[0], 8)


def build(module: ir.Module) -> None:
    """Write it into a module: nfc_drive(state, what to drive), which gives why it stops."""
    _frame(module)
    k = _Driver(module)
    count = Var(k, k.get("count"))
    with k.loop():
        k.set("count", count.get())
        k.stop(count.get() >= k.get("limit"), LIMIT)
        k.stop(k.s.get("records_used") > RECORDS_ROOM, RECORDS)
        k.stop(k.get("out_used") + OUT_ROOM > k.get("out_size"), FULL)
        with k.if_(k.get("form") == PCAP):
            _record(k)
        with k.if_(k.get("form") == PCAPNG):
            _block(k)
        k.stop(k.get("time") > k.get("time_limit"), OTHER)
        fate = _find(k)
        verdict = k.get("verdicts") + count.get()
        with k.if_else(fate == SENT) as (good, bad):
            with bad:
                k.store(verdict, 1, fate)
            with good:
                _packet(k, verdict)
        k.set("source_used", k.get("following"))
        count.set(count.get() + 1)
    k.b.unreachable()


# ---- records in ---------------------------------------------------------------------------------


def _record(k: _Driver) -> None:
    """The next record of a pcap file."""
    used = k.get("source_used")
    k.stop(used + RECORD_HEADER > k.get("source_size"), MORE)
    header = k.get("source") + used
    seconds, fraction, captured, original = (k.number_at(header + at, 4) for at in (0, 4, 8, 12))
    k.stop(captured > MAX_RECORD, OTHER)
    following = used + RECORD_HEADER + captured
    k.stop(following > k.get("source_size"), MORE)
    k.set("time", seconds * BILLION + fraction * k.get("unit"))
    k.set("frame", header + RECORD_HEADER)
    k.set("captured", captured)
    k.set("original", original)
    k.set("interface", 0)
    k.set("following", following)


def _block(k: _Driver) -> None:
    """The next block of a pcapng file that holds a packet. What describes others is for Python, and
    so is what is not in order; other blocks are passed over."""
    with k.loop() as out:
        used = k.get("source_used")
        k.stop(used + 12 > k.get("source_size"), MORE)
        block = k.get("source") + used
        kind = k.number_at(block, 4)
        k.stop((kind == pcapng.SECTION) | (kind == pcapng.INTERFACE), OTHER)
        length = k.number_at(block + 4, 4)
        k.stop((length < 12) | (length & 3 != 0) | (length > MAX_BLOCK), OTHER)
        k.stop(used + length > k.get("source_size"), MORE)
        k.stop(k.number_at(block + length - 4, 4) != length, OTHER)
        packet = (kind == pcapng.ENHANCED) | (kind == pcapng.SIMPLE) | (kind == pcapng.OBSOLETE)
        k.leave(out, packet)
        k.set("source_used", used + length)
    k.stop(length < 16, OTHER)
    index, captured, frame = Var(k, 0), Var(k, 0), Var(k, block + 12)
    original, time = Var(k, k.number_at(block + 8, 4)), Var(k, k.get("last"))
    with k.if_else(kind == pcapng.SIMPLE) as (simple, other):
        with simple:
            k.stop(k.get("interface_count") == 0, OTHER)
            most = k.of(k.get("interfaces"), "snaplen")
            cut = (most != 0) & (most < original.get())
            size = k.select(cut, most, original.get())
            captured.set(k.select(size < length - 16, size, length - 16))
        with other:
            k.stop(length < 32, OTHER)
            old = k.number_at(block + 8, 2)
            index.set(k.select(kind == pcapng.OBSOLETE, old, original.get()))
            k.stop(index.get() >= k.get("interface_count"), OTHER)
            captured.set(k.number_at(block + 20, 4))
            k.stop(captured.get() + 32 > length, OTHER)
            original.set(k.number_at(block + 24, 4))
            frame.set(block + 28)
            units = k.number_at(block + 12, 4) << 32 | k.number_at(block + 16, 4)
            time.set(_nanoseconds(k, _interface(k, index.get()), units))
    k.stop(captured.get() > MAX_RECORD, OTHER)
    k.set("last", time.get())
    k.set("time", time.get())
    k.set("frame", frame.get())
    k.set("captured", captured.get())
    k.set("original", original.get())
    k.set("interface", index.get())
    k.set("following", used + length)


def _interface(k: _Driver, index: V) -> V:
    """Where an interface is described."""
    return k.get("interfaces") + index * ctypes.sizeof(Interface)


def _nanoseconds(k: _Driver, entry: V, units: V) -> V:
    """A time of an interface; what does not fit 64 bits is for Python to refuse."""
    factor = k.of(entry, "factor")
    k.stop(factor == 0, OTHER)
    wide = k.b.op("mul", k.b.zext(units.value, I128), k.b.zext(factor.value, I128))
    wide = k.b.op("lshr", wide, k.b.zext(k.of(entry, "shift").value, I128))
    k.stop(_high(k, wide) != 0, OTHER)
    passed = Var(k, V(k, k.b.trunc(wide, I64)))
    divisor = k.of(entry, "divisor")
    with k.if_(divisor != 1, likely=False):
        passed.set(passed.get() // divisor)
    total = k.b.op(
        "add", k.b.zext(passed.get().value, I128), k.b.sext(k.of(entry, "add").value, I128)
    )
    k.stop(_high(k, total) != 0, OTHER)
    return V(k, k.b.trunc(total, I64))


def _high(k: _Driver, wide: ir.Value) -> V:
    return V(k, k.b.trunc(k.b.op("lshr", wide, ir.Value(I128, "64")), I64))


# ---- the packet in it ---------------------------------------------------------------------------


def _frame(module: ir.Module) -> None:
    """nfc_frame(interface, frame, captured): where the IPv6 packet begins in a frame, NOT_FOUND if
    there is none: links.Form.ipv6."""
    k = Code(module, "nfc_frame", 3, internal=False)
    entry, frame, captured = k.arguments
    kind, start = (k.load(entry + part(Interface, n)[0], 8) for n in ("kind", "start"))
    at = Var(k, start)
    with k.if_(kind == links.ETHERTYPE):
        place = Var(k, k.load(entry + part(Interface, "at")[0], 8))
        with k.loop() as out:
            with k.if_(captured < place.get() + 2):
                k.give(lookups.NOT_FOUND)
            found = k.swapped(k.load(frame + place.get(), 2), 2)
            vlan = (found == links.ETH_P_8021Q) | (found == links.ETH_P_8021AD)
            with k.if_(~vlan & (found != links.ETH_P_IPV6)):
                k.give(lookups.NOT_FOUND)
            k.leave(out, ~vlan)
            place.set(at.get() + 2)
            at.set(at.get() + 4)
    with k.if_((kind == links.FAMILY) | (kind == links.HOST_FAMILY)):
        with k.if_(captured < 4):
            k.give(lookups.NOT_FOUND)
        raw = k.load(frame, 4)
        family = k.swapped(raw, 4)
        known = family == links.FAMILIES[0]
        for one in links.FAMILIES:
            known = known | (family == one) | ((kind == links.HOST_FAMILY) & (raw == one))
        with k.if_(~known):
            k.give(lookups.NOT_FOUND)
    with k.if_(captured <= at.get()):
        k.give(lookups.NOT_FOUND)
    k.give(k.select(k.load(frame + at.get(), 1) >> 4 == 6, at.get(), lookups.NOT_FOUND))


def _find(k: _Driver) -> V:
    """Find the packet in the frame; SENT if it is one to be run, else why not."""
    frame, captured = k.get("frame"), k.get("captured")
    entry = _interface(k, k.get("interface"))
    k.stop(k.of(entry, "kind") == 0, OTHER)
    at = k.call("nfc_frame", entry, frame, captured)
    fate = Var(k, SKIPPED)
    with k.if_(at != lookups.NOT_FOUND):
        fate.set(SENT)
        k.set("packet", frame + at)
        k.set("length", captured - at)
        with k.if_(k.get("original") > captured, likely=False):
            _pad(k)
        with k.if_(k.get("routed") != 0):
            fate.set(ELSEWHERE)
            with k.if_(k.get("length") >= IPV6_SIZE):
                packet = k.get("packet")
                high, low = k.load(packet + 24, 8), k.load(packet + 32, 8)
                there = (high & k.get("mask_high")) == k.get("high")
                there = there & ((low & k.get("mask_low")) == k.get("low"))
                with k.if_(there):
                    fate.set(SENT)
    return fate.get()


def _pad(k: _Driver) -> None:
    """Put zeros in the place of what was cut off when the packet was captured."""
    missing = k.get("original") - k.get("captured")
    packet, length = k.get("packet"), k.get("length")
    short = Var(k, 1)
    with k.if_(length >= IPV6_SIZE):
        size = k.swapped(k.load(packet + 4, 2), 2) + IPV6_SIZE
        short.set((size > length).number())
    with k.if_((short.get() != 0) & (k.get("original") <= LONGEST)):
        scratch = k.get("scratch")
        k.move(scratch, packet, length)
        k.clear(scratch + length, missing)
        k.set("packet", scratch)
        k.set("length", length + missing)
        k.set("padded", k.get("padded") + 1)


# ---- through the function -----------------------------------------------------------------------


def _packet(k: _Driver, verdict: V) -> None:
    # As hooks.received: what is cut off, begins with Hop-by-Hop, or has addresses that may be
    # refused, is Python's.
    data, length = k.get("packet"), k.get("length")
    k.stop((length < IPV6_SIZE) | (length > MAX_LENGTH), PACKET)
    size = k.swapped(k.load(data + 4, 2), 2) + IPV6_SIZE
    odd = (size > length) | (k.load(data + 6, 1) == HOP_BY_HOP)
    for address in (data + 8, data + 24):
        odd = odd | (k.load(address, 8) == 0) | (k.load(address, 1) == 0xFF)
    k.stop(odd | (k.s.get("simple") == 0), PACKET)
    runs, srh_at = Var(k, 1), Var(k, 0)
    with k.if_(k.get("hook") == ENDPOINT):
        at = k.call("nfc_find_header", data, size, ROUTING, 1)
        with k.if_else(at == lookups.NOT_FOUND) as (none, some):
            with none:
                k.store(verdict, 1, NO_SEGMENTS)
                runs.set(0)
            with some:
                srh_at.set(at)
                _good_srh(k, data, size, at)
    with k.if_(runs.get() != 0):
        _run(k, data, size, srh_at.get(), verdict)


def _good_srh(k: _Driver, data: V, size: V, at: V) -> None:
    """The SRH is valid and has no HMAC, or Python says what happens."""
    k.stop(at + 8 > size, PACKET)
    srh = data + at
    length = (k.load(srh + 1, 1) + 1) << 3
    k.stop(at + length > size, PACKET)
    k.stop(k.call("nfc_valid_srh", srh, length, 1) == 0, PACKET)
    # What stands where an HMAC is looked for has its flag set: Python looks closer.
    k.stop(k.load(data + IPV6_SIZE + 5, 1) & 8 != 0, PACKET)


def _run(k: _Driver, data: V, size: V, srh_at: V, verdict: V) -> None:
    s = k.s
    hook = k.get("hook")
    _begin(k, data, size)
    packet = s.get("buffer") + HEADROOM
    with k.if_(hook == ENDPOINT):
        left = k.load(packet + srh_at + 3, 1) - 1
        k.store(packet + srh_at + 3, 1, left)
        k.move(packet + 24, packet + srh_at + 8 + (left << 4), 16)
        s.set("srh_there", 1)
        s.set("srh_valid", 1)
        s.set("srh_at", size - srh_at)
        s.set("srh_length", k.load(packet + srh_at + 1, 1) << 3)
    with k.if_(hook == TRANSMIT):
        error = k.call("nfc_route", s.place, packet + 24, 0, lookups.mark_of(k, s))
        _on_the_route(s)
        k.stop(_stopped(k, packet, size) | (error != 0) | _odd_link(s), PACKET)
        with k.if_(k.get("named") != 0):  # xmit: the device is that by which it leaves
            device = k.load(s.entry("ifindex", U32, s.get("link")), 4)
            k.store(s.get("context") + IFINDEX, 4, device)
        k.store(packet + 7, 1, k.load(packet + 7, 1) - 1)
    program = k.get("program")
    returned = k.call_at(program, s.place, CTX << REGION_SHIFT, 0, 0, 0, 0) & 0xFFFFFFFF
    k.stop(s.get("fault") != 0, FAULT)
    k.set("returned", returned)
    with k.if_else(returned == hooks.DROP) as (dropped, other):
        with dropped:
            k.store(verdict, 1, DROPPED)
        with other:
            _after(k, returned)
            _send(k)
            k.store(verdict, 1, SENT)
    with k.if_(k.get("drain") != 0):
        index = Var(k, 0)
        with k.loop() as out:
            k.leave(out, index.get() >= k.get("rings"))
            entry = s.entry("map", MapEntry, index.get())
            k.store(entry + part(MapEntry, "used")[0], 8, 0)
            index.set(index.get() + 1)


def _begin(k: _Driver, data: V, size: V) -> None:
    """Machine.begin, Context.reset, Skb.put, and the clocks."""
    s = k.s
    with k.if_(k.get("clocked") != 0):
        tai = k.get("time") + k.get("tai_offset")
        behind = k.get("behind")
        monotonic = k.select(tai > behind, tai - behind, 0)
        boot = k.get("suspended") + tai
        s.set("tai", tai)
        s.set("monotonic", monotonic)
        s.set("boot", k.select(boot > behind, boot - behind, 0))
    s.set("packets", k.get("count") + 1)
    s.set("records_mark", s.get("records_used"))
    s.set("budget", k.get("budget"))
    for name in ("depth", "routed", "link", "route_error", "srh_there"):
        s.set(name, 0)
    stack = s.entry("regions", Descriptor, STACK)
    k.store(stack + part(Descriptor, "count")[0], 4, 1)
    k.clear(s.get("stack"), FRAME_SIZE)
    k.move(s.get("context"), k.get("template"), context.SIZE)
    k.store(s.get("context") + LEN, 4, size)
    s.set("start", HEADROOM)
    s.set("end", size + HEADROOM)
    k.move(s.get("buffer") + HEADROOM, data, size)
    lookups.moved(k, s)


def _stopped(k: _Driver, packet: V, size: V) -> C:
    """Whether ip6_forward would not send a packet on, or might not."""
    high, low = k.load(packet + 8, 8), k.swapped(k.load(packet + 16, 8), 8)
    first = k.load(packet + 8, 1)
    stopped = (k.load(packet + 7, 1) <= 1) | (size > k.s.get("mtu"))
    stopped = stopped | ((high == 0) & (low <= 1))
    return stopped | (first == 0xFF) | (first == 0xFE)


def _on_the_route(s: State) -> None:
    """The function that lies on the route is this one, and has had its turn, or has it now."""
    s.set("link", s.get("link") & (WITH_FUNCTION - 1))


def _odd_link(s: State) -> C:
    """Whether a packet leaves by no link, by one that no byte has a number for, or not yet, since
    the route leads it to the function again."""
    return (s.get("link") == 0) | (s.get("link") > MAX_LINK)


def _after(k: _Driver, returned: V) -> None:
    """hooks.after where nothing stops the packet; else Python does all of that."""
    s = k.s
    hook = k.get("hook")
    length = lookups.length_of(s)
    goes_on = (returned == hooks.OK) | (returned == hooks.REDIRECT)
    k.stop((hook != TRANSMIT) & ~goes_on, AFTER)
    k.stop((hook != TRANSMIT) & (length < IPV6_SIZE), AFTER)
    with k.if_(hook == ENDPOINT):
        with k.if_(s.get("srh_there") != 0):
            k.stop(k.call("nfc_has_valid_srh", s.place) == 0, AFTER)
        with k.if_else(returned == hooks.OK) as (ok, redirect):
            with ok:
                k.call("nfc_route", s.place, lookups.data_of(k, s) + 24, 0, lookups.mark_of(k, s))
            with redirect:
                k.stop(s.get("routed") == 0, AFTER)
    with k.if_((hook == INPUT) & (s.get("routed") == 0)):
        k.call("nfc_route", s.place, lookups.data_of(k, s) + 24, 0, s.get("arrival_mark"))
    with k.if_(hook == TRANSMIT):
        k.stop((returned != hooks.OK) | (length > s.get("mtu")), AFTER)
        # bpf_lwt_push_encap may have made it something else.
        protocol = k.swapped(k.load(s.get("context") + PROTOCOL, 2), 2)
        k.stop(protocol != links.ETH_P_IPV6, AFTER)
    with k.if_(hook != ENDPOINT):
        _on_the_route(s)
    k.stop(_odd_link(s), AFTER)
    with k.if_(hook != TRANSMIT):
        packet = lookups.data_of(k, s)
        k.stop(s.get("route_error") != 0, AFTER)
        k.stop(_stopped(k, packet, length), AFTER)
        k.store(packet + 7, 1, k.load(packet + 7, 1) - 1)


# ---- records out --------------------------------------------------------------------------------


def _send(k: _Driver) -> None:
    """The packet as a record with the time of the one that came; little-endian, nanoseconds."""
    s = k.s
    packet, size = lookups.data_of(k, s), lookups.length_of(s)
    k.store(k.get("links") + k.get("count"), 1, s.get("link"))
    out, time, form = k.get("out") + k.get("out_used"), k.get("time"), k.get("out_form")
    with k.if_(form == AS_PCAP):
        seconds = time // BILLION
        for at, number in ((0, seconds), (4, time - seconds * BILLION), (8, size), (12, size)):
            k.store(out + at, 4, number)
        k.move(out + RECORD_HEADER, packet, size)
        k.set("out_used", k.get("out_used") + size + RECORD_HEADER)
    with k.if_(form == AS_PCAPNG):
        length = (size + 35) & lookups.negative(4)
        head: tuple[V | int, ...] = (
            pcapng.ENHANCED, length, 0, time >> 32, time, size, size,
        )  # fmt: skip
        for place, field in enumerate(head):
            k.store(out + 4 * place, 4, field)
        k.store(out + length - 8, 4, 0)  # what is behind the packet, up to a multiple of four
        k.move(out + 28, packet, size)
        k.store(out + length - 4, 4, length)
        k.set("out_used", k.get("out_used") + length)
