"""The helpers that packets meet most, as native code.

Each does what its twin in `nfc.vm.helpers` does, as far as nothing out of the ordinary happens;
else it calls that twin, before it has changed anything. Tests compare the two.
"""

from __future__ import annotations

import errno

from nfc.vm import ir, lookups
from nfc.vm.context import HASH, PROTOCOL
from nfc.vm.emit import I32, I64, Code, State, V, part
from nfc.vm.helpers import seg6
from nfc.vm.lookups import NOT_FOUND, data_of, host, length_of, mark_of, moved, negative
from nfc.vm.memory import (
    CTX,
    ELEMENT_MASK,
    OFFSET_BITS,
    REGION_SHIFT,
)
from nfc.vm.memory import MAP as MAP_REGION
from nfc.vm.native import (
    ARRAY_KIND,
    RECORDS_SIZE,
    RING_KIND,
    MapEntry,
)
from nfc.vm.packet import (
    ETH_P_IPV6,
    HEADROOM,
    IPV6,
    IPV6_SIZE,
    MAX_LENGTH,
    ROUTING,
)

CTX_ADDRESS = CTX << REGION_SHIFT
MAX_NATIVE_RECORD = 1 << 14


class Fast(Code):
    """A native helper: state, then its five arguments."""

    def __init__(self, module: ir.Module, number: int) -> None:
        """Begin it."""
        super().__init__(module, f"nfc_helper_{number}", 6, internal=False)
        self.number_ = number
        self.s = State(self, self.arguments[0])
        self.r1, self.r2, self.r3, self.r4, self.r5 = self.arguments[1:]

    def slow(self) -> V:
        """The same helper in Python."""
        return self.call("nfc_python", self.s.place, self.number(self.number_),
                         *self.arguments[1:])  # fmt: skip

    def give_slow(self) -> None:
        """Leave it to Python."""
        self.give(self.slow())

    def need_context(self) -> None:
        """Leave it to Python where the first argument is not the context."""
        with self.if_(self.r1 != CTX_ADDRESS, likely=False):
            self.give_slow()


def build(module: ir.Module) -> None:
    """Write all of them into a module."""
    _python(module)
    lookups.build(module)
    for helper in (
        _lookup, _monotonic, _random, _cpu, _boot, _tai, _hash, _pull_data, _load_bytes,
        _ring_output, _push_encap, _seg6_store, _adjust, _action, _xmit_store,
    ):  # fmt: skip
        helper(module)


NUMBERS = (1, 5, 7, 8, 9, 26, 34, 39, 73, 74, 75, 76, 125, 130, 208)


def _python(module: ir.Module) -> None:
    k = Code(module, "nfc_python", 7, internal=False)
    s = State(k, k.arguments[0])
    k.give(k.call_at(s.get("callback"), *k.arguments[1:]))


def _map_entry(k: Fast, argument: V, kind: int) -> V:
    """What is known of a map, or on to Python if it is none of that kind."""
    number = argument >> OFFSET_BITS & ELEMENT_MASK
    with k.if_((argument >> REGION_SHIFT != MAP_REGION) | (number >= 64), likely=False):
        k.give_slow()
    entry = k.s.entry("map", MapEntry, number)
    with k.if_(k.load(entry + part(MapEntry, "kind")[0], 8) != kind, likely=False):
        k.give_slow()
    return entry


def _lookup(module: ir.Module) -> None:
    k = Fast(module, 1)
    entry = _map_entry(k, k.r1, ARRAY_KIND)
    key = host(k, k.s, k.r2, 4, False)
    with k.if_(key == 0, likely=False):
        k.give_slow()
    index = k.load(key, 4)
    field = {n: k.load(entry + part(MapEntry, n)[0], 8) for n in ("entries", "base", "per_cpu")}
    element = index + field["per_cpu"] * k.s.get("cpu")
    found = field["base"] + (element << OFFSET_BITS)
    k.give(k.select(index < field["entries"], found, 0))


def _field(module: ir.Module, number: int, name: str) -> None:
    k = Fast(module, number)
    k.give(k.s.get(name))


def _monotonic(module: ir.Module) -> None:
    _field(module, 5, "monotonic")


def _boot(module: ir.Module) -> None:
    _field(module, 125, "boot")


def _tai(module: ir.Module) -> None:
    _field(module, 208, "tai")


def _cpu(module: ir.Module) -> None:
    _field(module, 8, "cpu")


def _random(module: ir.Module) -> None:
    k = Fast(module, 7)
    with k.if_(k.s.get("draws") != 0, likely=False):
        k.give_slow()
    k.s.set("drawn", k.s.get("drawn") + 1)
    state = k.s.get("random")
    state = state ^ (state << 13)
    state = state ^ (state >> 7)
    state = state ^ (state << 17)
    k.s.set("random", state)
    k.give(state >> 32)


def _hash(module: ir.Module) -> None:
    k = Fast(module, 34)
    k.need_context()
    found = k.load(k.s.get("context") + HASH, 4)
    with k.if_(found == 0, likely=False):
        k.give_slow()
    k.give(found)


def _pull_data(module: ir.Module) -> None:
    k = Fast(module, 39)
    k.need_context()
    moved(k, k.s)
    k.give(k.select((k.r2 & 0xFFFFFFFF) <= length_of(k.s), 0, negative(errno.ENOMEM)))


def _load_bytes(module: ir.Module) -> None:
    k = Fast(module, 26)
    k.need_context()
    offset, size = k.r2 & 0xFFFFFFFF, k.r4 & 0xFFFFFFFF
    to = host(k, k.s, k.r3, size, True)
    bad = (to == 0) | (size == 0) | (offset > 0x7FFFFFFF)
    with k.if_(bad | (offset + size > length_of(k.s)), likely=False):
        k.give_slow()
    k.move(to, data_of(k, k.s) + offset, size)
    k.give(0)


def _ring_output(module: ir.Module) -> None:
    k = Fast(module, 130)
    entry = _map_entry(k, k.r1, RING_KIND)
    content = host(k, k.s, k.r2, k.r3, False)
    used = k.s.get("records_used")
    odd = (content == 0) | (k.r3 > MAX_NATIVE_RECORD) | (k.r4 > 3)
    with k.if_(odd | (used + k.r3 + 24 > RECORDS_SIZE), likely=False):
        k.give_slow()
    step = (k.r3 + 15) & negative(8)
    kept = step + 8
    size, taken = k.load(entry + part(MapEntry, "size")[0], 8), part(MapEntry, "used")[0]
    after = k.load(entry + taken, 8) + step
    with k.if_((step > size) | (after > size - 1)):
        k.give(negative(errno.EAGAIN))
    k.store(entry + taken, 8, after)
    to = k.s.get("records_at") + used
    k.store(to, 4, k.r1 >> OFFSET_BITS & ELEMENT_MASK)
    k.store(to + 4, 4, k.r3)
    k.store(to + 8, 8, k.s.get("packets"))
    k.move(to + 16, content, k.r3)
    k.s.set("records_used", used + kept)
    k.give(0)


def _srh_entries(k: Fast, at: V) -> V:
    return k.load(data_of(k, k.s) + at + 4, 1) + 1


def _find_again(k: Fast) -> None:
    """The first routing header is the SRH, or give -EINVAL."""
    at = k.call("nfc_find_header", data_of(k, k.s), length_of(k.s), ROUTING, 0)
    with k.if_(at == NOT_FOUND, likely=False):
        k.give(negative(errno.EINVAL))
    k.s.set("srh_at", length_of(k.s) - at)


def _seg6_store(module: ir.Module) -> None:
    k = Fast(module, 74)
    k.need_context()
    offset, size = k.r2 & 0xFFFFFFFF, k.r4 & 0xFFFFFFFF
    source = host(k, k.s, k.r3, size, False)
    odd = (source == 0) | (k.s.get("srh_there") == 0) | (size == 0)
    with k.if_(odd, likely=False):
        k.give_slow()
    at = length_of(k.s) - k.s.get("srh_at")
    tlvs = at + (_srh_entries(k, at) << 4)
    in_tlvs = (offset >= tlvs) & (offset + size <= at + seg6.SRH_SIZE + k.s.get("srh_length"))
    with k.if_else(in_tlvs) as (yes, no):
        with yes:
            k.s.set("srh_valid", 0)
        with no, k.if_((offset < at + 5) | (offset + size > at + seg6.SRH_SIZE)):
            k.give(negative(errno.EFAULT))
    # The source may be in the packet itself; its host address does not change.
    moved(k, k.s)
    with k.if_(offset + size > length_of(k.s)):
        k.give(negative(errno.EFAULT))
    _find_again(k)
    k.move(data_of(k, k.s) + offset, source, size)
    k.give(0)


def push(k: Fast, at: V, size: V) -> None:
    """Skb.push where there is headroom, which the caller has seen to."""
    start = k.s.get("start")
    data = k.s.get("buffer") + start
    k.move(data - size, data, at)
    k.clear(data - size + at, size)
    k.s.set("start", start - size)


def _adjust(module: ir.Module) -> None:
    k = Fast(module, 75)
    k.need_context()
    offset = k.r2 & 0xFFFFFFFF
    delta = V(k, k.b.sext(k.b.trunc(k.r3.value, I32), I64))
    size = k.select(delta.negative(), k.number(0) - delta, delta)
    odd = (k.s.get("srh_there") == 0) | (size > HEADROOM // 4)
    odd = odd | (k.s.get("start") < size) | (length_of(k.s) + size > MAX_LENGTH)
    with k.if_(odd, likely=False):
        k.give_slow()
    at = length_of(k.s) - k.s.get("srh_at")
    first = at + seg6.SRH_SIZE + (_srh_entries(k, at) << 4)
    end = at + seg6.SRH_SIZE + k.s.get("srh_length")
    with k.if_((offset < first) | (offset > end)):
        k.give(negative(errno.EFAULT))
    with k.if_(delta.negative() & (offset + size > end)):
        k.give(negative(errno.EFAULT))
    with k.if_else(delta.negative() | (delta == 0)) as (shrink, grow):
        with shrink:
            with k.if_(offset + size > length_of(k.s)):
                k.give(negative(errno.ENOMEM))
            start = k.s.get("start")
            k.move(k.s.get("buffer") + start + size, k.s.get("buffer") + start, offset)
            k.s.set("start", start + size)
        with grow:
            push(k, offset, size)
    moved(k, k.s)
    payload = k.swapped(length_of(k.s) - IPV6_SIZE & 0xFFFF, 2)
    k.store(data_of(k, k.s) + 4, 2, payload)
    _find_again(k)
    k.s.set("srh_length", k.s.get("srh_length") + delta)
    k.s.set("srh_valid", 0)
    k.give(0)


def _action(module: ir.Module) -> None:
    """End.X, End.T and End.DT6; the rest is Python's."""
    k = Fast(module, 76)
    k.need_context()
    action, size = k.r2 & 0xFFFFFFFF, k.r4 & 0xFFFFFFFF
    content = host(k, k.s, k.r3, size, False)
    known = (action == seg6.END_X) | (action == seg6.END_T) | (action == seg6.END_DT6)
    odd = ~known | (content == 0) | (k.s.get("simple") == 0)
    with k.if_(odd | (length_of(k.s) < IPV6_SIZE), likely=False):
        k.give_slow()
    with k.if_(k.call("nfc_has_valid_srh", k.s.place) == 0):
        k.give(negative(errno.EBADMSG))
    with k.if_(size != k.select(action == seg6.END_X, 16, 4)):
        k.give(negative(errno.EINVAL))
    with k.if_(action == seg6.END_X):
        k.give(k.call("nfc_route", k.s.place, content, 0, mark_of(k, k.s)))
    table = k.load(content, 4)
    with k.if_(action == seg6.END_DT6):
        at = k.call("nfc_find_header", data_of(k, k.s), length_of(k.s), IPV6, 0)
        with k.if_((at == NOT_FOUND) | (at > length_of(k.s))):
            k.give(negative(errno.EBADMSG))
        # A packet that is cut off within its header: Python says what happens.
        with k.if_(at + IPV6_SIZE > length_of(k.s), likely=False):
            k.give_slow()
        k.s.set("start", k.s.get("start") + at)
        moved(k, k.s)
        data, length = data_of(k, k.s), length_of(k.s)
        srh = k.call("nfc_find_header", data, length, ROUTING, 0)
        k.s.set("srh_there", (srh != NOT_FOUND).number())
        with k.if_(srh != NOT_FOUND):
            k.s.set("srh_at", length - srh)
            k.s.set("srh_length", k.load(data + srh + 1, 1) << 3)
            k.s.set("srh_valid", 1)
    k.give(k.call("nfc_route", k.s.place, data_of(k, k.s) + 24, table, mark_of(k, k.s)))


def _push_encap(module: ir.Module) -> None:
    """An outer header with an SRH at `in`; the rest is Python's."""
    k = Fast(module, 73)
    k.need_context()
    mode, size = k.r2 & 0xFFFFFFFF, k.r4 & 0xFFFFFFFF
    srh = host(k, k.s, k.r3, size, False)
    odd = (mode != seg6.ENCAP_SEG6) | (srh == 0) | (k.s.get("simple") == 0)
    odd = odd | (size > HEADROOM // 4) | (k.s.get("start") < size + IPV6_SIZE)
    odd = odd | (length_of(k.s) + size + IPV6_SIZE > MAX_LENGTH)
    # 73 is a helper of xmit, too, which takes other modes only.
    odd = odd | (k.s.get("encap_seg6") == 0) | (length_of(k.s) < 8)
    odd = odd | (k.swapped(k.load(k.s.get("context") + PROTOCOL, 2), 2) != ETH_P_IPV6)
    with k.if_(odd, likely=False):
        k.give_slow()
    with k.if_(k.call("nfc_valid_srh", srh, size, 0) == 0):
        k.give(negative(errno.EINVAL))
    with k.if_(k.load(srh + 5, 1) & seg6.HMAC_FLAG != 0, likely=False):
        k.give_slow()
    start = k.s.get("start") - size - IPV6_SIZE
    inner = data_of(k, k.s)
    outer = k.s.get("buffer") + start
    # The SRH may lie in the packet, but not in front of it: the packet itself stays in place.
    flow, hops = k.load(inner, 4), k.load(inner + 7, 1)
    k.move(outer + IPV6_SIZE, srh, size)
    k.store(outer + IPV6_SIZE, 1, IPV6)
    k.store(outer, 4, flow & 0xFFFFFF0F | 0x60)
    k.store(outer + 6, 1, ROUTING)
    k.store(outer + 7, 1, hops)
    k.store(outer + 8, 8, k.s.get("tunnel_high"))
    k.store(outer + 16, 8, k.s.get("tunnel_low"))
    last = k.load(outer + IPV6_SIZE + 4, 1)
    k.move(outer + 24, outer + IPV6_SIZE + 8 + (last << 4), 16)
    k.s.set("start", start)
    moved(k, k.s)
    k.store(outer + 4, 2, k.swapped(length_of(k.s) - IPV6_SIZE & 0xFFFF, 2))
    k.give(k.call("nfc_route", k.s.place, outer + 24, 0, mark_of(k, k.s)))


def _xmit_store(module: ir.Module) -> None:
    k = Fast(module, 9)
    k.need_context()
    offset, size = k.r2 & 0xFFFFFFFF, k.r4 & 0xFFFFFFFF
    source = host(k, k.s, k.r3, size, False)
    odd = (source == 0) | (k.r5 != 0) | (offset + size > length_of(k.s))
    with k.if_(odd, likely=False):
        k.give_slow()
    moved(k, k.s)
    k.move(data_of(k, k.s) + offset, source, size)
    k.give(0)
