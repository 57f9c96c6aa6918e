"""docs/thesis.md says the right number of lines of nf, for every function of tests/thesis."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"\| `(?P<name>\w+)` \| (?P<c>\d+) \| (?P<nf>\d+|–) \|")
SAME = {"drop": "discard"}  # what is called otherwise in nf
TOTAL = re.compile(r"C takes (\d+) lines and nf (\d+)\.")


def lengths() -> dict[str, int]:
    """Lines of each nf function, from its first word to its closing brace, comments left out."""
    found: dict[str, int] = {}
    for path in sorted((ROOT / "tests" / "thesis").glob("*.nf")):
        name = ""
        for line in (raw.partition("#")[0].rstrip() for raw in path.read_text().splitlines()):
            begins = re.match(r"(?:endpoint|transit) (\w+)", line)
            name = begins[1] if begins else name
            if name and line:
                found[name] = found.get(name, 0) + 1
            if line == "}":
                name = ""
    return found


def test_lines_are_counted_right() -> None:
    page = (ROOT / "docs" / "thesis.md").read_text()
    rows = {m["name"]: m for m in ROW.finditer(page)}
    said = {SAME.get(n, n): int(m["nf"]) for n, m in rows.items() if m["nf"] not in ("–", "0")}
    assert said == lengths()
    both = [m for m in rows.values() if m["nf"] != "–"]
    total = TOTAL.search(page)
    assert total is not None
    assert sum(int(m["c"]) for m in both) == int(total[1])
    assert sum(int(m["nf"]) for m in both) == int(total[2])
