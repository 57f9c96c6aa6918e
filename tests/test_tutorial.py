"""docs/tutorial.md to the letter: its commands are run, and say what the page shows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import ROOT, blocks, run

pytestmark = pytest.mark.kernel

PAGE = ROOT / "docs" / "tutorial.md"
CLEAN = """
nfc undeploy --all --netns tut-r1 2>/dev/null
for name in tut-h1 tut-r1 tut-h2; do ip netns del $name 2>/dev/null; done
rm -rf /tmp/nfc-tutorial
"""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[dict[str, str]]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "NFC_STATE_DIR": str(tmp_path / "state")}
    subprocess.run(["bash", "-c", CLEAN], env=environment, check=False)
    yield environment
    subprocess.run(["bash", "-c", CLEAN], env=environment, check=False)


def test_the_page_has_commands_and_outputs() -> None:
    found = blocks(PAGE)
    assert len(found) >= 12
    assert sum(block.output is not None for block in found) >= 9


def test_every_command_says_what_is_shown(shell: dict[str, str]) -> None:
    for block in blocks(PAGE):
        run(block, shell)
