"""Renaming: in every file that names the thing, or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterable

from nfc.errors import NfcError
from nfc.lsp.document import Document
from nfc.lsp.navigate import programs_with, references, symbols_at
from nfc.lsp.program import Place, Program, Symbol
from nfc.lsp.workspace import Workspace, in_stdlib
from nfc.sema import types
from nfc.sema.analyse import MAX_NAME
from nfc.sema.headers import HEADERS, META_NAME
from nfc.sema.scope import RESERVED_NAMES
from nfc.syntax.language import lark
from nfc.syntax.unexpected import SOFT_WORDS

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FIELDS = ("field", "key")  # may be called by a word that only means something elsewhere


def renameable(program: Program, document: Document, offset: int) -> tuple[Symbol, Place]:
    """What can be renamed at an offset, and its place there. Raises NfcError when nothing can."""
    found = document.mention_at(offset)
    symbols = symbols_at(program, document, offset)
    if found is None or not symbols:
        raise NfcError("there is no name here that is declared")
    symbol = symbols[0]
    if len(symbols) > 1:
        owners = " and of ".join(s.owner for s in symbols)
        raise NfcError(f"'{symbol.name}' is a member of {owners}: rename it where it is declared")
    if symbol.kind == "module":
        raise NfcError(f"'{symbol.name}' is the name of a file")
    declared = program.declarations(symbol)
    if symbol.built_in or not declared:
        raise NfcError(f"'{symbol.name}' belongs to the language")
    if any(in_stdlib(d.place.document.path) for d in declared):
        raise NfcError(f"'{symbol.name}' belongs to the standard library")
    start, _, mention = found
    return symbol, Place(document, start + mention.start, start + mention.end)


def rename(
    workspace: Workspace, program: Program, document: Document, offset: int, new: str
) -> dict[Document, list[Place]]:
    """Every place to be overwritten with the new name, by document. Raises NfcError where the
    new name cannot be one there, or would mean something else somewhere."""
    symbol, _ = renameable(program, document, offset)
    _check_word(symbol, new)
    places = references(workspace, program, symbol)
    home = program.declarations(symbol)[0].place.document
    programs = programs_with(workspace, program, home)
    for other in [program] if symbol.kind in ("alias", "argument") else programs:
        _check_free(other, symbol, new)
    by_document: dict[Document, list[Place]] = {}
    for place in places:
        if in_stdlib(place.document.path):
            raise NfcError("the standard library names it, and stays as it is")
        by_document.setdefault(place.document, []).append(place)
    return by_document


def _check_word(symbol: Symbol, new: str) -> None:
    """Whether the language takes the name for such a thing."""
    if not _NAME.fullmatch(new):
        raise NfcError("names are made of letters, digits and _, and do not begin with a digit")
    words = {t.pattern.value for t in lark().terminals if t.pattern.type == "str"}
    if new in words and not (symbol.kind in _FIELDS and new in SOFT_WORDS):
        raise NfcError(f"'{new}' is a word of the language and cannot be a name")
    if symbol.kind == "alias":
        if new in HEADERS or new == META_NAME:
            raise NfcError(f"'{new}' already means something in every rule")
    elif symbol.kind not in _FIELDS and (new in RESERVED_NAMES or types.builtin(new)):
        raise NfcError(f"'{new}' is a word of the language")
    if symbol.kind == "function":
        if len(new) > MAX_NAME:
            raise NfcError(f"a name has at most {MAX_NAME} characters")
        if new.endswith(("_stats", "_table")):
            raise NfcError("functions are not called …_stats or …_table: nfc's maps are")


def _check_free(program: Program, symbol: Symbol, new: str) -> None:
    """Whether the name is free where the symbol is used."""
    if symbol.kind in (*_FIELDS, "argument", "member"):
        inside = [*program.inner(symbol.owner, symbol.kind)]
        if symbol.kind == "member":
            inside = [d for d in program.members.get(new, []) if d.symbol.owner == symbol.owner]
        _refuse(new, (d.symbol.name for d in inside), f"in {symbol.owner}")
    if symbol.kind == "alias":
        _refuse(new, program.bound_in(symbol.owner), "in this rule")
    elif symbol.kind not in _FIELDS:
        # What expressions can name: a new name must not hide another one, nor be hidden.
        _refuse(new, program.names, "here")
        _refuse(new, program.arguments, "in a definition")
        if symbol.kind != "member":
            _refuse(new, program.members, "here")


def _refuse(new: str, names: Iterable[str], where: str) -> None:
    if new in set(names):
        raise NfcError(f"'{new}' is declared {where} already")
