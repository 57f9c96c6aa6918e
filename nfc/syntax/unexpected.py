"""What to say of a token that the grammar does not expect, in the operator's words."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lark import Token

from nfc.syntax.diagnostics import nearest
from nfc.syntax.items import Unexpected, one_of
from nfc.syntax.language import STATEMENT_STARTS

_TYPE = re.compile(r"u[0-9]+|bool|ipv6|timestamp|duration|bytes[0-9]+", re.ASCII)

# What to call the grammar's tokens when one of them was expected.
_TOKEN_NAMES = {
    "NAME": "a name",
    "INT": "a number",
    "IPV6": "an IPv6 address",
    "IPV4": "an IPv4 address",
    "PREFIX": "an IPv6 prefix",
    "PREFIX4": "an IPv4 prefix",
    "DURATION": "a duration",
    "COMPARE": "a comparison",
    "BITOP": "an operator",
    "SUMOP": "an operator",
    "MULOP": "an operator",
    "$END": "the end of the item",
}
CHARACTER_HINTS = {
    ";": "statements need nothing between them",
    '"': "names stand without quotes",
    "'": "names stand without quotes",
    "!": "a condition is turned round with 'not'",
}
# Words of the language that can be names of fields: the grammar's `word`.
SOFT_WORDS = {
    "first", "last", "before", "after", "at", "to", "via", "by", "all", "table", "segments", "with",
    "use", "count", "counter", "define", "event", "enum", "param", "const", "tlv", "endpoint",
    "transit", "sample", "insert", "remove", "replace", "add", "state", "per", "cpu", "put", "from",
}  # fmt: skip
_VALUE_TOKENS = {"INT", "IPV6", "IPV4", "DURATION", "NAME", "LPAR", "TRUE", "FALSE", "SAMPLE"}


def tell(found: Unexpected) -> tuple[str, str | None]:
    """What was expected in the place of a token, in the operator's words, and a hint."""
    token, expected, keywords = found.token, found.expected, found.words
    words = [keywords[e] for e in sorted(expected) if e in keywords and keywords[e].isalpha()]
    hint = nearest(str(token), words) if token.type == "NAME" else None
    if token.type == "NAME" or str(token).isalpha():
        reserved = [v for v in keywords.values() if v == token.value]
        if reserved and "NAME" in expected:
            hint = hint or f"'{token.value}' is a word of the language and cannot be a name"
    return _expected(expected, keywords), _habit(token, expected, found.chunk) or hint


def _habit(token: Token, expected: set[str], chunk: list[Token]) -> str | None:
    """What to write instead of what one writes out of habit from other languages."""
    place = next((i for i, other in enumerate(chunk) if other is token), len(chunk))
    before = chunk[place - 1]
    if token.value == "=" and "COMPARE" in expected:
        return "a comparison is written '=='"
    if token.type == "COMPARE" and "AND" in expected:
        return "two comparisons are joined with 'and' or 'or'"
    if token.value in ("&", "|") and "NAME" in expected:
        return "conditions are joined with 'and' and 'or'"
    if token.value == "else" and "OTHERWISE" in expected:
        return "what no rule takes, 'otherwise' does"
    if expected == {"COLON"} and before.type == "NAME":
        type_ = token.value if _TYPE.fullmatch(token.value) else "u32"
        return f"its type follows: {before}: {type_}"
    if token.value == "[" and expected == {"EQUAL"}:
        return "segments can be read, not set; encap and insert give a packet new ones"
    if token.value == "at" and "BEFORE" in expected:
        return "a TLV stands first, last, before or after another"
    return None


def _expected(expected: set[str], keywords: Mapping[str, str]) -> str:
    """The expected tokens in an operator's words, most telling first."""
    names: list[str] = []
    if len(expected & _VALUE_TOKENS) >= 4:
        names.append("a value")
        expected = expected - _VALUE_TOKENS - {"NOT"}
    if {"SET", "DROP"} <= expected:
        names.append("an edit or a verdict")
        expected = {e for e in expected if keywords.get(e) not in STATEMENT_STARTS}
    if "NAME" in expected:  # where words that mean something elsewhere are names, too
        expected = {e for e in expected if keywords.get(e) not in SOFT_WORDS} or expected
    for token in sorted(expected):
        name = _TOKEN_NAMES.get(token) or f"'{keywords.get(token, token)}'"
        if name not in names:
            names.append(name)
    # After a complete value an operator is always possible; it is rarely what is missing.
    plain = [n for n in names if n not in ("an operator", "a comparison", "'and'", "'or'", "'['")]
    names = plain or names
    return one_of(names)
