"""The check and the running kernel, on every program that we have and on mutants of them.

`python tests/verify/mutants.py 100000` is the long form, and `make kernels` asks other kernels.
"""

from __future__ import annotations

import corpus
import pytest
from confusion import Table, refusal
from mutants import NOW, compare
from mutate import Base, Kernel

pytestmark = pytest.mark.kernel

MUTANTS = 600  # of ours, and of clang's; the seed is fixed


@pytest.fixture(scope="module")
def ours() -> list[Base]:
    return list(corpus.ours())


@pytest.fixture(scope="module")
def theirs() -> list[Base]:
    bases = list(corpus.theirs())
    if not bases:
        pytest.skip("no clang")
    return bases


def agreed(table: Table) -> None:
    print(table)
    assert [f"{one.name}: {what}" for what, one in table.wrong_accept] == []
    assert min(table.both_accept, table.both_refuse) > MUTANTS // 10
    assert table.share < 1, table.wrong_reject
    assert not any(what == "as it is" for what, *_ in table.wrong_reject)


def test_ours(ours: list[Base]) -> None:
    agreed(compare(ours, MUTANTS, seed=3).table)


def test_what_clang_makes(theirs: list[Base]) -> None:
    agreed(compare(theirs, MUTANTS, seed=3).table)


def features(one: Base) -> set[str]:
    """What of the instruction set, of helpers and of maps a program uses."""
    found = {one.hook, *(f"map type {m.type}" for m in one.object.maps)}
    code = one.program.code
    for at in range(0, len(code), 8):
        op, src = code[at], code[at + 1] >> 4
        off = int.from_bytes(code[at + 2 : at + 4], "little", signed=True)
        if op & 7 in (5, 6) and op not in (0x85, 0x95) and off < 0:
            found.add("loop")
        if op & 7 == 6:
            found.add("32-bit jump")
        if op in (0xC3, 0xDB):
            found.add("atomic")
        if (op, src) == (0x18, 4):
            found.add("callback")
        if op == 0x85:
            helper = f"helper {int.from_bytes(code[at + 4 : at + 8], 'little')}"
            found.add("local call" if src == 1 else helper)
    return found


def test_every_feature_is_there(theirs: list[Base]) -> None:
    """All that is to be compared is: in programs that both take."""
    found = set()
    for one in theirs:
        with Kernel(one.object) as kernel:
            taken = kernel.accepts(one.program, one.hook)
        assert taken == (refusal(one, NOW) == ""), one.name
        if taken:
            found |= features(one)
    wanted = {"loop", "local call", "callback", "atomic", "32-bit jump"}
    wanted |= {
        f"helper {n}" for n in (1, 2, 3, 9, 12, 22, 25, 26, 39, 73, 74, 75, 76, 130, 131, 182)
    }
    wanted |= {f"map type {n}" for n in (1, 2, 3, 4, 6, 9, 11, 12, 13, 27)}
    assert wanted | {"endpoint", "in", "out", "xmit"} <= found
