"""From a name to where it is declared and used: definition, references, highlights."""

from __future__ import annotations

from lsprotocol import types as lsp

from nfc.lsp.document import Document
from nfc.lsp.program import Place, Program, Symbol
from nfc.lsp.workspace import Workspace
from nfc.sema import modules


def symbols_at(program: Program, document: Document, offset: int) -> list[Symbol]:
    """What the name at an offset stands for."""
    found = document.mention_at(offset)
    return program.symbols(*found) if found else []


def definition(
    workspace: Workspace, program: Program, document: Document, offset: int
) -> list[Place]:
    """Where what stands at an offset is declared; of `use`, the beginning of the file."""
    places = []
    for symbol in symbols_at(program, document, offset):
        if symbol.kind == "module":
            path = modules.find(document.path, symbol.name, workspace.there)
            if path is not None:
                places.append(Place(workspace.get(path), 0, 0))
        else:
            places += [d.place for d in program.declarations(symbol)]
    return places


def references(
    workspace: Workspace, program: Program, symbol: Symbol, *, declared: bool = True
) -> list[Place]:
    """Every place in the workspace that names a symbol; `declared`: its declaration too."""
    home = program.declarations(symbol)
    if not home or symbol.kind in ("alias", "argument"):
        places = program.references(symbol)
    else:
        places = []
        for other in programs_with(workspace, program, home[0].place.document):
            places += other.references(symbol)
    at = {(d.place.document.path, d.place.start) for d in home}
    unique = {(p.document.path, p.start): p for p in places}
    if not declared:
        unique = {key: place for key, place in unique.items() if key not in at}
    return [unique[key] for key in sorted(unique)]


def programs_with(workspace: Workspace, program: Program, home: Document) -> list[Program]:
    """The programs of all files that use `home`, it and those that the program uses among them."""
    found = {home.path: Program(tuple(workspace.used(home)))}
    candidates = {
        d.path: d for d in (*workspace.files(program.documents[0].path), *program.documents)
    }
    for document in candidates.values():
        if document.path not in found:
            used = workspace.used(document)
            if any(d.path == home.path for d in used):
                found[document.path] = Program(tuple(used))
    return list(found.values())


def highlights(program: Program, document: Document, offset: int) -> list[lsp.DocumentHighlight]:
    """The other places of the document that name the same."""
    places = {
        (place.start, place.end)
        for symbol in symbols_at(program, document, offset)
        for place in program.references(symbol, document)
    }
    return [
        lsp.DocumentHighlight(document.text.range(start, end), lsp.DocumentHighlightKind.Text)
        for start, end in sorted(places)
    ]
