"""Compares the check with the running kernel on mutants: python tests/verify/mutants.py 10000

Prints the confusion table, and each wrong accept; `-v` shows wrong rejects too. Options:
`--seed N`, `--only TEXT` (bases whose names have it), `--ours`, `--theirs`.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import corpus
from mutate import Base, Kernel, mutants

from nfc.bpf.isa import disassemble
from nfc.bpf.version import KernelVersion
from nfc.errors import ObjectError
from nfc.kernel.verifier_log import parse
from nfc.verify.checks import check_linked

NOW = KernelVersion.parse(os.uname().release)


@dataclass
class Table:
    """How often the check and the kernel said what."""

    both_accept: int = 0
    both_refuse: int = 0
    wrong_accept: list[tuple[str, Base]] = field(default_factory=list)
    wrong_reject: list[tuple[str, Base, str]] = field(default_factory=list)
    seconds_check: float = 0
    seconds_kernel: float = 0

    def add(self, what: str, one: Base, kernel: Kernel) -> None:
        """Ask both."""
        start = time.perf_counter()
        why = refusal(one)
        between = time.perf_counter()
        taken = kernel.accepts(one.program, one.hook)
        self.seconds_check += between - start
        self.seconds_kernel += time.perf_counter() - between
        if taken and not why:
            self.both_accept += 1
        elif taken:
            self.wrong_reject.append((what, one, why))
        elif not why:
            self.wrong_accept.append((what, one))
        else:
            self.both_refuse += 1

    def __str__(self) -> str:
        accepted = self.both_accept + len(self.wrong_reject)
        share = 100 * len(self.wrong_reject) / accepted if accepted else 0
        return (
            f"                   kernel accepts   kernel refuses\n"
            f"  check accepts    {self.both_accept:14}   {len(self.wrong_accept):14}\n"
            f"  check refuses    {len(self.wrong_reject):14}   {self.both_refuse:14}\n"
            f"  wrong rejects: {share:.2f} % of what the kernel accepts; "
            f"check {self.seconds_check:.1f} s, kernel {self.seconds_kernel:.1f} s"
        )


def refusal(one: Base, version: KernelVersion = NOW) -> str:
    """Why the check refuses a program; empty if it does not."""
    try:
        report = check_linked(one.object, one.program, one.hook, version)
    except ObjectError as error:
        return error.message
    return "; ".join(f"{v.instruction}: {v.message}" for v in report.violations)


def compare(bases: list[Base], count: int, seed: int) -> Table:
    """`count` mutants, as many of each base; and the bases themselves."""
    table = Table()
    chance = random.Random(seed)
    each = -(-count // len(bases))
    for one in bases:
        with Kernel(one.object) as kernel:
            table.add("as it is", one, kernel)
            made = mutants(one, chance)
            for _ in range(each):
                what, mutant = next(made)
                table.add(what, mutant, kernel)
    return table


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
    table = compare(bases, given.count, given.seed)
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
    print(table)


if __name__ == "__main__":
    main()
