"""The packet tests of the standard library and of the examples' programs: every function has
some, and they hold both ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfc.compiler import compile_file
from nfc.nft.load import load
from nfc.nft.machine import Machine
from nfc.nft.real import Real
from nfc.nft.run import Result, find, run_test
from nfc.nft.simulated import Simulated
from nfc.resources import data_dir

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDERS = [data_dir("stdlib"), EXAMPLES / "bond", EXAMPLES / "edge"]
FILES = find(FOLDERS)


def results(machine: Machine, path: Path) -> list[Result]:
    subject = load(path)
    return [run_test(subject, test, compiled, machine) for test, compiled in subject.tests]


def problems(found: list[Result]) -> list[str]:
    return [f"{f.span}: {f.message}\n{f.difference}" for r in found for f in r.failures]


def test_every_function_has_tests() -> None:
    for program in sorted(path for folder in FOLDERS for path in folder.glob("*.nf")):
        names = {f.function.name for f in compile_file(program).functions}
        if names:
            tested = {c.function.name for _, c in load(program.with_suffix(".nft")).tests}
            assert tested == names, program.name


@pytest.mark.parametrize("path", find(FOLDERS[:1]), ids=lambda path: path.stem)
def test_in_the_simulator(path: Path) -> None:
    """The examples' run there in test_nft_cover.py."""
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
    assert skipped == [
        "the kernel's random numbers are its own",
        "nobody sees packet.priority on a real link",
    ]
    assert sum(r.status == "passed" for r in found) == len(found) - 2
