"""The documentation as a site: built without a warning, whole, and asking nobody else for
anything; programs in their colours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pygments.token import Error, Keyword, Text

from nfc.cli import COMMANDS
from nfc.highlight.lexers import NfLexer, NftLexer, keywords
from nfc.nft.parser import lark as nft_lark
from nfc.syntax.language import ITEM_KEYWORDS, STATEMENT_STARTS
from nfc.syntax.language import lark as nf_lark

ROOT = Path(__file__).parents[1]
FETCHED = re.compile(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?(https?:[^\"' >]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_page_and_every_command_is_there(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} | {"index", "contributing"}
    assert pages <= {path.stem for path in site.glob("*.html")}
    assert set(COMMANDS) == {path.stem for path in (site / "commands").glob("*.html")}
    check = (site / "commands" / "check.html").read_text()
    assert "--kernel" in check and "verifier" in check


def test_pages_are_reached_from_the_navigation(site: Path) -> None:
    first = (site / "index.html").read_text()
    for path in site.glob("*.html"):
        if path.stem != "404":
            assert f'href="{path.name}"' in first or path.stem == "index", path.name


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        found = [url for url in FETCHED.findall(path.read_text()) if "rel=canonical" not in url]
        assert found == [], path.name


def test_blocks_say_where_they_belong_and_why_they_are_not_run(site: Path) -> None:
    delay = (site / "delay.html").read_text()
    assert 'class="filename">delay.toml<' in delay and 'class="filename">on r1<' in delay
    assert "not run by the tests: takes node and VS Code" in (site / "editors.html").read_text()


def test_programs_are_in_colour(site: Path) -> None:
    assert re.search(r'<span class="k\w*">endpoint</span>', (site / "language.html").read_text())


def test_words_are_the_grammars() -> None:
    nf = keywords(nf_lark())
    assert set(ITEM_KEYWORDS) | STATEMENT_STARTS <= set(nf)
    assert len(keywords(nft_lark())) > 10


@pytest.mark.parametrize(
    "path",
    sorted(p for p in (ROOT / "stdlib").iterdir() if p.suffix in (".nf", ".nft")),
    ids=lambda p: p.name,
)
def test_the_library_has_no_unknown_word(path: Path) -> None:
    lexer = NfLexer() if path.suffix == ".nf" else NftLexer()
    tokens = list(lexer.get_tokens(path.read_text()))
    assert "".join(text for _, text in tokens).strip() == path.read_text().strip()
    assert [
        text for kind, text in tokens if kind in (Error, Text) and not text.startswith('"')
    ] == []
    assert any(kind in Keyword for kind, _ in tokens)
