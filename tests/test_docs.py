"""What the documents show is true: programs compile, commands exist, links lead somewhere."""

from __future__ import annotations

import re
import shlex
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


def test_there_is_something_to_test() -> None:
    assert len(programs()) >= 8
    assert len(commands()) >= 5
