"""LLVM IR for plan values.

Numbers up to 64 bits are i64, always below 2^bits. Addresses, and bytes9 to bytes16, are a pair
of i64, the first 8 bytes and the rest as they lie in memory: comparing, masking and copying need
no byte swap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from llvmlite import ir

from nfc.plan import values as v

I8, I16, I32, I64 = (ir.IntType(n) for n in (8, 16, 32, 64))
BYTE_TYPES = {1: I8, 2: I16, 4: I32, 8: I64}
PTR = ir.PointerType()
NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class Wide:
    """A value of 9 to 16 bytes: its first 8 and the rest, as loaded from memory."""

    first: ir.Value
    last: ir.Value


Computed: TypeAlias = "Any | Wide"  # an LLVM value, or a pair of them


def number(value: int) -> ir.Constant:
    """A known 64-bit value."""
    return ir.Constant(I64, value & ((1 << 64) - 1))


def bound(size: int) -> int:
    """The least power of two that is not below `size`: what a mask can tell the verifier."""
    return 1 << (size - 1).bit_length()


def counted(builder: ir.IRBuilder, size: ir.Value, most: int) -> ir.Value:
    """The same number of bytes, of which there is at least one, as helpers take it: the verifier
    knows it to be from 1 to `bound(most)`, for which there must be room.

    What is done to it changes nothing: it says so right where it is asked for. What comparisons
    said is lost on the verifier where LLVM has the number in memory meanwhile, and before 6.8 it
    learns nothing from "not zero" (d028f87517d6).
    """
    less = builder.and_(builder.sub(size, number(1)), number(bound(most) - 1))
    return builder.add(less, number(1))


def wide_constant(value: int, size: int = 16) -> Wide:
    """A known value of `size` bytes."""
    data = value.to_bytes(size, "big")
    return Wide(
        number(int.from_bytes(data[:8], "little")), number(int.from_bytes(data[8:], "little"))
    )


def at(builder: ir.IRBuilder, base: ir.Value, offset: int | ir.Value) -> ir.Value:
    """The address `offset` bytes behind `base`."""
    if isinstance(offset, int):
        if offset == 0:
            return base
        offset = number(offset)
    return builder.gep(base, [offset], source_etype=I8)


def chunks(length: int) -> list[tuple[int, int]]:
    """`length` bytes as (offset, size) pieces of 8, 4, 2 and 1 bytes."""
    found = []
    offset = 0
    while offset < length:
        size = next(s for s in (8, 4, 2, 1) if s <= length - offset)
        found.append((offset, size))
        offset += size
    return found


def load_raw(builder: ir.IRBuilder, base: ir.Value, offset: int, size: int) -> ir.Value:
    """`size` bytes (1, 2, 4, 8) of packet or map memory as they lie there, in an i64.

    The alignment given to LLVM is the natural one, so that it makes one load: the kernel lets
    packet and map memory be read unaligned where the machine does (CONFIG_HAVE_EFFICIENT_
    UNALIGNED_ACCESS: x86-64, arm64).
    """
    loaded = builder.load(at(builder, base, offset), align=size, typ=BYTE_TYPES[size])
    return loaded if size == 8 else builder.zext(loaded, I64)


def swap(builder: ir.IRBuilder, value: ir.Value, size: int) -> ir.Value:
    """The lowest `size` bytes of an i64 reversed: network order to machine order and back."""
    if size == 1:
        return value
    if size == 8:
        return builder.bswap(value)
    narrow = builder.trunc(value, BYTE_TYPES[size])
    return builder.zext(builder.bswap(narrow), I64)


def aligned_chunks(length: int, phase: int) -> list[tuple[int, int]]:
    """As `chunks`, each piece at its natural alignment; `phase` is where the first byte lies."""
    found = []
    offset = 0
    while offset < length:
        size = next(s for s in (8, 4, 2, 1) if s <= length - offset and (phase + offset) % s == 0)
        found.append((offset, size))
        offset += size
    return found


def load_bits(
    builder: ir.IRBuilder, base: ir.Value, bit: int, bits: int, *, aligned: bool = False
) -> Computed:
    """Bits of the packet: up to 64 at any place, more at a whole byte.

    `aligned` is for a copy on the stack, which begins at a multiple of 8 and which the verifier
    wants read at natural alignment.
    """
    if bits > 64:
        return load_wide(builder, base, bit // 8, bits // 8)
    first, end = bit // 8, -(-(bit + bits) // 8)
    after = end * 8 - (bit + bits)  # bits behind the field in its last byte
    if end - first <= 8:
        total = _big_endian(builder, base, first, end - first, aligned)
        if after:
            total = builder.lshr(total, number(after))
        return _mask(builder, total, bits, (end - first) * 8 - after)
    # Nine bytes: the first eight hold the high part.
    high = _big_endian(builder, base, first, 8, aligned)
    low = load_raw(builder, base, first + 8, 1)
    high = builder.shl(high, number(8 - after))
    low = builder.lshr(low, number(after))
    return _mask(builder, builder.or_(high, low), bits, 72)


def load_wide(builder: ir.IRBuilder, base: ir.Value, offset: int, size: int) -> Wide:
    """9 to 16 bytes."""
    last: ir.Value | None = None
    for start, length in chunks(size - 8):
        part = load_raw(builder, base, offset + 8 + start, length)
        part = builder.shl(part, number(8 * start)) if start else part
        last = part if last is None else builder.or_(last, part)
    return Wide(load_raw(builder, base, offset, 8), last)


def load_member(
    builder: ir.IRBuilder, base: ir.Value, offset: int, size: int, bits: int, *, raw: bool
) -> Computed:
    """A value of `bits` bits in map memory, in machine byte order or, `raw`, as on the wire."""
    if bits > 64:
        return load_wide(builder, base, offset, size)
    if raw:
        return _big_endian(builder, base, offset, size, False)
    loaded = load_raw(builder, base, offset, size)
    # Whoever writes the map may write more bits than the type has.
    return loaded if bits == size * 8 else builder.and_(loaded, number((1 << bits) - 1))


def _big_endian(
    builder: ir.IRBuilder, base: ir.Value, offset: int, length: int, aligned: bool
) -> ir.Value:
    total: ir.Value | None = None
    for start, size in aligned_chunks(length, offset) if aligned else chunks(length):
        part = swap(builder, load_raw(builder, base, offset + start, size), size)
        total = part if total is None else builder.or_(builder.shl(total, number(size * 8)), part)
    assert total is not None
    return total


def _mask(builder: ir.IRBuilder, value: ir.Value, bits: int, known: int) -> ir.Value:
    """`value`, which has at most `known` bits, cut to `bits`."""
    if bits >= 64 or known <= bits:
        return value
    return builder.and_(value, number((1 << bits) - 1))


class Evaluator:
    """Computes values that need no branches; `leaf` gives loads, params, the clock."""

    def __init__(self, builder: ir.IRBuilder, leaf: Callable[[v.Value], Computed]) -> None:
        """Compute with `builder`, at wherever it stands."""
        self.builder = builder
        self.leaf = leaf

    def wide(self, value: v.Value) -> Wide:
        """A value of more than 64 bits."""
        if isinstance(value, v.Imm):
            return wide_constant(value.value, value.bits // 8)
        result = self.leaf(value)
        assert isinstance(result, Wide)
        return result

    def narrow(self, value: v.Value) -> ir.Value:
        """A value of up to 64 bits, in an i64."""
        b = self.builder
        match value:
            case v.Imm(_, known):
                return number(known)
            case v.PtpToNs(inner):
                raw = self.narrow(inner)
                seconds = b.lshr(raw, number(32))
                nanoseconds = b.and_(raw, number(0xFFFF_FFFF))
                return b.add(b.mul(seconds, number(NS_PER_S)), nanoseconds)
            case v.NsToPtp(inner):
                raw = self.narrow(inner)
                seconds = b.udiv(raw, number(NS_PER_S))
                rest = b.sub(raw, b.mul(seconds, number(NS_PER_S)))
                return b.or_(b.shl(seconds, number(32)), rest)
            case v.Arith():
                return self._arith(value)
            case v.Compare() | v.InPrefix() | v.Not() | v.Logic():
                return b.zext(self.flag(value), I64)
        result = self.leaf(value)
        assert not isinstance(result, Wide)
        return result

    def flag(self, value: v.Value) -> ir.Value:
        """A condition without `and`/`or` of loads that may be absent, as an i1."""
        b = self.builder
        match value:
            case v.Compare(op, left, right):
                if left.bits > 64:
                    return self._wide_equal(op, left, right)
                return b.icmp_unsigned(op, self.narrow(left), self.narrow(right))
            case v.InPrefix(inner, address, length, width):
                if width > 64:
                    return self._in_prefix(inner, address, length)
                bits = number(((1 << length) - 1) << (width - length))
                return b.icmp_unsigned("==", b.and_(self.narrow(inner), bits), number(address))
            case v.Not(inner):
                return b.not_(self.flag(inner))
            case v.Logic(op, left, right):
                first, second = self.flag(left), self.flag(right)
                return b.and_(first, second) if op == "and" else b.or_(first, second)
        return b.icmp_unsigned("!=", self.narrow(value), number(0))

    def _arith(self, value: v.Arith) -> ir.Value:
        b = self.builder
        left, right = self.narrow(value.left), self.narrow(value.right)
        match value.op:
            case "+":
                result = b.add(left, right)
            case "-":
                result = b.sub(left, right)
            case "*":
                result = b.mul(left, right)
            case "&":
                return b.and_(left, right)
            case "|":
                return b.or_(left, right)
            case "^":
                return b.xor(left, right)
            case "/" | "%":
                return self._divide(value.op, left, right)
            case "<<" | ">>":
                small = b.icmp_unsigned("<", right, number(value.bits))
                by = b.and_(right, number(63))
                shifted = b.shl(left, by) if value.op == "<<" else b.lshr(left, by)
                result = b.select(small, shifted, number(0))
            case _:
                raise ValueError(value.op)
        return _mask(b, result, value.bits, 65)

    def _divide(self, op: str, left: ir.Value, right: ir.Value) -> ir.Value:
        b = self.builder
        none = b.icmp_unsigned("==", right, number(0))
        safe = b.select(none, number(1), right)
        if op == "/":
            return b.select(none, number(0), b.udiv(left, safe))
        return b.select(none, left, b.urem(left, safe))

    def _wide_equal(self, op: str, left: v.Value, right: v.Value) -> ir.Value:
        b = self.builder
        x, y = self.wide(left), self.wide(right)
        differs = b.or_(b.xor(x.first, y.first), b.xor(x.last, y.last))
        return b.icmp_unsigned(op, differs, number(0))

    def _in_prefix(self, value: v.Value, address: int, length: int) -> ir.Value:
        b = self.builder
        mask = wide_constant(((1 << length) - 1) << (128 - length))
        prefix = wide_constant(address)
        x = self.wide(value)
        first = b.and_(b.xor(x.first, prefix.first), mask.first)
        last = b.and_(b.xor(x.last, prefix.last), mask.last)
        return b.icmp_unsigned("==", b.or_(first, last), number(0))
