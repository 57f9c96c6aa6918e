"""Finds the files that `use` names: beside the file that asks, then in the standard library."""

from __future__ import annotations

from pathlib import Path

from nfc.errors import NfcError
from nfc.resources import data_dir
from nfc.syntax import tree
from nfc.syntax.diagnostics import Diagnostics, nearest
from nfc.syntax.parser import parse
from nfc.syntax.source import Source

MAX_MODULES = 64


def load(path: Path, file: tree.File, diagnostics: Diagnostics) -> list[tree.File]:
    """All files that `file` (read from `path`) uses, directly or not, each once.

    Files that use each other are fine: declarations do not run.
    """
    loaded: dict[Path, tree.File] = {path.resolve(): file}
    waiting = [(path, file)]
    while waiting:
        asker, current = waiting.pop(0)
        for use in [i for i in current.items if isinstance(i, tree.Use)]:
            found = _find(asker, use, diagnostics)
            if found is None or found.resolve() in loaded:
                continue
            if len(loaded) >= MAX_MODULES:
                diagnostics.error(use.span, f"more than {MAX_MODULES} files are used")
                return []
            try:
                source = Source.read(
                    found, str(found) if found.parent == asker.parent else found.name
                )
            except NfcError as error:
                diagnostics.error(use.module.span, error.message)
                continue
            module = parse(source, diagnostics)
            loaded[found.resolve()] = module
            waiting.append((found, module))
    return [f for f in loaded.values() if f is not file]


def _find(asker: Path, use: tree.Use, diagnostics: Diagnostics) -> Path | None:
    folders = [asker.parent, data_dir("stdlib")]
    for folder in folders:
        candidate = folder / f"{use.module.text}.nf"
        if candidate.is_file():
            return candidate
    known = [p.stem for folder in folders for p in sorted(folder.glob("*.nf"))[:200]]
    diagnostics.error(
        use.module.span,
        f"there is no {use.module.text}.nf beside this file or in the standard library",
        nearest(use.module.text, known),
    )
    return None
