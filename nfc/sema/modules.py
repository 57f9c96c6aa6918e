"""Finds the files that `use` names: beside the file that asks, then in the standard library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nfc.errors import NfcError
from nfc.resources import data_dir
from nfc.syntax import tree
from nfc.syntax.diagnostics import Diagnostics, nearest
from nfc.syntax.parser import parse
from nfc.syntax.source import Source

MAX_MODULES = 64


Opener = Callable[[Path, str, Diagnostics], tree.File]  # a path, its name in messages
There = Callable[[Path], bool]  # whether there is such a file


def read(path: Path, name: str, diagnostics: Diagnostics) -> tree.File:
    """The tree of a file on the disk. Raises NfcError when it cannot be read."""
    return parse(Source.read(path, name), diagnostics)


def load(
    path: Path,
    file: tree.File,
    diagnostics: Diagnostics,
    opener: Opener = read,
    there: There = Path.is_file,
) -> list[tree.File]:
    """All files that `file` (read from `path`) uses, directly or not, each once.

    Files that use each other are fine: declarations do not run. `opener` reads one that is `there`.
    """
    loaded: dict[Path, tree.File] = {path.resolve(): file}
    waiting = [(path, file)]
    while waiting:
        asker, current = waiting.pop(0)
        for use in [i for i in current.items if isinstance(i, tree.Use)]:
            found = find(asker, use.module.text, there)
            if found is None:
                _missing(asker, use, diagnostics)
                continue
            if found.resolve() in loaded:
                continue
            if len(loaded) >= MAX_MODULES:
                diagnostics.error(use.span, f"more than {MAX_MODULES} files are used")
                return []
            name = str(found) if found.parent == asker.parent else found.name
            try:
                module = opener(found, name, diagnostics)
            except NfcError as error:
                diagnostics.error(use.module.span, error.message)
                continue
            loaded[found.resolve()] = module
            waiting.append((found, module))
    return [f for f in loaded.values() if f is not file]


def folders(asker: Path) -> tuple[Path, Path]:
    """Where files are looked for that `asker` uses."""
    return asker.parent, data_dir("stdlib")


def find(asker: Path, name: str, there: There = Path.is_file) -> Path | None:
    """The file that `use name` means in the file `asker`."""
    candidates = [folder / f"{name}.nf" for folder in folders(asker)]
    return next((path for path in candidates if there(path)), None)


def known(asker: Path) -> list[str]:
    """The names that `use` can have in the file `asker`: 200 of each folder at most."""
    return [p.stem for folder in folders(asker) for p in sorted(folder.glob("*.nf"))[:200]]


def _missing(asker: Path, use: tree.Use, diagnostics: Diagnostics) -> None:
    diagnostics.error(
        use.module.span,
        f"there is no {use.module.text}.nf beside this file or in the standard library",
        nearest(use.module.text, known(asker)),
    )
