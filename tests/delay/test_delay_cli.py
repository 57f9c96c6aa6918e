"""The command line of delay monitoring, as far as it needs no kernel; pictures and the screen."""

from __future__ import annotations

import json
import math
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from nfc.delay import keep
from nfc.delay.paths import Named, Paths, Point
from nfc.delay.plot import _broken
from nfc.delay.wire import Message, Report

Nfc = Callable[..., tuple[int, str, str]]

WRONG = {
    "report whom": ["report"],
    "report what is not there": ["report", "f"],
    "to no address": ["report", "f", "--to", "fd00::1:4739"],
    "to no port": ["report", "f", "--to", "[fd00::1]:0"],
    "allow no prefix": ["report", "f", "--allow", "fd00::1/16"],
    "listen nowhere": ["collect", "--listen", "here"],
    "metrics nowhere": ["collect", "--metrics", "[::1]"],
    "two kinds of lines": ["collect", "--json", "--samples"],
    "no such file": ["collect", "missing.toml"],
    "too often": ["collect", "--every", "0"],
    "query whom": ["query"],
    "query no address": ["query", "fd00:b::x"],
    "query over no address": ["query", "fd00:b::d", "--via", "there"],
    "query too many": ["query", "fd00:b::d", *["--via", "fd00::1"] * 15],
    "no such session": ["query", "fd00:b::d", "--session", "16777216"],
    "plot what": ["plot"],
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_wrong_usage(
    nfc: Nfc, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path))
    code, out, err = nfc("delay", *arguments)
    assert code == (1 if "--to" in arguments else 2)
    if "--json" in arguments:
        assert (json.loads(out)["ok"], err) == (False, "")
    else:
        assert err
        assert not out


def test_help_imports_little() -> None:
    look = "import sys, nfc.cli.delay; print(*(m.partition('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"matplotlib", "prometheus_client", "rich", "pyroute2", "numpy"}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """What a collector of two paths has kept."""
    paths = Paths((Named("near", 1), Named("far", 2)))
    for window in range(4):
        for session, base in ((1, 1_000_000), (2, 20_000_000)):
            for step in range(50):
                message = Message(
                    session, 10**9, 10**9 + base + step * 100, control=1, response=True
                )
                paths.take(Report(message, IPv6Address(1), IPv6Address(2)), "", 1.8e9 + window)
        paths.close(1.8e9 + window)
    file = tmp_path / "delay.json"
    keep.save(file, paths)
    return file


def test_pictures(kept: Path, nfc: Nfc) -> None:
    png, svg, again = (kept.parent / name for name in ("a.png", "b.svg", "c.svg"))
    assert nfc("delay", "plot", kept, "-o", png)[:2] == (0, f"{png}: 2 paths\n")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert nfc("delay", "plot", kept, "-o", svg, "--title", "Two paths")[0] == 0
    text = svg.read_text()
    assert all(word in text for word in ("near", "far", "Two paths"))
    nfc("delay", "plot", kept, "-o", again, "--title", "Two paths")
    assert again.read_bytes() == svg.read_bytes()
    assert nfc("delay", "plot", kept, "-o", svg, "--path", "near")[:2] == (0, f"{svg}: 1 path\n")
    assert "far" not in svg.read_text()


def test_the_line_is_broken_where_nothing_was_measured() -> None:
    def begins(*times: float) -> list[float]:
        points = [Point(time, 1, 1, 2, 3, 4) for time in times]
        return [begin for begin, middle, *_ in _broken(points) if math.isnan(middle)]

    assert begins() == begins(7) == begins(0, 10, 20, 60, 70) == []
    assert begins(0, 10, 20, 80, 90) == [50]
    assert begins(0, 300, 310, 320) == [150]


def test_what_cannot_be_drawn(kept: Path, nfc: Nfc) -> None:
    code, _, err = nfc("delay", "plot", kept, "--path", "nera")
    assert code == 2
    assert "has no path 'nera'" in err
    assert "near" in err
    assert nfc("delay", "plot", kept, "-o", "delay.gif")[0] == 2
    code, _, err = nfc("delay", "plot", kept, "-o", kept.parent / "none" / "delay.svg")
    assert (code, "cannot write" in err) == (1, True)
    keep.save(kept, Paths())
    code, _, err = nfc("delay", "plot", kept)
    assert (code, "nothing to draw" in err) == (1, True)


def test_the_table_on_a_terminal(kept: Path) -> None:
    """It is there at once, and SIGTERM ends it with the screen as it should be."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "nfc", "delay", "collect", "--listen", "[::1]:0"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(
        [*command, "--state", str(kept)],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + 60
    told = False
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                got = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not got:
                break
            seen += got
        if b"median" in seen and b"200" in seen and not told:
            process.send_signal(signal.SIGTERM)
            told = True
    os.close(ours)
    assert process.wait(timeout=60) == 0
    text = seen.decode()
    assert "session 2 ::1 → ::2" in text
    assert "20.00 ms" in text
    assert "\x1b[?25h" in text  # the cursor is back
