"""What a check found, as values that print themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Violation:
    """Something that a kernel refuses; `instruction` counts 8-byte slots from the program's
    start, None when the whole program is meant; `place` is file:line if the object says."""

    message: str
    instruction: int | None = None
    place: str = ""
    source: str = ""

    def __str__(self) -> str:
        """The place, the reason, the source line."""
        where = self.place or (
            f"instruction {self.instruction}" if self.instruction is not None else ""
        )
        text = f"{where}: {self.message}" if where else self.message
        return f"{text}\n      {self.source}" if self.source else text


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
    """One program: sizes in instructions and bytes, helpers by name, violations, dry run."""

    function: str
    hook: str
    kernel: str
    instructions: int
    stack: int
    helpers: tuple[str, ...]
    violations: tuple[Violation, ...]
    dry_run: DryRun | None = None

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
            "stack": self.stack,
            "helpers": list(self.helpers),
            "violations": [
                {
                    "message": v.message,
                    "instruction": v.instruction,
                    "place": v.place,
                    "source": v.source,
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
        verdict = "ok" if not self.violations else "refused"
        lines = [
            f"{self.function} ({self.hook}): {verdict} for kernel {self.kernel} and later",
            f"  {self.instructions} instructions, {self.stack} bytes of stack, "
            f"helpers: {', '.join(self.helpers) or 'none'}",
        ]
        lines += [f"  {violation}" for violation in self.violations]
        if self.dry_run is not None:
            lines += _dry_run_text(self.dry_run)
        return "\n".join(lines)


def _dry_run_text(run: DryRun) -> list[str]:
    if run.accepted is None:
        return [f"  running kernel {run.release} not asked: {run.text}"]
    if run.accepted:
        effort = f" ({run.processed} instructions processed)" if run.processed else ""
        return [f"  running kernel {run.release}: accepted{effort}"]
    text = run.text.strip().splitlines()
    return [f"  running kernel {run.release}: refused", *(f"    {line}" for line in text)]
