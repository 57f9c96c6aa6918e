"""What a comparison says of its operands: whether it is decided, and what is known behind it.

The rules are is_scalar_branch_taken and regs_refine_cond_op (kernel/bpf/verifier.c, 6.12).
"""

from __future__ import annotations

from nfc.verify import scalar
from nfc.verify.scalar import (
    HIGH,
    S32_MAX,
    S32_MIN,
    S64_MAX,
    S64_MIN,
    U32,
    U64,
    Scalar,
    from_low,
    from_whole,
    s32,
    s64,
    tnum_intersect,
    tnum_or,
)

# The high four bits of the opcode: RFC 9669, section 4.3; NSET is "no bit of the mask is set"
EQ, GT, GE, SET, NE, SGT, SGE = 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70
LT, LE, SLT, SLE = 0xA0, 0xB0, 0xC0, 0xD0
NSET = 0x48
FLIPPED = {
    EQ: EQ, NE: NE, SET: SET, GE: LE, GT: LT, LE: GE, LT: GT, SGE: SLE, SGT: SLT, SLE: SGE,
    SLT: SGT, NSET: NSET,
}  # fmt: skip
REVERSED = {
    EQ: NE, NE: EQ, SET: NSET, NSET: SET, GE: LT, GT: LE, LE: GT, LT: GE, SGE: SLT, SGT: SLE,
    SLE: SGT, SLT: SGE,
}  # fmt: skip

# (decided, (a, b) where it holds, (a, b) where it does not)
Outcome = tuple[bool | None, tuple[Scalar, Scalar], tuple[Scalar, Scalar]]
_remembered: dict[tuple[int, bool, Scalar, Scalar], Outcome] = scalar.remember({})


def compare(operation: int, wide: bool, a: Scalar, b: Scalar) -> Outcome:
    """Compare `a` with `b`, in 64 bits if `wide`, else their low halves."""
    key = (operation, wide, a, b)
    found = _remembered.get(key)
    if found is None:
        decided = _decided(operation, wide, a, b)
        if decided is None:
            found = (
                None,
                _refined(operation, wide, a, b),
                _refined(REVERSED[operation], wide, a, b),
            )
        else:
            found = (decided, (a, b), (a, b))
        _remembered[key] = found
    return found


def _decided(operation: int, wide: bool, a: Scalar, b: Scalar) -> bool | None:
    if operation in (EQ, NE):
        equal = _equal(wide, a, b)
        return equal if equal is None or operation == EQ else not equal
    if operation == SET:
        return _any_bit(wide, a, b)
    if operation in (GT, GE, LT, LE):
        amin, amax = (a.umin, a.umax) if wide else (a.u32min, a.u32max)
        bmin, bmax = (b.umin, b.umax) if wide else (b.u32min, b.u32max)
    else:
        amin, amax = (a.smin, a.smax) if wide else (a.s32min, a.s32max)
        bmin, bmax = (b.smin, b.smax) if wide else (b.s32min, b.s32max)
    if operation in (GT, SGT):
        return True if amin > bmax else False if amax <= bmin else None
    if operation in (GE, SGE):
        return True if amin >= bmax else False if amax < bmin else None
    if operation in (LT, SLT):
        return True if amax < bmin else False if amin >= bmax else None
    return True if amax <= bmin else False if amin > bmax else None


def _equal(wide: bool, a: Scalar, b: Scalar) -> bool | None:
    bits = U64 if wide else U32
    if not scalar.is_modern() and (a.mask | b.mask) & bits:
        return None
    if not (a.mask | b.mask) & bits:
        return a.value & bits == b.value & bits
    known = bits & ~a.mask & ~b.mask
    if a.value & known != b.value & known:
        return False
    apart32 = (
        a.u32min > b.u32max or a.u32max < b.u32min or a.s32min > b.s32max or a.s32max < b.s32min
    )
    apart64 = a.umin > b.umax or a.umax < b.umin or a.smin > b.smax or a.smax < b.smin
    return False if apart32 or (wide and apart64) else None


def _any_bit(wide: bool, a: Scalar, b: Scalar) -> bool | None:
    bits = U64 if wide else U32
    if b.mask & bits:
        a, b = b, a
    if b.mask & bits:
        return None
    if a.value & ~a.mask & b.value & bits:
        return True
    return None if (a.value | a.mask) & b.value & bits else False


def _refined(operation: int, wide: bool, a: Scalar, b: Scalar) -> tuple[Scalar, Scalar]:
    """Both, where `a operation b` holds."""
    if operation in (GE, GT, SGE, SGT):
        b, a = _refined(FLIPPED[operation], wide, b, a)
        return a, b
    if operation == NE and not scalar.is_modern():
        return a, b
    x, y = list(a.bounds), list(b.bounds)
    (_WIDE if wide else _NARROW)[operation](x, y)
    known = from_whole if wide else from_low
    return known(tuple(x)), known(tuple(y))  # type: ignore[arg-type]


# Places in Scalar.bounds. Each of these changes the bounds of both operands.
V, M, SMIN, SMAX, UMIN, UMAX, S32MIN, S32MAX, U32MIN, U32MAX = range(10)
_Bounds = list[int]


def _same(x: _Bounds, y: _Bounds, *pairs: tuple[int, int]) -> None:
    for least, most in pairs:
        x[least] = y[least] = max(x[least], y[least])
        x[most] = y[most] = min(x[most], y[most])


def _eq64(x: _Bounds, y: _Bounds) -> None:
    _same(x, y, (UMIN, UMAX), (SMIN, SMAX))
    x[V], x[M] = y[V], y[M] = tnum_intersect(x[V], x[M], y[V], y[M])


def _eq32(x: _Bounds, y: _Bounds) -> None:
    _same(x, y, (U32MIN, U32MAX), (S32MIN, S32MAX))
    v, m = tnum_intersect(x[V] & U32, x[M] & U32, y[V] & U32, y[M] & U32)
    for z in (x, y):
        z[V], z[M] = z[V] & HIGH | v, z[M] & HIGH | m


def _without(x: _Bounds, least: int, most: int, value: int) -> None:
    x[least] += x[least] == value
    x[most] -= x[most] == value


def _ne64(x: _Bounds, y: _Bounds) -> None:
    if y[M]:
        x, y = y, x
    if not y[M]:
        _without(x, UMIN, UMAX, y[V])
        _without(x, SMIN, SMAX, s64(y[V]))
        _wrap(x)


def _ne32(x: _Bounds, y: _Bounds) -> None:
    if y[M] & U32:
        x, y = y, x
    if not y[M] & U32:
        _without(x, U32MIN, U32MAX, y[V] & U32)
        _without(x, S32MIN, S32MAX, s32(y[V] & U32))
        _wrap(x)


def _wrap(x: _Bounds) -> None:
    """Numbers that went over an end come back at the other, as in C."""
    x[UMIN] &= U64
    x[UMAX] &= U64
    x[U32MIN] &= U32
    x[U32MAX] &= U32
    for place, bits in ((SMIN, 64), (SMAX, 64), (S32MIN, 32), (S32MAX, 32)):
        half = 1 << (bits - 1)
        x[place] = (x[place] + half) % (1 << bits) - half


def _set64(x: _Bounds, y: _Bounds) -> None:
    if y[M]:
        x, y = y, x
    if not y[M] and y[V].bit_count() == 1:
        x[V], x[M] = tnum_or(x[V], x[M], y[V], 0)


def _set32(x: _Bounds, y: _Bounds) -> None:
    if y[M] & U32:
        x, y = y, x
    if not y[M] & U32 and (y[V] & U32).bit_count() == 1:
        x[V], x[M] = tnum_or(x[V], x[M], y[V] & U32, 0)


def _clear(x: _Bounds, bits: int) -> None:
    x[V] &= ~bits
    x[M] &= ~bits
    if scalar.is_modern():
        x[SMIN:] = (S64_MIN, S64_MAX, 0, U64, S32_MIN, S32_MAX, 0, U32)


def _nset64(x: _Bounds, y: _Bounds) -> None:
    if y[M]:
        x, y = y, x
    if not y[M]:
        _clear(x, y[V])


def _nset32(x: _Bounds, y: _Bounds) -> None:
    if y[M] & U32:
        x, y = y, x
    if not y[M] & U32:
        _clear(x, y[V] & U32)


def _below(least: int, most: int, less: int):  # type: ignore[no-untyped-def]
    def refine(x: _Bounds, y: _Bounds) -> None:
        x[most] = min(x[most], y[most] - less)
        y[least] = max(x[least] + less, y[least])
        _wrap(x)
        _wrap(y)

    return refine


_WIDE = {
    EQ: _eq64, NE: _ne64, SET: _set64, NSET: _nset64,
    LE: _below(UMIN, UMAX, 0), LT: _below(UMIN, UMAX, 1),
    SLE: _below(SMIN, SMAX, 0), SLT: _below(SMIN, SMAX, 1),
}  # fmt: skip
_NARROW = {
    EQ: _eq32, NE: _ne32, SET: _set32, NSET: _nset32,
    LE: _below(U32MIN, U32MAX, 0), LT: _below(U32MIN, U32MAX, 1),
    SLE: _below(S32MIN, S32MAX, 0), SLT: _below(S32MIN, S32MAX, 1),
}  # fmt: skip
