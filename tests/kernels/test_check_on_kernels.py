"""`nfc check` against Linux 5.10, 6.1 and 6.12: on mutants of our programs and of clang's.

tests/verify/mutants.py does the same with the running kernel.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from all_kernels import VERSIONS, on_all, only_long, there
from debian_kernels import UnavailableError, find_kernel
from kernel_verdicts import Job, Verdict, ask

from nfc.bpf.version import KernelVersion

sys.path.insert(0, str(Path(__file__).parents[1] / "verify"))

import corpus
from confusion import Table, refusal
from mutate import Base, mutants

pytestmark = only_long

COUNT = int(os.environ.get("NFC_MUTANTS", "2000"))
SEED = int(os.environ.get("NFC_SEED", "1"))


def programs_for(version: str) -> Iterator[tuple[str, Base]]:
    """Every base as it is, and COUNT mutants, as many of each; half of them of clang's."""
    for bases in (list(corpus.ours(version)), list(corpus.theirs())):
        chance = random.Random(SEED)
        for one in bases:
            yield "as it is", one
            made = mutants(one, chance)
            for _ in range(-(-COUNT // 2 // len(bases))):
                yield next(made)


def job(one: Base) -> Job:
    """The program alone, already put together, with the maps of its object."""
    return Job(replace(one.object, programs=(one.program,)), one.program.name, one.hook)


Answers = dict[str, list[tuple[str, Base, Verdict]] | UnavailableError]


def answers_of(version: str) -> list[tuple[str, Base, Verdict]]:
    """What the kernel says to all of them, in one boot."""
    asked = list(programs_for(version))
    verdicts = ask(version, [job(one) for _, one in asked], log_bytes=0)
    return [(what, one, v) for (what, one), v in zip(asked, verdicts, strict=True)]


@pytest.fixture(scope="module")
def answers() -> Answers:
    return on_all(answers_of)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_confusion_table(answers: Answers, version: str) -> None:
    release = KernelVersion.parse(find_kernel(version).update)
    table = Table()
    for what, one, verdict in there(answers[version]):
        table.add(what, one, refusal(one, release), verdict.accepted)
    print(f"\nLinux {version}\n{table}")
    assert [f"{one.name}: {what}" for what, one in table.wrong_accept] == []
    assert table.both_accept >= COUNT // 10
    assert table.both_refuse >= COUNT // 10
    assert table.share < 1, [f"{one.name}: {what}; {why}" for what, one, why in table.wrong_reject]
    assert [one.name for what, one, _ in table.wrong_reject if what == "as it is"] == []
