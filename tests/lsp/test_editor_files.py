"""The files for editors say of the language what the grammar says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfc.resources import data_dir
from nfc.sema.headers import HEADERS, META_NAME
from nfc.syntax.language import ITEM_KEYWORDS, lark
from nfc.syntax.parser import lex

EXTENSION = Path(__file__).parents[2] / "editors" / "vscode"
PACKAGE: dict[str, Any] = json.loads((EXTENSION / "package.json").read_text())
GRAMMAR: dict[str, Any] = json.loads((EXTENSION / "syntaxes" / "nf.tmLanguage.json").read_text())


def patterns(rule: dict[str, Any] = GRAMMAR) -> Iterator[dict[str, Any]]:
    """The grammar's patterns in the order in which they are tried."""
    for inner in rule.get("patterns", ()):
        if "include" in inner:
            yield from patterns(GRAMMAR["repository"][inner["include"].removeprefix("#")])
        else:
            yield inner
    if "match" in rule:
        yield rule


RULES = [(re.compile(rule["match"]), rule) for rule in patterns()]


def scopes(line: str) -> dict[int, tuple[str, str]]:
    """What an editor makes of a line: text and scope by column. At each place the pattern counts
    that matches first; among those that match there, the first in the grammar."""
    found: dict[int, tuple[str, str]] = {}
    at = 0
    while at < len(line):
        hits = [
            (hit.start(), i, hit) for i, (p, _) in enumerate(RULES) if (hit := p.search(line, at))
        ]
        if not hits:
            break
        start, i, hit = min(hits, key=lambda h: h[:2])
        rule = RULES[i][1]
        if "name" in rule:
            found[start] = hit[0], rule["name"]
        for group, capture in rule.get("captures", {}).items():
            found[hit.start(int(group))] = hit[int(group)], capture["name"]
        at = max(hit.end(), at + 1)
    return found


def keywords() -> set[str]:
    found = {t.pattern.value for t in lark().terminals if t.pattern.type == "str"}
    return {word for word in found if word.isalpha()}


@pytest.mark.parametrize("word", sorted(keywords()))
def test_every_keyword_is_one_in_the_editor(word: str) -> None:
    text, scope = scopes(f"  {word} ")[2]
    assert text == word
    wanted = "constant.language" if word in ("true", "false") else "keyword."
    assert scope.startswith(wanted) or (word == "sample" and scope.startswith("variable.other"))


def test_no_other_word_is_a_keyword() -> None:
    listed = [p["match"] for p in patterns() if str(p.get("name", "")).startswith("keyword.")]
    words = {w for match in listed for w in re.findall(r"[a-z]{2,}", match)}
    assert words <= keywords()
    assert set(ITEM_KEYWORDS) <= words


def test_headers_are_told_apart() -> None:
    for header in (*HEADERS, META_NAME):
        assert scopes(f"when {header}.x")[5] == (header, "variable.language.nfc")


@pytest.mark.parametrize("path", sorted(data_dir("stdlib").glob("*.nf")), ids=lambda p: p.name)
def test_programs_are_cut_as_the_compiler_cuts_them(path: Path) -> None:
    text = path.read_text()
    lines = [scopes(line) for line in text.split("\n")]
    numbers = ("INT", "IPV6", "IPV4", "PREFIX", "PREFIX4", "DURATION")
    for token in lex(text):
        if token.type in ("BAD",) or not (token.value[0].isalnum() or token.value[0] in "_:"):
            continue
        column = (token.column or 1) - 1
        if token.type not in ("NAME", *numbers) and not token.value.isalpha():
            continue
        seen = lines[(token.line or 1) - 1].get(column)
        assert seen is not None and seen[0] == str(token), (token, token.line, seen)
        assert seen[1].startswith("constant.numeric") == (token.type in numbers), (token, seen)
    for line, found in zip(text.split("\n"), lines, strict=True):
        if "#" in line:
            assert found[line.index("#")] == (
                line[line.index("#") :],
                "comment.line.number-sign.nfc",
            )


def test_the_extension_names_files_that_are_there() -> None:
    contributes = PACKAGE["contributes"]
    named = [
        PACKAGE["main"],
        *(language["configuration"] for language in contributes["languages"]),
        *(grammar["path"] for grammar in contributes["grammars"]),
    ]
    assert all((EXTENSION / name).is_file() for name in named)
    assert contributes["languages"][0]["extensions"] == [".nf"]
    assert contributes["grammars"][0]["scopeName"] == GRAMMAR["scopeName"]
    json.loads((EXTENSION / "language-configuration.json").read_text())
    locked = json.loads((EXTENSION / "package-lock.json").read_text())["packages"]
    assert locked[""]["dependencies"] == PACKAGE["dependencies"]
    assert not any("resolved" in package for package in locked.values())


def test_the_extension_is_javascript_that_parses() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here")
    subprocess.run([node, "--check", EXTENSION / PACKAGE["main"]], check=True)
