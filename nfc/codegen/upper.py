"""LLVM IR that finds what lies behind the extension headers: the packet inside, its transport.

These headers may lie beyond the linear part of the packet, where only bpf_skb_load_bytes
reaches; so each is copied onto the stack once, if it is there and the function reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llvmlite import ir

from nfc.codegen import helpers as h
from nfc.codegen.builder import Copy, FunctionBuilder
from nfc.codegen.srh import IPV6_HEADER, MAX_EXTENSION_HEADERS
from nfc.codegen.values import I64, load_raw, number
from nfc.sema.headers import HEADER_SIZE

# IANA protocol numbers
HOP_BY_HOP, IPV4, TCP, UDP, IPV6, ROUTING, FRAGMENT, AUTHENTICATION = 0, 4, 6, 17, 41, 43, 44, 51
ICMP6, NO_NEXT, OPTIONS = 58, 59, 60
TRANSPORT = {"udp": UDP, "tcp": TCP, "icmp6": ICMP6}
NEXT_HEADER_AT = 6  # in the IPv6 header
I1 = ir.IntType(1)


@dataclass(frozen=True)
class _Place:
    """A protocol and where its header begins, bytes from the outer header."""

    protocol: ir.Value
    offset: ir.Value


def find_upper(f: FunctionBuilder, wanted: Iterable[str]) -> dict[str, Copy]:
    """Find the headers of these names (of nfc.sema.headers.UPPER)."""
    names = set(wanted)
    inside = names & {"inner", "ipv4"} or names & set(TRANSPORT)
    outer = _behind(f, number(0))
    found: dict[str, Copy] = {}
    transport = outer
    if inside:
        inner = _copy(f, "inner", outer, IPV6)
        old = _copy(f, "ipv4", outer, IPV4)
        found |= {"inner": inner, "ipv4": old}
        if names & set(TRANSPORT):
            transport = _inside(f, outer, inner, old)
    for name in sorted(names & set(TRANSPORT)):
        found[name] = _copy(f, name, transport, TRANSPORT[name])
    return {name: found[name] for name in names}


def _load(f: FunctionBuilder, offset: ir.Value, buffer: ir.Value, size: int) -> ir.Value:
    """Whether `size` bytes of the packet could be copied."""
    result = f.call(h.LOAD_BYTES, f.context, offset, buffer, number(size))
    return f.b.icmp_signed("==", result, number(0))


def _copy(f: FunctionBuilder, name: str, place: _Place, protocol: int) -> Copy:
    """The header of that protocol at that place, if it is one and it is whole."""
    b = f.b
    buffer = f.stack(HEADER_SIZE[name])
    there, whole, done = (f.block(f"{name}.{n}") for n in ("there", "whole", "done"))
    start = b.block
    b.cbranch(b.icmp_unsigned("==", place.protocol, number(protocol)), there, done)
    b.position_at_end(there)
    loaded = _load(f, place.offset, buffer, HEADER_SIZE[name])
    end = b.block
    b.cbranch(loaded, whole, done)
    b.position_at_end(whole)
    b.branch(done)
    b.position_at_end(done)
    found = b.phi(I1, f"{name}.found")
    found.add_incoming(I1(0), start)
    found.add_incoming(I1(0), end)
    found.add_incoming(I1(1), whole)
    return Copy(found, buffer)


def _inside(f: FunctionBuilder, outer: _Place, inner: Copy, old: Copy) -> _Place:
    """The transport of the packet inside, or of the outer one if there is none inside."""
    b = f.b
    six, not_six, four, none, done = (
        f.block(f"inside.{n}") for n in ("ipv6", "not6", "ipv4", "none", "done")
    )
    b.cbranch(inner.found, six, not_six)
    b.position_at_end(six)
    deep = _behind(f, outer.offset)
    six_end = b.block
    b.branch(done)
    b.position_at_end(not_six)
    b.cbranch(old.found, four, none)
    b.position_at_end(four)
    # RFC 791: header length in words, 13 bits of fragment offset: only the first has transport.
    words = b.and_(load_raw(b, old.pointer, 0, 1), number(15))
    high = b.and_(load_raw(b, old.pointer, 6, 1), number(0x1F))
    fragment = b.or_(b.shl(high, number(8)), load_raw(b, old.pointer, 7, 1))
    first = b.icmp_unsigned("==", fragment, number(0))
    protocol = b.select(first, load_raw(b, old.pointer, 9, 1), number(NO_NEXT))
    behind = b.add(outer.offset, b.shl(words, number(2)))
    four_end = b.block
    b.branch(done)
    b.position_at_end(none)
    b.branch(done)
    b.position_at_end(done)
    protocols, offsets = b.phi(I64, "transport"), b.phi(I64, "transport.offset")
    for block, place in (
        (six_end, deep),
        (four_end, _Place(protocol, behind)),
        (none, outer),
    ):
        protocols.add_incoming(place.protocol, block)
        offsets.add_incoming(place.offset, block)
    return _Place(protocols, offsets)


def _behind(f: FunctionBuilder, ip: ir.Value) -> _Place:
    """What follows the IPv6 header at `ip` and its extension headers; NO_NEXT if cut short."""
    b = f.b
    buffer = f.stack(8)
    begin, walk, known, read, step, fail, done = (
        f.block(f"upper.{n}") for n in ("begin", "walk", "known", "read", "step", "fail", "done")
    )
    b.cbranch(_load(f, b.add(ip, number(NEXT_HEADER_AT)), buffer, 1), begin, fail)
    b.position_at_end(begin)
    first = load_raw(b, buffer, 0, 1)
    behind = b.add(ip, number(IPV6_HEADER))
    start = b.block
    b.branch(walk)

    b.position_at_end(walk)
    protocol, offset, count = (b.phi(I64, n) for n in ("protocol", "at", "count"))
    protocol.add_incoming(first, start)
    offset.add_incoming(behind, start)
    count.add_incoming(number(0), start)
    following = b.block
    extension: ir.Value = I1(0)
    for number_ in (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, OPTIONS):
        extension = b.or_(extension, b.icmp_unsigned("==", protocol, number(number_)))
    b.cbranch(extension, known, done)
    b.position_at_end(known)
    b.cbranch(b.icmp_unsigned("<", count, number(MAX_EXTENSION_HEADERS)), read, fail)
    b.position_at_end(read)
    b.cbranch(_load(f, offset, buffer, 8), step, fail)
    b.position_at_end(step)
    # As in nfc.codegen.srh; a fragment other than the first has no transport header.
    next_ = load_raw(b, buffer, 0, 1)
    length = load_raw(b, buffer, 1, 1)
    by_8 = b.shl(b.add(length, number(1)), number(3))
    by_4 = b.shl(b.add(length, number(2)), number(2))
    fragment = b.icmp_unsigned("==", protocol, number(FRAGMENT))
    authentication = b.icmp_unsigned("==", protocol, number(AUTHENTICATION))
    size = b.select(fragment, number(8), b.select(authentication, by_4, by_8))
    high = load_raw(b, buffer, 2, 1)
    low = b.and_(load_raw(b, buffer, 3, 1), number(0xF8))
    later = b.and_(fragment, b.icmp_unsigned("!=", b.or_(high, low), number(0)))
    protocol.add_incoming(b.select(later, number(NO_NEXT), next_), b.block)
    offset.add_incoming(b.add(offset, size), b.block)
    count.add_incoming(b.add(count, number(1)), b.block)
    b.branch(walk)

    b.position_at_end(fail)
    b.branch(done)
    b.position_at_end(done)
    protocols, offsets = b.phi(I64, "behind"), b.phi(I64, "behind.at")
    protocols.add_incoming(protocol, following)
    offsets.add_incoming(offset, following)
    protocols.add_incoming(number(NO_NEXT), fail)
    offsets.add_incoming(number(0), fail)
    return _Place(protocols, offsets)
