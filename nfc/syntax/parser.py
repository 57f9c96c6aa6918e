"""From text to tree: reports every item's first error and never fails otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lark import Token

from nfc.syntax import tree
from nfc.syntax.builder import build
from nfc.syntax.diagnostics import Diagnostics
from nfc.syntax.items import Notation
from nfc.syntax.language import GRAMMAR, ITEM_KEYWORDS, STATEMENT_STARTS
from nfc.syntax.source import Source, Span
from nfc.syntax.unexpected import CHARACTER_HINTS, tell

MAX_DEPTH = 48  # of brackets and of operators in an expression: far above what anyone can read
_BEGINS = re.compile(rf"^(?:{'|'.join(ITEM_KEYWORDS)})(?![A-Za-z0-9_])", re.M)
LANGUAGE = Notation(
    grammar=GRAMMAR,
    called="the language",
    begins="no declaration and no function",
    items=ITEM_KEYWORDS,
    brackets={"{": "}", "(": ")", "[": "]"},
    depth=MAX_DEPTH,
    hints=CHARACTER_HINTS,
    tell=tell,
    statements=STATEMENT_STARTS,
    operators={"BITOP", "SUMOP", "MULOP", "NOT", "AND", "OR"},
)


def parse(source: Source, diagnostics: Diagnostics) -> tree.File:
    """The tree of a file. Errors go to `diagnostics`; items that have one are left out."""
    items, broken = parse_tokens(lex(source.text), source, diagnostics)
    return tree.File(Span(source, 0, len(source.text)), items, broken)


def parse_tokens(
    tokens: list[Token], source: Source, diagnostics: Diagnostics
) -> tuple[tuple[tree.Item, ...], frozenset[str]]:
    """The items that tokens of `source` are, and the names of those that have errors."""
    items: list[tree.Item] = []
    broken: set[str] = set()
    for chunk in chunks(tokens):
        item = _parse_item(chunk, source, diagnostics)
        if item is not None:
            items.append(item)
        else:
            broken |= _names(chunk)
    return tuple(items), frozenset(broken)


def lex(text: str, base: int = 0) -> list[Token]:
    """The tokens of a text, without comments; `base` is the place in the file where it begins."""
    return LANGUAGE.lex(text, base)


def parts(text: str) -> list[int]:
    """Where a file can be cut: the tokens and items of each piece are those that it has there.

    The first place is 0; at each other one a keyword at the start of a line begins an item.
    """
    found = [match.start() for match in _BEGINS.finditer(text)]
    return found if found[:1] == [0] else [0, *found]


def _names(chunk: list[Token]) -> set[str]:
    """What a broken item would have declared: its name, and for an enum its members."""
    names = [str(t) for t in chunk if t.type == "NAME"]
    return set(names if chunk[0].value == "enum" else names[:1])


def chunks(tokens: list[Token]) -> Iterator[list[Token]]:
    """The tokens of each item."""
    return LANGUAGE.chunks(tokens)


def _parse_item(chunk: list[Token], source: Source, diagnostics: Diagnostics) -> tree.Item | None:
    parsed = LANGUAGE.parse(chunk, source, diagnostics)
    if parsed is None:
        return None
    before = len(diagnostics.items)
    item = build(parsed, source, diagnostics)
    if len(diagnostics.items) > before and diagnostics.has_errors:
        return None
    return item
