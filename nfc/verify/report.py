"""What a check found, as values that print themselves."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nfc.bpf.object import LineInfo, Program

SHOWN_STEPS = 8  # decisions of a path, the last ones


@dataclass(frozen=True)
class Violation:
    """Something that a kernel refuses; `instruction` counts 8-byte slots from the program's
    start, None when the whole program is meant; `place` is file:line if the object says.

    `advice` says what to do; `registers` what those that matter hold; `path` which way the
    program went, as the last decisions before: `line 12: yes`.
    """

    message: str
    instruction: int | None = None
    place: str = ""
    source: str = ""
    advice: str = ""
    registers: tuple[str, ...] = ()
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The place, the reason, the source line, and how it came to it."""
        where = self.place or (
            f"instruction {self.instruction}" if self.instruction is not None else ""
        )
        lines = [f"{where}: {self.message}" if where else self.message]
        if self.source:
            lines.append(f"    {self.source}")
        if self.advice:
            lines.append(f"    = {self.advice}")
        if self.registers:
            lines.append(f"    with {'; '.join(self.registers)}")
        if self.path:
            lines.append(f"    on the way {', '.join(self.path)}")
        return "\n  ".join(lines)


@dataclass(frozen=True)
class DryRun:
    """What the running kernel said when asked: `accepted` None means it could not be asked.

    `processed` counts the instructions its verifier looked at; `text` is its reason against
    source lines, or why it could not be asked.
    """

    release: str
    accepted: bool | None
    processed: int = 0
    text: str = ""


@dataclass(frozen=True)
class Report:
    """One program: sizes in instructions and bytes, helpers by name, violations, dry run.

    `processed` counts the instructions that the check followed, on all paths.
    """

    function: str
    hook: str
    kernel: str
    instructions: int
    stack: int
    helpers: tuple[str, ...]
    violations: tuple[Violation, ...]
    dry_run: DryRun | None = None
    processed: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing was found and the running kernel, if asked, accepted it."""
        refused = self.dry_run is not None and self.dry_run.accepted is False
        return not self.violations and not refused

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON-ready object."""
        found: dict[str, Any] = {
            "function": self.function,
            "hook": self.hook,
            "kernel": self.kernel,
            "ok": self.ok,
            "instructions": self.instructions,
            "processed": self.processed,
            "stack": self.stack,
            "helpers": list(self.helpers),
            "violations": [
                {
                    "message": v.message,
                    "instruction": v.instruction,
                    "place": v.place,
                    "source": v.source,
                    "advice": v.advice,
                    "registers": list(v.registers),
                    "path": list(v.path),
                }
                for v in self.violations
            ],
        }
        if self.dry_run is not None:
            run = self.dry_run
            found["running_kernel"] = {
                "release": run.release,
                "accepted": run.accepted,
                "processed": run.processed,
                "text": run.text,
            }
        return found

    def __str__(self) -> str:
        """Several lines for a terminal."""
        of_later = "" if self.violations else " and later"  # which may take what this one refuses
        verdict = "refused" if self.violations else "ok"
        effort = f" ({self.processed} followed on all paths)" if self.processed else ""
        lines = [
            f"{self.function} ({self.hook}): {verdict} for kernel {self.kernel}{of_later}",
            f"  {self.instructions} instructions{effort}, {self.stack} bytes of stack, "
            f"helpers: {', '.join(self.helpers) or 'none'}",
        ]
        lines += [f"  {violation}" for violation in self.violations]
        if self.dry_run is not None:
            lines += _dry_run_text(self.dry_run)
        return "\n".join(lines)


def table(reports: Sequence[Report]) -> str:
    """Functions by kernels, a cell each; below it what is refused and why, each reason once."""
    kernels = list(dict.fromkeys(report.kernel for report in reports))
    rows = list(dict.fromkeys((report.function, report.hook) for report in reports))
    cells = {(r.function, r.kernel): "ok" if not r.violations else "refused" for r in reports}
    first = max(len(f"{name} ({hook})") for name, hook in rows)
    lines = [" ".join([" " * first, *(f"{kernel:>8}" for kernel in kernels)])]
    for name, hook in rows:
        said = (f"{cells.get((name, kernel), '-'):>8}" for kernel in kernels)
        lines.append(" ".join([f"{f'{name} ({hook})':{first}}", *said]))
    why: dict[str, list[Report]] = {}
    for report in reports:
        for violation in report.violations:
            why.setdefault(str(violation), []).append(report)
    for text, refused in why.items():
        names = ", ".join(dict.fromkeys(report.function for report in refused))
        versions = ", ".join(dict.fromkeys(report.kernel for report in refused))
        lines.append(f"{names} on {versions}:\n  {text}")
    for name, _ in rows:
        runs = [r.dry_run for r in reports if r.function == name and r.dry_run]
        for run in dict.fromkeys(runs):
            head, *rest = _dry_run_text(run)
            lines += [f"{name}:{head[1:]}", *rest]
    return "\n".join(lines)


def _dry_run_text(run: DryRun) -> list[str]:
    if run.accepted is None:
        return [f"  running kernel {run.release} not asked: {run.text}"]
    if run.accepted:
        effort = f" ({run.processed} instructions processed)" if run.processed else ""
        return [f"  running kernel {run.release}: accepted{effort}"]
    text = run.text.strip().splitlines()
    return [f"  running kernel {run.release}: refused", *(f"    {line}" for line in text)]


# ---- from instructions to source lines ------------------------------------------------------


def line_at(program: Program, slot: int) -> LineInfo | None:
    """The source line that an instruction was made from, if the object says."""
    at = bisect_right(program.line_info, slot * 8, key=lambda line: line.offset)
    return program.line_info[at - 1] if at else None


def violation_at(program: Program, slot: int, message: str, advice: str = "") -> Violation:
    """A violation at an instruction, with the source line that it was made from."""
    line = line_at(program, slot)
    if line is None:
        return Violation(message, slot, advice=advice)
    return Violation(message, slot, f"{line.file}:{line.line}", line.text.strip(), advice)


def path_text(program: Program, path: tuple[tuple[int, bool], ...]) -> tuple[str, ...]:
    """The last decisions of a path: those of one source line that follow each other as one."""
    shown: list[str] = []
    for slot, taken in path:
        line = line_at(program, slot)
        where = f"line {line.line}" if line and line.line else f"instruction {slot}"
        text = f"{where}: {'jump' if taken else 'no jump'}"
        if not shown or shown[-1] != text:
            shown.append(text)
    return tuple(shown[-SHOWN_STEPS:])
