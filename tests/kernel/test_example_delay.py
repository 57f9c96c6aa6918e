"""examples/delay: made, measured and removed by one command, in some fifteen seconds, as its page
says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pages import ROOT, isolated, run_page

pytestmark = [pytest.mark.kernel, pytest.mark.alone]


def test_three_links(tmp_path: Path) -> None:
    """Medians are within 0.2 ms of what the wires did, or compare.py and so the run fails."""
    with isolated(tmp_path) as place:
        run_page(ROOT / "examples" / "delay" / "README.md", place)
    results = tmp_path / "nfc" / "build" / "lab-delay"
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
