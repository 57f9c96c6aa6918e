"""What docs/check-*.md teach is true: their programs get the verdicts that they say, from the
check and from the running kernel; their sums come out as in the table."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from mutate import Kernel

from nfc.bpf.facts import CONFIRMED
from nfc.bpf.link import link
from nfc.bpf.object import Object
from nfc.bpf.reader import read_object
from nfc.bpf.version import KernelVersion
from nfc.resources import data_dir
from nfc.verify import arith, scalar
from nfc.verify.checks import check_linked, check_path

HERE = Path(__file__).parent
PAGES = sorted((HERE.parents[1] / "docs").glob("check-*.md"))
PROGRAM = re.compile(r"^```c\n/\* (taken|refused: .*?) \*/\n(.*?)^```", re.S | re.M)
ROW = re.compile(r"^\| (-?\d+) to (-?\d+) \| (\S+) \| (\d+) to (\d+) \| (.+?) \|$", re.M)
OPERATIONS = {
    "+": arith.ADD, "-": arith.SUB, "*": arith.MUL, "/": arith.DIV, "&": arith.AND,
    r"\|": arith.OR, "<<": arith.LSH, ">>": arith.RSH,
}  # fmt: skip
HEAD = """#include "bpf.h"
struct { __uint(type, 2); __uint(max_entries, 4); __type(key, u32); __type(value, u64); }
    counts SEC(".maps");
char _license[] SEC("license") = "GPL";
"""
NOW = KernelVersion.running()

SHOWN = [
    (f"{page.stem}-{n}", said, code)
    for page in PAGES
    for n, (said, code) in enumerate(PROGRAM.findall(page.read_text()), 1)
]


def test_the_pages_have_programs() -> None:
    assert len(PAGES) == 3
    assert len(SHOWN) >= 8
    assert all(page.read_text().count("```c\n") == len(PROGRAM.findall(page.read_text()))
               for page in PAGES)  # fmt: skip


def compiled(code: str) -> Object:
    if shutil.which("clang") is None:
        pytest.skip("no clang")
    command = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", f"-I{HERE / 'c'}"]
    command += ["-x", "c", "-c", "-", "-o", "-"]
    done = subprocess.run(command, input=(HEAD + code).encode(), check=True, capture_output=True)
    return read_object(done.stdout)


@pytest.mark.parametrize(("said", "code"), [s[1:] for s in SHOWN], ids=[s[0] for s in SHOWN])
def test_a_program_gets_its_verdict(said: str, code: str) -> None:
    obj = compiled(code)
    report = check_linked(obj, link(obj, "f"), "in", KernelVersion.parse("6.18"))
    if said == "taken":
        assert not report.violations, report
    else:
        assert said.removeprefix("refused: ") in report.violations[0].message


@pytest.mark.kernel
@pytest.mark.parametrize(("said", "code"), [s[1:] for s in SHOWN], ids=[s[0] for s in SHOWN])
def test_the_kernel_says_so_too(said: str, code: str) -> None:
    obj = compiled(code)
    with Kernel(obj) as kernel:
        assert kernel.accepts(link(obj, "f"), "in") == (said == "taken")


def test_sums_come_out_as_shown() -> None:
    scalar.begin(True, False)
    rows = ROW.findall((HERE.parents[1] / "docs" / "check-values.md").read_text())
    assert len(rows) >= 8
    for low, high, operation, b_low, b_high, result in rows:
        a, b = between(int(low), int(high)), between(int(b_low), int(b_high))
        found = arith.compute(OPERATIONS[operation], True, a, b)
        assert str(found) == result, (low, high, operation)


def test_the_library_by_kernel() -> None:
    """The table in docs/kernels.md is what the check says; make kernels asks the kernels."""
    page = (HERE.parents[1] / "docs" / "kernels.md").read_text()
    shown = {
        (file, function): cells.split(" | ")
        for file, function, cells in re.findall(r"^\| (\S+\.nf) \| `(\w+)` \| (.+) \|$", page, re.M)
    }
    found: dict[tuple[str, str], list[str]] = {}
    for source in sorted(data_dir("stdlib").glob("*.nf")):
        for report in check_path(source, CONFIRMED, None, load=False)[0]:
            cell = "refused" if report.violations else "ok"
            found.setdefault((source.name, report.function), []).append(cell)
    assert len(shown) >= 14
    assert shown == {row: cells for row, cells in found.items() if row in shown}


def between(least: int, most: int) -> scalar.Scalar:
    """A number of a range, which starts at 0 or above."""
    v, m = scalar.tnum_range(least, most)
    return scalar.sync((v, m, least, most, least, most, least, most, least, most))
