"""Whatever the bytes: a file of tests is read, or refused with a place."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfc.errors import NfcError
from nfc.nft.load import load
from nfc.nft.parser import lark, parse
from nfc.resources import data_dir
from nfc.syntax.diagnostics import Diagnostics, SourceErrors
from nfc.syntax.source import Source

WORDS = sorted({t.pattern.value for t in lark().terminals if t.pattern.type == "str"})
OTHER = ["0", "1", "0x0a", "fd00::1", "10.0.0.1", "::/0", "5ms", '"x"', "nsh", "NSH", "probe", "#"]
FILES = sorted(data_dir("stdlib").glob("*.nft"))


def survives(data: bytes) -> None:
    diagnostics = Diagnostics()
    try:
        parse(Source.decode("fuzz.nft", data), diagnostics)
    except NfcError:
        return
    for one in diagnostics.items:
        assert one.render()
        assert one.span.line >= 1


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    survives(data)


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    survives(text.encode("utf-8", "surrogatepass"))


@given(st.lists(st.sampled_from(WORDS + OTHER), max_size=60))
def test_any_words(words: list[str]) -> None:
    survives(" ".join(words).encode())
    survives(('test "t" { send ' + " ".join(words) + " }").encode())


@pytest.mark.parametrize("seed", range(12))
def test_a_file_with_mistakes(seed: int, tmp_path: Path) -> None:
    """Tokens of a good file, some of them changed: it is checked to the end."""
    draw = random.Random(seed)
    path = draw.choice(FILES)
    text = path.read_text()
    tokens = [str(t) for t in lark().lex(text)]
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(tokens))
        tokens[place : place + draw.randint(0, 2)] = [draw.choice(WORDS + OTHER)]
    program = tmp_path / f"{path.stem}.nf"
    program.write_text(path.with_suffix(".nf").read_text())
    broken = tmp_path / path.name
    broken.write_text(" ".join(tokens))
    try:
        load(broken)
    except SourceErrors as errors:
        assert errors.render()
    except NfcError:
        pass


def test_deep_and_long() -> None:
    for text in (
        "const A = " + "1 + " * 5000 + "1",
        'test "t" { send p ' + "{ " * 5000,
        'test "t" { send ' + "ip / " * 5000 + "udp }",
        "packet p = " + "0x" + "ab" * 100_000,
        "packet p = bytes 99999999999999999999",
        "packet p = ip / srh [" + "::1, " * 3000 + "::1] / udp",
    ):
        survives(text.encode())
