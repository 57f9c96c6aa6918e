"""For every entry of docs/errors.md: each fix that is offered takes away what it is offered for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nfc.codegen.target import parse_target
from nfc.lsp.actions import Fix, fixes
from nfc.lsp.diagnose import diagnose
from nfc.lsp.document import Document
from nfc.lsp.workspace import Workspace
from nfc.syntax.diagnostics import Diagnostic

sys.path.insert(0, str(Path(__file__).parents[1] / "sema"))
from gallery import Case, cases

TARGET = parse_target("6.1")


def applied(text: str, fix: Fix) -> str:
    for edit in sorted(fix.edits, key=lambda e: e.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def offered(
    text: str, folder: Path
) -> tuple[Document, list[tuple[Diagnostic, Fix]], list[Diagnostic]]:
    workspace = Workspace()
    document = workspace.put(folder / "wrong.nf", text, 1)
    found = diagnose(workspace, document, TARGET)[document.path]
    return document, [(d, f) for d in found for f in fixes(workspace, document, d)], found


OFFERED = [
    (case, diagnostic, fix)
    for case in cases()
    if case.beside is None
    for diagnostic, fix in offered(case.program + "\n", Path("/nowhere"))[1]
]


@pytest.mark.parametrize(
    ("case", "diagnostic", "fix"), OFFERED, ids=[f"{c.title}: {f.title}" for c, _, f in OFFERED]
)
def test_a_fix_takes_its_diagnostic_away(case: Case, diagnostic: Diagnostic, fix: Fix) -> None:
    text = case.program + "\n"
    before = offered(text, Path("/nowhere"))[2]
    after = offered(applied(text, fix), Path("/nowhere"))[2]
    said = [d.message for d in after]
    assert said.count(diagnostic.message) < [d.message for d in before].count(diagnostic.message)


def test_most_kinds_of_fixes_come_up() -> None:
    assert len({fix.title.split("'")[0] for _, _, fix in OFFERED}) >= 3
    assert len(OFFERED) >= 30
