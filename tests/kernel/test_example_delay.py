"""examples/delay: made, measured and removed by one command, in some fifteen seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
TOPOLOGY = ROOT / "examples" / "delay" / "topology.toml"


def test_three_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Medians are within 0.2 ms of what the wires did, or compare.py and so the run fails."""
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))
    results = tmp_path / "results"
    command = [sys.executable, "-m", "nfc", "lab", "run", str(TOPOLOGY), "--as", "delay-test"]
    done = subprocess.run(
        [*command, "--results", str(results)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    steps = {
        step["step"]: step for step in json.loads((results / "results.json").read_text())["steps"]
    }
    compared = steps["what the collector has, beside what the links did"]["output"]
    assert [line.split()[0] for line in compared.splitlines()] == ["link", "near", "middle", "far"]
    assert "20 answered, 0 lost" in steps["two-way over the far link"]["output"]
    kept = {
        path["name"]: path for path in json.loads((results / "delay.json").read_text())["paths"]
    }
    # [begin, count, minimum, median, …]: the link in the middle was longer for a while.
    medians = [point[3] / 1e6 for point in kept["middle, 5 ms"]["points"]]
    assert max(medians) == pytest.approx(9, abs=0.4)
    assert medians[0] == pytest.approx(5, abs=0.4)
    assert medians[-1] == pytest.approx(5, abs=0.4)
    assert (results / "delay.svg").read_text().count("ms") > 3
