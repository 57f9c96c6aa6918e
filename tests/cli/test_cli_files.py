"""Files that commands read and write: none is written over that is read, and whatever cannot be
read or shown ends in words."""

from __future__ import annotations

import io
import json
import os
import pty
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nfc.cli import main, output
from nfc.errors import NfcError, UsageError
from nfc.kernel.route import parse_prefix
from nfc.resources import data_dir
from nfc.syntax.diagnostics import Diagnostics, SourceErrors
from nfc.syntax.source import Source, Span

Nfc = Callable[..., tuple[int, str, str]]

STDLIB = data_dir("stdlib")


@pytest.fixture
def tag(tmp_path: Path) -> Path:
    for name in ("tag.nf", "tag.nft"):
        shutil.copy(STDLIB / name, tmp_path)
    return tmp_path / "tag.nf"


@pytest.mark.parametrize(
    "command",
    [
        ["build", "FILE", "-o", "FILE"],
        ["build", "FILE", "-o", "LINK", "--emit", "plan"],
        ["explain", "FILE", "--svg", "LINK"],
        ["run", "FILE", "--pcap", "OTHER", "--out", "OTHER"],
        ["run", "FILE", "--pcap", "OTHER", "--out", "FILE", "--json"],
        ["test", "FILE", "--junit", "LINK", "--json"],
    ],
)
def test_what_is_read_is_not_written_over(nfc: Nfc, tag: Path, command: list[str]) -> None:
    names = {"FILE": tag, "LINK": tag.with_name("link"), "OTHER": tag.with_suffix(".nft")}
    names["LINK"].symlink_to(tag)
    before = tag.read_bytes(), names["OTHER"].read_bytes()
    code, out, err = nfc(*(names.get(word, word) for word in command))
    assert code == 2
    said = json.loads(out)["error"] if "--json" in command else err
    assert "is read from; write to another file" in said
    assert (tag.read_bytes(), names["OTHER"].read_bytes()) == before


def test_a_file_that_breaks_off_while_it_is_read(nfc: Nfc, tag: Path) -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("no /proc/self/mem")
    code, out, err = nfc("check", tag, "--no-load", "--log", "/proc/self/mem")
    assert (code, out) == (1, "")
    assert "Input/output error" in err
    assert "Traceback" not in err


def test_errors_of_tests_are_json_too(nfc: Nfc, tag: Path) -> None:
    code, out, err = nfc("test", tag, "-k", "nothing", "--json")
    assert (code, err) == (2, "")
    assert "no test holds 'nothing'" in json.loads(out)["error"]
    code, out, err = nfc("test", tag, "--junit", tag.parent / "none" / "x.xml", "--json")
    assert code == 1
    assert "cannot write" in json.loads(out)["error"]


@pytest.mark.parametrize(
    "command",
    [
        ["run", "none.nf", "--pcap", "x", "--json"],
        ["test", "none.nft", "--json"],
        ["check", "--json"],
        ["segtrace", "fd00::x", "--json"],
    ],
)
def test_wrong_usage_is_json_where_json_is_asked_for(nfc: Nfc, command: list[str]) -> None:
    code, out, err = nfc(*command)
    assert (code, err) == (2, "")
    assert set(json.loads(out)) == {"ok", "error", "hint"}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["new", ""], "a function cannot be called"),
        (["new", "/"], "a function cannot be called"),
        (["run", "TAG", "--pcap", "TAG", "--trace", "5-2"], "neither a number nor FROM-TO"),
    ],
)
def test_what_cannot_be_meant(nfc: Nfc, tag: Path, command: list[str], said: str) -> None:
    code, out, err = nfc(*(str(tag) if word == "TAG" else word for word in command))
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize("command", ["build", "check", "explain", "fmt"])
def test_packet_tests_are_no_program(nfc: Nfc, tag: Path, command: str) -> None:
    tests = tag.with_suffix(".nft")
    before = tests.read_bytes()
    code, out, err = nfc(command, tests)
    assert (code, out) == (1 if command == "fmt" else 2, "")
    assert "holds packet tests" in err
    assert tests.read_bytes() == before


@pytest.mark.parametrize("number", ["nan", "inf", "-nan"])
@pytest.mark.parametrize(
    "command",
    [
        ["segtrace", "fd00::1", "--confidence"],
        ["delay", "collect", "--timeout"],
        ["delay", "query", "fd00::1", "--interval"],
        ["events", "f", "--timeout"],
    ],
)
def test_what_is_no_number_is_in_no_range(nfc: Nfc, command: list[str], number: str) -> None:
    """Each of these went on for ever."""
    code, out, err = nfc(*command, number)
    assert (code, out) == (2, "")
    assert f"Invalid value for '{command[-1]}'" in err
    assert "is not in the range" in err


def test_a_prefix_with_bits_behind_it_is_told_without_them() -> None:
    with pytest.raises(UsageError, match="has host bits set") as refused:
        parse_prefix("fd00:a::4/64")
    assert refused.value.hint == "did you mean fd00:a::/64?"
    with pytest.raises(UsageError, match="is not an IPv6 prefix") as refused:
        parse_prefix("fd00:a::4/129")
    assert refused.value.hint is None


def test_streams_that_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    monkeypatch.setattr(sys, "argv", ["nfc", "completion", "bash"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


def test_a_terminal_that_knows_few_letters(tag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), "latin-1")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["nfc", "explain", str(tag)])
    with pytest.raises(SystemExit) as ended:
        main()
    out.flush()
    assert ended.value.code == 0
    assert b"\\u2192 forwards it" in out.buffer.getvalue()


@pytest.mark.parametrize("refused", ["", "1"])
def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    main_end, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stderr, os.fdopen(main_end, "rb") as read:
        monkeypatch.setattr(sys, "stderr", stderr)
        monkeypatch.setenv("NO_COLOR", refused)
        if not refused:
            monkeypatch.delenv("NO_COLOR")
        output.error(NfcError("it is wrong"))
        stderr.flush()
        said = os.read(read.fileno(), 1000)
    assert (b"\x1b[" in said) == (not refused)
    assert b"it is wrong" in said


def test_a_test_that_is_no_text_has_its_place_once(nfc: Nfc, tmp_path: Path) -> None:
    path = tmp_path / "a.nft"
    path.write_bytes(b"\xff")
    (tmp_path / "a.nf").write_text("endpoint a { otherwise forward }")
    code, out, _ = nfc("test", path)
    assert (code, out.splitlines()[0]) == (1, f"error: {path}:1: not UTF-8 text (byte 0)")


def test_of_a_line_without_end_a_part_is_shown() -> None:
    text = "x" * 5000 + "!" + "y" * 5000
    diagnostics = Diagnostics()
    diagnostics.error(Span(Source("a.nf", text), 5000, 5001), "wrong")
    with pytest.raises(SourceErrors) as error:
        diagnostics.check()
    place, line, caret, *_ = error.value.render().splitlines()
    assert place == "a.nf:1:5001: error: wrong"
    assert len(line) < 230
    assert line.index("!") == caret.index("^")
