"""Tables that were kept are those of the grammar, or are not taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lark
import pytest

from nfc.resources import data_dir
from nfc.syntax import tables

NFC = (data_dir("grammar") / "nfc.lark").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "tables"
    tables.write(folder)
    return folder


@pytest.fixture
def makings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The grammars of which tables are made from here on."""
    asked: list[str] = []
    make = tables.made

    def made(text: str) -> lark.Lark:
        asked.append(text)
        return make(text)

    monkeypatch.setattr(tables, "made", made)
    return asked


@pytest.mark.parametrize("name", tables.GRAMMARS)
def test_a_parser_with_kept_tables_has_all_that_one_made_anew_has(
    name: str, kept: Path, makings: list[str]
) -> None:
    found = tables.parser(name, kept)
    assert makings == []
    anew = tables.made((data_dir("grammar") / name).read_text(encoding="utf-8"))
    assert tables.written(found) == tables.written(anew)  # also: lark's order is not in them


def test_set_up_keeps_those_of_this_checkout(makings: list[str]) -> None:
    if not tables.FOLDER.is_dir():
        pytest.skip("scripts/setup did not make this checkout's .venv")
    for name in tables.GRAMMARS:
        tables.parser(name)
    assert makings == [], "a grammar has changed: make setup"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def changed(file: Path) -> None:
    file.write_text(file.read_text().replace('"RBRACE"', '"LBRACE"'))


def no_text(file: Path) -> None:
    file.write_bytes(b"\xff" + file.read_bytes())


def other_grammar(file: Path) -> None:
    file.write_text(tables.tables(NFC.replace('"endpoint"', '"end"')))


def empty(file: Path) -> None:
    file.write_bytes(b"")


def one_line(file: Path) -> None:
    file.write_text(file.read_text().replace("\n", " "))


def absent(file: Path) -> None:
    file.unlink()


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    "harm",
    [cut, changed, no_text, other_grammar, empty, one_line, absent, a_folder],
    ids=lambda harm: harm.__name__,
)
def test_what_is_not_this_grammar_s_is_made_anew(
    harm: Callable[[Path], None], kept: Path, tmp_path: Path, makings: list[str]
) -> None:
    file = tmp_path / "nfc.lark.json"
    file.write_bytes((kept / file.name).read_bytes())
    harm(file)
    makings.clear()
    assert tables.parser("nfc.lark", tmp_path).parse("use dm").data == "use"
    assert makings == [NFC]


def test_tables_of_another_lark_are_made_anew(
    kept: Path, makings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lark, "__version__", "1.2.2")
    tables.parser("nfc.lark", kept)
    assert makings == [NFC]


def test_a_lark_that_cannot_read_them_makes_them_anew(
    kept: Path, makings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(lark.Lark, "_load_from_dict")
    assert tables.parser("nfc.lark", kept).parse("use dm").data == "use"
    assert makings == [NFC]
