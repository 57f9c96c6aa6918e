"""LLVM IR that finds the SRH and its TLVs in the packet.

The kernel found and validated the SRH before it ran the program (seg6_get_srh and
seg6_validate_srh, net/ipv6/seg6.c), but does not say where it is; and the verifier wants every
access to packet memory checked against its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from nfc.codegen.values import I64, PTR, at, load_raw, number, swap
from nfc.plan.plan import Search

I1 = ir.IntType(1)
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
OFFSET_MASK = 0x3FFF  # which is more than MAX_OFFSET


@dataclass(frozen=True)
class Srh:
    """Where the SRH is, valid where `found` holds; offsets in bytes from the outer header."""

    found: ir.Value  # i1
    pointer: ir.Value  # its first byte; 8 bytes can be read
    offset: ir.Value
    end: ir.Value  # behind the TLVs
    tlvs: ir.Value  # behind the segments
    behind: ir.Value  # not 0 if another routing header stands before it


@dataclass(frozen=True)
class Tlvs:
    """What a walk over the TLVs found: offsets in bytes from the outer header, 0 for absent."""

    slots: tuple[ir.Value, ...]
    tail: ir.Value  # behind the last TLV that is not padding
    reached: ir.Value  # where the walk ended: the SRH's end, unless there were too many TLVs
    gaps: ir.Value  # not 0 if there is padding before a TLV that is not padding


def in_packet(builder: ir.IRBuilder, data: ir.Value, offset: ir.Value) -> ir.Value:
    """The address of a byte at an offset that was found to be at most MAX_OFFSET.

    The mask changes nothing: it tells the verifier so once more, right where it is asked. What a
    comparison said is lost on it where LLVM has the number in memory meanwhile.
    """
    return at(builder, data, builder.and_(offset, number(OFFSET_MASK)))


def find_srh(
    builder: ir.IRBuilder, data: ir.Value, end: ir.Value, memory: ir.Value, *, checked: bool
) -> Srh:
    """Walk the extension headers to the SRH; leaves the builder behind it all.

    What goes from one header to the next lies in `memory` (24 bytes): see nfc.codegen.rebuild on
    why.

    With `checked` the kernel has found and validated an SRH, and has advanced it: that one is
    meant. The kernel takes the first routing header with segments left (ipv6_find_hdr with
    IP6_FH_F_SKIP_RH, net/ipv6/exthdrs_core.c), and then advances it. So it is the first that has
    segments left now, or the one that has just lost its last: the destination is then its
    segment 0. One without segments that is not at its destination was skipped, as after an
    insert (End.B6) whose segments are all done.

    Else it is the first routing header, if that is an SRH which is whole, and holds what it says
    that it holds (RFC 8754, section 4.3.1.1).
    """
    function = builder.function
    names = ("ip", "head", "within", "near", "read", "routing", "ours", "last", "other", "follow")
    block = {name: function.append_basic_block(f"srh.{name}") for name in names}
    parse, done = function.append_basic_block("srh.parse"), function.append_basic_block("srh.done")

    start = builder.block
    readable = builder.icmp_unsigned("<=", at(builder, data, IPV6_HEADER), end)
    builder.cbranch(readable, block["ip"], done)
    builder.position_at_end(block["ip"])
    entering = (load_raw(builder, data, 6, 1), number(IPV6_HEADER), number(0))
    for i, value in enumerate(entering):
        builder.store(value, at(builder, memory, 8 * i), align=8)
    builder.branch(block["head"])

    builder.position_at_end(block["head"])
    count = builder.phi(I64, "count")
    count.add_incoming(number(0), block["ip"])
    words = [at(builder, memory, 8 * i) for i in range(3)]
    kind, offset, routed = (builder.load(w, align=8, typ=I64) for w in words)
    within = builder.icmp_unsigned("<", count, number(MAX_EXTENSION_HEADERS + 1))
    builder.cbranch(within, block["within"], done)
    builder.position_at_end(block["within"])
    near = builder.icmp_unsigned("<=", offset, number(MAX_SRH_START))
    builder.cbranch(near, block["near"], done)
    builder.position_at_end(block["near"])
    header = in_packet(builder, data, offset)
    enough = builder.icmp_unsigned("<=", at(builder, header, SRH_FIXED), end)
    builder.cbranch(enough, block["read"], done)
    builder.position_at_end(block["read"])
    following = load_raw(builder, header, 0, 1)
    length = load_raw(builder, header, 1, 1)
    is_routing = builder.icmp_unsigned("==", kind, number(ROUTING_HEADER))
    builder.cbranch(is_routing, block["routing"], block["other"])

    builder.position_at_end(block["routing"])
    is_srh = builder.icmp_unsigned("==", load_raw(builder, header, 2, 1), number(SRH_TYPE))
    passing: list[ir.Block] = []  # from where another routing header is passed over
    missing = [start, *(block[n] for n in ("head", "within", "near", "last", "other"))]
    if checked:
        builder.cbranch(is_srh, block["ours"], block["follow"])
        builder.position_at_end(block["ours"])
        compare = _is_ours(
            builder, (data, end, header), block["last"], parse, block["follow"], done
        )
        passing = [block["routing"], compare]
    else:
        builder.cbranch(is_srh, block["ours"], done)
        builder.position_at_end(block["ours"])
        _is_sound(builder, (data, end, header), offset, length, block["last"], parse, done)
        missing += [block["routing"], block["ours"]]

    # Hop-by-hop (0) and destination options (60) are (length + 1) * 8 bytes, the fragment
    # header (44) 8, the authentication header (51) (length + 2) * 4.
    builder.position_at_end(block["other"])
    fragment = builder.icmp_unsigned("==", kind, number(44))
    authentication = builder.icmp_unsigned("==", kind, number(51))
    known = builder.or_(fragment, authentication)
    for options in (0, 60):
        known = builder.or_(known, builder.icmp_unsigned("==", kind, number(options)))
    if not checked:  # what follows a later fragment's header is the middle of something
        place = builder.and_(swap(builder, load_raw(builder, header, 2, 2), 2), number(0xFFF8))
        later = builder.icmp_unsigned("!=", place, number(0))
        known = builder.and_(known, builder.not_(builder.and_(fragment, later)))
    builder.cbranch(known, block["follow"], done)
    other_end = builder.block

    builder.position_at_end(block["follow"])
    is_fragment, is_authentication = builder.phi(I1, "fragment"), builder.phi(I1, "authentication")
    passed = builder.phi(I64, "passed")
    for source in passing:
        is_fragment.add_incoming(I1(0), source)
        is_authentication.add_incoming(I1(0), source)
        passed.add_incoming(number(1), source)
    is_fragment.add_incoming(fragment, other_end)
    is_authentication.add_incoming(authentication, other_end)
    passed.add_incoming(number(0), other_end)
    by_8 = builder.shl(builder.add(length, number(1)), number(3))
    by_4 = builder.shl(builder.add(length, number(2)), number(2))
    size = builder.select(is_fragment, number(8), builder.select(is_authentication, by_4, by_8))
    leaving = (following, builder.add(offset, size), builder.or_(routed, passed))
    for word, value in zip(words, leaving, strict=True):
        builder.store(value, word, align=8)
    count.add_incoming(builder.add(count, number(1)), builder.block)
    builder.branch(block["head"])

    builder.position_at_end(parse)
    last_entry = load_raw(builder, header, 4, 1)
    body = builder.add(offset, number(SRH_FIXED))
    srh_end = builder.add(body, builder.shl(length, number(3)))
    tlvs = builder.add(body, builder.shl(builder.add(last_entry, number(1)), number(4)))
    builder.branch(done)

    builder.position_at_end(done)
    found, pointer = builder.phi(I1, "srh.found"), builder.phi(PTR, "srh")
    found.add_incoming(I1(1), parse)
    pointer.add_incoming(header, parse)
    for source in missing:
        found.add_incoming(I1(0), source)
        # `data` stands in where there is none: a null would make the verifier lose the type.
        pointer.add_incoming(data, source)
    results = []
    for name, value in (("off", offset), ("end", srh_end), ("tlvs", tlvs), ("behind", routed)):
        phi = builder.phi(I64, f"srh.{name}")
        phi.add_incoming(value, parse)
        for source in missing:
            phi.add_incoming(number(0), source)
        results.append(phi)
    return Srh(found, pointer, *results)


def _is_ours(
    builder: ir.IRBuilder,
    memory: tuple[ir.Value, ir.Value, ir.Value],
    last: ir.Block,
    parse: ir.Block,
    follow: ir.Block,
    done: ir.Block,
) -> ir.Block:
    """Go to `parse` if the SRH at `header` is the one that the kernel has advanced, else to
    `follow`; the block from where."""
    data, end, header = memory
    left = builder.icmp_unsigned("!=", load_raw(builder, header, 3, 1), number(0))
    builder.cbranch(left, parse, last)
    builder.position_at_end(last)
    whole = builder.icmp_unsigned("<=", at(builder, header, SRH_FIXED + 16), end)
    compare: ir.Block = builder.function.append_basic_block("srh.compare")
    builder.cbranch(whole, compare, done)
    builder.position_at_end(compare)
    differs = builder.or_(
        builder.xor(load_raw(builder, header, 8, 8), load_raw(builder, data, 24, 8)),
        builder.xor(load_raw(builder, header, 16, 8), load_raw(builder, data, 32, 8)),
    )
    builder.cbranch(builder.icmp_unsigned("==", differs, number(0)), parse, follow)
    return compare


def _is_sound(
    builder: ir.IRBuilder,
    memory: tuple[ir.Value, ir.Value, ir.Value],
    offset: ir.Value,
    length: ir.Value,
    last: ir.Block,
    parse: ir.Block,
    done: ir.Block,
) -> None:
    """Go to `parse` if the SRH at `header` holds its segments and lies in the packet."""
    data, end, header = memory
    entries = builder.add(load_raw(builder, header, 4, 1), number(1))
    room = builder.icmp_unsigned("<=", builder.shl(entries, number(1)), length)
    left = builder.icmp_unsigned("<=", load_raw(builder, header, 3, 1), entries)
    builder.cbranch(builder.and_(room, left), last, done)
    builder.position_at_end(last)
    size = builder.add(builder.shl(length, number(3)), number(SRH_FIXED))
    whole = builder.icmp_unsigned("<=", in_packet(builder, data, builder.add(offset, size)), end)
    builder.cbranch(whole, parse, done)


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
    nothing: ir.Value,
    data: ir.Value,
    end: ir.Value,
    srh: Srh,
    searches: Sequence[Search],
    limit: int,
    tail_wanted: bool,
    checked: bool,
) -> Tlvs:
    """Walk up to `limit` TLVs (RFC 8754, section 2.1); stops early once all is found. `nothing`
    is zero. Where the kernel has not `checked` that TLVs fill the SRH, all are walked, and none
    counts if they do not.
    """
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
        phi.add_incoming(nothing, start)
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
    pointer = in_packet(builder, data, offset)
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
        if search.after is not None:  # as it was before this TLV
            before = builder.not_(_mask_below(builder, slots[search.after], 1))
            hit = builder.and_(hit, before)
        new_slots.append(builder.or_(slot, builder.and_(offset, hit)))
    counted = builder.add(count, number(1))
    to_the_end = tail_wanted or not checked or not searches
    if to_the_end:
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
    cut = () if checked else (bounded, block["read"])  # where a TLV does not fit the packet
    for source in early:
        for phi, value in zip(out_slots, slots, strict=True):
            phi.add_incoming(value, source)
        out_tail.add_incoming(tail, source)
        reached.add_incoming(number(MAX_OFFSET) if source in cut else offset, source)
        out_gaps.add_incoming(gaps, source)
    for phi in out_slots:
        phi.add_incoming(number(0), start)
    out_tail.add_incoming(number(0), start)
    reached.add_incoming(number(0), start)
    out_gaps.add_incoming(number(0), start)
    if not to_the_end:
        for phi, value in zip(out_slots, new_slots, strict=True):
            phi.add_incoming(value, body_end)
        out_tail.add_incoming(new_tail, body_end)
        reached.add_incoming(following, body_end)
        out_gaps.add_incoming(new_gaps, body_end)
    found = list(out_slots)
    if not checked:
        fits = builder.ashr(builder.sub(reached, builder.add(srh.end, number(1))), number(63))
        found = [builder.and_(slot, fits) for slot in found]
    return Tlvs(tuple(found), out_tail, reached, out_gaps)
