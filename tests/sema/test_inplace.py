"""Definitions cannot make a small file take long, or nest more deeply than Python can follow."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfc.compiler import compile_file
from nfc.sema.inplace import MAX_NESTING
from nfc.syntax.diagnostics import SourceErrors

TOO_LARGE = "with its definitions in place this is too large"


def function(value: str) -> str:
    return f"endpoint f {{ when {value} == 3 {{ drop }} otherwise forward }}\n"


def chain(length: int, value: str) -> str:
    """Definitions each of which calls the one before in `value`; a call of the last."""
    lines = ["define d0(x: u16): u16 = x"]
    lines += [f"define d{i}(x: u16): u16 = {value.format(f'd{i - 1}')}" for i in range(1, length)]
    return "\n".join([*lines, function(f"d{length - 1}(srh.tag)")])


def said(program: str, folder: Path) -> list[str]:
    path = folder / "program.nf"
    path.write_text(program)
    try:
        compile_file(path)
    except SourceErrors as error:
        return [d.message for d in error.diagnostics]
    return []


@pytest.mark.parametrize(
    "program",
    [
        chain(60, "{0}(x) + {0}(x)"),  # 2^59 values
        chain(1000, "{0}(x)"),
        "define d(x: u16): u16 = x + x\n" + function("d(" * 40 + "srh.tag" + ")" * 40),
        chain(20, " + ".join(["{0}(x)"] * 48)),
    ],
    ids=["doubles", "long", "in its own arguments", "wide"],
)
def test_too_large(program: str, tmp_path: Path) -> None:
    assert set(said(program, tmp_path)) == {TOO_LARGE}


def test_arguments_that_nest(tmp_path: Path) -> None:
    """Operators are counted through the commas of calls: or their sum would nest too deeply."""
    value = "srh.tag"
    for _ in range(44):
        value = f"two({value}{' + 1' * 46}, 1)"
    program = "define two(x: u16, y: u16): u16 = y\n" + function(value)
    assert said(program, tmp_path) == ["this expression has more than 48 operators"]


def test_as_deep_as_allowed(tmp_path: Path) -> None:
    assert said(chain(MAX_NESTING // 2, "{0}(x)"), tmp_path) == []


def test_circles_are_told_apart(tmp_path: Path) -> None:
    program = "define a(x: u16): u16 = b(x)\ndefine b(x: u16): u16 = a(x)\n" + function("a(1)")
    messages = said(program, tmp_path)
    assert messages
    assert all("is defined by itself" in m for m in messages)
