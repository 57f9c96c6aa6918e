"""Diagnostics of a document: what the command line says of the file, word for word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nfc.codegen.target import Target
from nfc.compiler import check_target
from nfc.errors import NfcError
from nfc.lsp.document import Document
from nfc.lsp.workspace import Workspace
from nfc.plan.lower import lower
from nfc.plan.passes import run
from nfc.sema import typed
from nfc.sema.analyse import analyse_tree
from nfc.syntax import tree
from nfc.syntax.diagnostics import Diagnostic, Diagnostics
from nfc.syntax.source import MAX_SOURCE_BYTES, Source, Span


@dataclass(frozen=True)
class Found:
    """Diagnostics by the file that they are about, and the typed program if it has no errors."""

    by_file: dict[Path, list[Diagnostic]]
    program: typed.Program | None


def diagnose(workspace: Workspace, document: Document, target: Target) -> Found:
    """All that `nfc check --kernel TARGET` would say of the source."""
    source = Source(document.path.name, document.text.text)
    if len(source.text.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
        message = f"{source.name} is larger than {MAX_SOURCE_BYTES} bytes, which no program is"
        whole = Diagnostic("error", Span(source, 0, 0), message)
        return Found({document.path: [whole]}, None)
    sources: list[tuple[Source, Document]] = [(source, document)]

    def opener(path: Path, name: str, diagnostics: Diagnostics) -> tree.File:
        used = workspace.get(path)
        text = Source(used.path.name, used.text.text)
        sources.append((text, used))
        return used.tree(text, diagnostics, functions=True)

    diagnostics = Diagnostics()
    file = document.tree(source, diagnostics, functions=True)
    program = analyse_tree(file, document.path, diagnostics, opener)
    if program is not None:
        for function in program.functions:
            check_target(function, run(lower(function, program)), target, diagnostics)
    by_file: dict[Path, list[Diagnostic]] = {document.path: []}
    for diagnostic in diagnostics.sorted():
        of = next(d for s, d in sources if s is diagnostic.span.source)
        by_file.setdefault(of.path, []).append(diagnostic)
    return Found(by_file, None if diagnostics.has_errors else program)


def unreadable(error: NfcError) -> str:
    """An error that has no place in a text, as one line."""
    return f"{error.message}: {error.hint}" if error.hint else error.message
