"""What the server keeps between requests, and what it shows of its own accord."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lsprotocol import types as lsp
from pygls import uris

from nfc.codegen.target import Target
from nfc.errors import NfcError
from nfc.lsp import saved
from nfc.lsp.diagnose import ByFile, Memory, diagnose, diagnosing
from nfc.lsp.document import Document
from nfc.lsp.program import Place, Program
from nfc.lsp.workspace import Workspace
from nfc.syntax.diagnostics import Diagnostic
from nfc.syntax.source import Source

DELAY_S = 0.15  # after the last change, before diagnostics are worked out
SLICE_S = 0.01  # of that work, before requests are looked at again
_SEVERITY = {
    "error": lsp.DiagnosticSeverity.Error,
    "warning": lsp.DiagnosticSeverity.Warning,
}


@dataclass
class Session:
    """An open document: its program, its diagnostics and what they were made of."""

    uri: str  # as the editor writes it
    program: Program | None = None
    memory: Memory = field(default_factory=Memory)
    looked: tuple[tuple[Document, ...], ByFile] | None = None
    shown: ByFile = field(default_factory=dict)
    saved: saved.Saved | None = None
    task: asyncio.Task[None] | None = None
    check: asyncio.Task[None] | None = None


@dataclass
class State:
    """The workspace and the open documents; `publish` shows diagnostics in the editor."""

    target: Target
    publish: Callable[[lsp.PublishDiagnosticsParams], None]
    workspace: Workspace = field(default_factory=Workspace)
    sessions: dict[Path, Session] = field(default_factory=dict)
    checking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    # ---- documents --------------------------------------------------------------------------

    def document(self, uri: str) -> Document | None:
        """The open document of a URI."""
        return self.workspace.open.get(path_of(uri))

    def program(self, document: Document) -> Program:
        """The program of an open document as it is now."""
        session = self.sessions[document.path]
        documents = tuple(self.workspace.used(document))
        if session.program is None or not _same(session.program.documents, documents):
            session.program = Program(documents, session.program)
        return session.program

    def uri(self, path: Path) -> str:
        """A file's URI, as the editor wrote it if it did."""
        if path in self.sessions:
            return self.sessions[path].uri
        return uris.from_fs_path(str(path)) or path.as_uri()

    def location(self, place: Place) -> lsp.Location:
        """A place as the protocol has it."""
        document = place.document
        return lsp.Location(self.uri(document.path), document.text.range(place.start, place.end))

    def put(self, uri: str, text: str, version: int) -> None:
        """Take note of an open document's text, and look at all programs that it is in."""
        path = path_of(uri)
        self.workspace.put(path, text, version)
        new = path not in self.sessions
        session = self.sessions.setdefault(path, Session(uri))
        session.uri = uri
        if new and self._on_disk(path) == text:
            self.check(uri)
        for other, document in list(self.workspace.open.items()):
            if other == path or any(d.path == path for d in self.workspace.used(document)):
                self._later(other)

    def look_again(self) -> None:
        """Look at all open documents: files on the disk have changed."""
        for path in self.workspace.open:
            self._later(path)

    def close(self, uri: str) -> None:
        """Forget an open document; the file on the disk counts again."""
        path = path_of(uri)
        users = [
            other
            for other, document in self.workspace.open.items()
            if other != path and any(d.path == path for d in self.workspace.used(document))
        ]
        self.workspace.close(path)
        for other in users:
            self._later(other)
        session = self.sessions.pop(path, None)
        if session is None:
            return
        for task in (session.task, session.check):
            if task is not None:
                task.cancel()
        for about in {path, *session.shown}:
            self._show(about, uri if about == path else None)

    # ---- diagnostics ------------------------------------------------------------------------

    def found(self, document: Document, start: int, end: int) -> list[Diagnostic]:
        """The diagnostics of an open document as it is now that touch characters `start` to `end`.

        Where they have not been worked out yet, only functions that stand there are looked at: a
        whole file that has changed takes longer than an editor should wait for.
        """
        session = self.sessions[document.path]
        documents = tuple(self.workspace.used(document))
        if session.looked is not None and _same(session.looked[0], documents):
            found = session.looked[1]
        else:
            near = range(start, end)
            found = diagnose(self.workspace, document, self.target, session.memory, near)
        there = found.get(document.path, [])
        return [d for d in there if d.span.start <= end and start <= d.span.end]

    def _later(self, path: Path) -> None:
        """Work diagnostics out once the editor has been quiet for a moment."""
        session = self.sessions[path]
        if session.task is not None:
            session.task.cancel()
        session.task = asyncio.get_running_loop().create_task(self._look(path, session))

    async def _look(self, path: Path, session: Session) -> None:
        """Work out what is shown of a document, in slices between which requests are answered."""
        await asyncio.sleep(DELAY_S)
        document = self.workspace.open.get(path)
        if document is None:
            return
        documents = tuple(self.workspace.used(document))
        steps = diagnosing(self.workspace, document, self.target, session.memory)
        began = time.monotonic()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                session.looked = documents, end.value
                break
            if time.monotonic() - began > SLICE_S:
                await asyncio.sleep(0)
                began = time.monotonic()
        before, session.shown = session.shown, session.looked[1]
        for about in {*before, *session.shown}:
            self._show(about)

    def _show(self, path: Path, uri: str | None = None) -> None:
        """Publish all that open documents' programs have to say of a file."""
        try:
            document = self.workspace.get(path)
        except NfcError:
            if uri is not None:
                self.publish(lsp.PublishDiagnosticsParams(uri, []))
            return
        unique: dict[tuple[int, int, str], lsp.Diagnostic] = {}
        for diagnostic in self._said(document):
            shown = as_shown(document, diagnostic)
            span = diagnostic.span
            unique.setdefault((span.start, span.end, shown.message), shown)
        self.publish(
            lsp.PublishDiagnosticsParams(
                uri or self.uri(path), list(unique.values()), document.version
            )
        )

    def _said(self, document: Document) -> list[Diagnostic]:
        found = [d for s in self.sessions.values() for d in s.shown.get(document.path, [])]
        session = self.sessions.get(document.path)
        if session and session.saved and session.saved.text == document.text.text:
            found += session.saved.found
        return found

    # ---- when a file is saved ---------------------------------------------------------------

    def check(self, uri: str) -> None:
        """Ask the whole compiler about a file that was saved."""
        path = path_of(uri)
        session = self.sessions.get(path)
        if session is None:
            return
        if session.check is not None:
            session.check.cancel()
        session.check = asyncio.get_running_loop().create_task(self._check(path, session))

    async def _check(self, path: Path, session: Session) -> None:
        document = self.workspace.open.get(path)
        if document is None:
            return
        async with self.checking:
            answer = await saved.ask(document, self.target.name)
        if answer is not None:
            session.saved = answer
            self._show(path)

    def _on_disk(self, path: Path) -> str | None:
        try:
            return Source.read(path).text
        except NfcError:
            return None

    def saved(self, document: Document) -> saved.Saved | None:
        """What was found out when the document was last saved."""
        session = self.sessions.get(document.path)
        return session.saved if session else None


def _same(a: tuple[Document, ...], b: tuple[Document, ...]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def path_of(uri: str) -> Path:
    """The path of a URI; of one that is no file, a name of its own."""
    return Path(uris.to_fs_path(uri) or uri.replace("/", "_"))


def as_shown(document: Document, diagnostic: Diagnostic) -> lsp.Diagnostic:
    """A diagnostic as the protocol has it: message and hint as on a terminal."""
    hint = diagnostic.hint
    return lsp.Diagnostic(
        document.text.range(diagnostic.span.start, diagnostic.span.end),
        diagnostic.message + (f"\n{hint}" if hint else ""),
        severity=_SEVERITY[diagnostic.severity],
        source="nfc",
    )
