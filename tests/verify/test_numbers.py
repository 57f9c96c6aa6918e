"""What the check knows of numbers is true: for every number that an abstract one stands for, what
arithmetic and comparisons make of it is among those that the result stands for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from nfc.verify import arith, branch, scalar
from nfc.verify.scalar import S32_MAX, S32_MIN, S64_MAX, S64_MIN, U32, U64, Scalar, s32, s64, sync

NUMBERS = st.one_of(
    st.integers(0, U64),
    st.integers(0, 300),
    st.sampled_from([0, 1, 2**31 - 1, 2**31, U32, 2**32, 2**63 - 1, 2**63, U64 - 1, U64]),
    st.integers(0, 300).map(lambda n: U64 - n),
)


@dataclass(frozen=True)
class Known:
    """A number, and something true that is known of it."""

    number: int
    bounds: scalar.Bounds

    @property
    def abstract(self) -> Scalar:
        """What the kernel at hand makes of that."""
        return sync(self.bounds)


@st.composite
def knowns(draw: st.DrawFn) -> Known:
    x = draw(NUMBERS)
    mask = draw(st.sampled_from([0, 0xFF, U32, U64]) | st.integers(0, U64))

    def around(value: int, least: int, most: int) -> tuple[int, int]:
        below = draw(st.sampled_from([0, 1, 7, 1 << 20, 1 << 40, 1 << 64]))
        above = draw(st.sampled_from([0, 1, 7, 1 << 20, 1 << 40, 1 << 64]))
        return max(least, value - below), min(most, value + above)

    bounds = (
        x & ~mask,
        mask,
        *around(s64(x), S64_MIN, S64_MAX),
        *around(x, 0, U64),
        *around(s32(x & U32), S32_MIN, S32_MAX),
        *around(x & U32, 0, U32),
    )
    return Known(x, bounds)


def holds(x: int, known: Scalar) -> bool:
    """Whether `known` stands for x."""
    return (
        x & ~known.mask == known.value
        and known.smin <= s64(x) <= known.smax
        and known.umin <= x <= known.umax
        and known.s32min <= s32(x & U32) <= known.s32max
        and known.u32min <= x & U32 <= known.u32max
    )


KERNELS = {"6.18.44": (True, True), "6.8 and later": (True, False), "before 6.8": (False, False)}


def by_every_kernel(test: Callable[..., None]) -> Callable[..., None]:
    """The test with what each kernel deduces, of the same numbers."""

    @wraps(test)
    def run(**given: Any) -> None:
        try:
            for kernel, deduction in KERNELS.items():
                note(kernel)
                scalar.begin(*deduction)
                test(**given)
        finally:
            scalar.begin(True, True)

    return run


def concrete(operation: int, wide: bool, a: int, b: int) -> int:
    """RFC 9669, section 4.1."""
    bits = 64 if wide else 32
    most = (1 << bits) - 1
    signed = a & most
    signed -= (signed >> (bits - 1)) << bits
    shift = b & (bits - 1)
    return {
        arith.ADD: a + b,
        arith.SUB: a - b,
        arith.MUL: a * b,
        arith.OR: a | b,
        arith.AND: a & b,
        arith.XOR: a ^ b,
        arith.LSH: a << shift,
        arith.RSH: (a & most) >> shift,
        arith.ARSH: signed >> shift,
    }[operation] & most


OPERATIONS = [
    *(arith.ADD, arith.SUB, arith.MUL, arith.OR, arith.AND, arith.XOR),
    *(arith.LSH, arith.RSH, arith.ARSH),
]


@given(knowns())
@by_every_kernel
def test_bounds_tell_each_other_the_truth(a: Known) -> None:
    assert holds(a.number, a.abstract)


@pytest.mark.parametrize("wide", [True, False], ids=["64", "32"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=hex)
@given(a=knowns(), b=knowns())
@by_every_kernel
def test_arithmetic(operation: int, wide: bool, a: Known, b: Known) -> None:
    result = arith.compute(operation, wide, a.abstract, b.abstract)
    assert holds(concrete(operation, wide, a.number, b.number), result)


@given(knowns(), st.sampled_from([1, 2, 4, 8]))
@by_every_kernel
def test_loads(a: Known, size: int) -> None:
    assert holds(a.number & ((1 << size * 8) - 1), arith.load(a.abstract, size))


@given(knowns(), st.sampled_from([8, 16, 32]))
@by_every_kernel
def test_sign_extension(a: Known, bits: int) -> None:
    low = a.number & ((1 << bits) - 1)
    low -= (low >> (bits - 1)) << bits
    assert holds(low & U64, arith.extend(a.abstract, bits, wide=True))
    if bits < 32:
        assert holds(low & U32, arith.extend(a.abstract, bits, wide=False))


@given(knowns())
@by_every_kernel
def test_truncation(a: Known) -> None:
    assert holds(a.number & U32, arith.truncate(a.abstract))


def true(operation: int, wide: bool, a: int, b: int) -> bool:
    """RFC 9669, section 4.3."""
    if not wide:
        a, b = a & U32, b & U32
    sa, sb = (s64(a), s64(b)) if wide else (s32(a), s32(b))
    return {
        branch.EQ: a == b,
        branch.NE: a != b,
        branch.GT: a > b,
        branch.GE: a >= b,
        branch.LT: a < b,
        branch.LE: a <= b,
        branch.SET: bool(a & b),
        branch.SGT: sa > sb,
        branch.SGE: sa >= sb,
        branch.SLT: sa < sb,
        branch.SLE: sa <= sb,
    }[operation]


COMPARISONS = [
    *(branch.EQ, branch.NE, branch.GT, branch.GE, branch.LT, branch.LE, branch.SET),
    *(branch.SGT, branch.SGE, branch.SLT, branch.SLE),
]


@pytest.mark.parametrize("wide", [True, False], ids=["64", "32"])
@pytest.mark.parametrize("operation", COMPARISONS, ids=hex)
@given(a=knowns(), b=knowns())
@by_every_kernel
def test_comparisons(operation: int, wide: bool, a: Known, b: Known) -> None:
    """What is decided is right; on the way that is taken, what is known of both stays true."""
    decided, if_so, if_not = branch.compare(operation, wide, a.abstract, b.abstract)
    outcome = true(operation, wide, a.number, b.number)
    assert decided in (None, outcome)
    x, y = if_so if outcome else if_not
    assert holds(a.number, x)
    assert holds(b.number, y)


@given(knowns(), knowns())
@by_every_kernel
def test_what_is_within_is_within(a: Known, b: Known) -> None:
    if scalar.within(a.abstract, b.abstract):
        assert holds(b.number, a.abstract)


def test_the_known_stay_the_same_objects() -> None:
    """What was remembered can go: zero is still the zero that null checks look for."""
    scalar.begin(False, False)
    scalar.begin(True, True)
    assert scalar.constant(0) is scalar.ZERO
    assert scalar.make(scalar.UNKNOWN.bounds) is scalar.UNKNOWN
