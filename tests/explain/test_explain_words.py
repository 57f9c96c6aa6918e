"""What explanations say: of the library to the word, of generated programs that nothing is left
out."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from nfc.compiler import compile_file
from nfc.explain.graph import svg
from nfc.explain.report import explain
from nfc.sema import typed
from nfc.syntax.diagnostics import SourceErrors

sys.path.insert(0, str(Path(__file__).parents[1] / "properties"))

from generated_sources import Generated, programs

REPOSITORY = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("golden")
FILES = [
    path
    for path in sorted([*REPOSITORY.glob("stdlib/*.nf"), *REPOSITORY.glob("examples/edge/*.nf")])
    if re.search(r"^(endpoint|transit) ", path.read_text(), re.M)
]


@pytest.mark.parametrize("path", FILES, ids=[p.stem for p in FILES])
def test_the_library_to_the_word(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFC_UPDATE=1 writes the texts anew; instructions and loops are LLVM's business."""
    monkeypatch.chdir(REPOSITORY)
    compilation = compile_file(path.relative_to(REPOSITORY))
    said = "\n\n".join(str(explain(compilation, one)) for one in compilation.functions)
    lines = [line for line in said.splitlines() if " instructions" not in line]
    golden = GOLDEN / f"{path.stem}.txt"
    if "NFC_UPDATE" in os.environ:
        golden.write_text("\n".join(lines) + "\n")
    assert "\n".join(lines) + "\n" == golden.read_text()


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(program=programs())
def test_nothing_is_left_out(program: Generated, tmp_path: Path) -> None:
    path = tmp_path / "program.nf"
    path.write_text(program.source)
    try:
        compilation = compile_file(path, "6.12")
        explanation = explain(compilation, compilation.functions[0])
    except SourceErrors:  # more stack than there is
        return
    text, picture = str(explanation), svg(explanation)
    (compiled,) = compilation.functions
    assert len(explanation.rules) == len(compiled.function.rules)
    for number, (rule, said) in enumerate(
        zip(compiled.function.rules, explanation.rules, strict=True), 1
    ):
        assert f"{number:>2}. line {rule.span.line}: " in text
        assert bool(said.when) == (rule.guard is not None)
        assert len(said.edits) == len(rule.edits)
        for part in (*said.when, *said.edits, said.verdict):
            assert part in text
        written = [
            number
            for number, edit in enumerate(rule.edits, 1)
            if isinstance(edit, typed.SetHeader | typed.SetTlv | typed.AddTlv | typed.RemoveTlv)
        ]
        merged = {number for one in said.merged for number in one.edits}
        assert set(written) <= merged  # each is some helper call's
    assert picture.startswith("<svg") and picture.count("<text") > len(explanation.rules)
