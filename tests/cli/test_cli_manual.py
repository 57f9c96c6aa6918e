"""The manual page: all that --help says, in a form that groff takes; and what is made for the
wheel is in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from nfc.cli import cli
from nfc.cli.manual import manual
from nfc.syntax import tables

ROOT = Path(__file__).parents[2]
PAGE = manual(cli)


def commands(group: click.Group, path: str = "nfc") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


COMMANDS = list(commands(cli))


def plain(text: str) -> str:
    """Words alone: no requests, no escapes."""
    text = re.sub(r"^\.(PP|TP|nf|fi|SS.*|SH.*)$", " ", text, flags=re.M)
    text = re.sub(r"^\.B |\\&|\x08", "", text, flags=re.M)
    return " ".join(text.replace(r"\-", "-").replace(r"\e", "\\").split())


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[path for path, _ in COMMANDS])
def test_every_command_is_there_with_its_help(path: str, command: click.Command) -> None:
    section = PAGE.split(f".SS {path.replace('-', chr(92) + '-')}\n")[1]
    section = plain(re.split(r"^\.S[SH] ", section, flags=re.M)[0])
    assert section.startswith(path)
    assert plain(command.help or "") in section
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert " ".join((parameter.help or "").split()) in section
            assert all(name in section for name in parameter.opts)


def test_it_opens_as_manual_pages_do() -> None:
    lines = PAGE.splitlines()
    assert lines[0].startswith(".TH NFC 1 ")
    assert lines[1:3] == [".SH NAME", r"nfc \- the network\-function compiler"]
    assert PAGE.replace("\n", "").isprintable()


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff here")
def test_groff_has_no_warning() -> None:
    command = ["groff", "-ww", "-man", "-Tutf8", "-z"]
    done = subprocess.run(command, input=PAGE, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_it_is_in_the_wheel(tmp_path: Path) -> None:
    build = [
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"),
        *("--no-build-isolation", "--disable-pip-version-check", "-w", str(tmp_path), str(ROOT)),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (page,) = [n for n in archive.namelist() if n.endswith(".data/data/share/man/man1/nfc.1")]
        assert archive.read(page).decode() == PAGE
        shipped = archive.read("nfc/_data/captures/delay.pcapng")
        assert shipped == (ROOT / "captures" / "delay.pcapng").read_bytes()
        for name in tables.GRAMMARS:
            held = archive.read(f"nfc/_data/tables/{name}.json").decode()
            assert held == tables.tables((ROOT / "grammar" / name).read_text())
