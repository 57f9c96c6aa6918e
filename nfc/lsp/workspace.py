"""The files that the server knows: open ones as the editor has them, others as on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nfc.errors import NfcError
from nfc.lsp.document import Document
from nfc.resources import data_dir
from nfc.sema import modules
from nfc.syntax.source import MAX_SOURCE_BYTES, Source

MAX_FILES = 2000  # of a workspace, looked through for references
MAX_KEPT = 256  # files on the disk that are kept in memory


@dataclass
class Workspace:
    """Open documents and folders; what was read from the disk is kept while it does not change."""

    encoding: str = "utf-16"
    folders: list[Path] = field(default_factory=list)
    open: dict[Path, Document] = field(default_factory=dict)
    _read: dict[Path, tuple[tuple[int, int], Document]] = field(default_factory=dict)

    def put(self, path: Path, text: str, version: int | None) -> Document:
        """Take note of an open file's text."""
        document = Document.of(path, text, self.encoding, version, self.open.get(path))
        self.open[path] = document
        return document

    def close(self, path: Path) -> None:
        """From now on the file is what is on the disk."""
        self.open.pop(path, None)

    def get(self, path: Path) -> Document:
        """A file's document. Raises NfcError when it cannot be read."""
        if path in self.open:
            return self.open[path]
        try:
            found = path.stat()
        except OSError as error:
            raise NfcError(f"cannot read {path}: {error.strerror or error}") from None
        stamp = found.st_mtime_ns, found.st_size
        kept = self._read.get(path)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        document = Document.of(path, Source.read(path).text, self.encoding, None)
        if len(self._read) >= MAX_KEPT:
            self._read.pop(next(iter(self._read)))
        self._read[path] = stamp, document
        return document

    def there(self, path: Path) -> bool:
        """Whether there is a file: one that is open need not be on the disk yet."""
        return path in self.open or path.is_file()

    def used(self, document: Document) -> list[Document]:
        """The document, and all that it uses directly or not, each once, as far as they are
        there."""
        found = {document.path: document}
        waiting = [document]
        while waiting:
            asker = waiting.pop(0)
            for _, item in asker.items():
                if item.keyword != "use":
                    continue
                path = modules.find(asker.path, item.name, self.there)
                if path is None or path in found or len(found) > modules.MAX_MODULES:
                    continue
                try:
                    found[path] = self.get(path)
                except NfcError:
                    continue
                waiting.append(found[path])
        return list(found.values())

    def files(self, near: Path) -> Iterator[Document]:
        """All documents of the workspace: open ones, those in its folders, those beside `near`."""
        seen = set(self.open)
        yield from list(self.open.values())
        for path in self._paths(near):
            if path not in seen:
                seen.add(path)
                try:
                    if path.stat().st_size <= MAX_SOURCE_BYTES:
                        yield self.get(path)
                except (OSError, NfcError):
                    continue

    def _paths(self, near: Path) -> Iterator[Path]:
        count = 0
        for folder in self.folders or [near.parent]:
            for here, folders, names in os.walk(folder):
                folders[:] = sorted(n for n in folders if not n.startswith("."))
                for name in sorted(names):
                    if name.endswith(".nf"):
                        count += 1
                        if count > MAX_FILES:
                            return
                        yield Path(here, name)


def in_stdlib(path: Path) -> bool:
    """Whether a file belongs to the standard library, which nobody edits."""
    return path.parent == data_dir("stdlib")
