"""The loop over a capture's records, in native code: what `Simulator.run` does, many times.

It stops, and says why, at whatever is out of the ordinary; `nfc.vm.batch` then has Python do that
one packet, or what is left of it, and goes on.
"""

from __future__ import annotations

import ctypes

from llvmlite import ir

from nfc.bpf import context
from nfc.packet.pcap import MAX_RECORD
from nfc.vm import fast, hooks
from nfc.vm.context import IFINDEX, LEN, PROTOCOL
from nfc.vm.emit import C, Code, State, V, Var, part
from nfc.vm.memory import CTX, FRAME_SIZE, REGION_SHIFT, STACK, Descriptor
from nfc.vm.native import MAX_LINK, U32, MapEntry
from nfc.vm.packet import HEADROOM, HOP_BY_HOP, IPV6_SIZE, MAX_LENGTH, ROUTING

U64 = ctypes.c_uint64
RECORD_HEADER = 16
ETHERNET_SIZE = 14
ETH_P_IPV6, ETH_P_8021Q, ETH_P_8021AD = 0x86DD, 0x8100, 0x88A8
OUT_ROOM = MAX_LENGTH + RECORD_HEADER  # what a record may need
RECORDS_ROOM = 1 << 17

# Why the driver stops
MORE, FULL, BAD, PACKET, FAULT, AFTER, RECORDS, LIMIT = range(8)
# What became of a packet: SLOW ones are told by Python
SENT, DROPPED, NO_SEGMENTS, SKIPPED, SLOW = range(5)
ENDPOINT, INPUT, TRANSMIT = range(3)
HOOKS = {"endpoint": ENDPOINT, "in": INPUT, "out": TRANSMIT, "xmit": TRANSMIT}


class Drive(ctypes.Structure):
    """What the driver works on; sizes in bytes, places are host addresses."""

    _fields_ = [
        (name, U64)
        for name in (
            "source", "source_size", "source_used", "out", "out_size", "out_used",
            "verdicts", "links", "count", "limit", "swapped", "unit", "ethernet", "hook",
            "clocked", "behind", "suspended", "tai_offset", "program", "template", "drain",
            "budget", "returned", "rings",
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


def build(module: ir.Module) -> None:
    """Write it into a module: nfc_drive(state, what to drive), which gives why it stops."""
    k = _Driver(module)
    count = Var(k, k.get("count"))
    with k.loop():
        k.set("count", count.get())
        k.stop(count.get() >= k.get("limit"), LIMIT)
        k.stop(k.s.get("records_used") > RECORDS_ROOM, RECORDS)
        k.stop(k.get("out_used") + OUT_ROOM > k.get("out_size"), FULL)
        used = k.get("source_used")
        k.stop(used + RECORD_HEADER > k.get("source_size"), MORE)
        header = k.get("source") + used
        seconds, fraction, captured = _numbers(k, header)
        k.stop(captured > MAX_RECORD, BAD)
        following = used + RECORD_HEADER + captured
        k.stop(following > k.get("source_size"), MORE)
        data, length, there = _frame(k, header + RECORD_HEADER, captured)
        verdict = k.get("verdicts") + count.get()
        with k.if_else(there == 0) as (bad, good):
            with bad:
                k.store(verdict, 1, SKIPPED)
            with good:
                _packet(k, data, length, seconds, fraction, header, verdict)
        k.set("source_used", following)
        count.set(count.get() + 1)
    k.b.unreachable()


def _numbers(k: _Driver, header: V) -> tuple[V, V, V]:
    """Seconds, fraction and length of a record, whatever the order of its bytes."""
    swapped = k.get("swapped") != 0
    raw = [k.load(header + at, 4) for at in (0, 4, 8)]
    found = [k.select(swapped, k.swapped(one, 4), one) for one in raw]
    return found[0], found[1], found[2]


def _frame(k: _Driver, frame: V, captured: V) -> tuple[V, V, V]:
    """Where the IPv6 packet begins, its length, and whether there is one: Record.ipv6.

    VLAN tags are Python's: such frames are looked at there.
    """
    data, length = Var(k, frame), Var(k, captured)
    there = Var(k, ((captured != 0) & (k.load(frame, 1) >> 4 == 6)).number())
    with k.if_(k.get("ethernet") != 0):
        there.set(0)
        with k.if_(captured >= ETHERNET_SIZE):
            kind = k.swapped(k.load(frame + 12, 2), 2)
            k.stop((kind == ETH_P_8021Q) | (kind == ETH_P_8021AD), PACKET)
            there.set((kind == ETH_P_IPV6).number())
            data.set(frame + ETHERNET_SIZE)
            length.set(captured - ETHERNET_SIZE)
    return data.get(), length.get(), there.get()


def _packet(k: _Driver, data: V, length: V, seconds: V, fraction: V, header: V, verdict: V) -> None:
    # As hooks.received: what is cut off, begins with Hop-by-Hop, or has addresses that may be
    # refused, is Python's.
    k.stop((length < IPV6_SIZE) | (length > MAX_LENGTH), PACKET)
    k.stop(k.load(data, 1) >> 4 != 6, PACKET)
    size = k.swapped(k.load(data + 4, 2), 2) + IPV6_SIZE
    odd = (size > length) | (k.load(data + 6, 1) == HOP_BY_HOP)
    for address in (data + 8, data + 24):
        odd = odd | (k.load(address, 8) == 0) | (k.load(address, 1) == 0xFF)
    k.stop(odd | (k.s.get("simple") == 0), PACKET)
    runs, srh_at = Var(k, 1), Var(k, 0)
    with k.if_(k.get("hook") == ENDPOINT):
        at = k.call("nfc_find_header", data, size, ROUTING, 1)
        with k.if_else(at == fast.NOT_FOUND) as (none, some):
            with none:
                k.store(verdict, 1, NO_SEGMENTS)
                runs.set(0)
            with some:
                srh_at.set(at)
                _good_srh(k, data, size, at)
    with k.if_(runs.get() != 0):
        _run(k, data, size, srh_at.get(), seconds, fraction, header, verdict)


def _good_srh(k: _Driver, data: V, size: V, at: V) -> None:
    """The SRH is valid and has no HMAC, or Python says what happens."""
    k.stop(at + 8 > size, PACKET)
    srh = data + at
    length = (k.load(srh + 1, 1) + 1) << 3
    k.stop(at + length > size, PACKET)
    k.stop(k.call("nfc_valid_srh", srh, length, 1) == 0, PACKET)
    # What stands where an HMAC is looked for has its flag set: Python looks closer.
    k.stop(k.load(data + IPV6_SIZE + 5, 1) & 8 != 0, PACKET)


def _run(
    k: _Driver, data: V, size: V, srh_at: V, seconds: V, fraction: V, header: V, verdict: V
) -> None:
    s = k.s
    hook = k.get("hook")
    _begin(k, data, size, seconds, fraction)
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
        error = k.call("nfc_route", s.place, packet + 24, 0, fast.mark_of(k, s))
        odd = (
            _stopped(k, packet, size)
            | (error != 0)
            | (s.get("link") == 0)
            | (s.get("link") > MAX_LINK)
        )
        k.stop(odd, PACKET)
        k.store(s.get("context") + IFINDEX, 4, k.load(s.entry("ifindex", U32, s.get("link")), 4))
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
            _send(k, header)
            k.store(verdict, 1, SENT)
    with k.if_(k.get("drain") != 0):
        index = Var(k, 0)
        with k.loop() as out:
            k.leave(out, index.get() >= k.get("rings"))
            entry = s.entry("map", MapEntry, index.get())
            k.store(entry + part(MapEntry, "used")[0], 8, 0)
            index.set(index.get() + 1)


def _begin(k: _Driver, data: V, size: V, seconds: V, fraction: V) -> None:
    """Machine.begin, Context.reset, Skb.put, and the clocks."""
    s = k.s
    with k.if_(k.get("clocked") != 0):
        tai = seconds * 1_000_000_000 + fraction * k.get("unit") + k.get("tai_offset")
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
    fast.moved(k, s)


def _stopped(k: _Driver, packet: V, size: V) -> C:
    """Whether ip6_forward would not send a packet on, or might not."""
    high, low = k.load(packet + 8, 8), k.swapped(k.load(packet + 16, 8), 8)
    first = k.load(packet + 8, 1)
    stopped = (k.load(packet + 7, 1) <= 1) | (size > k.s.get("mtu"))
    stopped = stopped | ((high == 0) & (low <= 1))
    return stopped | (first == 0xFF) | (first == 0xFE)


def _after(k: _Driver, returned: V) -> None:
    """hooks.after where nothing stops the packet; else Python does all of that."""
    s = k.s
    hook = k.get("hook")
    length = fast.length_of(s)
    goes_on = (returned == hooks.OK) | (returned == hooks.REDIRECT)
    k.stop((hook != TRANSMIT) & ~goes_on, AFTER)
    k.stop((hook != TRANSMIT) & (length < IPV6_SIZE), AFTER)
    with k.if_(hook == ENDPOINT):
        with k.if_(s.get("srh_there") != 0):
            k.stop(k.call("nfc_has_valid_srh", s.place) == 0, AFTER)
        with k.if_else(returned == hooks.OK) as (ok, redirect):
            with ok:
                k.call("nfc_route", s.place, fast.data_of(k, s) + 24, 0, fast.mark_of(k, s))
            with redirect:
                k.stop(s.get("routed") == 0, AFTER)
    with k.if_((hook == INPUT) & (s.get("routed") == 0)):
        k.call("nfc_route", s.place, fast.data_of(k, s) + 24, 0, s.get("arrival_mark"))
    with k.if_(hook == TRANSMIT):
        k.stop((returned != hooks.OK) | (length > s.get("mtu")), AFTER)
        # bpf_lwt_push_encap may have made it something else.
        protocol = k.swapped(k.load(s.get("context") + PROTOCOL, 2), 2)
        k.stop(protocol != ETH_P_IPV6, AFTER)
    k.stop((s.get("link") == 0) | (s.get("link") > MAX_LINK), AFTER)
    with k.if_(hook != TRANSMIT):
        packet = fast.data_of(k, s)
        k.stop(s.get("route_error") != 0, AFTER)
        k.stop(k.load(packet, 1) >> 4 != 6, AFTER)
        k.stop(_stopped(k, packet, length), AFTER)
        k.store(packet + 7, 1, k.load(packet + 7, 1) - 1)


def _send(k: _Driver, header: V) -> None:
    """The packet as a record with the time of the one that came."""
    s = k.s
    packet, size = fast.data_of(k, s), fast.length_of(s)
    k.store(k.get("links") + k.get("count"), 1, s.get("link"))
    out = k.get("out") + k.get("out_used")
    k.store(out, 8, k.load(header, 8))
    raw = k.select(k.get("swapped") != 0, k.swapped(size, 4), size)
    k.store(out + 8, 4, raw)
    k.store(out + 12, 4, raw)
    k.move(out + RECORD_HEADER, packet, size)
    k.set("out_used", k.get("out_used") + size + RECORD_HEADER)
