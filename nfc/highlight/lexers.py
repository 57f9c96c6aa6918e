"""Pygments lexers whose words are read from the grammars (https://pygments.org/docs/lexers)."""

from __future__ import annotations

from typing import Any, ClassVar

from lark import Lark
from pygments.lexer import RegexLexer, bygroups, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, Text, Whitespace

from nfc.nft.parser import lark as nft_lark
from nfc.syntax.language import lark as nf_lark

_DECLARE = r"(endpoint|transit|event|table|counter|state|define|tlv|enum|param|const|use)"
_TYPES = r"(u[1-9][0-9]?|bytes[1-9][0-9]?|bool|ipv6|timestamp|duration)\b"
_ADDRESS = r"[0-9A-Fa-f]{0,4}(:[0-9A-Fa-f]{0,4}){2,7}(\.[0-9]+){0,3}(/[0-9]+)?"


def keywords(grammar: Lark) -> tuple[str, ...]:
    """The words that a grammar knows by themselves, in alphabetical order."""
    found = (t.pattern.value for t in grammar.terminals if t.pattern.type == "str")
    return tuple(sorted(word for word in found if word.isidentifier()))


def _rules(grammar: Lark) -> dict[str, list[Any]]:
    return {
        "root": [
            (r"\s+", Whitespace),
            (r"#[^\n]*", Comment.Single),
            (r'"[^"\n]*"', Text),
            (_ADDRESS, Number),
            (r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+(/[0-9]+)?", Number),
            (r"0x[0-9A-Fa-f_]+|0b[01_]+", Number.Hex),
            (r"[0-9][0-9_]*(ns|us|ms|s)?\b", Number.Integer),
            (rf"{_DECLARE}(\s+)(\w+)", bygroups(Keyword.Declaration, Whitespace, Name.Class)),
            (r"(\.)(\w+)", bygroups(Punctuation, Name.Attribute)),
            (_TYPES, Keyword.Type),
            (words(keywords(grammar), prefix=r"\b", suffix=r"\b"), Keyword),
            (r"[A-Za-z_]\w*", Name),
            (r"==|!=|<=|>=|<<|>>|->|=>|[-+*/%&|^<>=]", Operator),
            (r"[{}\[\](),:.]", Punctuation),
            (r".", Text),
        ]
    }


class NfLexer(RegexLexer):  # type: ignore[misc]  # Pygments has no types
    """Programs of the network-function compiler."""

    name = "nf"
    aliases: ClassVar[list[str]] = ["nf"]
    filenames: ClassVar[list[str]] = ["*.nf"]
    tokens: ClassVar[dict[str, list[Any]]] = _rules(nf_lark())


class NftLexer(RegexLexer):  # type: ignore[misc]
    """Packet tests of the network-function compiler."""

    name = "nft"
    aliases: ClassVar[list[str]] = ["nft"]
    filenames: ClassVar[list[str]] = ["*.nft"]
    tokens: ClassVar[dict[str, list[Any]]] = _rules(nft_lark())
