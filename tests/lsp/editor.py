"""An editor: a language client that speaks to `nfc lsp` over standard input and output."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from lsprotocol import types as lsp
from pygls.lsp.client import LanguageClient

T = TypeVar("T")
TIMEOUT_S = 300  # before a test gives up, on a machine that may have much else to do


class Editor:
    """Starts the server for a folder; `with` ends it, and checks that it ended well."""

    def __init__(self, folder: Path, *, encodings: list[str] | None = None, kernel: str = "6.1"):
        self.folder = folder
        self.kernel = kernel
        self.encodings = encodings
        self.loop = asyncio.new_event_loop()
        self.client = LanguageClient("test", "1")
        self.published: dict[str, list[lsp.PublishDiagnosticsParams]] = {}
        self.news = asyncio.Event()
        self.errors: list[str] = []
        self.version = 0

        @self.client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)  # type: ignore[untyped-decorator]
        def publish(params: lsp.PublishDiagnosticsParams) -> None:
            self.published.setdefault(params.uri, []).append(params)
            self.news.set()

        @self.client.feature(lsp.WINDOW_SHOW_MESSAGE)  # type: ignore[untyped-decorator]
        def message(params: lsp.ShowMessageParams) -> None:
            self.errors.append(params.message)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for an answer."""
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, TIMEOUT_S))

    def __enter__(self) -> Editor:
        command = ("-m", "nfc", "lsp", "--kernel", self.kernel)
        self.run(self.client.start_io(sys.executable, *command))
        capabilities = lsp.ClientCapabilities()
        if self.encodings is not None:
            kinds = [lsp.PositionEncodingKind(e) for e in self.encodings]
            capabilities.general = lsp.GeneralClientCapabilities(position_encodings=kinds)
        params = lsp.InitializeParams(
            capabilities,
            workspace_folders=[lsp.WorkspaceFolder(self.folder.as_uri(), "folder")],
        )
        self.answer = self.run(self.client.initialize_async(params))
        self.client.initialized(lsp.InitializedParams())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.run(self.client.shutdown_async(None))
            self.client.exit(None)
            self.run(self._ended())
            assert self.errors == []
        finally:
            self.run(self.client.stop())  # type: ignore[no-untyped-call]
            self.loop.close()

    async def _ended(self) -> None:
        server = self.client._server
        assert server is not None
        assert await server.wait() == 0

    def uri(self, name: str) -> str:
        return (self.folder / name).as_uri()

    def identifier(self, name: str) -> lsp.TextDocumentIdentifier:
        return lsp.TextDocumentIdentifier(self.uri(name))

    def open(self, name: str, text: str) -> None:
        self.version += 1
        item = lsp.TextDocumentItem(self.uri(name), "nf", self.version, text)
        self.client.text_document_did_open(lsp.DidOpenTextDocumentParams(item))

    def change(self, name: str, text: str) -> None:
        self.version += 1
        identifier = lsp.VersionedTextDocumentIdentifier(version=self.version, uri=self.uri(name))
        change = lsp.TextDocumentContentChangeWholeDocument(text)
        self.client.text_document_did_change(lsp.DidChangeTextDocumentParams(identifier, [change]))

    def diagnostics(self, name: str) -> list[lsp.Diagnostic]:
        """What is shown of a file once the server has looked at its latest version."""
        return self.run(self._diagnostics(self.uri(name), self.version))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of what was published."""
        while not holds():
            self.news.clear()
            await self.news.wait()

    async def _diagnostics(self, uri: str, version: int) -> list[lsp.Diagnostic]:
        while True:
            for shown in self.published.get(uri, [])[::-1]:
                if shown.version is None or shown.version >= version:
                    return list(shown.diagnostics)
            self.news.clear()
            await self.news.wait()


def place(text: str, mark: str, more: int = 0) -> lsp.Position:
    """Where `mark` stands in a text of ASCII characters, and `more` characters further on."""
    offset = text.index(mark) + more
    line = text.count("\n", 0, offset)
    return lsp.Position(line, offset - (text.rfind("\n", 0, offset) + 1))
