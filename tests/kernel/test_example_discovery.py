"""examples/discovery: eight routers, all, half and none of which are asked, as its page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pages import ROOT, isolated, run_page

pytestmark = pytest.mark.kernel

PAGE = ROOT / "examples" / "discovery" / "README.md"
TOPOLOGY = PAGE.with_name("topology.toml")
ROUTERS = {f"r{n}" for n in range(1, 9)}


def test_eight_routers(tmp_path: Path) -> None:
    with isolated(tmp_path) as place:
        (printed,) = run_page(PAGE, place)
    # A step's name, and under it, indented, what it printed.
    found = re.findall(r"^(\S.*)\n((?:  .*\n|\n)*)", printed, re.M)
    steps = {name: textwrap.dedent(text) for name, text in found}
    for name in ("every router is asked", "half of them are", "none is: flows are probed"):
        text = steps[name]
        assert text.startswith("to h2: 4 paths\n"), name
        seen = {line.split("─ ")[1].split()[0] for line in text.splitlines()[1:] if line}
        assert seen == ROUTERS | {"h2"}
    assert "probed" not in steps["every router is asked"]
    assert steps["half of them are"].count("(probed)") == 4
    assert steps["none is: flows are probed"].count("(probed)") == 8
    assert steps["and all are asked again"].startswith("to h2: 3 paths\n")


ROUNDS = int(os.environ.get("NFC_TRACE_ROUNDS", "0"))  # 100 for what the page says


@pytest.mark.skipif(not ROUNDS, reason="NFC_TRACE_ROUNDS says how often to trace")
@pytest.mark.parametrize("file", ["none.toml", "half.toml"])
def test_no_more_is_missed_than_stated_by_many_traces(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 95 % of confidence, while routers limit their errors to five a second."""
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))
    nfc, name = [sys.executable, "-m", "nfc"], "discovery-rounds"
    trace = [*nfc, "segtrace", "fd00:12::2", "--routers", str(TOPOLOGY.parent / file), "--json"]
    try:
        subprocess.run([*nfc, "lab", "up", str(TOPOLOGY), "--as", name], check=True, timeout=300)
        for router in sorted(ROUTERS):
            inside = ["ip", "netns", "exec", f"lab-{name}.{router}"]
            limit = ["sysctl", "-qw", "net.ipv6.icmp.ratelimit=200"]
            subprocess.run([*inside, *limit], check=True)
        missed, stars = 0, 0
        for _ in range(ROUNDS):
            done = subprocess.run(
                [*trace, "--netns", f"lab-{name}.h1"], capture_output=True, text=True, check=True
            )
            paths = json.loads(done.stdout)["paths"]
            missed += sum("*" not in "".join(path) for path in paths) < 4
            stars += any("*" in "".join(path) for path in paths)
        print(
            f"{file}: of {ROUNDS} traces {missed} missed a path, {stars} took silence for a router"
        )
        assert missed <= max(1, ROUNDS * 0.05)
        assert stars == 0
    finally:
        subprocess.run([*nfc, "lab", "down", name], check=True, timeout=90)
