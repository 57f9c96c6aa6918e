"""What the documents show is true: programs compile, commands exist, links lead somewhere."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from nfc.cli import cli
from nfc.compiler import compile_file

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Pages whose programs have tests of their own.
OWN = {"errors.md"}
PROGRAM = re.compile(r"^```nf\n(.*?)^```", re.S | re.M)
COMMANDS = re.compile(r"^```sh\n(.*?)^```", re.S | re.M)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(#[^)\s]*)?\)")


def programs() -> list[tuple[str, str]]:
    return [
        (f"{page.name}-{i}", match[1])
        for page in PAGES
        if page.name not in OWN
        for i, match in enumerate(PROGRAM.finditer(page.read_text()))
    ]


def commands() -> list[str]:
    found = []
    for page in PAGES:
        for block in COMMANDS.finditer(page.read_text()):
            lines = block[1].replace("\\\n", " ").splitlines()
            found += [line for line in lines if line.startswith("nfc ")]
    return sorted(set(found))


@pytest.mark.parametrize(("name", "text"), programs(), ids=[p[0] for p in programs()])
def test_programs_compile(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "shown.nf"
    path.write_text(text)
    compilation = compile_file(path)
    for functions in compilation.objects():
        assert compilation.object(functions)


@pytest.mark.parametrize("line", commands())
def test_commands_exist(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line.split("|", maxsplit=1)[0])[1:]
    # With nfc's own settings: a command keeps the help option of its first context.
    context = click.Context(cli, **cli.context_settings)
    command = cli.get_command(context, words[0])
    assert command is not None, words[0]
    # Only the options matter here: the files that a page speaks of need not exist.
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: value)
    command.make_context(words[0], words[1:], parent=context)


@pytest.mark.parametrize("page", PAGES, ids=[p.name for p in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for match in LINK.finditer(page.read_text()):
        assert (page.parent / match[1]).exists(), match[0]


BLOCK = re.compile(r"^```([^\n`]+)\n(.*?)^```", re.S | re.M)
# What each kind of block is held to. The text blocks are what commands print: those of the
# tutorial and of docs/run.md are compared with what is printed, those of errors.md too.
KINDS = {
    "nf": "compiles: test_programs_compile, tests/sema/test_gallery.py",
    "nft": "tests/nft",
    "sh": "commands and options exist: test_commands_exist; run in tests/test_tutorial.py",
    "text": "output",
    "toml": "parses: test_blocks",
    "python": "parses, and what it imports is there: test_blocks",
    "console": "output with its command",
    "json": "parses: test_blocks",
    "c": "clang compiles it: tests/verify",
    "lua": "Neovim's own settings: tests/lsp where there is one",
}


def blocks() -> list[tuple[str, str, str]]:
    return [
        (f"{page.name}-{i}", match[1].split()[0], match[2])
        for page in PAGES
        for i, match in enumerate(BLOCK.finditer(page.read_text()))
    ]


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert {kind for _, kind, _ in blocks()} <= KINDS.keys()


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [b for b in blocks() if b[1] in ("toml", "python", "json")],
    ids=[b[0] for b in blocks() if b[1] in ("toml", "python", "json")],
)
def test_blocks(name: str, kind: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "toml":
        tomllib.loads(text)
    elif kind == "json":
        json.loads(text)
    else:
        for folder in ("kernels", "properties", "verify"):
            monkeypatch.syspath_prepend(str(ROOT / "tests" / folder))
        tree = ast.parse(text)
        imports: list[ast.stmt] = [
            n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)
        ]
        exec(compile(ast.Module(imports, []), name, "exec"), {})


def test_there_is_something_to_test() -> None:
    assert len(programs()) >= 8
    assert len(commands()) >= 5
