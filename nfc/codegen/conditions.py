"""LLVM IR for conditions: branches that make what they read readable, or go elsewhere.

A value that reads what may not be there is computed only behind a branch that has found it; what
was found on the way stays in `packet.pointers`.
"""

from __future__ import annotations

from llvmlite import ir

from nfc.codegen import helpers as h
from nfc.codegen.builder import FunctionBuilder, Packet
from nfc.codegen.reading import evaluator, is_there, look_up, state_pointer
from nfc.codegen.srh import IPV6_HEADER, MAX_OFFSET, in_packet
from nfc.codegen.values import (
    I64,
    at,
    load_raw,
    number,
)
from nfc.plan import values as v
from nfc.plan.uses import regions
from nfc.sema.headers import UPPER

STATE = ("state", "state_per_cpu")  # regions that are always there


def branch(
    f: FunctionBuilder,
    value: v.Value,
    yes: ir.Block,
    no: ir.Block,
    packet: Packet,
    want: bool = True,
) -> None:
    """Go to `yes` if the condition is what is wanted, else to `no`: so too where a test reads
    what is not there, whichever way it stands under `not`. What was reached on the way to
    `yes` stays in `packet.pointers`."""
    match value:
        case v.Logic(op, left, right):
            between = f.block(op)
            if (op == "and") == want:
                branch(f, left, between, no, packet, want)
                f.b.position_at_end(between)
                branch(f, right, yes, no, packet, want)
                return
            outside = dict(packet.pointers)
            branch(f, left, yes, between, packet, want)
            packet.pointers = dict(outside)
            f.b.position_at_end(between)
            branch(f, right, yes, no, packet, want)
            packet.pointers = outside
        case v.Not(inner):
            branch(f, inner, yes, no, packet, not want)
        case v.Found(slot):
            assert packet.tlvs is not None
            outside = dict(packet.pointers)
            _tlv_pointer(f, packet, slot, packet.tlvs.slots[slot], no if want else yes)
            f.b.branch(yes if want else no)
            if not want:
                packet.pointers = outside
        case v.Lookup(slot, key):
            outside = dict(packet.pointers)
            for part in key.parts:
                reach_all(f, part.value, packet, no)
            pointer = look_up(f, key, packet)
            f.b.cbranch(is_there(f, pointer), *((yes, no) if want else (no, yes)))
            packet.pointers[v.Region("entry", slot)] = pointer
            if not want:
                packet.pointers = outside
        case v.Every(site, of):
            reach_all(f, of, packet, no)
            count = evaluator(f, packet).narrow(of)
            _every(f, site, count, *((yes, no) if want else (no, yes)))
        case v.Sample(of):
            reach_all(f, of, packet, no)
            count = evaluator(f, packet).narrow(of)
            _sample(f, count, *((yes, no) if want else (no, yes)))
        case _:
            reach_all(f, value, packet, no)
            flag = evaluator(f, packet).flag(value)
            f.b.cbranch(flag, *((yes, no) if want else (no, yes)))


def reach_all(f: FunctionBuilder, value: v.Value, packet: Packet, otherwise: ir.Block) -> None:
    """Make all that a value reads readable, or go to `otherwise`."""
    for region in regions(v.walk(value)):
        reach(f, region, packet, otherwise)


def _sample(f: FunctionBuilder, count: ir.Value, yes: ir.Block, no: ir.Block) -> None:
    """Draw; random / 2^32 < 1 / count, without a division."""
    wanted = f.block("sample")
    f.b.cbranch(f.b.icmp_unsigned("!=", count, number(0)), wanted, no)
    f.b.position_at_end(wanted)
    random = f.b.and_(f.call(h.PRANDOM), number(0xFFFF_FFFF))
    high = f.b.lshr(f.b.mul(random, count), number(32))
    f.b.cbranch(f.b.icmp_unsigned("==", high, number(0)), yes, no)


def _every(f: FunctionBuilder, site: int, of: ir.Value, yes: ir.Block, no: ir.Block) -> None:
    """Count the packet; the count's own cell is this CPU's, so nothing is lost."""
    wanted, reached = f.block("every"), f.block("every.reached")
    f.b.cbranch(f.b.icmp_unsigned("!=", of, number(0)), wanted, no)
    f.b.position_at_end(wanted)
    cell = at(f.b, f.stats, f.plan.site_counter(site) * 8)
    count = f.b.add(f.b.load(cell, align=8, typ=I64), number(1))
    f.b.store(count, cell, align=8)
    # From 0 again at each N-th: N may be changed meanwhile.
    f.b.cbranch(f.b.icmp_unsigned(">=", count, of), reached, no)
    f.b.position_at_end(reached)
    f.b.store(number(0), cell, align=8)
    f.b.branch(yes)


def reach(f: FunctionBuilder, region: v.Region, packet: Packet, otherwise: ir.Block) -> None:
    """Make a region readable, or go to `otherwise`."""
    if region in packet.pointers:
        return
    if region.kind in STATE:
        packet.pointers[region] = state_pointer(f, region, otherwise)
        return
    good = f.block(f"{region}.ok")
    if region == v.IP:
        fits = f.b.icmp_unsigned("<=", at(f.b, packet.data, IPV6_HEADER), packet.end)
        f.b.cbranch(fits, good, otherwise)
        packet.pointers[region] = packet.data
    elif region == v.SRH:
        assert packet.srh is not None
        f.b.cbranch(packet.srh.found, good, otherwise)
        packet.pointers[region] = packet.srh.pointer
    elif region.kind in UPPER:
        f.b.cbranch(packet.upper[region.kind].found, good, otherwise)
        packet.pointers[region] = packet.upper[region.kind].pointer
    else:
        assert region.kind == "segment" and packet.srh is not None
        listed, there = f.block("segment"), f.block("segment.listed")
        f.b.cbranch(packet.srh.found, listed, otherwise)
        f.b.position_at_end(listed)
        last = load_raw(f.b, packet.srh.pointer, 4, 1)
        inside = f.b.icmp_unsigned("<=", number(region.slot), last)
        f.b.cbranch(inside, there, otherwise)
        f.b.position_at_end(there)
        pointer = at(f.b, packet.srh.pointer, 8 + 16 * region.slot)
        fits = f.b.icmp_unsigned("<=", at(f.b, pointer, 16), packet.end)
        f.b.cbranch(fits, good, otherwise)
        packet.pointers[region] = pointer
    f.b.position_at_end(good)


def _tlv_pointer(
    f: FunctionBuilder, packet: Packet, slot: int, offset: ir.Value, otherwise: ir.Block
) -> None:
    region = v.Region("tlv", slot)
    if region in packet.pointers:
        return
    there, near, good = f.block("tlv.there"), f.block("tlv.near"), f.block("tlv.ok")
    f.b.cbranch(f.b.icmp_unsigned("!=", offset, number(0)), there, otherwise)
    f.b.position_at_end(there)
    small = f.b.icmp_unsigned("<=", offset, number(MAX_OFFSET))
    f.b.cbranch(small, near, otherwise)
    f.b.position_at_end(near)
    pointer = in_packet(f.b, packet.data, offset)
    size = f.plan.searches[slot].size
    fits = f.b.icmp_unsigned("<=", at(f.b, pointer, size), packet.end)
    f.b.cbranch(fits, good, otherwise)
    f.b.position_at_end(good)
    packet.pointers[region] = pointer
