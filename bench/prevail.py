"""How long `nfc check` takes against PREVAIL, another verifier, and where the two disagree.

    .venv/bin/python bench/prevail.py PREVAIL [ROUNDS]     (or PREVAIL=... make bench; no root)

PREVAIL is the program that https://github.com/vbpf/prevail builds. Both are run as commands, each
with its start-up, in turn, on the same file: processor time. The check is timed in its process,
too, reading the object included. The programs are the standard library's, and those that clang
makes of tests/verify/c (v3), where there is a clang. PREVAIL is told to prove termination, as the
kernel and the check do. Without PREVAIL there is one line, and nothing is measured.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from check import spent

from nfc.bpf.facts import HOOK_BY_SECTION
from nfc.bpf.reader import read_object
from nfc.bpf.version import KernelVersion
from nfc.compiler import compile_file
from nfc.resources import data_dir
from nfc.verify.checks import check_object

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "verify"))
from corpus import C_FILES, bytes_by_clang

ROUNDS = 5
LONGEST = 60  # seconds for one run of PREVAIL
NFC = Path(sys.executable).with_name("nfc")


@dataclass(frozen=True)
class Subject:
    """A program in an object's file."""

    name: str
    path: Path
    data: bytes
    section: str
    function: str


@dataclass(frozen=True)
class Row:
    """What each says of one program, and its milliseconds of processor time in each round."""

    name: str
    nfc_accepts: bool
    reason: str  # why PREVAIL does not accept; empty where it does
    in_process: list[float]
    nfc: list[float]
    prevail: list[float]


def subjects(folder: Path) -> Iterator[Subject]:
    """All programs, their objects written to a folder."""
    objects = []
    for source in sorted(data_dir("stdlib").glob("*.nf")):
        compilation = compile_file(source)
        for compiled in compilation.functions:
            name = compiled.manifest.function
            objects.append((f"stdlib/{name}", compilation.object([compiled])))
    if shutil.which("clang") is None:
        print("no clang: the programs in C are left out")
    else:
        objects += [(f"c/{path.stem}", bytes_by_clang(path, "v3")) for path in C_FILES]
    for number, (name, data) in enumerate(objects):
        path = folder / f"{number}.o"
        path.write_bytes(data)
        for program in read_object(data).programs:
            if program.section in HOOK_BY_SECTION:
                full = name if name.startswith("stdlib/") else f"{name}/{program.name}"
                yield Subject(full, path, data, program.section, program.name)


def run(command: list[str]) -> tuple[float, int | None, str]:
    """Milliseconds of processor time, exit status (None: it was stopped), what it wrote."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = spent()
    try:
        done = subprocess.run(
            command,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LONGEST,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return (spent() - before) * 1000, None, ""
    return (spent() - before) * 1000, done.returncode, done.stdout


def reason(status: int | None, output: str) -> str:
    """Why PREVAIL does not accept, in a line: what it says first besides its verdict."""
    if status is None:
        return f"no verdict after {LONGEST} s"
    if status == 0:
        return ""
    lines = [line.strip() for line in output.splitlines()]
    said = [line for line in lines if line and not line.startswith(("FAIL:", "Hint:"))]
    return f"exit status {status}: {said[0] if said else 'no reason'}"


def measure(one: Subject, prevail: str, rounds: int) -> Row:
    """All three in turn; the round before the first, which fills caches, does not count."""
    hook = HOOK_BY_SECTION[one.section].name
    version = str(KernelVersion.running())
    check = [str(NFC), "check", "--no-load", "--kernel", version, "--hook", hook]
    check += ["--function", one.function, str(one.path)]
    in_process, nfc, theirs = [], [], []
    for _ in range(rounds + 1):
        start = time.process_time()
        report = check_object(read_object(one.data), one.function, hook, version)
        in_process.append((time.process_time() - start) * 1000)
        took, status, output = run(check)
        assert status == (0 if report.ok else 1), output
        nfc.append(took)
        took, status, output = run(
            [prevail, "--termination", str(one.path), one.section, one.function]
        )
        theirs.append(took)
    return Row(one.name, report.ok, reason(status, output), in_process[1:], nfc[1:], theirs[1:])


def show(title: str, rows: list[Row]) -> None:
    """Sums over programs: how often both agree, ratios of the least times."""
    if not rows:
        return
    both = [row for row in rows if row.nfc_accepts and not row.reason]
    only_nfc = sum(row.nfc_accepts and bool(row.reason) for row in rows)
    only_prevail = sum(not row.nfc_accepts and not row.reason for row in rows)
    neither = len(rows) - len(both) - only_nfc - only_prevail
    print(
        f"{title}: {len(rows)} programs: both accept {len(both)}, only the check {only_nfc}, "
        f"only PREVAIL {only_prevail}, neither {neither}"
    )
    for what, ratios in (
        ("command to command", [min(row.nfc) / min(row.prevail) for row in both]),
        ("in process to command", [min(row.in_process) / min(row.prevail) for row in both]),
    ):
        if ratios:
            middle = statistics.median(ratios)
            print(f"  time of the check to PREVAIL's where both accept, {what}: "
                  f"median {middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


def main() -> None:
    """The table."""
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("PREVAIL", "")
    prevail = shutil.which(given) if given else None
    if prevail is None:
        what = f"{given} is not a program" if given else "no program given (PREVAIL=path)"
        print(f"bench/prevail.py: skipped, {what}")
        return
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    print(f"milliseconds of processor time: least (median) of {rounds} rounds")
    print(f"{'program':28} {'check in process':>18} {'nfc check':>18} {'PREVAIL':>18}  verdicts")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for one in subjects(Path(folder)):
            row = measure(one, prevail, rounds)
            rows.append(row)
            times = "".join(
                f" {f'{min(t):.1f} ({statistics.median(t):.1f})':>18}"
                for t in (row.in_process, row.nfc, row.prevail)
            )
            verdicts = f"check {'accepts' if row.nfc_accepts else 'refuses'}, PREVAIL "
            print(f"{row.name:28}{times}  {verdicts}{row.reason or 'accepts'}", flush=True)
    show("standard library", [row for row in rows if row.name.startswith("stdlib/")])
    show("C by clang", [row for row in rows if row.name.startswith("c/")])


if __name__ == "__main__":
    main()
