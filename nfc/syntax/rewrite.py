"""The files that `nfc fmt` is asked for: found, compared with their layout, written whole."""

from __future__ import annotations

import difflib
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nfc.errors import NfcError
from nfc.syntax.format import format_source
from nfc.syntax.source import MAX_SOURCE_BYTES, Source

_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True)
class Formatted:
    """A file's bytes as they are, and its text in the canonical layout."""

    name: str
    before: bytes
    text: str

    @property
    def changed(self) -> bool:
        """Whether the file is not in its layout yet."""
        return self.before != self.text.encode()

    def diff(self) -> str:
        """The change as a unified diff; empty if there is none."""
        # Undecodable bytes cannot be there: the text parsed. No other line end than this one.
        old, new = (_LINE.findall(text) for text in (self.before.decode(), self.text))
        out = []
        for line in difflib.unified_diff(old, new, self.name, f"{self.name} (formatted)"):
            whole = line.endswith("\n")
            out.append(line if whole else f"{line}\n\\ No newline at end of file\n")
        return "".join(out)


def find(paths: Iterable[Path]) -> Iterator[Path]:
    """The files named, and all .nf files below the folders named, sorted, each once.

    Hidden files and folders are passed over unless named themselves. Raises NfcError when a
    folder cannot be read.
    """
    seen: set[Path] = set()
    for path in paths:
        for file in _below(path) if path.is_dir() else [path]:
            place = Path(os.path.realpath(file))
            if place not in seen:
                seen.add(place)
                yield file


def _below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise NfcError(f"cannot read {error.filename}: {error.strerror or error}")

    found: list[Path] = []
    for here, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(here, n) for n in files if n.endswith(".nf") and not n.startswith(".")]
        found += [path for path in paths if os.path.isfile(path)]
    return sorted(found)


def formatted(name: str, data: bytes) -> Formatted:
    """The layout of a text that `name` holds. Raises NfcError, SourceErrors if it has errors."""
    return Formatted(name, data, format_source(Source.decode(name, data)))


def read(path: Path) -> Formatted:
    """The layout of a file. Raises NfcError, SourceErrors when it cannot be read or has errors."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise NfcError(f"{path} is not a file", hint="'-' formats standard input")
        with path.open("rb") as file:
            data = file.read(MAX_SOURCE_BYTES + 1)
    except OSError as error:
        raise NfcError(f"cannot read {path}: {error.strerror or error}") from None
    return formatted(str(path), data)


def write(path: Path, text: str) -> None:
    """Replace a file's text in one step; its mode and owner stay. Raises NfcError.

    The text is written beside the file and then put in its place, so that nobody sees half of
    it. Where the path is a symbolic link, the file it leads to is replaced.
    """
    place = Path(os.path.realpath(path))
    temporary = None
    try:
        if not os.access(place, os.W_OK):
            raise NfcError(f"cannot write {path}: it is read-only")
        was = place.stat()
        with tempfile.NamedTemporaryFile(
            dir=place.parent, prefix=f".{place.name[:100]}.", delete=False
        ) as file:
            temporary = file.name
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        with suppress(PermissionError):  # another's file in a folder of ours
            os.chown(temporary, was.st_uid, was.st_gid)
        os.chmod(temporary, stat.S_IMODE(was.st_mode))
        os.replace(temporary, place)
        temporary = None
    except OSError as error:
        raise NfcError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
