"""What is known of a number in a register: known bits, and ranges in four readings.

A `Scalar` is one abstract value of the kernel's verifier (struct bpf_reg_state,
linux/bpf_verifier.h): bits that are known (a "tnum": `value` where `mask` is 0), and the least
and the greatest value when the register is read as unsigned or signed, in 64 or in 32 bits.
Scalars are interned: equal ones are the same object, so that they compare by identity and what
is computed from them can be remembered.

The rules of deduction are those of reg_bounds_sync (kernel/bpf/verifier.c, 6.12): no stricter
and no looser, because a looser rule here would refuse what the kernel takes, and a stricter one
would accept what it refuses.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

_Key = TypeVar("_Key")
_Found = TypeVar("_Found")

U64: Final = (1 << 64) - 1
U32: Final = (1 << 32) - 1
S64_MAX: Final = (1 << 63) - 1
S64_MIN: Final = -(1 << 63)
S32_MAX: Final = (1 << 31) - 1
S32_MIN: Final = -(1 << 31)
HIGH: Final = U64 ^ U32

# value, mask, smin, smax, umin, umax, s32min, s32max, u32min, u32max
Bounds = tuple[int, int, int, int, int, int, int, int, int, int]
Tnum = tuple[int, int]


class Scalar:
    """One abstract number. `smin` and the like are signed 64-bit, `u32min` unsigned 32-bit …"""

    __slots__ = (
        *("value", "mask", "smin", "smax", "umin", "umax"),
        *("s32min", "s32max", "u32min", "u32max", "bounds"),
    )

    def __init__(self, bounds: Bounds) -> None:
        """Not to be called: `make` finds the one that exists."""
        self.bounds = bounds
        self.value, self.mask, self.smin, self.smax, self.umin, self.umax = bounds[:6]
        self.s32min, self.s32max, self.u32min, self.u32max = bounds[6:]

    def __str__(self) -> str:
        """For people: `5`, `0 to 255`, `-1 to 4`, `any number`."""
        if not self.mask:
            return str(s64(self.value)) if self.value > S64_MAX else str(self.value)
        if (self.umin, self.umax) != (0, U64):
            return f"{self.umin} to {self.umax}"
        if (self.smin, self.smax) != (S64_MIN, S64_MAX):
            return f"{self.smin} to {self.smax}"
        return "any number"


_known: dict[Bounds, Scalar] = {}
_synced: dict[Bounds, Scalar] = {}
_constants: dict[int, Scalar] = {}
_tables: list[dict[Any, Any]] = [_known, _synced, _constants]
MAX_REMEMBERED: Final = 1 << 18


def remember(table: dict[_Key, _Found]) -> dict[_Key, _Found]:
    """A table of what was computed from scalars, which `begin` empties with those here."""
    _tables.append(table)
    return table


class _Mode:
    modern = True  # see `begin`
    overlaps = False


def begin(modern: bool, overlaps: bool) -> None:
    """Between two programs, never within one: whether bounds are deduced as by 6.8 and later, and
    whether also where a signed and an unsigned range overlap at one end only. What is remembered
    goes if that changes, or if it is much."""
    changed = (modern, overlaps) != (_Mode.modern, _Mode.overlaps)
    if changed or len(_known) + len(_synced) > MAX_REMEMBERED:
        _Mode.modern, _Mode.overlaps = modern, overlaps
        for table in _tables:
            table.clear()
        _known.update({kept.bounds: kept for kept in (UNKNOWN, ZERO)})
        _constants[0] = ZERO


def is_modern() -> bool:
    """Whether bounds are deduced as by 6.8 and later: see `begin`."""
    return _Mode.modern


def make(bounds: Bounds) -> Scalar:
    """The scalar of exactly these bounds."""
    found = _known.get(bounds)
    if found is None:
        found = _known[bounds] = Scalar(bounds)
    return found


def constant(value: int) -> Scalar:
    """A number that is known; any integer, taken modulo 2^64."""
    found = _constants.get(value)
    if found is None:
        v = value & U64
        s, low = s64(v), v & U32
        s32_ = s32(low)
        found = _constants[value] = make((v, 0, s, s, v, v, s32_, s32_, low, low))
    return found


def s64(value: int) -> int:
    """An unsigned 64-bit number read as signed."""
    return value - (1 << 64) if value > S64_MAX else value


def s32(value: int) -> int:
    """An unsigned 32-bit number read as signed."""
    return value - (1 << 32) if value > S32_MAX else value


# ---- known bits (kernel/bpf/tnum.c) ---------------------------------------------------------


def tnum_range(least: int, most: int) -> Tnum:
    """The bits that all numbers from `least` to `most` share."""
    delta = (1 << (least ^ most).bit_length()) - 1
    return (least & ~delta & U64, delta & U64)


def tnum_add(av: int, am: int, bv: int, bm: int) -> Tnum:
    """Bits of a sum."""
    sv = (av + bv) & U64
    mu = (((am + bm + sv) & U64) ^ sv) | am | bm
    return (sv & ~mu, mu)


def tnum_sub(av: int, am: int, bv: int, bm: int) -> Tnum:
    """Bits of a difference."""
    dv = (av - bv) & U64
    mu = (((dv + am) & U64) ^ ((dv - bm) & U64)) | am | bm
    return (dv & ~mu, mu)


def tnum_and(av: int, am: int, bv: int, bm: int) -> Tnum:
    """Bits of a conjunction."""
    v = av & bv
    return (v, (av | am) & (bv | bm) & ~v)


def tnum_or(av: int, am: int, bv: int, bm: int) -> Tnum:
    """Bits of a disjunction."""
    v = av | bv
    return (v, (am | bm) & ~v)


def tnum_xor(av: int, am: int, bv: int, bm: int) -> Tnum:
    """Bits of an exclusive or."""
    mu = am | bm
    return ((av ^ bv) & ~mu, mu)


def tnum_mul(av: int, am: int, bv: int, bm: int) -> Tnum:
    """Bits of a product, by long multiplication; the rule before 6.18, which knows less."""
    product = (av * bv) & U64
    v, m = 0, 0
    while av or am:
        if av & 1:
            v, m = tnum_add(v, m, 0, bm)
        elif am & 1:
            v, m = tnum_add(v, m, 0, bv | bm)
        av, am = av >> 1, am >> 1
        bv, bm = (bv << 1) & U64, (bm << 1) & U64
    return tnum_add(product, 0, v, m)


def tnum_intersect(av: int, am: int, bv: int, bm: int) -> Tnum:
    """What is known from two sources; bits in which they disagree are 1."""
    mu = am & bm
    return ((av | bv) & ~mu, mu)


def tnum_in(av: int, am: int, bv: int, bm: int) -> bool:
    """Whether every number of `b` is one of `a`."""
    return not bm & ~am and av == bv & ~am


# ---- bounds from bounds ---------------------------------------------------------------------


def sync(bounds: Bounds) -> Scalar:
    """The scalar after what each reading knows has been told to the others."""
    found = _synced.get(bounds)
    if found is None:
        found = _synced[bounds] = make((_sync if _Mode.modern else _sync_before)(*bounds))
    return found


def _sync(
    v: int, m: int, smin: int, smax: int, umin: int, umax: int,
    s32min: int, s32max: int, u32min: int, u32max: int,
) -> Bounds:  # fmt: skip
    low, least32 = v & U32, m & U32
    # from bits to ranges
    sign, least = m >> 63, v | m
    smin = max(smin, s64(v | (sign << 63)))
    smax = min(smax, s64(v | (m & S64_MAX)))
    umin, umax = max(umin, v), min(umax, least)
    s32min = max(s32min, s32(low | (least32 & 0x80000000)))
    s32max = min(s32max, s32(low | (least32 & S32_MAX)))
    u32min, u32max = max(u32min, low), min(u32max, low | least32)
    if m and _Mode.overlaps and (only := _only(v, m, umin, umax)) is not None:
        return constant(only).bounds
    for _ in range(3):
        before = (smin, smax, umin, umax, s32min, s32max, u32min, u32max)
        s32min, s32max, u32min, u32max = _deduce32(*before)
        smin, smax, umin, umax = _deduce64(smin, smax, umin, umax)
        v, m, smin, smax, umin, umax = _deduce_mixed(
            v, m, smin, smax, umin, umax, s32min, s32max, u32min, u32max
        )
        if (smin, smax, umin, umax, s32min, s32max, u32min, u32max) == before:
            break
    # from ranges to bits
    rv, rm = tnum_range(umin, umax)
    v, m = tnum_intersect(v, m, rv, rm)
    rv, rm = tnum_range(u32min, u32max)
    lv, lm = tnum_intersect(v & U32, m & U32, rv, rm)
    v, m = (v & HIGH) | lv, ((m & HIGH) | lm) & ~((v & HIGH) | lv)
    # and from bits to ranges again
    low, least32 = v & U32, m & U32
    if m and _Mode.overlaps and (only := _only(v, m, max(umin, v), min(umax, v | m))) is not None:
        return constant(only).bounds
    return (
        v, m,
        max(smin, s64(v | (m & (1 << 63)))), min(smax, s64(v | (m & S64_MAX))),
        max(umin, v), min(umax, v | m),
        max(s32min, s32(low | (least32 & 0x80000000))),
        min(s32max, s32(low | (least32 & S32_MAX))),
        max(u32min, low), min(u32max, low | least32),
    )  # fmt: skip


def _only(v: int, m: int, umin: int, umax: int) -> int | None:
    """The one value from `umin` to `umax` that fits the known bits, where they leave only one."""
    if umin > umax:
        return None
    if umin & ~m == v:
        return umin if _next(v, m, umin) > umax or umin == v | m else None
    first = _next(v, m, umin)
    if first > umax or first < umin:
        return None
    return first if first == v | m or _next(v, m, first) > umax else None


def _next(v: int, m: int, z: int) -> int:
    """The least number above `z` with these bits, or the greatest of all (tnum_step)."""
    if z >= v | m:
        return v | m
    if z < v:
        return v
    d = z - v
    filled = d | ((1 << (d & ~m).bit_length()) - 1) | (~m & U64)
    return v | ((filled + 1) & m)


def _sync_before(
    v: int, m: int, smin: int, smax: int, umin: int, umax: int,
    s32min: int, s32max: int, u32min: int, u32max: int,
) -> Bounds:  # fmt: skip
    """The same before 6.8: the halves tell each other nothing (reg_bounds_sync, 6.1)."""

    def from_bits() -> None:
        nonlocal smin, smax, umin, umax, s32min, s32max, u32min, u32max
        low, least32 = v & U32, m & U32
        smin, smax = max(smin, s64(v | (m & (1 << 63)))), min(smax, s64(v | (m & S64_MAX)))
        umin, umax = max(umin, v), min(umax, v | m)
        s32min = max(s32min, s32(low | (least32 & 0x80000000)))
        s32max = min(s32max, s32(low | (least32 & S32_MAX)))
        u32min, u32max = max(u32min, low), min(u32max, low | least32)

    from_bits()
    s32min, s32max, u32min, u32max = _signs(s32min, s32max, u32min, u32max, 32)
    smin, smax, umin, umax = _signs(smin, smax, umin, umax, 64)
    rv, rm = tnum_range(umin, umax)
    v, m = tnum_intersect(v, m, rv, rm)
    rv, rm = tnum_range(u32min, u32max)
    lv, lm = tnum_intersect(v & U32, m & U32, rv, rm)
    v, m = (v & HIGH) | lv, ((m & HIGH) | lm) & ~((v & HIGH) | lv)
    from_bits()
    return v, m, smin, smax, umin, umax, s32min, s32max, u32min, u32max


def _signs(
    smin: int, smax: int, umin: int, umax: int, bits: int
) -> tuple[int, int, int, int]:  # fmt: skip
    """Signed and unsigned readings from each other, as before 6.8 (__reg64_deduce_bounds)."""
    whole, half = (1 << bits) - 1, 1 << (bits - 1)
    if smin >= 0 or smax < 0:
        umin = max(smin & whole, umin)
        umax = min(smax & whole, umax)
        return umin - (whole + 1) * (umin >= half), umax - (whole + 1) * (umax >= half), umin, umax
    if umax < half:
        umax = min(smax & whole, umax)
        return umin, umax, umin, umax
    if umin >= half:
        umin = max(smin & whole, umin)
        return umin - (whole + 1), smax, umin, umax
    return smin, smax, umin, umax


def _deduce32(
    smin: int, smax: int, umin: int, umax: int,
    s32min: int, s32max: int, u32min: int, u32max: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Of the low half, from the whole and from each other (__reg32_deduce_bounds)."""
    for least, most, unsigned in ((umin, umax, True), (smin, smax, False)):
        low, high = least & U32, most & U32
        if least >> 32 == most >> 32:
            if unsigned or low <= high:
                u32min, u32max = max(u32min, low), min(u32max, high)
            if s32(low) <= s32(high):
                s32min, s32max = max(s32min, s32(low)), min(s32max, s32(high))
    for least, most in ((umin, umax), (smin, smax)):
        low, high = s32(least & U32), s32(most & U32)
        upper = ((least >> 32) & U32) + 1
        if upper & U32 == (most >> 32) & U32 and low < 0 <= high:
            s32min, s32max = max(s32min, low), min(s32max, high)
    if s32(u32min & U32) <= s32(u32max & U32):
        s32min, s32max = max(s32min, s32(u32min & U32)), min(s32max, s32(u32max & U32))
    low, high = s32min & U32, s32max & U32
    if low <= high:
        u32min, u32max = max(u32min, low), min(u32max, high)
    elif _Mode.overlaps and u32max < low:
        s32min, u32max = s32(u32min), min(u32max, high)
    elif _Mode.overlaps and high < u32min:
        s32max, u32min = s32(u32max), max(u32min, low)
    return s32min, s32max, u32min, u32max


def _deduce64(smin: int, smax: int, umin: int, umax: int) -> tuple[int, int, int, int]:
    """Signed and unsigned readings from each other (__reg64_deduce_bounds)."""
    if s64(umin & U64) <= s64(umax & U64):
        smin, smax = max(smin, s64(umin & U64)), min(smax, s64(umax & U64))
    if smin & U64 <= smax & U64:
        umin, umax = max(umin, smin & U64), min(umax, smax & U64)
    elif _Mode.overlaps and umax < smin & U64:  # only with what is not negative
        smin, umax = s64(umin & U64), min(umax, smax & U64)
    elif _Mode.overlaps and smax & U64 < umin:  # only with what is negative
        smax, umin = s64(umax), max(umin, smin & U64)
    return smin, smax, umin, umax


def _deduce_mixed(
    v: int, m: int, smin: int, smax: int, umin: int, umax: int,
    s32min: int, s32max: int, u32min: int, u32max: int,
) -> tuple[int, int, int, int, int, int]:  # fmt: skip
    """Of the whole, from its low half (__reg_deduce_mixed_bounds)."""
    umin = max(umin, (umin & HIGH) | u32min)
    umax = min(umax, (umax & HIGH) | u32max)
    smin = max(smin, smin - (smin & U32) + u32min)
    smax = min(smax, smax - (smax & U32) + u32max)
    low, high = s32min & U32, s32max & U32
    if low <= high:
        umin = max(umin, (umin & HIGH) | low)
        umax = min(umax, (umax & HIGH) | high)
        smin = max(smin, smin - (smin & U32) + low)
        smax = min(smax, smax - (smax & U32) + high)
    if s32min >= 0 and smin >= S32_MIN and smax <= S32_MAX:
        smin = umin = s32min
        smax = umax = s32max
        rv, rm = tnum_range(smin & U64, smax & U64)
        v, m = tnum_intersect(v, m, rv, rm)
    return v, m, smin, smax, umin, umax


def checked(found: Scalar) -> Scalar:
    """Ranges without a number in them say nothing (reg_bounds_sanity_check); before 6.8 nothing
    looks for them, and a number whose bits are all known still decides what it is compared with."""
    if (
        found.umin > found.umax or found.smin > found.smax
        or found.u32min > found.u32max or found.s32min > found.s32max
        or (not found.mask and not (
            found.umin == found.umax == found.value and found.smin == found.smax == s64(found.value)
        ))
    ):  # fmt: skip
        known = _Mode.modern or not found.mask
        return make((found.value, found.mask, *UNBOUNDED)) if known else UNKNOWN
    return found


def from_low(bounds: Bounds) -> Scalar:
    """After a 32-bit comparison: before 6.8 what was known of the whole goes, unless the upper
    half is zero (__reg_combine_32_into_64)."""
    if _Mode.modern:
        return checked(sync(bounds))
    v, m, *_, s32min, s32max, u32min, u32max = bounds
    wide = (S64_MIN, S64_MAX, 0, U64)
    if not (v | m) & HIGH:
        signed_too = s32min >= 0 and s32max >= 0
        wide = (*((s32min, s32max) if signed_too else (0, U32)), u32min, u32max)
    return checked(sync((v, m, *wide, s32min, s32max, u32min, u32max)))


def from_whole(bounds: Bounds) -> Scalar:
    """After a 64-bit comparison: before 6.8 what was known of the low half goes, unless the
    whole fits in it (__reg_combine_64_into_32)."""
    if _Mode.modern:
        return checked(sync(bounds))
    v, m, smin, smax, umin, umax = bounds[:6]
    low = (S32_MIN, S32_MAX)
    if S32_MIN <= smin <= S32_MAX and S32_MIN <= smax <= S32_MAX:
        low = (smin, smax)
    ulow = (umin, umax) if umin <= U32 and umax <= U32 else (0, U32)
    return checked(sync((v, m, smin, smax, umin, umax, *low, *ulow)))


UNBOUNDED: Final = (S64_MIN, S64_MAX, 0, U64, S32_MIN, S32_MAX, 0, U32)
UNKNOWN: Final = make((0, U64, *UNBOUNDED))
ZERO: Final = constant(0)


def unsigned(bits: int) -> Scalar:
    """Any unsigned number of 8, 16, 32 or 64 bits."""
    most = (1 << bits) - 1
    return sync((0, most, S64_MIN, S64_MAX, 0, most, S32_MIN, S32_MAX, 0, U32))


def signed(bits: int) -> Scalar:
    """Any signed number of 8, 16 or 32 bits, extended to 64 (set_sext64_default_val)."""
    most = (1 << (bits - 1)) - 1
    least = -most - 1
    return sync((0, U64, least, most, 0, U64, least, most, 0, U32))


def within(old: Scalar, new: Scalar) -> bool:
    """Whether every number that `new` may be is one that `old` may be, in all readings."""
    return (
        old is new
        or old is UNKNOWN
        or (
            old.umin <= new.umin and old.umax >= new.umax
            and old.smin <= new.smin and old.smax >= new.smax
            and old.u32min <= new.u32min and old.u32max >= new.u32max
            and old.s32min <= new.s32min and old.s32max >= new.s32max
            and tnum_in(old.value, old.mask, new.value, new.mask)
        )
    )  # fmt: skip
