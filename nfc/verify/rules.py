"""What the verifiers of different kernels conclude: the same rules, learnt over the years.

Each rule names the first version whose verifier has it. A checker that knew more than an old
kernel would accept what that kernel refuses; so where it is not certain, the later version is
given. Commits are of the mainline; distributions may have brought some back.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from nfc.bpf.version import KernelVersion
from nfc.verify.scalar import Scalar

SINCE: Final = {
    "global_functions": KernelVersion(5, 6),  # 51c39bb1d5d1: verified by themselves
    "subregisters": KernelVersion(5, 7),  # 3f50f132d840: ranges of 32-bit halves
    "bounded_spills": KernelVersion(5, 10),  # 5689d49b71ad: numbers with bounds keep them
    "tail_calls_in_functions": KernelVersion(5, 10),  # e411901c0b77, with the JIT of x86
    "callbacks": KernelVersion(5, 13),  # 69c087ba6225
    "variable_stack": KernelVersion(5, 12),  # 01f810ace9ed: stack at offsets that vary
    "narrow_spills": KernelVersion(5, 16),  # 354e8f1970f8: of less than 8 bytes
    "equal_not_null": KernelVersion(6, 2),  # befae75856ab
    "uninitialised_stack": KernelVersion(6, 3),  # 6715df8d5d24: may be read by root
    "reading_grows": KernelVersion(6, 8),  # 6b4a64bafd10: the stack, as writing does
    "constant_spills": KernelVersion(6, 4),  # ecdf985d7615: of numbers in the instruction
    "linked_narrow": KernelVersion(6, 8),  # e67ddd9b1cff: copies by 32-bit moves are linked
    "both_refined": KernelVersion(6, 8),  # 67420501e868: two registers, none of them constant
    # c51d5ad6543c and those behind it; d028f87517d6: != at an end of the range
    "deduced_halves": KernelVersion(6, 8),
    "unbounded_spills": KernelVersion(6, 9),  # e67ddd9b1cff: any number is kept
    "narrow_fill": KernelVersion(6, 9),  # c1e6148cb4f8
    "linked_sums": KernelVersion(6, 11),  # 98d7ca374ba4: r2 = r1 + 5 stays linked to r1
    "stack_rounded_to_16": KernelVersion(6, 9),  # with a JIT
    "constant_key": KernelVersion(6, 14),  # d2102f2f5d75: array entries within bounds exist
    "linked_widely": KernelVersion(6, 18, 44),  # 7a433e519364: by 32-bit sums and differences
    "reads_keep": KernelVersion(6, 14),  # 37cce22dbd51: what a helper reads stays known
    # 00bf8d0c6c9b, and the same for 32 bits: signed and unsigned ranges that overlap at one end
    "overlapping_ranges": KernelVersion(6, 18, 44),
    # Of 7.0, and seen in this update: a range in which the known bits leave one value; n & c with
    # n in -1 to 0, as two ways; byte swaps; negation
    "known_results": KernelVersion(6, 18, 44),
}

# Seen on Debian's kernels, with all that the long-term branch had brought back by then: the update
# of a branch from which a rule is known to hold. The real one may be earlier.
BROUGHT_BACK: Final = {
    "uninitialised_stack": (KernelVersion(5, 10, 223), KernelVersion(6, 1, 176)),
    "variable_stack": (KernelVersion(5, 10, 223),),
    "overlapping_ranges": (KernelVersion(6, 12, 117),),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """Which rules of SINCE a kernel has."""

    version: KernelVersion
    global_functions: bool
    subregisters: bool
    bounded_spills: bool
    variable_stack: bool
    callbacks: bool
    tail_calls_in_functions: bool
    narrow_spills: bool
    equal_not_null: bool
    uninitialised_stack: bool
    reading_grows: bool
    constant_spills: bool
    linked_narrow: bool
    both_refined: bool
    deduced_halves: bool
    unbounded_spills: bool
    narrow_fill: bool
    linked_sums: bool
    stack_rounded_to_16: bool
    constant_key: bool
    reads_keep: bool
    linked_widely: bool
    overlapping_ranges: bool
    known_results: bool

    def spills(self, number: Scalar, size: int, constant: bool) -> bool:
        """Whether a number of `size` bytes keeps its value on the stack."""
        if constant and not self.constant_spills:
            return False
        if size != 8 and not self.narrow_spills:
            return False
        if not number.mask or self.unbounded_spills:
            return True
        bounded = number.umin or number.umax != (1 << 64) - 1 or number.smin > -(1 << 63)
        return self.bounded_spills and bool(bounded or number.smax != (1 << 63) - 1)


@cache
def rules_of(version: KernelVersion) -> Rules:
    """The rules of a kernel version."""
    return Rules(version, **{name: _has(version, name) for name in SINCE})


def _has(version: KernelVersion, name: str) -> bool:
    back = BROUGHT_BACK.get(name, ())
    same = (b for b in back if (b.major, b.minor) == (version.major, version.minor))
    return version >= SINCE[name] or any(version >= b for b in same)
