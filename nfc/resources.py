"""Where the files that ship with nfc are: the grammar, the standard library, captures."""

from __future__ import annotations

from pathlib import Path


def data_dir(name: str) -> Path:
    """The folder `grammar`, `stdlib` or `captures`: inside the wheel, or beside the package in a
    checkout."""
    package = Path(__file__).parent
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name
