"""docs/errors.md is the test: every program in it gets exactly the text under it."""

from __future__ import annotations

import ast
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from nfc.syntax.diagnostics import Diagnostics

sys.path.insert(0, str(Path(__file__).parent))
from gallery import PAGE, Case, cases, rewrite

NFC = PAGE.parents[1] / "nfc"
SOURCES = [*(NFC / "sema").glob("*.py"), *(NFC / "syntax").glob("*.py"), NFC / "compiler.py"]
# What the page has no room for: other files than text and too many files (test_modules.py), and a
# number that changes with LLVM (tests/codegen/test_stack.py). And what only packet tests have.
ELSEWHERE = {
    *("error.message", "more than {MAX_MODULES} files are used", "bytes of stack; a BPF"),
    "this has more than {self.most} words",
}


@pytest.mark.parametrize("case", cases(), ids=[c.title for c in cases()])
def test_program_gets_this_text(case: Case, tmp_path: Path) -> None:
    got = case.says(tmp_path)
    if "NFC_UPDATE" in os.environ:
        rewrite(case, got)
        return
    assert got == case.text


def test_every_title_stands_once() -> None:
    assert [t for t, n in Counter(c.title for c in cases()).items() if n > 1] == []


def calls() -> dict[tuple[str, int], tuple[int, str]]:
    """Every place that reports something: its file and first line; its last line and text."""
    found = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = ast.unparse(node.func.value)
            if owner.endswith("diagnostics") or node.func.attr == "_error":
                if node.func.attr not in ("error", "warning", "_error") or len(node.args) < 2:
                    continue
                text = ast.unparse(node.args[1])
                if text != "message":  # what only passes a message on
                    found[str(path), node.lineno] = (node.end_lineno or node.lineno, text)
    return found


def test_every_message_has_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No message without a program that gets it: so an operator's view of each is on the page."""
    seen: set[tuple[str, int]] = set()
    keep = Diagnostics._add

    def add(self: Diagnostics, diagnostic: object) -> None:
        frame = sys._getframe(1)
        for _ in range(4):
            seen.add((frame.f_code.co_filename, frame.f_lineno))
            if frame.f_back is None:
                break
            frame = frame.f_back
        keep(self, diagnostic)  # type: ignore[arg-type]

    monkeypatch.setattr(Diagnostics, "_add", add)
    for number, case in enumerate(cases()):
        folder = tmp_path / str(number)
        folder.mkdir()
        case.says(folder)
    missing = [
        f"{Path(file).name}:{first}: {text}"
        for (file, first), (last, text) in calls().items()
        if not any(f == file and first <= line <= last for f, line in seen)
        and not any(part in text for part in ELSEWHERE)
    ]
    assert missing == []
