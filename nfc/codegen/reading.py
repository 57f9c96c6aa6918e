"""LLVM IR that computes values where all that they read is at hand, and looks entries of maps up.

The two are one: a key is made of values, and whether a key has an entry is a value.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from nfc.codegen import helpers as h
from nfc.codegen.buffers import store_placed, zero_gaps
from nfc.codegen.builder import FunctionBuilder, Packet
from nfc.codegen.values import (
    I32,
    I64,
    PTR,
    Computed,
    Evaluator,
    at,
    load_bits,
    load_member,
    number,
)
from nfc.plan import values as v
from nfc.sema.headers import UPPER


def evaluator(f: FunctionBuilder, packet: Packet) -> Evaluator:
    """Computes values from what is known of the packet here."""

    def leaf(value: v.Value) -> Computed:
        match value:
            case v.Load(bits, region, bit):
                pointer, copied = packet.pointers[region], region.kind in UPPER
                return load_bits(f.b, pointer, bit, bits, aligned=copied)
            case v.Param(bits, offset, _, raw):
                size = bits // 8 if raw else next(s for s in (1, 2, 4, 8) if bits <= s * 8)
                return load_member(f.b, packet.params, offset, size, bits, raw=raw)
            case v.Member(bits, region, offset, size, raw):
                return load_member(f.b, packet.pointers[region], offset, size, bits, raw=raw)
            case v.Lookup(_, key):
                pointer = look_up(f, key, packet)
                return f.b.zext(is_there(f, pointer), I64)
            case v.Clock():
                return packet.clock
            case v.Meta(name, offset):
                return _meta(f, name, offset)
            case v.Found(slot):
                assert packet.tlvs is not None
                there = f.b.icmp_unsigned("!=", packet.tlvs.slots[slot], number(0))
                return f.b.zext(there, I64)
        raise TypeError(type(value).__name__)

    return Evaluator(f.b, leaf)


def _meta(f: FunctionBuilder, name: str, offset: int | None) -> ir.Value:
    if offset is not None:
        return f.b.zext(f.b.load(at(f.b, f.context, offset), align=4, typ=I32), I64)
    result = f.call(h.CPU_ID) if name == "cpu" else f.call(h.HASH, f.context)
    return f.b.and_(result, number(0xFFFF_FFFF))


def put_together(
    f: FunctionBuilder, buffer: ir.Value, size: int, parts: Sequence[v.Placed], packet: Packet
) -> None:
    """Lay values out in `size` bytes of stack memory, zero between them: the kernel compares keys
    byte by byte."""
    values = evaluator(f, packet)
    for part in parts:
        store_placed(f.b, buffer, part, values)
    zero_gaps(f.b, buffer, size, parts)


def look_up(f: FunctionBuilder, key: v.Key, packet: Packet) -> ir.Value:
    """A pointer to the entry, or null. The key is in memory that the next look-up takes again."""
    put_together(f, f.key_memory, key.size, key.parts, packet)
    return f.call(h.MAP_LOOKUP, f.globals.maps[key.map], f.key_memory)


def is_there(f: FunctionBuilder, pointer: ir.Value) -> ir.Value:
    """Whether a look-up found something, as an i1."""
    return f.b.icmp_unsigned("!=", pointer, ir.Constant(PTR, None))


def state_pointer(f: FunctionBuilder, region: v.Region, missing: ir.Block) -> ir.Value:
    """The state's one entry; `missing` is where the verifier thinks there may be none."""
    f.b.store(I32(0), f.key_memory, align=4)
    pointer = f.call(h.MAP_LOOKUP, f.globals.maps[region.kind], f.key_memory)
    good = f.block(f"{region}.ok")
    f.b.cbranch(is_there(f, pointer), good, missing)
    f.b.position_at_end(good)
    return pointer
