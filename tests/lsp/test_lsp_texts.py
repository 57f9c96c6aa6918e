"""For every entry of docs/errors.md the editor shows what the command line says, word for word."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nfc.codegen.target import parse_target
from nfc.compiler import compile_file
from nfc.lsp.diagnose import diagnose
from nfc.lsp.workspace import Workspace
from nfc.syntax.diagnostics import SourceErrors

sys.path.insert(0, str(Path(__file__).parents[1] / "sema"))
from gallery import Case, cases

# One entry has no place in a text: its file cannot be compiled at all.
CASES = [case for case in cases() if not case.text.partition("\n")[2].startswith("error:")]


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_the_same_texts_at_the_same_places(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong.nf").write_text(case.program + "\n")
    if case.beside is not None:
        Path(case.beside[0]).write_text(case.beside[1] + "\n")
    try:
        said = list(compile_file(Path("wrong.nf"), case.kernel).warnings)
    except SourceErrors as error:
        said = error.diagnostics
    workspace = Workspace()
    document = workspace.put(tmp_path / "wrong.nf", case.program + "\n", 1)
    found = diagnose(workspace, document, parse_target(case.kernel))
    shown = [d for by_file in found.values() for d in by_file]
    assert [d.to_json() for d in sorted(shown, key=_order)] == [
        d.to_json() for d in sorted(said, key=_order)
    ]


def _order(diagnostic: object) -> str:
    return repr(diagnostic)
