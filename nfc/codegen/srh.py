"""LLVM IR that finds the SRH and its TLVs in the packet.

The kernel found and validated the SRH before it ran the program (seg6_get_srh and
seg6_validate_srh, net/ipv6/seg6.c), but does not say where it is; and the verifier wants every
access to packet memory checked against its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from nfc.codegen.values import I64, at, load_raw, number
from nfc.plan.plan import Search

IPV6_HEADER = 40
ROUTING_HEADER = 43  # IANA protocol numbers
SRH_TYPE = 4
SRH_FIXED = 8
PADN = 4
MAX_EXTENSION_HEADERS = 8  # before the SRH; RFC 8200, section 4.1 recommends at most two
# No SRH ends later: it begins within 8 extension headers, and is at most 2048 bytes long. The
# verifier must see a bound, below MAX_PACKET_OFF (65535), on whatever it adds to a pointer.
MAX_SRH_START = 8191
MAX_OFFSET = MAX_SRH_START + 2048 + 8


@dataclass(frozen=True)
class Srh:
    """Where the SRH is, valid where `found` holds; offsets in bytes from the outer header."""

    found: ir.Value  # i1
    pointer: ir.Value  # its first byte; 8 bytes can be read
    offset: ir.Value
    end: ir.Value  # behind the TLVs
    tlvs: ir.Value  # behind the segments


@dataclass(frozen=True)
class Tlvs:
    """What a walk over the TLVs found: offsets in bytes from the outer header, 0 for absent."""

    slots: tuple[ir.Value, ...]
    tail: ir.Value  # behind the last TLV that is not padding
    reached: ir.Value  # where the walk ended: the SRH's end, unless there were too many TLVs
    gaps: ir.Value  # not 0 if there is padding before a TLV that is not padding


def find_srh(builder: ir.IRBuilder, data: ir.Value, end: ir.Value) -> Srh:
    """Walk the extension headers to the first routing header; leaves the builder behind it all."""
    function = builder.function
    walk = function.append_basic_block("srh.walk")
    step = function.append_basic_block("srh.step")
    at_header = function.append_basic_block("srh.at")
    parse = function.append_basic_block("srh.parse")
    done = function.append_basic_block("srh.done")

    start = builder.block
    readable = builder.icmp_unsigned("<=", at(builder, data, IPV6_HEADER), end)
    first = function.append_basic_block("srh.ip")
    builder.cbranch(readable, first, done)

    # The usual case first: the SRH follows the IPv6 header.
    builder.position_at_end(first)
    next_header = load_raw(builder, data, 6, 1)
    direct = builder.icmp_unsigned("==", next_header, number(ROUTING_HEADER))
    builder.cbranch(direct, at_header, walk)

    # Hop-by-hop (0) and destination options (60) are (length + 1) * 8 bytes, the fragment
    # header (44) 8, the authentication header (51) (length + 2) * 4.
    builder.position_at_end(walk)
    kind = builder.phi(I64, "kind")
    offset = builder.phi(I64, "offset")
    count = builder.phi(I64, "count")
    kind.add_incoming(next_header, first)
    offset.add_incoming(number(IPV6_HEADER), first)
    count.add_incoming(number(0), first)
    options = builder.or_(
        builder.icmp_unsigned("==", kind, number(0)),
        builder.icmp_unsigned("==", kind, number(60)),
    )
    fragment = builder.icmp_unsigned("==", kind, number(44))
    authentication = builder.icmp_unsigned("==", kind, number(51))
    known = builder.or_(options, builder.or_(fragment, authentication))
    within = builder.icmp_unsigned("<", count, number(MAX_EXTENSION_HEADERS))
    inside = builder.icmp_unsigned("<=", offset, number(MAX_SRH_START))
    check = function.append_basic_block("srh.bounds")
    follow = function.append_basic_block("srh.follow")
    reach = function.append_basic_block("srh.reach")
    builder.cbranch(known, check, done)
    builder.position_at_end(check)
    builder.cbranch(within, reach, done)
    builder.position_at_end(reach)
    builder.cbranch(inside, step, done)
    builder.position_at_end(step)
    header = at(builder, data, offset)
    enough = builder.icmp_unsigned("<=", at(builder, header, 8), end)
    builder.cbranch(enough, follow, done)
    builder.position_at_end(follow)
    following = load_raw(builder, header, 0, 1)
    length = load_raw(builder, header, 1, 1)
    by_8 = builder.shl(builder.add(length, number(1)), number(3))
    by_4 = builder.shl(builder.add(length, number(2)), number(2))
    size = builder.select(fragment, number(8), builder.select(authentication, by_4, by_8))
    moved = builder.add(offset, size)
    counted = builder.add(count, number(1))
    kind.add_incoming(following, follow)
    offset.add_incoming(moved, follow)
    count.add_incoming(counted, follow)
    is_routing = builder.icmp_unsigned("==", following, number(ROUTING_HEADER))
    builder.cbranch(is_routing, at_header, walk)

    builder.position_at_end(at_header)
    srh_offset = builder.phi(I64, "srh.offset")
    srh_offset.add_incoming(number(IPV6_HEADER), first)
    srh_offset.add_incoming(moved, follow)
    near = builder.icmp_unsigned("<=", srh_offset, number(MAX_SRH_START))
    close = function.append_basic_block("srh.near")
    builder.cbranch(near, close, done)
    builder.position_at_end(close)
    pointer = at(builder, data, srh_offset)
    fits = builder.icmp_unsigned("<=", at(builder, pointer, SRH_FIXED), end)
    builder.cbranch(fits, parse, done)

    builder.position_at_end(parse)
    type_ = load_raw(builder, pointer, 2, 1)
    extension = load_raw(builder, pointer, 1, 1)
    last_entry = load_raw(builder, pointer, 4, 1)
    body = builder.add(srh_offset, number(SRH_FIXED))
    srh_end = builder.add(body, builder.shl(extension, number(3)))
    tlvs = builder.add(body, builder.shl(builder.add(last_entry, number(1)), number(4)))
    right_type = builder.icmp_unsigned("==", type_, number(SRH_TYPE))
    builder.branch(done)

    builder.position_at_end(done)
    missing = [start, walk, check, reach, step, at_header, close]
    found = builder.phi(ir.IntType(1), "srh.found")
    results = [
        builder.phi(t, n)
        for t, n in (
            (ir.PointerType(), "srh"),
            (I64, "srh.off"),
            (I64, "srh.end"),
            (I64, "srh.tlvs"),
        )
    ]
    found.add_incoming(right_type, parse)
    values = (pointer, srh_offset, srh_end, tlvs)
    for phi, value in zip(results, values, strict=True):
        phi.add_incoming(value, parse)
    for block in missing:
        found.add_incoming(ir.Constant(ir.IntType(1), 0), block)
        # `data` stands in where there is none: a null would make the verifier lose the type.
        results[0].add_incoming(data, block)
        for phi in results[1:]:
            phi.add_incoming(number(0), block)
    return Srh(found, results[0], results[1], results[2], results[3])


def _mask_below(builder: ir.IRBuilder, value: ir.Value, limit: int) -> ir.Value:
    """All ones where `value` (below 2^63) is less than `limit`, else zero; without a branch."""
    return builder.ashr(builder.sub(value, number(limit)), number(63))


def _choose(
    builder: ir.IRBuilder, mask: ir.Value, there: ir.Value, elsewhere: ir.Value
) -> ir.Value:
    """`there` where the mask is all ones, `elsewhere` where it is zero; without a branch."""
    return builder.or_(builder.and_(there, mask), builder.and_(elsewhere, builder.not_(mask)))


def walk_tlvs(
    builder: ir.IRBuilder,
    data: ir.Value,
    end: ir.Value,
    srh: Srh,
    searches: Sequence[Search],
    limit: int,
    tail_wanted: bool,
) -> Tlvs:
    """Walk up to `limit` TLVs (RFC 8754, section 2.1); stops early once all is found."""
    function = builder.function
    block = {
        name: function.append_basic_block(f"tlv.{name}")
        for name in ("loop", "bounds", "read", "body", "next", "done")
    }
    start = builder.block
    builder.cbranch(srh.found, block["loop"], block["done"])

    builder.position_at_end(block["loop"])
    offset = builder.phi(I64, "tlv.offset")
    count = builder.phi(I64, "tlv.count")
    tail = builder.phi(I64, "tlv.tail")
    gaps = builder.phi(I64, "tlv.gaps")
    slots = [builder.phi(I64, f"tlv.slot{s.slot}") for s in searches]
    entering = [(offset, srh.tlvs), (count, number(0)), (tail, srh.tlvs), (gaps, number(0))]
    for phi, value in entering:
        phi.add_incoming(value, start)
    for phi in slots:
        phi.add_incoming(number(0), start)
    more = builder.icmp_unsigned("<", count, number(limit))
    builder.cbranch(more, block["bounds"], block["done"])

    builder.position_at_end(block["bounds"])
    inside = builder.icmp_unsigned("<", offset, srh.end)
    bounded = function.append_basic_block("tlv.bounded")
    builder.cbranch(inside, bounded, block["done"])
    builder.position_at_end(bounded)
    small = builder.icmp_unsigned("<=", offset, number(MAX_OFFSET))
    builder.cbranch(small, block["read"], block["done"])

    builder.position_at_end(block["read"])
    pointer = at(builder, data, offset)
    enough = builder.icmp_unsigned("<=", at(builder, pointer, 2), end)
    builder.cbranch(enough, block["body"], block["done"])

    builder.position_at_end(block["body"])
    type_ = load_raw(builder, pointer, 0, 1)
    length = load_raw(builder, pointer, 1, 1)
    size = builder.add(length, number(2))
    following = builder.add(offset, size)
    # No branches: every one would double the paths that the verifier follows, an iteration.
    padding = _mask_below(builder, builder.xor(type_, number(PADN)), 1)
    new_tail, new_gaps = tail, gaps
    if tail_wanted:
        new_tail = _choose(builder, padding, tail, following)
        behind_padding = builder.and_(builder.xor(offset, tail), builder.not_(padding))
        new_gaps = builder.or_(gaps, behind_padding)
    new_slots = []
    for search, slot in zip(searches, slots, strict=True):
        right = _mask_below(builder, builder.xor(type_, number(search.type)), 1)
        short = _mask_below(builder, size, search.size)
        free = _mask_below(builder, slot, 1)
        hit = builder.and_(builder.and_(right, free), builder.not_(short))
        new_slots.append(builder.or_(slot, builder.and_(offset, hit)))
    counted = builder.add(count, number(1))
    if tail_wanted or not searches:
        builder.branch(block["next"])
    else:
        absent: ir.Value = number(0)
        for slot in new_slots:
            absent = builder.or_(absent, _mask_below(builder, slot, 1))
        missing = builder.icmp_unsigned("!=", absent, number(0))
        builder.cbranch(missing, block["next"], block["done"])
    body_end = builder.block

    builder.position_at_end(block["next"])
    builder.branch(block["loop"])
    offset.add_incoming(following, block["next"])
    count.add_incoming(counted, block["next"])
    tail.add_incoming(new_tail, block["next"])
    gaps.add_incoming(new_gaps, block["next"])
    for phi, value in zip(slots, new_slots, strict=True):
        phi.add_incoming(value, block["next"])

    builder.position_at_end(block["done"])
    out_slots = [builder.phi(I64, f"found{s.slot}") for s in searches]
    out_tail = builder.phi(I64, "tail")
    reached = builder.phi(I64, "reached")
    out_gaps = builder.phi(I64, "gaps")
    early = [block["loop"], block["bounds"], bounded, block["read"]]
    for source in early:
        for phi, value in zip(out_slots, slots, strict=True):
            phi.add_incoming(value, source)
        out_tail.add_incoming(tail, source)
        reached.add_incoming(offset, source)
        out_gaps.add_incoming(gaps, source)
    for phi in out_slots:
        phi.add_incoming(number(0), start)
    out_tail.add_incoming(number(0), start)
    reached.add_incoming(number(0), start)
    out_gaps.add_incoming(number(0), start)
    if not tail_wanted and searches:
        for phi, value in zip(out_slots, new_slots, strict=True):
            phi.add_incoming(value, body_end)
        out_tail.add_incoming(new_tail, body_end)
        reached.add_incoming(following, body_end)
        out_gaps.add_incoming(new_gaps, body_end)
    return Tlvs(tuple(out_slots), out_tail, reached, out_gaps)
