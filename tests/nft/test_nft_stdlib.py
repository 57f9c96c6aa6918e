"""The packet tests of the standard library: every function has some, and they hold both ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfc.compiler import compile_file
from nfc.nft.machine import Machine
from nfc.nft.real import Real
from nfc.nft.run import Result, find, run_test
from nfc.nft.simulated import Simulated
from nfc.nft.subject import load
from nfc.resources import data_dir

STDLIB = data_dir("stdlib")
FILES = find([STDLIB])


def results(machine: Machine, path: Path) -> list[Result]:
    subject = load(path)
    return [run_test(subject, test, compiled, machine) for test, compiled in subject.tests]


def problems(found: list[Result]) -> list[str]:
    return [f"{f.span}: {f.message}\n{f.difference}" for r in found for f in r.failures]


def test_every_function_has_tests() -> None:
    for program in sorted(STDLIB.glob("*.nf")):
        names = {f.function.name for f in compile_file(program).functions}
        if names:
            tested = {c.function.name for _, c in load(program.with_suffix(".nft")).tests}
            assert tested == names, program.name


@pytest.mark.parametrize("path", FILES, ids=[f.stem for f in FILES])
def test_in_the_simulator(path: Path) -> None:
    found = results(Simulated(), path)
    assert problems(found) == []
    assert {r.status for r in found} == {"passed"}


@pytest.mark.kernel
def test_on_real_routes() -> None:
    """The same files, the same result; what a kernel cannot be told is counted."""
    machine = Real()
    try:
        found = [r for path in FILES for r in results(machine, path)]
    finally:
        machine.close()
    assert problems(found) == []
    skipped = [s.reason for r in found for s in r.skipped]
    assert skipped == ["the kernel's random numbers are its own"]
    assert sum(r.status == "passed" for r in found) == len(found) - 1
