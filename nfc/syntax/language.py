"""The grammar, read once, and the words of the language."""

from __future__ import annotations

from functools import cache

from lark import Lark, Token

from nfc.resources import data_dir
from nfc.syntax.source import Source, Span

ITEM_KEYWORDS = (
    "use", "const", "param", "enum", "tlv", "event", "counter", "table", "state", "define",
    "endpoint", "transit",
)  # fmt: skip
STATEMENT_STARTS = {
    "when", "otherwise", "set", "add", "remove", "replace", "emit", "count", "put",
    "forward", "decap", "encap", "insert", "drop",
}  # fmt: skip


@cache
def lark() -> Lark:
    """Lark with our grammar: LALR, one item at a time."""
    grammar = (data_dir("grammar") / "nfc.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        start="item",
        parser="lalr",
        lexer="basic",
        maybe_placeholders=True,
        propagate_positions=True,
    )


def span_of(source: Source, token: Token) -> Span:
    """Where a token stands."""
    start = token.start_pos or 0
    return Span(source, start, token.end_pos or start)
