"""docs/run.md to the letter: its commands are run, and say what the page shows."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from pages import ROOT, blocks, run

PAGE = ROOT / "docs" / "run.md"
FOLDER = Path("/tmp/nfc-run")


def test_every_command_says_what_is_shown() -> None:
    found = blocks(PAGE)
    assert len(found) >= 6
    assert all(block.output is not None for block in found)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        for block in found:
            run(block, {**os.environ, "PATH": path})
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
