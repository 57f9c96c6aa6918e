"""The server: requests of the protocol, each handed to the file that answers it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from lsprotocol import types as lsp
from pygls import uris
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from nfc import __version__
from nfc.codegen.target import DEFAULT, parse_target
from nfc.errors import NfcError
from nfc.lsp import actions, colours, completion, hover, layout, navigate, outline, signature
from nfc.lsp import rename as renaming
from nfc.lsp.document import Document
from nfc.lsp.program import Place, Program
from nfc.lsp.protocol import Protocol
from nfc.lsp.state import State, as_shown
from nfc.syntax.diagnostics import Diagnostic

REQUEST_FAILED = -32803  # LSP 3.17, ErrorCodes: the request is well-formed, but cannot be met
_FIX_KINDS = (lsp.CodeActionKind.QuickFix, lsp.CodeActionKind.SourceFixAll)


class Server(LanguageServer):
    """The language server; `state` is all that it keeps."""

    def __init__(self, kernel: str = DEFAULT) -> None:
        """A server that checks for a kernel version. Raises UsageError if it is none."""
        whole = lsp.TextDocumentSyncKind.Full
        super().__init__("nfc", __version__, protocol_cls=Protocol, text_document_sync_kind=whole)
        self.state = State(parse_target(kernel), self.text_document_publish_diagnostics)

    @property
    def status(self) -> int:
        """What the process is to end with."""
        assert isinstance(self.protocol, Protocol)
        return self.protocol.status

    def at(self, params: Any) -> tuple[Program, Document, int] | None:
        """The program, document and offset that a request is about; None if it is not open."""
        document = self.state.document(params.text_document.uri)
        if document is None:
            return None
        return self.state.program(document), document, document.text.offset(params.position)


def make_server(kernel: str = DEFAULT) -> Server:
    """A server with all that it can answer. Raises UsageError if there is no such kernel."""
    server = Server(kernel)
    logging.getLogger("pygls.protocol.json_rpc").addFilter(_Unrefused())
    for name in ("pygls.protocol.json_rpc", "pygls.server", "pygls.io_"):
        logging.getLogger(name).addFilter(_InALine())
    _documents(server)
    _names(server)
    _whole(server)
    _fixes(server)
    return server


def _documents(server: Server) -> None:
    """What is open, and its text."""
    state = server.state

    def take_folders() -> None:
        found = [uris.to_fs_path(f.uri) for f in server.workspace.folders.values()]
        state.workspace.folders = [Path(folder) for folder in found if folder]

    @server.feature(lsp.INITIALIZE)
    def initialize(params: lsp.InitializeParams) -> None:
        encoding = server.workspace.position_encoding
        state.workspace.encoding = encoding.value if isinstance(encoding, Enum) else str(encoding)
        take_folders()

    @server.feature(lsp.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    def folders(params: lsp.DidChangeWorkspaceFoldersParams) -> None:
        take_folders()

    @server.feature(lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def watched(params: lsp.DidChangeWatchedFilesParams) -> None:
        state.look_again()

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: lsp.DidOpenTextDocumentParams) -> None:
        document = params.text_document
        state.put(document.uri, document.text, document.version)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: lsp.DidChangeTextDocumentParams) -> None:
        if params.content_changes:
            document = params.text_document
            state.put(document.uri, params.content_changes[-1].text, document.version)

    @server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: lsp.DidSaveTextDocumentParams) -> None:
        state.check(params.text_document.uri)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: lsp.DidCloseTextDocumentParams) -> None:
        state.close(params.text_document.uri)


def _names(server: Server) -> None:
    """What stands at a place."""
    state = server.state

    @server.feature(lsp.TEXT_DOCUMENT_HOVER)
    def on_hover(params: lsp.HoverParams) -> lsp.Hover | None:
        found = server.at(params)
        return hover.hover(*found, state.saved(found[1])) if found else None

    @server.feature(
        lsp.TEXT_DOCUMENT_COMPLETION, lsp.CompletionOptions(trigger_characters=[".", "{", "["])
    )
    def on_completion(params: lsp.CompletionParams) -> list[lsp.CompletionItem]:
        found = server.at(params)
        return [offer.item() for offer in completion.complete(*found)] if found else []

    @server.feature(
        lsp.TEXT_DOCUMENT_SIGNATURE_HELP, lsp.SignatureHelpOptions(trigger_characters=["(", ","])
    )
    def on_signature(params: lsp.SignatureHelpParams) -> lsp.SignatureHelp | None:
        found = server.at(params)
        return signature.signature(*found) if found else None

    @server.feature(lsp.TEXT_DOCUMENT_DEFINITION)
    def on_definition(params: lsp.DefinitionParams) -> list[lsp.Location]:
        found = server.at(params)
        places = navigate.definition(state.workspace, *found) if found else []
        return [state.location(place) for place in places]

    @server.feature(lsp.TEXT_DOCUMENT_REFERENCES)
    def on_references(params: lsp.ReferenceParams) -> list[lsp.Location]:
        found = server.at(params)
        places: dict[tuple[Path, int], Place] = {}
        if found:
            for symbol in navigate.symbols_at(*found):
                declared = params.context.include_declaration
                for place in navigate.references(
                    state.workspace, found[0], symbol, declared=declared
                ):
                    places[place.document.path, place.start] = place
        return [state.location(place) for place in places.values()]

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT)
    def on_highlight(params: lsp.DocumentHighlightParams) -> list[lsp.DocumentHighlight]:
        found = server.at(params)
        return navigate.highlights(*found) if found else []

    @server.feature(lsp.TEXT_DOCUMENT_PREPARE_RENAME)
    def on_prepare(params: lsp.PrepareRenameParams) -> lsp.PrepareRenamePlaceholder | None:
        found = server.at(params)
        if found is None:
            return None
        try:
            symbol, place = renaming.renameable(*found)
        except NfcError as error:
            raise _refused(error) from None
        range_ = found[1].text.range(place.start, place.end)
        return lsp.PrepareRenamePlaceholder(range_, symbol.name)

    @server.feature(lsp.TEXT_DOCUMENT_RENAME, lsp.RenameOptions(prepare_provider=True))
    def on_rename(params: lsp.RenameParams) -> lsp.WorkspaceEdit | None:
        found = server.at(params)
        if found is None:
            return None
        try:
            places = renaming.rename(state.workspace, *found, params.new_name)
        except NfcError as error:
            raise _refused(error) from None
        changes = {
            state.uri(document.path): [
                lsp.TextEdit(document.text.range(p.start, p.end), params.new_name) for p in named
            ]
            for document, named in places.items()
        }
        return lsp.WorkspaceEdit(changes)


def _whole(server: Server) -> None:
    """What a document is as a whole."""
    state = server.state

    @server.feature(lsp.TEXT_DOCUMENT_FORMATTING)
    def on_formatting(params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
        document = state.document(params.text_document.uri)
        return layout.format_edits(document) if document else []

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def on_symbols(params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol]:
        document = state.document(params.text_document.uri)
        return outline.symbols(document) if document else []

    @server.feature(lsp.TEXT_DOCUMENT_FOLDING_RANGE)
    def on_folding(params: lsp.FoldingRangeParams) -> list[lsp.FoldingRange]:
        document = state.document(params.text_document.uri)
        return outline.folds(document) if document else []

    @server.feature(lsp.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL, colours.LEGEND)
    def on_tokens(params: lsp.SemanticTokensParams) -> lsp.SemanticTokens:
        document = state.document(params.text_document.uri)
        if document is None:
            return lsp.SemanticTokens([])
        return lsp.SemanticTokens(colours.tokens(state.program(document), document))

    @server.feature(lsp.TEXT_DOCUMENT_SEMANTIC_TOKENS_RANGE, colours.LEGEND)
    def on_some_tokens(params: lsp.SemanticTokensRangeParams) -> lsp.SemanticTokens:
        document = state.document(params.text_document.uri)
        if document is None:
            return lsp.SemanticTokens([])
        first, last = (document.text.offset(p) for p in (params.range.start, params.range.end))
        return lsp.SemanticTokens(colours.tokens(state.program(document), document, first, last))


def _fixes(server: Server) -> None:
    """What can be done about diagnostics."""
    state = server.state

    @server.feature(
        lsp.TEXT_DOCUMENT_CODE_ACTION, lsp.CodeActionOptions(code_action_kinds=list(_FIX_KINDS))
    )
    def on_actions(params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
        document = state.document(params.text_document.uri)
        if document is None:
            return []
        asked = params.context.only
        start, end = (document.text.offset(p) for p in (params.range.start, params.range.end))
        offered: list[lsp.CodeAction] = []
        if asked is None or _wanted(lsp.CodeActionKind.QuickFix, asked):
            offered += _quick(document, state.found(document, start, end))
        if asked is not None and _wanted(lsp.CodeActionKind.SourceFixAll, asked):
            offered += _all(document)
        return offered

    def _quick(document: Document, near: list[Diagnostic]) -> Iterator[lsp.CodeAction]:
        for diagnostic in near:
            for fix in actions.fixes(state.workspace, document, diagnostic):
                yield lsp.CodeAction(
                    fix.title,
                    kind=lsp.CodeActionKind.QuickFix,
                    diagnostics=[as_shown(document, diagnostic)],
                    is_preferred=fix.sure or None,
                    edit=_edit(document, fix.edits),
                )

    def _all(document: Document) -> Iterator[lsp.CodeAction]:
        edits = layout.format_edits(document)
        if edits:
            yield lsp.CodeAction(
                "Put the file into the one layout",
                kind=lsp.CodeActionKind.SourceFixAll,
                edit=lsp.WorkspaceEdit({state.uri(document.path): edits}),
            )

    def _edit(document: Document, edits: tuple[actions.Edit, ...]) -> lsp.WorkspaceEdit:
        made = [lsp.TextEdit(document.text.range(e.start, e.end), e.text) for e in edits]
        return lsp.WorkspaceEdit({state.uri(document.path): made})


def _wanted(kind: lsp.CodeActionKind, asked: Any) -> bool:
    """Whether a kind of action is one of those asked for, or below one (LSP 3.17)."""
    names = [a.value if isinstance(a, Enum) else str(a) for a in asked]
    return any(n in ("", kind.value) or kind.value.startswith(f"{n}.") for n in names)


class _Unrefused(logging.Filter):
    """Leaves out of the log what is an answer: that a request cannot be met."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is logged."""
        error = record.exc_info[1] if record.exc_info else None
        return not (isinstance(error, JsonRpcException) and error.code == REQUEST_FAILED)


class _InALine(logging.Filter):
    """Says of a message that is none of the protocol's in one line what is wrong with it, where
    pygls shows the inside of its parser, twice. (What our own functions raise is logged as a whole,
    by another name.)"""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is logged; it may change it."""
        said = str(record.msg)
        if said.startswith("Unable to handle message") and record.exc_info:
            error = record.exc_info[1]
            why = (error.__cause__ if error else None) or error
            record.msg = "A message cannot be read: %s: %s"
            record.args = type(why).__name__, str(why).partition("\n")[0][:200]
            record.exc_info = None
        return not said.startswith("Unable to deserialize message")


def _refused(error: NfcError) -> JsonRpcException:
    return JsonRpcException(message=error.message, code=REQUEST_FAILED)
