"""docs/errors.md is the test: every program in it gets exactly the text under it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from nfc.compiler import compile_file
from nfc.syntax.diagnostics import SourceErrors

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
CASE = re.compile(
    r"### (?P<title>[^\n]+)\n\n```nf\n(?P<program>.*?)\n```\n\n```text\n(?P<text>.*?)\n```", re.S
)


def cases() -> list[tuple[str, str, str]]:
    return [(m["title"], m["program"], m["text"]) for m in CASE.finditer(PAGE.read_text())]


def says(program: str, folder: Path) -> str:
    path = folder / "wrong.nf"
    path.write_text(program + "\n")
    try:
        compile_file(path)
    except SourceErrors as error:
        return error.render().replace(str(folder) + "/", "")
    return "(no error)"


@pytest.mark.parametrize(("title", "program", "text"), cases(), ids=[c[0] for c in cases()])
def test_program_gets_this_text(title: str, program: str, text: str, tmp_path: Path) -> None:
    got = says(program, tmp_path)
    if "NFC_UPDATE" in os.environ:
        page = PAGE.read_text()
        head = f"### {title}\n\n```nf\n{program}\n```\n\n```text\n"
        PAGE.write_text(page.replace(f"{head}{text}\n```", f"{head}{got}\n```"))
        return
    assert got == text


def test_the_page_has_every_section() -> None:
    assert len(cases()) >= 50
