"""Reads docs/errors.md: programs, and the text that each gets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nfc.codegen.target import DEFAULT
from nfc.compiler import compile_file
from nfc.errors import NfcError
from nfc.syntax.diagnostics import SourceErrors

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
COMMAND = "$ nfc check --kernel "  # may begin the text; without it the default kernel is meant
CASE = re.compile(
    r"### (?P<title>[^\n]+)\n\n```nf\n(?P<program>.*?)\n```\n\n"
    r"(?:With `(?P<name>\w+\.nf)` beside it:\n\n```nf\n(?P<beside>.*?)\n```\n\n)?"
    r"```text\n(?P<text>.*?)\n?```",
    re.S,
)


@dataclass(frozen=True)
class Case:
    """One entry: a program, perhaps with a file that it uses, and what nfc says to it."""

    title: str
    program: str
    beside: tuple[str, str] | None  # its name and text
    text: str

    @property
    def kernel(self) -> str:
        """The kernel that the entry's command names."""
        first = self.text.partition("\n")[0]
        return first.removeprefix(COMMAND).split()[0] if first.startswith(COMMAND) else DEFAULT

    def says(self, folder: Path) -> str:
        """What nfc says to the program, as the page would have it."""
        path = folder / "wrong.nf"
        path.write_text(self.program + "\n")
        if self.beside is not None:
            (folder / self.beside[0]).write_text(self.beside[1] + "\n")
        first = self.text.partition("\n")[0]
        command = first + "\n" if first.startswith(COMMAND) else ""
        try:
            warnings = compile_file(path, self.kernel).warnings
        except SourceErrors as error:
            said = error.render()
        except NfcError as error:
            said = f"error: {error}" + (f"\n      = {error.hint}" if error.hint else "")
        else:
            said = "\n".join(w.render() for w in warnings) or "(nothing)"
        return command + said.replace(f"{folder}/", "")


def cases() -> list[Case]:
    """All entries of the page."""
    return [
        Case(m["title"], m["program"], (m["name"], m["beside"]) if m["name"] else None, m["text"])
        for m in CASE.finditer(PAGE.read_text())
    ]


def rewrite(case: Case, text: str) -> None:
    """Put what nfc says now into the page."""
    page = PAGE.read_text()
    for found in CASE.finditer(page):
        if found["title"] == case.title:
            PAGE.write_text(page[: found.start("text")] + text + page[found.end("text") :])
            return
