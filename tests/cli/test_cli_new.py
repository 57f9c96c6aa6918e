"""`nfc new`: what it writes compiles, is formatted, and overwrites nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfc.cli.new import HOOKS, template
from nfc.compiler import compile_file
from nfc.errors import UsageError
from nfc.syntax.format import format_source
from nfc.syntax.source import Source

Nfc = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("hook", HOOKS)
def test_it_compiles_and_is_formatted(nfc: Nfc, tmp_path: Path, hook: str) -> None:
    path = tmp_path / "police.nf"
    code, out, err = nfc("new", tmp_path / "police", "--hook", hook)
    assert (code, err) == (0, "")
    tests = tmp_path / "police.nft"
    assert out == f"{path}: police ({hook}), and its tests; next: nfc test {tests}\n"
    compilation = compile_file(path)
    assert [(f.manifest.function, f.manifest.hook) for f in compilation.functions] == [
        ("police", hook)
    ]
    assert compilation.warnings == ()
    assert compilation.object(compilation.functions)
    source = Source.read(path)
    assert format_source(source) == source.text
    assert nfc("check", path, "--no-load")[0] == 0
    code, out, err = nfc("test", tmp_path, "--cover", "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["passed"] == 2
    (covered,) = said["coverage"]
    assert all(rule["packets"] for rule in covered["rules"])


def test_the_ending_may_be_said(nfc: Nfc, tmp_path: Path) -> None:
    assert nfc("new", tmp_path / "f.nf")[0] == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.nf", "f.nft"]


@pytest.mark.parametrize("ending", ["mine.nf", "mine.nft"])
def test_a_file_that_is_there_stays(nfc: Nfc, tmp_path: Path, ending: str) -> None:
    path = tmp_path / ending
    path.write_text("# mine\n")
    code, out, err = nfc("new", tmp_path / "mine")
    assert (code, out) == (1, "")
    assert f"{path} is there already" in err
    assert path.read_text() == "# mine\n"
    assert [p.name for p in tmp_path.iterdir()] == [ending]


def test_a_folder_that_is_not_there(nfc: Nfc, tmp_path: Path) -> None:
    code, out, err = nfc("new", tmp_path / "no" / "f")
    assert (code, out) == (1, "")
    assert "No such file or directory" in err


@pytest.mark.parametrize("broken", ["f.nf", "f.nft"])
def test_where_one_cannot_be_written_neither_stays(
    nfc: Nfc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """As on a disk that is full: the file can be opened, and then takes nothing."""
    real = Path.open

    def full(path: Path, *args: Any, **kwargs: Any) -> Any:
        stream = real(path, *args, **kwargs)
        if path.name == broken:
            stream.close()
            return open("/dev/full", "w")
        return stream

    monkeypatch.setattr(Path, "open", full)
    code, out, err = nfc("new", tmp_path / "f")
    assert (code, out) == (1, "")
    assert err == f"error: cannot write {tmp_path / broken}: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


WRONG = ["my-tag", "2nd", "", "ünder", "a b", "endpoint", "srh", "mark", "x" * 65, "a\nendpoint b"]


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_name(nfc: Nfc, tmp_path: Path, name: str) -> None:
    code, out, err = nfc("new", tmp_path / f"{name}.nf")
    assert (code, out) == (2, "")
    assert "a function cannot be called" in err
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=70), st.sampled_from(HOOKS))
def test_for_every_name_it_is_a_program_or_refused(name: str, hook: str) -> None:
    try:
        text = template(name, hook)
    except UsageError as refusal:
        assert repr(name)[1:-1] in repr(refusal.message) or name in refusal.message
        return
    assert f" {name} " in text


def test_it_loads_no_compiler(tmp_path: Path) -> None:
    program = (
        "import sys; from nfc.cli.new import template; template('f', 'in');"
        "print({'llvmlite', 'pyroute2', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
