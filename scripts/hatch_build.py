"""Build hook: puts the manual page nfc(1), made of the texts of --help, into the wheel."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManualHook(BuildHookInterface[Any]):
    """Called by hatchling for each wheel; pyproject.toml names this file."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the page to where the wheel is told to take it from."""
        sys.path.insert(0, self.root)
        try:
            from nfc.cli import cli
            from nfc.cli.manual import manual
        finally:
            sys.path.remove(self.root)
        self.folder = tempfile.TemporaryDirectory(prefix="nfc-manual-")
        page = Path(self.folder.name, "nfc.1")
        page.write_text(manual(cli), encoding="utf-8")
        build_data["shared_data"][str(page)] = "share/man/man1/nfc.1"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the page."""
        self.folder.cleanup()
