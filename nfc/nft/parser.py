"""From text to tree: every item by itself, so that an error in one does not hide the next."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from lark import Lark, Token, UnexpectedToken

from nfc.nft import tree
from nfc.nft.builder import build
from nfc.resources import data_dir
from nfc.syntax.diagnostics import Diagnostics, nearest
from nfc.syntax.language import span_of
from nfc.syntax.source import Source, Span

ITEMS = ("use", "const", "packet", "test")
STATEMENTS = (
    *("param", "state", "put", "remove", "clock", "wait", "route", "seed", "draws", "fail"),
    *("packet", "send", "expect"),
)
MAX_DEPTH = 24  # of brackets
MAX_TOKENS = 20_000  # of one item
_OPEN, _CLOSE = {"{": "}", "[": "]"}, {"}", "]"}
_KINDS = {
    "NAME": "a name",
    "INT": "a number",
    "IPV6": "an IPv6 address",
    "IPV4": "an IPv4 address",
    "PREFIX": "a prefix",
    "DURATION": "a duration",
    "STRING": "a text in quotes",
    "SUMOP": "'+' or '-'",
    "ARROW": "'->'",
    "$END": "the end of the item",
}
_VALUES = {"INT", "IPV6", "IPV4", "DURATION", "UNDERSCORE", "TRUE", "FALSE", "NOW"}
_HINTS = {
    ";": "statements need nothing between them",
    "'": 'a text stands in double quotes: "…"',
    '"': "a text ends on the line on which it begins",
    "(": "there are no parentheses here",
    "=": "a field is given its value with one '='",
}


@cache
def lark() -> Lark:
    """Lark with the grammar of packet tests."""
    grammar = (data_dir("grammar") / "nft.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        start="item",
        parser="lalr",
        lexer="basic",
        maybe_placeholders=True,
        propagate_positions=True,
    )


def parse(source: Source, diagnostics: Diagnostics) -> tree.File:
    """The tree of a file. Errors go to `diagnostics`; items that have one are left out."""
    tokens = [t for t in lark().lex(source.text) if t.type not in ("SPACE", "COMMENT")]
    items = [_item(chunk, source, diagnostics) for chunk in _chunks(tokens)]
    return tree.File(
        Span(source, 0, len(source.text)),
        tuple(i for i in items if isinstance(i, tree.Use)),
        tuple(i for i in items if isinstance(i, tree.Const)),
        tuple(i for i in items if isinstance(i, tree.LetPacket)),
        tuple(i for i in items if isinstance(i, tree.Test)),
    )


def _chunks(tokens: list[Token]) -> Iterator[list[Token]]:
    """The tokens of each item: one begins at a word of `ITEMS`, outside braces or first in its
    line."""
    chunk: list[Token] = []
    depth = 0
    for token in tokens:
        begins = token.value in ITEMS and (token.column == 1 or (depth == 0 and len(chunk) > 1))
        if begins and chunk:
            yield chunk
            chunk, depth = [], 0
        chunk.append(token)
        depth += (token.value in _OPEN) - (token.value in _CLOSE)
    if chunk:
        yield chunk


def _item(
    chunk: list[Token], source: Source, diagnostics: Diagnostics
) -> tree.Use | tree.Const | tree.LetPacket | tree.Test | None:
    bad = next((t for t in chunk if t.type == "BAD"), None)
    if bad is not None:
        said = f"a packet test has no character {bad.value!r}"
        diagnostics.error(span_of(source, bad), said, _HINTS.get(bad.value))
        return None
    if len(chunk) > MAX_TOKENS:
        diagnostics.error(span_of(source, chunk[0]), f"this has more than {MAX_TOKENS} words")
        return None
    opened = _brackets(chunk, source, diagnostics)
    if opened is None:
        return None
    parser = lark().parse_interactive(start="item")
    last = span_of(source, chunk[-1])
    end = Token("$END", "", last.end, end_pos=last.end)
    stop = end
    try:
        for token in chunk:
            stop = token
            parser.feed_token(token)
        stop = end
        result = parser.feed_token(end)
    except UnexpectedToken:
        if stop is end and opened:
            span = span_of(source, opened[-1])
            diagnostics.error(span, f"this '{opened[-1].value}' is never closed")
        else:
            _report(stop, _accepted(chunk, stop), chunk, source, diagnostics)
        return None
    return build(result, source, diagnostics)


def _brackets(chunk: list[Token], source: Source, diagnostics: Diagnostics) -> list[Token] | None:
    """What is never closed; None after an error."""
    opened: list[Token] = []
    for token in chunk:
        if token.value in _OPEN:
            opened.append(token)
            if len(opened) > MAX_DEPTH:
                said = f"brackets nest deeper than {MAX_DEPTH}"
                diagnostics.error(span_of(source, token), said)
                return None
        elif token.value in _CLOSE:
            if not opened:
                diagnostics.error(span_of(source, token), f"this '{token.value}' closes nothing")
                return None
            top = opened.pop()
            if _OPEN[top.value] != token.value:
                said = f"'{token.value}' cannot close the '{top.value}' of line {top.line}"
                diagnostics.error(span_of(source, token), said)
                return None
    return opened


def _accepted(chunk: list[Token], stop: Token) -> set[str]:
    """The kinds of token that could have stood in the place of `stop`."""
    parser = lark().parse_interactive(start="item")
    for token in chunk:
        if token is stop:
            break
        parser.feed_token(token)
    return set(parser.accepts())  # type: ignore[no-untyped-call]


def _report(
    token: Token, expected: set[str], chunk: list[Token], source: Source, diagnostics: Diagnostics
) -> None:
    """Say that a token cannot stand where it does, and what could."""
    words = {t.name: t.pattern.value for t in lark().terminals if t.pattern.type == "str"}
    span = span_of(source, token)
    found = f"'{token.value}'" if token.type != "STRING" else "a text"
    if token.type == "$END":
        found, span = "the end of this item", Span(source, max(0, span.start - 1), span.start)
    if token is chunk[0]:
        hint = nearest(str(token), ITEMS) or f"a file holds: {', '.join(ITEMS)}"
        diagnostics.error(span, f"{found} begins nothing that a packet test has", hint)
        return
    possible = [words[e] for e in sorted(expected) if e in words and words[e].isidentifier()]
    near = nearest(str(token), possible) if str(token).isidentifier() else None
    if {"SET", "ADD", "REMOVE"} <= expected and token.type in ("NAME", "SRH", "IP"):
        near = near or "a change is written as in the language: set srh.tag = 5"
    if near is None and chunk[0].value == "test" and (len(chunk) < 2 or token is chunk[1]):
        near = 'a test begins with its name: test "adds a TLV" of nsh { … }'
    diagnostics.error(span, f"expected {_expected(expected, words)}, found {found}", near)


def _expected(expected: set[str], words: dict[str, str]) -> str:
    """The expected tokens in an operator's words."""
    names: list[str] = []
    spelt = {e: words.get(e, e) for e in expected}
    if "NAME" in expected and "TIMES" in expected:  # any `word`: only the name tells something
        spelt = {e: w for e, w in spelt.items() if not w.isidentifier() or e in _KINDS}
    headers = {e for e, w in spelt.items() if w in ("ip", "srh", "udp")}
    if len(headers) == 3:
        names.append("a packet")
        mine = {"ip", "ipv4", "srh", "udp", "tcp", "icmp6", "fragment", "hop_by_hop", "routing"}
        mine |= {"destination_options", "bytes", "*", "INT", "STRING", "NAME"}
        spelt = {e: w for e, w in spelt.items() if w not in mine}
    elif len(expected & _VALUES) >= 4:
        names.append("a value")
        spelt = {e: w for e, w in spelt.items() if e not in _VALUES and e != "NAME"}
    if {"send", "expect", "param"} <= set(spelt.values()):
        names.append("a step")
        spelt = {e: w for e, w in spelt.items() if w not in STATEMENTS}
    for token in sorted(spelt):
        name = _KINDS.get(token) or f"'{spelt[token]}'"
        if name not in names:
            names.append(name)
    if len(names) > 6:
        names = [*names[:6], "…"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
