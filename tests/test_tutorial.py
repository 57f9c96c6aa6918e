"""docs/tutorial.md to the letter: its commands are run, and say what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.S | re.M)
CLEAN = """
nfc undeploy --all --netns tut-r1 2>/dev/null
for name in tut-h1 tut-r1 tut-h2; do ip netns del $name 2>/dev/null; done
rm -rf /tmp/nfc-tutorial
"""


@dataclass(frozen=True)
class Block:
    """Commands, and what they print; None if the page does not show it."""

    commands: str
    output: str | None


def blocks() -> list[Block]:
    return [Block(m[1], m[2]) for m in BLOCK.finditer(PAGE.read_text())]


def matches(shown: str, got: str) -> bool:
    """Whether the output is what is shown, where … stands for anything in a line."""
    pattern = "".join(".*" if part == "…" else re.escape(part) for part in re.split("(…)", shown))
    return re.fullmatch(pattern, got) is not None


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[dict[str, str]]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "NFC_STATE_DIR": str(tmp_path / "state")}
    subprocess.run(["bash", "-c", CLEAN], env=environment, check=False)
    yield environment
    subprocess.run(["bash", "-c", CLEAN], env=environment, check=False)


def test_the_page_has_commands_and_outputs() -> None:
    found = blocks()
    assert len(found) >= 12
    assert sum(block.output is not None for block in found) >= 9


def test_every_command_says_what_is_shown(shell: dict[str, str]) -> None:
    for block in blocks():
        done = subprocess.run(
            ["bash", "-e", "-c", block.commands],
            env=shell,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{block.commands}\n{done.stdout}"
        if block.output is not None:
            shown = "\n".join(line.rstrip() for line in block.output.splitlines())
            got = "\n".join(line.rstrip() for line in done.stdout.splitlines())
            assert matches(shown, got), f"shown:\n{shown}\n\ngot:\n{got}"
