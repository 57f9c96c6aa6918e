"""Functions of the standard library are short enough to be read aloud."""

from __future__ import annotations

import pytest

from nfc.resources import data_dir
from nfc.syntax import tree
from nfc.syntax.diagnostics import Diagnostics
from nfc.syntax.parser import parse
from nfc.syntax.source import Source

MAX_LINES = 25  # comments and blank lines aside
FILES = sorted(data_dir("stdlib").glob("*.nf"))


@pytest.mark.parametrize("path", FILES, ids=[p.name for p in FILES])
def test_every_function_is_short(path: object) -> None:
    source = Source.read(data_dir("stdlib") / str(path))
    for item in parse(source, Diagnostics()).items:
        if isinstance(item, tree.Function):
            text = source.text[item.span.start : item.span.end]
            lines = [line for line in text.splitlines() if line.split("#")[0].strip()]
            assert len(lines) <= MAX_LINES, item.name.text


def test_the_library_is_there() -> None:
    names = {path.stem for path in FILES}
    assert {"dm", "delay", "end", "tag", "nsh", "ingress", "x", "t", "dt6"} <= names
