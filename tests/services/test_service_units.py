"""The systemd units: what they run exists, and they ask for no capability that they do not need."""

from __future__ import annotations

import shlex
from configparser import ConfigParser
from pathlib import Path

import click
import pytest

from nfc.cli import cli

UNITS = sorted((Path(__file__).parents[2] / "contrib" / "systemd").glob("nfc-*.service"))
# What each may keep; what is not here, nothing. tests/bond runs the daemon with just these.
CAPABILITIES = {"nfc-bond@.service": "CAP_NET_ADMIN CAP_NET_RAW"}

# Those that have something to read again; SIGHUP ends the others (nfc/service.py).
RELOADED = {"nfc-bond@.service", "nfc-delay-collect.service", "nfc-discovery-agent@.service"}


@pytest.mark.parametrize("unit", UNITS, ids=[unit.name for unit in UNITS])
def test_a_unit(unit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = ConfigParser(interpolation=None, strict=False)  # a filter has several lines
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text())
    service = parser["Service"]
    assert service["CapabilityBoundingSet"] == CAPABILITIES.get(unit.name, "")
    assert service["NoNewPrivileges"] == "yes"
    reload = "/bin/kill -HUP $MAINPID" if unit.name in RELOADED else None
    assert service.get("ExecReload") == reload
    words = shlex.split(service["ExecStart"].replace("%i", "fd00:b::d"))
    assert words[:2] == ["/usr/bin/env", "nfc"]
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: value)
    command: click.Command = cli
    context = click.Context(cli, **cli.context_settings)
    for at, word in enumerate(words[2:], start=3):
        assert isinstance(command, click.Group)
        found = command.get_command(context, word)
        assert found is not None, word
        command = found
        if not isinstance(command, click.Group):
            command.make_context(word, words[at:], parent=context)
            return
    pytest.fail("no command in ExecStart")


def test_there_are_units() -> None:
    assert len(UNITS) >= 4
