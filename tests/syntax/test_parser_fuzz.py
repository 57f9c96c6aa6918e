"""For every text the parser gives a tree or errors with a place in the text, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfc.resources import data_dir
from nfc.sema.analyse import analyse
from nfc.syntax.diagnostics import Diagnostics
from nfc.syntax.source import Source

WORDS = [
    "use", "const", "param", "enum", "tlv", "event", "endpoint", "transit", "at", "in", "out",
    "when", "otherwise", "set", "add", "emit", "forward", "drop", "decap", "encap", "to", "via",
    "table", "segments", "with", "srh", "ip", "has", "as", "and", "or", "not", "sample", "now",
    "{", "}", "(", ")", "[", "]", ",", ":", "=", "==", ".", "+", "&", "<<", "1", "0x", "99999",
    "fd00::1", "::/0", "10ms", "u8", "u65", "ipv6", "dm", "DM", "a", "b", "#", "\n", ";", "\x00",
    "\ud7ff", "é", "true",
]  # fmt: skip
STDLIB = sorted(data_dir("stdlib").glob("*.nf"))


def survives(text: str) -> None:
    diagnostics = Diagnostics()
    program = analyse(Source("fuzz.nf", text), data_dir("stdlib") / "fuzz.nf", diagnostics)
    assert (program is None) == diagnostics.has_errors
    for diagnostic in diagnostics.sorted():
        assert 0 <= diagnostic.span.start <= diagnostic.span.end
        assert diagnostic.span.end <= len(diagnostic.span.source.text)
        assert diagnostic.render()
        assert diagnostic.to_json()["message"]


@given(st.text())
@settings(max_examples=300)
def test_any_text(text: str) -> None:
    survives(text)


@given(st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join))
@settings(max_examples=500)
def test_any_words_of_the_language(text: str) -> None:
    survives(text)


@given(st.sampled_from(STDLIB), st.data())
@settings(max_examples=300)
def test_damaged_programs(path: Path, data: st.DataObject) -> None:
    text = path.read_text()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    survives(text[:start] + data.draw(st.sampled_from(["", *WORDS])) + text[end:])


@pytest.mark.parametrize(
    "text",
    [
        "param a: u8 = " + "(" * 100_000,
        "param a: u8 = " + "(" * 100_000 + "1" + ")" * 100_000,
        "param a: u64 = " + "1+" * 100_000 + "1",
        "endpoint f { when " + "not " * 50_000 + "true { drop } otherwise drop }",
        "param a: u64 = " + "9" * 100_000,
        "const a: duration = " + "9" * 100_000 + "s",
        "x" * 500_000,
        "{" * 300_000,
        "enum E: u8 { " + ", ".join(f"A{i} = 0" for i in range(5_000)) + " }",
        "endpoint f { otherwise forward to table " + "9" * 5000 + " }",
        "tlv A = " + "9" * 5000 + " { a: u8 }",
        "param a: ipv6 = " + "a:" * 4000,
    ],
    ids=range(12),
)
def test_large_and_deep_texts(text: str) -> None:
    survives(text)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    from nfc.errors import NfcError

    for data in (b"\xff\xfe\x00", b"a" * ((1 << 20) + 1)):
        path = tmp_path / "a.nf"
        path.write_bytes(data)
        with pytest.raises(NfcError):
            Source.read(path)
