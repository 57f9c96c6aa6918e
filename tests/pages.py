"""Pages of the documents whose commands are run, and whose outputs are what is shown."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.S | re.M)


@dataclass(frozen=True)
class Block:
    """Commands, and what they print; None if the page does not show it."""

    commands: str
    output: str | None


def blocks(page: Path) -> list[Block]:
    """The commands of a page in order."""
    return [Block(m[1], m[2]) for m in BLOCK.finditer(page.read_text())]


def matches(shown: str, got: str) -> bool:
    """Whether the output is what is shown, where … stands for anything in a line."""
    pattern = "".join(".*" if part == "…" else re.escape(part) for part in re.split("(…)", shown))
    return re.fullmatch(pattern, got) is not None


def run(block: Block, environment: Mapping[str, str]) -> None:
    """Run the commands in the repository's folder; fails unless they say what is shown."""
    done = subprocess.run(
        ["bash", "-e", "-c", block.commands],
        env=environment,
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
