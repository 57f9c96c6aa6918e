"""Build hook: puts into the wheel what is made for it, the manual page nfc(1) of the texts of
--help, and the parsers' tables."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class MadeHook(BuildHookInterface[Any]):
    """Called by hatchling for each wheel; pyproject.toml names this file."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the files to where the wheel is told to take them from."""
        sys.path.insert(0, self.root)
        try:
            from nfc.cli import cli
            from nfc.cli.manual import manual
            from nfc.syntax import tables
        finally:
            sys.path.remove(self.root)
        self.folder = tempfile.TemporaryDirectory(prefix="nfc-made-")
        page = Path(self.folder.name, "nfc.1")
        page.write_text(manual(cli), encoding="utf-8")
        build_data["shared_data"][str(page)] = "share/man/man1/nfc.1"
        if version != "editable":
            made = Path(self.folder.name, "tables")
            tables.write(made)
            build_data["force_include"][str(made)] = "nfc/_data/tables"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove them."""
        self.folder.cleanup()
