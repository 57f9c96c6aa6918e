"""Semantic tokens: what each word is, by what it stands for."""

from __future__ import annotations

from collections.abc import Iterator

from lsprotocol import types as lsp

from nfc.lsp.document import Document, Part
from nfc.lsp.mentions import Item, Mention
from nfc.lsp.positions import units
from nfc.lsp.program import Program
from nfc.sema import types
from nfc.sema.headers import HEADERS, META_NAME

TYPES = (
    "keyword", "comment", "number", "operator", "type", "enum", "enumMember", "struct", "event",
    "variable", "parameter", "property", "function", "namespace", "class",
)  # fmt: skip
MODIFIERS = ("declaration", "readonly", "defaultLibrary")
_BY_KIND = {
    "const": "variable", "param": "parameter", "state": "variable", "tlv": "struct",
    "event": "event", "table": "class", "counter": "variable", "define": "function",
    "enum": "enum", "function": "function", "member": "enumMember", "argument": "parameter",
    "field": "property", "key": "property", "alias": "variable", "module": "namespace",
    "header": "namespace", "header field": "property", "call": "function", "type": "type",
    "kind": "type", "hook": "keyword", "routes": "variable",
}  # fmt: skip
_BY_ROLE = {
    "module": "module", "type": "type", "kind": "kind", "hook": "hook", "tlv": "tlv",
    "table": "table", "event": "event", "counter": "counter", "access": "field", "given": "field",
    "alias": "alias", "bound": "alias", "member": "member", "field": "field", "key": "key",
    "argument": "argument", "subject": "header", "call": "call", "routes": "routes",
    "base": "alias", "value": "const",
}  # fmt: skip
_NUMBERS = ("INT", "IPV6", "IPV4", "PREFIX", "PREFIX4", "DURATION")
_OPERATORS = ("COMPARE", "BITOP", "SUMOP", "MULOP")
LEGEND = lsp.SemanticTokensLegend(list(TYPES), list(MODIFIERS))


def tokens(
    program: Program, document: Document, first: int = 0, last: int | None = None
) -> list[int]:
    """The tokens of the parts that hold `first` to `last` (character offsets), encoded: for each,
    lines and columns from the one before, length, type, modifiers."""
    data: list[int] = []
    line = column = 0
    end_of_text = len(document.text.text) if last is None else last
    for start, part in document.parts:
        if start + len(part.text) < first or start > end_of_text:
            continue
        for begin, end, kind, modifiers in sorted(_part(program, start, part)):
            at = document.text.position(begin)
            size = units(document.text.text[begin:end], document.text.encoding)
            data += [
                at.line - line,
                at.character - (column if at.line == line else 0),
                size,
                TYPES.index(kind),
                modifiers,
            ]
            line, column = at.line, at.character
    return data


def _part(program: Program, start: int, part: Part) -> Iterator[tuple[int, int, str, int]]:
    """Where each coloured token of a part begins and ends, its type and its modifiers."""
    named: dict[int, tuple[Item, Mention]] = {
        m.start: (item, m) for item in part.items for m in item.mentions
    }
    for begin, end in part.comments:
        size = len(part.text[begin:end].partition("\r")[0])  # a line end to the protocol
        yield start + begin, start + begin + size, "comment", 0
    for token in part.tokens:
        begin, end = token.start_pos or 0, token.end_pos or 0
        if begin in named:
            kind, modifiers = _named(program, *named[begin])
        elif token.type in _NUMBERS:
            kind, modifiers = "number", 0
        elif token.type in _OPERATORS:
            kind, modifiers = "operator", 0
        elif token.value.isalpha() and token.type != "BAD":
            kind, modifiers = "keyword", 0
        else:
            continue
        yield start + begin, start + end, kind, modifiers


def _named(program: Program, item: Item, mention: Mention) -> tuple[str, int]:
    """The type and modifiers of a name."""
    text, role = mention.text, mention.role
    kind = mention.owner if role == "declared" else _BY_ROLE[role]
    built_in = role in ("kind", "hook", "subject")
    if role == "base" and (text in HEADERS or text == META_NAME):
        kind, built_in = "header", True
    elif role == "type" and types.builtin(text) is None:
        kind = "enum"
    elif role == "type" or (role == "access" and mention.owner in (*HEADERS, META_NAME)):
        built_in = True
    elif role in ("value", "call", "routes"):
        if role == "value" and item.keyword == "define" and program.declares(item.name, text):
            kind = "argument"
        elif text in program.names:
            kind = program.names[text].symbol.kind
        elif text in program.members:
            kind = "member"
        else:
            built_in = role != "value"
    declares = role in ("declared", "member", "field", "key", "argument", "alias")
    readonly = kind in ("const", "member")
    return _BY_KIND.get(kind, "variable"), declares | readonly << 1 | built_in << 2
