"""Compares the check with the running kernel on mutants: python tests/verify/mutants.py 10000

Prints the confusion table, and each wrong accept; `-v` shows wrong rejects too. Options:
`--seed N`, `--only TEXT` (bases whose names have it), `--ours`, `--theirs`.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import corpus
from confusion import Table, refusal
from mutate import Base, Kernel, mutants

from nfc.bpf.isa import disassemble
from nfc.bpf.version import KernelVersion
from nfc.kernel.verifier_log import parse

NOW = KernelVersion.running()
ROUND = 50  # mutants of one base before the next


@dataclass
class Compared:
    """The table, and how long both took, in seconds."""

    table: Table = field(default_factory=Table)
    check: float = 0
    kernel: float = 0

    def add(self, what: str, one: Base, kernel: Kernel) -> None:
        """Ask both."""
        start = time.perf_counter()
        why = refusal(one, NOW)
        between = time.perf_counter()
        taken = kernel.accepts(one.program, one.hook)
        self.check += between - start
        self.kernel += time.perf_counter() - between
        self.table.add(what, one, why, taken)

    def __str__(self) -> str:
        return f"{self.table}; check {self.check:.1f} s, kernel {self.kernel:.1f} s"


def compare(bases: list[Base], count: int, seed: int, *, aloud: bool = False) -> Compared:
    """`count` mutants, as many of each base, ROUND of each at a time; and the bases themselves.

    `aloud`: say after each round how far it is.
    """
    compared = Compared()
    chance = random.Random(seed)
    each = -(-count // len(bases))
    sources = [(one, mutants(one, chance)) for one in bases]
    for done in range(0, each, ROUND):
        for one, made in sources:
            with Kernel(one.object) as kernel:
                if not done:
                    compared.add("as it is", one, kernel)
                for _ in range(min(ROUND, each - done)):
                    what, mutant = next(made)
                    compared.add(what, mutant, kernel)
        if aloud:
            print(f"after {min(done + ROUND, each)} of {each} of each\n{compared}", flush=True)
    return compared


def main() -> None:
    """The script."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("count", type=int)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", default="")
    options.add_argument("--ours", action="store_true")
    options.add_argument("--theirs", action="store_true")
    options.add_argument("-v", action="store_true")
    given = options.parse_args()
    sources = [] if given.theirs else list(corpus.ours())
    sources += [] if given.ours else list(corpus.theirs())
    bases = [b for b in sources if given.only in b.name]
    compared = compare(bases, given.count, given.seed, aloud=True)
    table = compared.table
    for what, one in table.wrong_accept:
        with Kernel(one.object) as kernel:
            said = parse(kernel.asks(one.program, one.hook)[1])
        print(f"WRONG ACCEPT {one.name}: {what}; {said.insn}: {said.message[-1:]}")
    if table.wrong_accept:
        what, one = min(table.wrong_accept, key=lambda w: len(w[1].program.code))
        with Kernel(one.object) as kernel:
            log = kernel.asks(one.program, one.hook)[1]
        print(disassemble(one.program), f"\n\nthe smallest: {what}\n", log[-3000:])
    if given.v:
        for what, one, why in table.wrong_reject:
            print(f"wrong reject {one.name}: {what}; {why}")
        for message, n in Counter(
            w.split(": ", 1)[1] for *_, w in table.wrong_reject
        ).most_common():
            print(f"{n:6} {message}")
    print(compared)


if __name__ == "__main__":
    main()
