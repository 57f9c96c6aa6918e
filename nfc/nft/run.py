"""Runs tests, one after the other, and keeps what came of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nfc.compiler import Compiled
from nfc.errors import UsageError
from nfc.nft import tree
from nfc.nft.machine import Machine, UnableError
from nfc.nft.step import Failure, Skipped
from nfc.nft.subject import Subject
from nfc.nft.walk import Walk, routes_of
from nfc.syntax.diagnostics import Diagnostics

SUFFIX = ".nft"


@dataclass(frozen=True)
class Result:
    """What came of one test: `passed`, `failed`, or `skipped` (nothing failed, but a step could
    not be tried). `seconds` is how long it took, `packets` how many were sent."""

    file: str
    test: str
    function: str
    line: int
    status: str
    failures: tuple[Failure, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    packets: int = 0
    checks: int = 0
    seconds: float = field(default=0.0, compare=False)

    @property
    def name(self) -> str:
        """File, function and test, as `-k` sees them."""
        return f"{self.file}::{self.function}::{self.test}"

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON-ready object."""
        return {
            "file": self.file,
            "test": self.test,
            "function": self.function,
            "line": self.line,
            "status": self.status,
            "packets": self.packets,
            "checks": self.checks,
            "seconds": round(self.seconds, 6),
            "failures": [f.to_json() for f in self.failures],
            "skipped": [{"line": s.span.line, "reason": s.reason} for s in self.skipped],
        }


def find(paths: Sequence[Path]) -> list[Path]:
    """The files of tests that are meant: files as they are, and all below folders, in order.

    Raises UsageError where there are none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            below = sorted(p for p in path.rglob(f"*{SUFFIX}") if p.is_file())
            if not below:
                raise UsageError(f"there are no {SUFFIX} files in {path}")
            found += below
        else:
            file = path.with_suffix(SUFFIX) if path.suffix == ".nf" else path
            if not file.is_file():
                hint = "tests stand beside the program: X.nf, X.nft"
                raise UsageError(f"there is no {file}", hint=hint)
            found.append(file)
    return list(dict.fromkeys(found))


def chosen(subject: Subject, pattern: str) -> Iterator[tuple[tree.Test, Compiled]]:
    """The tests whose file, function or name holds the text, upper and lower case alike."""
    for test, compiled in subject.tests:
        name = f"{subject.path}::{compiled.function.name}::{test.name}"
        if pattern.lower() in name.lower():
            yield test, compiled


def run_test(
    subject: Subject, test: tree.Test, compiled: Compiled, machine: Machine, watch: Any = None
) -> Result:
    """Run one test. Raises NfcError where the machine cannot be used at all."""
    begin = time.monotonic()
    diagnostics = Diagnostics()
    walk = Walk(subject, compiled, diagnostics, test=test, watch=watch)
    try:
        with machine.session(subject, compiled, tuple(routes_of(test))) as session:
            walk.session = session
            walk.go()
    except UnableError as unable:
        walk.skipped.append(Skipped(test.span, str(unable)))
    for one in diagnostics.items:  # what only shows while it runs: there is no packet inside, …
        walk.failures.append(Failure(one.span, one.message, one.hint or ""))
    status = "failed" if walk.failures else "skipped" if walk.skipped else "passed"
    return Result(
        str(subject.path),
        test.name,
        compiled.function.name,
        test.span.line,
        status,
        tuple(walk.failures),
        tuple(walk.skipped),
        walk.sends,
        walk.checks,
        time.monotonic() - begin,
    )


def machine_for(kernel: bool, *, trace: bool = False) -> Machine:
    """The machine that tests run on; `trace`: note the instructions, where it can."""
    if kernel:
        from nfc.nft.real import Real

        return Real()
    from nfc.nft.simulated import Simulated

    return Simulated(trace=trace)
