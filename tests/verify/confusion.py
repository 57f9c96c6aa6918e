"""How often the check and a kernel said what: the confusion table."""

from __future__ import annotations

from dataclasses import dataclass, field

from mutate import Base

from nfc.bpf.version import KernelVersion
from nfc.errors import ObjectError
from nfc.verify.checks import check_linked


@dataclass
class Table:
    """Counts, and the programs where the two differ: (what was changed, the program, why)."""

    both_accept: int = 0
    both_refuse: int = 0
    wrong_accept: list[tuple[str, Base]] = field(default_factory=list)
    wrong_reject: list[tuple[str, Base, str]] = field(default_factory=list)

    def add(self, what: str, one: Base, why: str, taken: bool) -> None:
        """`why`: the check's reason to refuse, if it does; `taken`: the kernel's verdict."""
        if taken and not why:
            self.both_accept += 1
        elif taken:
            self.wrong_reject.append((what, one, why))
        elif not why:
            self.wrong_accept.append((what, one))
        else:
            self.both_refuse += 1

    @property
    def share(self) -> float:
        """Wrong rejects, in percent of what the kernel accepts."""
        accepted = self.both_accept + len(self.wrong_reject)
        return 100 * len(self.wrong_reject) / accepted if accepted else 0

    def __str__(self) -> str:
        return (
            f"                   kernel accepts   kernel refuses\n"
            f"  check accepts    {self.both_accept:14}   {len(self.wrong_accept):14}\n"
            f"  check refuses    {len(self.wrong_reject):14}   {self.both_refuse:14}\n"
            f"  wrong rejects: {self.share:.2f} % of what the kernel accepts"
        )


def refusal(one: Base, version: KernelVersion) -> str:
    """Why the check refuses a program; empty if it does not."""
    try:
        report = check_linked(one.object, one.program, one.hook, version)
    except ObjectError as error:
        return error.message
    return "; ".join(f"{v.instruction}: {v.message}" for v in report.violations)
