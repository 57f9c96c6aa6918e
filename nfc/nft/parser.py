"""From text to tree; what the grammar of packet tests is to be told with."""

from __future__ import annotations

from collections.abc import Mapping

from lark import Lark

from nfc.nft import tree
from nfc.nft.builder import build
from nfc.syntax.diagnostics import Diagnostics, nearest
from nfc.syntax.items import Notation, Unexpected, grammar, one_of
from nfc.syntax.source import Source, Span
from nfc.syntax.tree import Use

STATEMENTS = (
    *("param", "state", "put", "remove", "clock", "wait", "route", "seed", "draws", "fail"),
    *("packet", "send", "expect"),
)
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


def _tell(found: Unexpected) -> tuple[str, str | None]:
    """What was expected in the place of a token, in an operator's words, and a hint."""
    token, expected, chunk, words = found.token, found.expected, found.chunk, found.words
    possible = [words[e] for e in sorted(expected) if e in words and words[e].isidentifier()]
    near = nearest(str(token), possible) if str(token).isidentifier() else None
    if {"SET", "ADD", "REMOVE"} <= expected and token.type in ("NAME", "SRH", "IP"):
        near = near or "a change is written as in the language: set srh.tag = 5"
    if near is None and chunk[0].value == "test" and (len(chunk) < 2 or token is chunk[1]):
        near = 'a test begins with its name: test "adds a TLV" of nsh { … }'
    return _expected(expected, words), near


def _expected(expected: set[str], words: Mapping[str, str]) -> str:
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
    return one_of(names)


TESTS = Notation(
    grammar="nft.lark",
    called="a packet test",
    begins="nothing that a packet test has",
    items=("use", "const", "packet", "test"),
    brackets={"{": "}", "[": "]"},
    depth=24,
    hints=_HINTS,
    tell=_tell,
    most=20_000,
)


def lark() -> Lark:
    """Lark with the grammar of packet tests."""
    return grammar(TESTS.grammar)


def parse(source: Source, diagnostics: Diagnostics) -> tree.File:
    """The tree of a file. Errors go to `diagnostics`; items that have one are left out."""
    items = []
    for chunk in TESTS.chunks(TESTS.lex(source.text)):
        parsed = TESTS.parse(chunk, source, diagnostics)
        if parsed is not None:
            items.append(build(parsed, source, diagnostics))
    return tree.File(
        Span(source, 0, len(source.text)),
        tuple(i for i in items if isinstance(i, Use)),
        tuple(i for i in items if isinstance(i, tree.Const)),
        tuple(i for i in items if isinstance(i, tree.LetPacket)),
        tuple(i for i in items if isinstance(i, tree.Test)),
    )
