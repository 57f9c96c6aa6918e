"""What arithmetic makes of what is known of its operands.

The rules are those of adjust_scalar_min_max_vals and the functions below it
(kernel/bpf/verifier.c, 6.12). Results are remembered: scalars are interned, and a program does
the same sums on many paths.
"""

from __future__ import annotations

from typing import Final

from nfc.verify.scalar import (
    HIGH,
    S32_MAX,
    S32_MIN,
    S64_MAX,
    S64_MIN,
    U32,
    U64,
    UNBOUNDED,
    UNKNOWN,
    Bounds,
    Scalar,
    checked,
    constant,
    make,
    remember,
    s32,
    s64,
    signed,
    sync,
    tnum_add,
    tnum_and,
    tnum_mul,
    tnum_or,
    tnum_range,
    tnum_sub,
    tnum_xor,
)

# The high four bits of the opcode: RFC 9669, section 4.1
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH = 0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70
NEG, MOD, XOR, MOV, ARSH, END = 0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0

Range = tuple[int, int]
_remembered: dict[tuple[int, bool, Scalar, Scalar], Scalar] = remember({})
_ANY64: Final = (S64_MIN, S64_MAX, 0, U64)
_ANY32: Final = (S32_MIN, S32_MAX, 0, U32)


def compute(operation: int, wide: bool, a: Scalar, b: Scalar) -> Scalar:
    """`a` operation `b`, in 64 bits if `wide`, else in 32 with the upper half cleared."""
    key = (operation, wide, a, b)
    found = _remembered.get(key)
    if found is None:
        found = _remembered[key] = checked(_compute(operation, wide, a, b))
    return found


def truncate(a: Scalar) -> Scalar:
    """The low half of a number, the upper half cleared (zext_32_to_64)."""
    return _narrow(a.value & U32, a.mask & U32, a.s32min, a.s32max, a.u32min, a.u32max)


def _narrow(v: int, m: int, s32min: int, s32max: int, u32min: int, u32max: int) -> Scalar:
    signed_too = s32min >= 0 and s32max >= s32min
    smin, smax = (s32min, s32max) if signed_too else (0, U32)
    return sync((v & U32, m & U32, smin, smax, u32min, u32max, s32min, s32max, u32min, u32max))


def _compute(operation: int, wide: bool, a: Scalar, b: Scalar) -> Scalar:
    if operation in (LSH, RSH, ARSH):
        bits = 64 if wide else 32
        known = not (b.mask if wide else b.mask & U32)
        if not known or b.umax >= bits:
            return UNKNOWN
        shift = b.value & 63
        found = _SHIFTS[operation, wide](a, shift)
        return sync(found) if wide else _narrow(*found[:2], *found[6:])
    if operation not in _TNUMS:
        return UNKNOWN  # division, remainder, negation, byte swaps: nothing is followed
    v, m = _TNUMS[operation](a.value, a.mask, b.value, b.mask)
    low = _RANGES32[operation](a, b, v & U32, m & U32)
    if not wide:
        return _narrow(v & U32, m & U32, *low)
    high = _RANGES64[operation](a, b, v, m)
    return sync((v, m, *high, *low))


# ---- sums and products ----------------------------------------------------------------------


def _sum(least: int, most: int, low: int, high: int, any_: Range) -> Range:
    return (least, most) if least >= low and most <= high else any_


def _add64(a: Scalar, b: Scalar, v: int, m: int) -> tuple[int, int, int, int]:
    return (
        *_sum(a.smin + b.smin, a.smax + b.smax, S64_MIN, S64_MAX, (S64_MIN, S64_MAX)),
        *_sum(a.umin + b.umin, a.umax + b.umax, 0, U64, (0, U64)),
    )


def _add32(a: Scalar, b: Scalar, v: int, m: int) -> tuple[int, int, int, int]:
    return (
        *_sum(a.s32min + b.s32min, a.s32max + b.s32max, S32_MIN, S32_MAX, (S32_MIN, S32_MAX)),
        *_sum(a.u32min + b.u32min, a.u32max + b.u32max, 0, U32, (0, U32)),
    )


def _sub64(a: Scalar, b: Scalar, v: int, m: int) -> tuple[int, int, int, int]:
    return (
        *_sum(a.smin - b.smax, a.smax - b.smin, S64_MIN, S64_MAX, (S64_MIN, S64_MAX)),
        *_sum(a.umin - b.umax, a.umax - b.umin, 0, U64, (0, U64)),
    )


def _sub32(a: Scalar, b: Scalar, v: int, m: int) -> tuple[int, int, int, int]:
    return (
        *_sum(a.s32min - b.s32max, a.s32max - b.s32min, S32_MIN, S32_MAX, (S32_MIN, S32_MAX)),
        *_sum(a.u32min - b.u32max, a.u32max - b.u32min, 0, U32, (0, U32)),
    )


def _mul64(a: Scalar, b: Scalar, v: int, m: int) -> tuple[int, int, int, int]:
    if a.smin < 0 or b.smin < 0 or a.umax > U32 or b.umax > U32:
        return _ANY64
    least, most = a.umin * b.umin, a.umax * b.umax
    return (*((S64_MIN, S64_MAX) if most > S64_MAX else (least, most)), least, most)


def _mul32(a: Scalar, b: Scalar, v: int, m: int) -> tuple[int, int, int, int]:
    if a.s32min < 0 or b.s32min < 0 or a.u32max > 0xFFFF or b.u32max > 0xFFFF:
        return _ANY32
    least, most = a.u32min * b.u32min, a.u32max * b.u32max
    return (*((S32_MIN, S32_MAX) if most > S32_MAX else (least, most)), least, most)


# ---- bitwise; `v` and `m` are the bits of the result ----------------------------------------


def _signed64(least: int, most: int) -> tuple[int, int, int, int]:
    ordered = s64(least) <= s64(most)
    return (*((s64(least), s64(most)) if ordered else (S64_MIN, S64_MAX)), least, most)


def _signed32(least: int, most: int) -> tuple[int, int, int, int]:
    ordered = s32(least) <= s32(most)
    return (*((s32(least), s32(most)) if ordered else (S32_MIN, S32_MAX)), least, most)


def _and64(a: Scalar, b: Scalar, v: int, m: int) -> tuple[int, int, int, int]:
    return _signed64(v, min(a.umax, b.umax))


def _and32(a: Scalar, b: Scalar, v: int, m: int) -> tuple[int, int, int, int]:
    return _signed32(v, min(a.u32max, b.u32max))


def _or64(a: Scalar, b: Scalar, v: int, m: int) -> tuple[int, int, int, int]:
    return _signed64(max(a.umin, b.umin), v | m)


def _or32(a: Scalar, b: Scalar, v: int, m: int) -> tuple[int, int, int, int]:
    return _signed32(max(a.u32min, b.u32min), v | m)


def _xor64(a: Scalar, b: Scalar, v: int, m: int) -> tuple[int, int, int, int]:
    return _signed64(v, v | m)


def _xor32(a: Scalar, b: Scalar, v: int, m: int) -> tuple[int, int, int, int]:
    return _signed32(v, v | m)


# ---- shifts by a known number of bits -------------------------------------------------------


def _left32(a: Scalar, n: int) -> tuple[int, int, int, int]:
    if n > 31 or a.u32max > 1 << (31 - n):
        return _ANY32
    return (S32_MIN, S32_MAX, a.u32min << n, a.u32max << n)


def _lsh64(a: Scalar, n: int) -> Bounds:
    smin, smax = S64_MIN, S64_MAX
    if n == 32:
        smin, smax = a.s32min << 32, a.s32max << 32
    fits = a.umax <= 1 << (63 - n)
    umin, umax = (a.umin << n, a.umax << n) if fits else (0, U64)
    return ((a.value << n) & U64, (a.mask << n) & U64, smin, smax, umin, umax, *_left32(a, n))


def _lsh32(a: Scalar, n: int) -> Bounds:
    return ((a.value << n) & U32, (a.mask << n) & U32, *_ANY64, *_left32(a, n))


def _rsh64(a: Scalar, n: int) -> Bounds:
    return (a.value >> n, a.mask >> n, S64_MIN, S64_MAX, a.umin >> n, a.umax >> n, *_ANY32)


def _rsh32(a: Scalar, n: int) -> Bounds:
    v, m = (a.value & U32) >> n, (a.mask & U32) >> n
    return (v, m, *_ANY64, S32_MIN, S32_MAX, a.u32min >> n, a.u32max >> n)


def _arsh64(a: Scalar, n: int) -> Bounds:
    v, m = (s64(a.value) >> n) & U64, (s64(a.mask) >> n) & U64
    return (v & ~m, m, a.smin >> n, a.smax >> n, 0, U64, *_ANY32)


def _arsh32(a: Scalar, n: int) -> Bounds:
    v, m = (s32(a.value & U32) >> n) & U32, (s32(a.mask & U32) >> n) & U32
    return (v & ~m, m, *_ANY64, a.s32min >> n, a.s32max >> n, 0, U32)


_TNUMS = {
    ADD: tnum_add, SUB: tnum_sub, MUL: tnum_mul, AND: tnum_and, OR: tnum_or, XOR: tnum_xor,
}  # fmt: skip
_RANGES64 = {ADD: _add64, SUB: _sub64, MUL: _mul64, AND: _and64, OR: _or64, XOR: _xor64}
_RANGES32 = {ADD: _add32, SUB: _sub32, MUL: _mul32, AND: _and32, OR: _or32, XOR: _xor32}
_SHIFTS = {
    (LSH, True): _lsh64, (LSH, False): _lsh32, (RSH, True): _rsh64, (RSH, False): _rsh32,
    (ARSH, True): _arsh64, (ARSH, False): _arsh32,
}  # fmt: skip


# ---- byte order, and halves ----------------------------------------------------------------


def ordered(a: Scalar, bits: int, swaps: bool) -> Scalar:
    """The low `bits` of a number, its bytes turned round if `swaps` (scalar_byte_swap)."""
    if swaps:
        size = bits // 8
        v, m = (
            int.from_bytes((x & (1 << bits) - 1).to_bytes(size, "little"), "big")
            for x in (a.value, a.mask)
        )
        a = sync((v, m, *UNBOUNDED))
    return load(a, bits // 8)


def with_low(a: Scalar, low: int) -> Scalar:
    """The same number, its low half known (__mark_reg32_known)."""
    signed_low = s32(low)
    return sync(
        (
            a.value & HIGH | low, a.mask & HIGH, a.smin, a.smax, a.umin, a.umax,
            signed_low, signed_low, low, low,
        )
    )  # fmt: skip


# ---- other sizes ----------------------------------------------------------------------------


def load(a: Scalar, size: int) -> Scalar:
    """What `size` bytes of memory that held `a` are, extended by zeros (coerce_reg_to_size)."""
    if size == 8:
        return a
    most = (1 << size * 8) - 1
    if a.umin & ~most == a.umax & ~most:
        umin, umax = a.umin & most, a.umax & most
    else:
        umin, umax = 0, most
    low = _ANY32 if size < 4 else (a.s32min, a.s32max, a.u32min, a.u32max)
    return checked(sync((a.value & most, a.mask & most, umin, umax, umin, umax, *low)))


def extend(a: Scalar, bits: int, wide: bool) -> Scalar:
    """The low `bits` of a number, extended by its sign to 64 or 32 bits
    (coerce_reg_to_size_sx, coerce_subreg_to_size_sx)."""
    most, sign = (1 << bits) - 1, 1 << (bits - 1)

    def low(value: int) -> int:
        return ((value & most) ^ sign) - sign

    if wide:
        if not a.mask:
            return constant(low(a.value))
        ends = (low(a.smax), low(a.smin)) if a.smax >> bits == a.smin >> bits else (-1, 0)
        least, most_ = min(ends), max(ends)
        if (least >= 0) != (most_ >= 0):
            return signed(bits)
        v, m = tnum_range(least & U64, most_ & U64)
        return checked(make32(v, m, (least, most_, least & U64, most_ & U64), (least, most_)))
    if not a.mask & U32:
        return constant(low(a.value) & U32)
    same = (a.s32max & U32) >> bits == (a.s32min & U32) >> bits
    ends = (low(a.s32max), low(a.s32min)) if same else (-1, 0)
    least, most_ = min(ends), max(ends)
    if (least >= 0) != (most_ >= 0):
        return checked(_narrow(0, U32, -sign, sign - 1, 0, U32))
    v, m = tnum_range(least & U64, most_ & U64)
    return checked(_narrow(v & U32, m & U32, least, most_, least & U32, most_ & U32))


def make32(v: int, m: int, wide: tuple[int, int, int, int], low: Range) -> Scalar:
    """A number whose low half, read as signed, has a range of its own."""
    return sync((v & HIGH | v & U32, m, *wide, *low, low[0] & U32, low[1] & U32))


def offset(operation: int, a: Scalar, b: Scalar) -> Scalar:
    """A pointer's variable offset after adding or subtracting a number that varies."""
    key = (operation | 0x100, True, a, b)
    found = _remembered.get(key)
    if found is None:
        v, m = _TNUMS[operation](a.value, a.mask, b.value, b.mask)
        high = _RANGES64[operation](a, b, v, m)
        found = _remembered[key] = sync((v, m, *high, *_ANY32))
    return found


def shifted(a: Scalar, b: Scalar) -> Scalar:
    """A copy of a number to which a known number was added; the kernel does not reconcile its
    ranges at once (sync_linked_regs)."""
    key = (ADD | 0x200, True, a, b)
    found = _remembered.get(key)
    if found is None:
        v, m = tnum_add(a.value, a.mask, b.value, b.mask)
        found = _remembered[key] = make((v, m, *_add64(a, b, v, m), *_add32(a, b, v, m)))
    return found
