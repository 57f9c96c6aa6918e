"""What native code finds: memory behind an address, headers of a packet, where it is routed.

Each `nfc_` function here is written once into the module that all programs share
(`nfc.vm.runtime`), and does what its twin in Python does.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator

from nfc.vm import ir
from nfc.vm.context import LEN, MARK
from nfc.vm.emit import Code, State, V, Var, part
from nfc.vm.fib import LOCAL, MAIN
from nfc.vm.helpers import seg6
from nfc.vm.memory import (
    ELEMENT_MASK,
    OFFSET_BITS,
    OFFSET_MASK,
    PACKET,
    REGION_SHIFT,
    Descriptor,
)
from nfc.vm.native import (
    MarkEntry,
    OwnEntry,
    RouteEntry,
)
from nfc.vm.packet import (
    AUTHENTICATION,
    FRAGMENT,
    HOP_BY_HOP,
    IPV6_SIZE,
    NO_NEXT,
    OPTIONS,
    ROUTING,
)

NOT_FOUND = (1 << 64) - 1


def negative(number: int) -> int:
    """An errno as a helper gives it back."""
    return -number & (1 << 64) - 1


def build(module: ir.Module) -> None:
    """Write all of them into a module."""
    _place(module)
    _find_header(module)
    _moved(module)
    _valid_tlvs(module)
    _has_valid_srh(module)
    _in_table(module)
    _route(module)


def _place(module: ir.Module) -> None:
    """nfc_place(state, address, size, write): the host address, or 0."""
    k = Code(module, "nfc_place", 4, internal=False)
    place, address, size, write = k.arguments
    s = State(k, place)
    descriptor = s.entry("regions", Descriptor, address >> REGION_SHIFT & 0xFFF)
    field = {n: k.load(descriptor + part(Descriptor, n)[0], part(Descriptor, n)[1])
             for n in ("base", "stride", "limit", "first", "count", "writable")}  # fmt: skip
    element = (address >> OFFSET_BITS & ELEMENT_MASK) - field["first"]
    offset = address & OFFSET_MASK
    good = (element < field["count"]) & (offset + size <= field["limit"])
    good = good & ((write == 0) | (field["writable"] != 0))
    k.give(k.select(good, field["base"] + element * field["stride"] + offset, 0))


def host(k: Code, s: State, address: V, size: V | int, write: bool) -> V:
    """The host address of memory, or 0."""
    return k.call("nfc_place", s.place, address, size, int(write))


def data_of(k: Code, s: State) -> V:
    """The host address of the packet's first byte."""
    return s.get("buffer") + s.get("start")


def length_of(s: State) -> V:
    """The packet's length."""
    return s.get("end") - s.get("start")


def _find_header(module: ir.Module) -> None:
    """nfc_find_header(data, length, target, skip_done): as packet.find_header."""
    k = Code(module, "nfc_find_header", 4, internal=False)
    data, length, target, skip_done = k.arguments
    with k.if_(length < IPV6_SIZE):
        k.give(NOT_FOUND)
    protocol, at = Var(k, k.load(data + 6, 1)), Var(k, k.number(IPV6_SIZE))
    with k.loop():
        kind, here = protocol.get(), at.get()
        found = Var(k, (kind == target).number())
        extension = kind == HOP_BY_HOP
        for one in (ROUTING, FRAGMENT, AUTHENTICATION, OPTIONS):
            extension = extension | (kind == one)
        with k.if_(~extension | (kind == NO_NEXT)):
            k.give(k.select(kind == target, here, NOT_FOUND))
        with k.if_(length < here + 2):
            k.give(NOT_FOUND)
        size = Var(k, (k.load(data + here + 1, 1) + 1) << 3)
        with k.if_(kind == ROUTING):
            with k.if_(length < here + 4):
                k.give(NOT_FOUND)
            with k.if_((skip_done != 0) & (k.load(data + here + 3, 1) == 0)):
                found.set(0)
        with k.if_(kind == FRAGMENT):
            with k.if_(length < here + 4):
                k.give(NOT_FOUND)
            with k.if_(k.swapped(k.load(data + here + 2, 2), 2) & 0xFFF8 != 0):
                k.give(k.select(found.get() != 0, here, NOT_FOUND))
            size.set(8)
        with k.if_(kind == AUTHENTICATION):
            size.set((k.load(data + here + 1, 1) + 2) << 2)
        with k.if_(found.get() != 0):
            k.give(here)
        protocol.set(k.load(data + here, 1))
        at.set(here + size.get())
    k.b.unreachable()


def _moved(module: ir.Module) -> None:
    """nfc_moved(state): pointers into the packet are void; its length is what it is now."""
    k = Code(module, "nfc_moved", 1, internal=False)
    s = State(k, k.arguments[0])
    packet = s.entry("regions", Descriptor, PACKET)
    at, size = part(Descriptor, "first")
    k.store(packet + at, size, (k.load(packet + at, size) + 1) & ELEMENT_MASK)
    at, size = part(Descriptor, "base")
    k.store(packet + at, size, data_of(k, s))
    at, size = part(Descriptor, "limit")
    k.store(packet + at, size, length_of(s))
    k.store(s.get("context") + LEN, 4, length_of(s))
    k.give(0)


def moved(k: Code, s: State) -> None:
    """Call it."""
    k.call("nfc_moved", s.place)


def _valid_tlvs(module: ir.Module) -> None:
    """nfc_valid_srh(srh, size, reduced): as seg6.valid_srh; `size` bytes are there."""
    k = Code(module, "nfc_valid_srh", 3, internal=False)
    srh, size, reduced = k.arguments
    with k.if_(size < seg6.SRH_SIZE):
        k.give(0)
    length, left, last = (k.load(srh + i, 1) for i in (1, 3, 4))
    bad = (k.load(srh + 2, 1) != seg6.SRH_TYPE) | ((length + 1) << 3 != size)
    bad = bad | ((reduced == 0) & (left > last))
    bad = bad | (last + 1 > length >> 1) | (left > last + 1)
    with k.if_(bad):
        k.give(0)
    at = Var(k, (last << 4) + 24)
    with k.loop():
        here = at.get()
        with k.if_(here >= size):
            k.give((here == size).number())
        with k.if_(here + 2 > size):
            k.give(0)
        at.set(here + 2 + k.load(srh + here + 1, 1))
    k.b.unreachable()


def _has_valid_srh(module: ir.Module) -> None:
    """nfc_has_valid_srh(state): as seg6.has_valid_srh."""
    k = Code(module, "nfc_has_valid_srh", 1, internal=False)
    s = State(k, k.arguments[0])
    with k.if_(s.get("srh_there") == 0):
        k.give(0)
    with k.if_(s.get("srh_valid") == 0):
        length = s.get("srh_length")
        with k.if_(length & 7 != 0):
            k.give(0)
        srh = s.get("buffer") + s.get("end") - s.get("srh_at")
        words = length >> 3 & 0xFF
        k.store(srh + 1, 1, words)
        size = (words + 1) << 3
        with k.if_(size > s.get("srh_at")):
            k.give(0)
        with k.if_(k.call("nfc_valid_srh", srh, size, 1) == 0):
            k.give(0)
        s.set("srh_valid", 1)
    k.give(1)


def _in_table(module: ir.Module) -> None:
    """nfc_in_table(state, address as two words, table): the link that a table has for it, 0 if
    none, NOT_FOUND if there is no such table."""
    k = Code(module, "nfc_in_table", 4, internal=False)
    place, high, low, table = k.arguments
    s = State(k, place)
    there = Var(k, k.number(NOT_FOUND))
    for row in _rows(k, s, "route", RouteEntry, s.get("routes")):
        with k.if_(row["table"] == table):
            there.set(0)
            hit = (high & row["mask_high"]) == row["high"]
            hit = hit & ((low & row["mask_low"]) == row["low"])
            with k.if_(hit):
                k.give(row["link"])
    k.give(there.get())


def _rows(
    k: Code, s: State, name: str, structure: type[ctypes.Structure], count: V
) -> Iterator[dict[str, V]]:
    """A loop over an array of the state; its body gets the fields."""
    index = Var(k, k.number(0))
    with k.loop() as out:
        k.leave(out, index.get() >= count)
        entry = s.entry(name, structure, index.get())
        yield {n: k.load(entry + part(structure, n)[0], 8) for n, *_ in structure._fields_}
        index.set(index.get() + 1)


def _route(module: ir.Module) -> None:
    """nfc_route(state, host address of a destination, table, mark): seg6.look_up; 0, or a negative
    errno. As Fib.lookup, for a FIB that is `simple`."""
    k = Code(module, "nfc_route", 4, internal=False)
    place, destination, table, mark = k.arguments
    s = State(k, place)
    high, low = k.load(destination, 8), k.load(destination + 8, 8)
    s.set("routed", 1)
    s.set("route_error", 0)
    s.set("link", 0)
    with k.if_((table == 0) | (table == LOCAL)):
        for row in _rows(k, s, "own", OwnEntry, s.get("owns")):
            with k.if_((row["high"] == high) & (row["low"] == low)):
                s.set("route_error", negative(errno.EINVAL))
                k.give(negative(errno.EINVAL))
    link_local = (high == 0x80FE) & ((table == 0) | (table == MAIN))
    with k.if_(link_local | ((table == 0) & (high & 0xFF == 0xFF)), likely=False):
        k.give(0)
    strict = (high & 0xC0FF == 0x80FE) | ((high == 0) & (low == 1 << 56))
    with k.if_((table == 0) & strict, likely=False):
        s.set("route_error", negative(errno.ENETUNREACH))
        k.give(negative(errno.ENETUNREACH))
    with k.if_(table == 0):
        for row in _rows(k, s, "rule", MarkEntry, s.get("marks")):
            with k.if_(row["mark"] == mark):
                link = k.call("nfc_in_table", place, high, low, row["table"])
                with k.if_((link != 0) & (link != NOT_FOUND)):
                    s.set("link", link)
                    k.give(0)
    found = k.call("nfc_in_table", place, high, low, k.select(table == 0, MAIN, table))
    link = k.select((found == 0) | (found == NOT_FOUND), s.get("rest"), found)
    s.set("link", link)
    with k.if_(link != 0):
        k.give(0)
    nowhere = (table != 0) & (table != MAIN) & (table != LOCAL) & (found == NOT_FOUND)
    error = k.select(nowhere, negative(errno.EINVAL), negative(errno.ENETUNREACH))
    s.set("route_error", error)
    k.give(error)


def mark_of(k: Code, s: State) -> V:
    """The packet's mark as it is now."""
    return k.load(s.get("context") + MARK, 4)
