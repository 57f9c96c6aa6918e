"""From text to tree, with lark; reports every item's first error and never fails otherwise.

The file is cut into tokens once, the tokens into items (a top-level keyword at the start of a
line begins one), and each item is parsed by itself: so an unclosed brace in one function does
not hide the errors of the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lark import Token, UnexpectedToken

from nfc.syntax import tree
from nfc.syntax.builder import build
from nfc.syntax.diagnostics import Diagnostics
from nfc.syntax.language import ITEM_KEYWORDS, STATEMENT_STARTS, lark, span_of
from nfc.syntax.source import Source, Span
from nfc.syntax.unexpected import CHARACTER_HINTS, report

MAX_DEPTH = 48  # of brackets and of operators in an expression: far above what anyone can read
_BEGINS = re.compile(rf"^(?:{'|'.join(ITEM_KEYWORDS)})(?![A-Za-z0-9_])", re.M)
_OPEN, _CLOSE = {"{": "}", "(": ")", "[": "]"}, {"}", ")", "]"}


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
    tokens = [t for t in lark().lex(text) if t.type not in ("SPACE", "COMMENT")]
    if base:
        for token in tokens:
            token.start_pos = (token.start_pos or 0) + base
            token.end_pos = (token.end_pos or 0) + base
    return tokens


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
    chunk: list[Token] = []
    depth = 0
    for token in tokens:
        named = len(chunk) != 1  # `param table` is one item, with a bad name
        begins = token.value in ITEM_KEYWORDS and (token.column == 1 or (depth == 0 and named))
        if begins and chunk:
            yield chunk
            chunk, depth = [], 0
        chunk.append(token)
        depth += (token.value in _OPEN) - (token.value in _CLOSE)
    if chunk:
        yield chunk


def _parse_item(chunk: list[Token], source: Source, diagnostics: Diagnostics) -> tree.Item | None:
    bad = next((t for t in chunk if t.type == "BAD"), None)
    if bad is not None:
        diagnostics.error(
            span_of(source, bad),
            f"the language has no character {bad.value!r}",
            CHARACTER_HINTS.get(bad.value),
        )
        return None
    if not _brackets(chunk, source, diagnostics):
        return None
    parser = lark().parse_interactive(start="item")
    last = span_of(source, chunk[-1])
    end = Token("$END", "", last.end, end_pos=last.end)
    try:
        for token in chunk:
            parser.feed_token(token)
        result = parser.feed_token(end)
    except UnexpectedToken as error:
        report(error.token, _accepted(chunk, error.token), chunk, source, diagnostics)
        return None
    before = len(diagnostics.items)
    item = build(result, source, diagnostics)
    if len(diagnostics.items) > before and diagnostics.has_errors:
        return None
    return item


def _brackets(chunk: list[Token], source: Source, diagnostics: Diagnostics) -> bool:
    """Whether brackets pair up and nest no deeper than allowed; also bounds operator chains."""
    opened: list[Token] = []
    operators = 0
    for token in chunk:
        ends = token.value in ("{", "}") or token.value in STATEMENT_STARTS
        # A comma within parentheses is part of a larger expression.
        if ends or (token.value == "," and not (opened and opened[-1].value == "(")):
            operators = 0
        elif token.type in ("BITOP", "SUMOP", "MULOP", "NOT", "AND", "OR"):
            operators += 1
        if operators > MAX_DEPTH:
            diagnostics.error(
                span_of(source, token),
                f"this expression has more than {MAX_DEPTH} operators",
                "split it with a const, or into several rules",
            )
            return False
        if token.value in _OPEN:
            opened.append(token)
            if len(opened) > MAX_DEPTH:
                diagnostics.error(span_of(source, token), f"brackets nest deeper than {MAX_DEPTH}")
                return False
        elif token.value in _CLOSE:
            if not opened:
                diagnostics.error(span_of(source, token), f"this '{token.value}' closes nothing")
                return False
            top = opened.pop()
            if _OPEN[top.value] != token.value:
                line = span_of(source, top).line
                diagnostics.error(
                    span_of(source, token),
                    f"'{token.value}' cannot close the '{top.value}' of line {line}",
                )
                return False
    # The parser may have found the real mistake before the end; ask it first.
    if opened and not _fails_early(chunk):
        diagnostics.error(span_of(source, opened[-1]), f"this '{opened[-1].value}' is never closed")
        return False
    return True


def _fails_early(chunk: list[Token]) -> bool:
    parser = lark().parse_interactive(start="item")
    try:
        for token in chunk:
            parser.feed_token(token)
    except UnexpectedToken:
        return True
    return False


def _accepted(chunk: list[Token], stop: Token) -> set[str]:
    """The kinds of token that could have stood in the place of `stop`."""
    parser = lark().parse_interactive(start="item")
    for token in chunk:
        if token is stop:
            break
        parser.feed_token(token)
    return set(parser.accepts())  # type: ignore[no-untyped-call]
