"""`nfc build`: every stage, every place to write to, and what it says of wrong requests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nfc.bpf.reader import read_object
from nfc.cli.build import STAGES
from nfc.resources import data_dir

Nfc = Callable[..., tuple[int, str, str]]

STDLIB = data_dir("stdlib")
DELAY = STDLIB / "delay.nf"
TWO_OF_A_HOOK = """
endpoint first_one { otherwise forward }
endpoint second_one { otherwise drop }
transit third_one at in { otherwise forward }
"""
SHOWN = {
    "tree": "Use module=dm",
    "typed": "Function",
    "plan": "end_dm",
    "llvm": "define",
    "asm": "exit",
}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_beside_it_by_default(nfc: Nfc, tmp_path: Path) -> None:
    code, out, err = nfc("build", DELAY)
    assert (code, err) == (0, "")
    assert out == "delay.o: mark_delay (in), end_dm (endpoint), for kernel 6.1 and later\n"
    assert os.listdir(tmp_path) == ["delay.o"]
    built = read_object((tmp_path / "delay.o").read_bytes())
    assert {p.name for p in built.programs} == {"mark_delay", "end_dm"}
    assert (tmp_path / "delay.o").stat().st_mode & 0o777 == 0o644


def test_to_a_file_and_to_a_folder(nfc: Nfc, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert nfc("build", DELAY, "-o", "other.o")[1].startswith("other.o: ")
    assert nfc("build", DELAY, "-o", "folder")[1].startswith("folder/delay.o: ")
    assert (tmp_path / "other.o").read_bytes() == (tmp_path / "folder/delay.o").read_bytes()
    # What stood there gives way; nothing else is left.
    (tmp_path / "other.o").write_text("old")
    assert nfc("build", DELAY, "-o", "other.o")[0] == 0
    assert (tmp_path / "other.o").read_bytes()[:4] == b"\x7fELF"
    assert sorted(os.listdir(tmp_path)) == ["folder", "other.o"]


def test_to_standard_output(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nfc", "build", str(DELAY), "-o", "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert {p.name for p in read_object(done.stdout).programs} == {"mark_delay", "end_dm"}
    assert os.listdir(tmp_path) == []
    command[-1] = "/dev/stdout"
    again = subprocess.run(command, capture_output=True, check=False)
    assert again.returncode == 0
    assert again.stdout.startswith(done.stdout)


@pytest.mark.parametrize("stage", [s for s in STAGES if s != "obj"])
def test_every_stage(nfc: Nfc, tmp_path: Path, stage: str) -> None:
    code, out, err = nfc("build", DELAY, "--emit", stage)
    assert (code, err) == (0, "")
    assert SHOWN[stage] in out
    assert os.listdir(tmp_path) == []
    assert nfc("build", DELAY, "--emit", stage) == (0, out, ""), "the same every time"
    assert nfc("build", DELAY, "--emit", stage, "-o", "text")[0] == 0
    assert (tmp_path / "text").read_text() == out
    assert nfc("build", DELAY, "--emit", stage, "-o", "-")[1] == out


def test_one_function(nfc: Nfc, tmp_path: Path) -> None:
    assert nfc("build", DELAY, "--function", "end_dm")[1].startswith("delay-end_dm.o: end_dm")
    (program,) = read_object((tmp_path / "delay-end_dm.o").read_bytes()).programs
    assert program.name == "end_dm"
    asm = nfc("build", DELAY, "--function", "end_dm", "--emit", "asm")[1]
    assert "mark_delay" not in asm


def test_several_functions_of_one_hook(nfc: Nfc, tmp_path: Path) -> None:
    (tmp_path / "many.nf").write_text(TWO_OF_A_HOOK)
    code, out, err = nfc("build", "many.nf")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 3
    for name in ("first_one", "second_one", "third_one"):
        (program,) = read_object((tmp_path / f"many-{name}.o").read_bytes()).programs
        assert program.name == name
    for place in ("all.o", "-"):
        code, out, err = nfc("build", "many.nf", "-o", place)
        assert (code, out) == (2, "")
        assert "makes 3 objects" in err
        assert "--function" in err
        assert "second_one" in err
    assert nfc("build", "many.nf", "-o", "one.o", "--function", "second_one")[0] == 0
    for stage in SHOWN:
        assert nfc("build", "many.nf", "--emit", stage)[0] == 0


def test_declarations_alone(nfc: Nfc, tmp_path: Path) -> None:
    code, out, err = nfc("build", STDLIB / "dm.nf")
    assert (code, out) == (2, "")
    assert "declares no function" in err
    assert nfc("build", STDLIB / "dm.nf", "--emit", "tree")[0] == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("where", ["missing/out.o", "file/out.o"])
def test_where_nothing_can_be_written(nfc: Nfc, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = nfc("build", DELAY, "-o", where)
    assert code == 1
    assert f"cannot write {where}" in err
    assert os.listdir(tmp_path) == ["file"]


def test_a_wrong_program_writes_nothing(nfc: Nfc, tmp_path: Path) -> None:
    (tmp_path / "bad.nf").write_text("endpoint f {\n    otherwise forwrd\n}\n")
    (tmp_path / "out.o").write_text("old")
    code, out, err = nfc("build", "bad.nf", "-o", "out.o")
    assert (code, out) == (1, "")
    assert "bad.nf:2:15: error:" in err
    assert (tmp_path / "out.o").read_text() == "old"


@pytest.mark.parametrize("kernel", ["6.18", "6.1", "6.1.0-25-amd64"])
def test_kernels(nfc: Nfc, kernel: str) -> None:
    code, out, _ = nfc("build", DELAY, "--kernel", kernel)
    assert code == 0
    assert f"for kernel {'.'.join(kernel.split('.')[:2])}" in out


def test_a_kernel_that_lacks_something(nfc: Nfc) -> None:
    code, _, err = nfc("build", DELAY, "--kernel", "5.10")
    assert code == 1
    assert "delay.nf:1" in err
    assert "kernel 5.10 has no clock" in err
    for nonsense in ("new", "", "6", "-1.2", "6.x"):
        code, out, err = nfc("build", DELAY, "--kernel", nonsense)
        assert (code, out) == (2, ""), nonsense
        assert "kernel" in err
