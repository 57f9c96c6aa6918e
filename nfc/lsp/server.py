"""The server: requests of the protocol, each handed to the file that answers it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsprotocol import types as lsp
from pygls import uris
from pygls.lsp.server import LanguageServer

from nfc import __version__
from nfc.codegen.target import DEFAULT, Target, parse_target
from nfc.errors import NfcError
from nfc.lsp import completion, hover, layout, navigate
from nfc.lsp.diagnose import diagnose
from nfc.lsp.document import Document
from nfc.lsp.program import Place, Program
from nfc.lsp.workspace import Workspace
from nfc.syntax.diagnostics import Diagnostic

DELAY_S = 0.15  # after the last change, before diagnostics are worked out
_SEVERITY = {
    "error": lsp.DiagnosticSeverity.Error,
    "warning": lsp.DiagnosticSeverity.Warning,
}


@dataclass
class State:
    """What the server knows between requests."""

    target: Target
    workspace: Workspace = field(default_factory=Workspace)
    programs: dict[Path, Program] = field(default_factory=dict)
    uris: dict[Path, str] = field(default_factory=dict)  # as the editor writes them
    waiting: dict[Path, asyncio.TimerHandle] = field(default_factory=dict)
    shown: dict[Path, dict[Path, list[Diagnostic]]] = field(default_factory=dict)

    def program(self, document: Document) -> Program:
        """The program of an open document as it is now."""
        documents = tuple(self.workspace.used(document))
        last = self.programs.get(document.path)
        if last is not None and _same(last.documents, documents):
            return last
        self.programs[document.path] = program = Program(documents, last)
        return program

    def uri(self, path: Path) -> str:
        """A file's URI, as the editor wrote it if it did."""
        return self.uris.get(path) or uris.from_fs_path(str(path)) or path.as_uri()

    def location(self, place: Place) -> lsp.Location:
        """A place as the protocol has it."""
        document = place.document
        return lsp.Location(self.uri(document.path), document.text.range(place.start, place.end))


def _same(a: tuple[Document, ...], b: tuple[Document, ...]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


class Server(LanguageServer):
    """The language server; `state` is all that it keeps."""

    def __init__(self, kernel: str = DEFAULT) -> None:
        """A server that checks for a kernel version. Raises UsageError if it is none."""
        super().__init__("nfc", __version__, text_document_sync_kind=lsp.TextDocumentSyncKind.Full)
        self.state = State(parse_target(kernel))

    def document(self, uri: str) -> Document | None:
        """The open document of a URI."""
        return self.state.workspace.open.get(path_of(uri))

    def look_later(self, path: Path) -> None:
        """Work diagnostics out once the editor has been quiet for a moment."""
        waiting = self.state.waiting.pop(path, None)
        if waiting is not None:
            waiting.cancel()
        loop = asyncio.get_running_loop()
        self.state.waiting[path] = loop.call_later(DELAY_S, self.look, path)

    def look(self, path: Path) -> None:
        """Work the diagnostics of an open document out and show them."""
        self.state.waiting.pop(path, None)
        document = self.state.workspace.open.get(path)
        if document is None:
            return
        found = diagnose(self.state.workspace, document, self.state.target)
        before = self.state.shown.get(path, {})
        self.state.shown[path] = found.by_file
        for about in {*before, *found.by_file}:
            self.show(about)

    def show(self, path: Path) -> None:
        """Publish all that open documents' programs have to say of a file."""
        try:
            document = self.state.workspace.get(path)
        except NfcError:
            return
        seen: dict[tuple[object, ...], lsp.Diagnostic] = {}
        for by_file in self.state.shown.values():
            for diagnostic in by_file.get(path, []):
                shown = _diagnostic(document, diagnostic)
                span = diagnostic.span
                seen.setdefault((span.start, span.end, shown.message), shown)
        self.text_document_publish_diagnostics(
            lsp.PublishDiagnosticsParams(
                self.state.uri(path), list(seen.values()), document.version
            )
        )


def path_of(uri: str) -> Path:
    """The path of a URI; of one that is no file, a name of its own."""
    return Path(uris.to_fs_path(uri) or uri.replace("/", "_"))


def _diagnostic(document: Document, diagnostic: Diagnostic) -> lsp.Diagnostic:
    hint = diagnostic.hint
    return lsp.Diagnostic(
        document.text.range(diagnostic.span.start, diagnostic.span.end),
        diagnostic.message + (f"\n{hint}" if hint else ""),
        severity=_SEVERITY[diagnostic.severity],
        source="nfc",
        data={"message": diagnostic.message, "hint": hint},
    )


def make_server(kernel: str = DEFAULT) -> Server:
    """A server with all that it can answer. Raises UsageError if there is no such kernel."""
    server = Server(kernel)
    feature = server.feature

    @feature(lsp.INITIALIZED)
    def initialized(params: lsp.InitializedParams) -> None:
        workspace = server.workspace
        state = server.state.workspace
        state.encoding = str(
            getattr(workspace.position_encoding, "value", workspace.position_encoding)
        )
        state.folders = [
            Path(path) for f in workspace.folders.values() if (path := uris.to_fs_path(f.uri))
        ]

    @feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: lsp.DidOpenTextDocumentParams) -> None:
        document = params.text_document
        path = path_of(document.uri)
        server.state.uris[path] = document.uri
        server.state.workspace.put(path, document.text, document.version)
        server.look_later(path)

    @feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: lsp.DidChangeTextDocumentParams) -> None:
        path = path_of(params.text_document.uri)
        for change in params.content_changes:
            server.state.workspace.put(path, change.text, params.text_document.version)
        for other in server.state.workspace.open:
            server.look_later(other)

    @feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: lsp.DidCloseTextDocumentParams) -> None:
        path = path_of(params.text_document.uri)
        server.state.workspace.close(path)
        server.state.programs.pop(path, None)
        for about in server.state.shown.pop(path, {}):
            server.show(about)

    def at(params: Any) -> tuple[Program, Document, int] | None:
        """The program, document and offset that a request is about."""
        document = server.document(params.text_document.uri)
        if document is None:
            return None
        return server.state.program(document), document, document.text.offset(params.position)

    @feature(lsp.TEXT_DOCUMENT_HOVER)
    def on_hover(params: lsp.HoverParams) -> lsp.Hover | None:
        found = at(params)
        return hover.hover(*found) if found else None

    @feature(
        lsp.TEXT_DOCUMENT_COMPLETION, lsp.CompletionOptions(trigger_characters=[".", "{", " "])
    )
    def on_completion(params: lsp.CompletionParams) -> list[lsp.CompletionItem]:
        found = at(params)
        return [offer.item() for offer in completion.complete(*found)] if found else []

    @feature(lsp.TEXT_DOCUMENT_DEFINITION)
    def on_definition(params: lsp.DefinitionParams) -> list[lsp.Location]:
        found = at(params)
        places = navigate.definition(server.state.workspace, *found) if found else []
        return [server.state.location(place) for place in places]

    @feature(lsp.TEXT_DOCUMENT_FORMATTING)
    def on_formatting(params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
        document = server.document(params.text_document.uri)
        return layout.format_edits(document) if document else []

    return server
