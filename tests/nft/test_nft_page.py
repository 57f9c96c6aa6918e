"""docs/packet-tests.md: its tests run against the programs above them, and all words are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nfc.nft.load import load
from nfc.nft.machine import Machine
from nfc.nft.parser import lark
from nfc.nft.real import Real
from nfc.nft.run import run_test
from nfc.nft.simulated import Simulated

PAGE = (Path(__file__).parents[2] / "docs" / "packet-tests.md").read_text()
BLOCK = re.compile(r"^```(nf|nft)\b.*\n((?s:.*?))^```", re.M)


def pairs() -> list[tuple[str, str]]:
    """Each block of tests with the program above it."""
    found, program = [], ""
    for kind, text in BLOCK.findall(PAGE):
        if kind == "nf":
            program = text
        else:
            found.append((program, text))
    return found


def check(program: str, tests: str, folder: Path, machine: Machine) -> int:
    folder.joinpath("shown.nf").write_text(program)
    folder.joinpath("shown.nft").write_text(tests)
    subject = load(folder / "shown.nft")
    results = [run_test(subject, test, compiled, machine) for test, compiled in subject.tests]
    assert [(f.message, f.difference) for r in results for f in r.failures] == []
    return sum(r.status == "passed" for r in results)


@pytest.mark.parametrize(("program", "tests"), pairs())
def test_shown_tests_pass(program: str, tests: str, tmp_path: Path) -> None:
    assert check(program, tests, tmp_path, Simulated()) == tests.count('\ntest "') + (
        tests.startswith("test")
    )


@pytest.mark.kernel
def test_on_real_routes_too(tmp_path: Path) -> None:
    machine = Real()
    try:
        passed = sum(check(program, tests, tmp_path, machine) for program, tests in pairs())
    finally:
        machine.close()
    assert passed == sum(t.count('test "') for _, t in pairs()) - 1  # one expects a mark


def test_every_word_is_told() -> None:
    words = {t.pattern.value for t in lark().terminals if t.pattern.type == "str"}
    told = set(re.findall(r"[A-Za-z_0-9]+", PAGE))
    assert {w for w in words if w.isidentifier()} - told == set()
