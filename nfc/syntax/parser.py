"""From text to tree, with lark; reports every item's first error and never fails otherwise.

The file is cut into tokens once, the tokens into items (a top-level keyword at the start of a
line begins one), and each item is parsed by itself: so an unclosed brace in one function does
not hide the errors of the next.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedToken, v_args
from lark.tree import Meta

from nfc.resources import data_dir
from nfc.syntax import tree
from nfc.syntax.diagnostics import Diagnostics, nearest
from nfc.syntax.source import Source, Span

MAX_DEPTH = 48  # of brackets and of operators in an expression: far above what anyone can read
ITEM_KEYWORDS = (
    "use", "const", "param", "enum", "tlv", "event", "counter", "define", "endpoint",
    "transit",
)  # fmt: skip
_TYPE = re.compile(r"u[0-9]+|bool|ipv6|timestamp|duration", re.ASCII)
_DURATION_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_OPEN, _CLOSE = {"{": "}", "(": ")", "[": "]"}, {"}", ")", "]"}


@cache
def _lark() -> Lark:
    grammar = (data_dir("grammar") / "nfc.lark").read_text(encoding="utf-8")
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
    tokens = [t for t in _lark().lex(source.text) if t.type not in ("SPACE", "COMMENT")]
    items: list[tree.Item] = []
    broken: set[str] = set()
    for chunk in _chunks(tokens, source):
        item = _parse_item(chunk, source, diagnostics)
        if item is not None:
            items.append(item)
        else:
            broken |= _names(chunk)
    return tree.File(Span(source, 0, len(source.text)), tuple(items), frozenset(broken))


def _names(chunk: list[Token]) -> set[str]:
    """What a broken item would have declared: its name, and for an enum its members."""
    names = [str(t) for t in chunk if t.type == "NAME"]
    return set(names if chunk[0].value == "enum" else names[:1])


def _chunks(tokens: list[Token], source: Source) -> Iterator[list[Token]]:
    """The tokens of each item."""
    chunk: list[Token] = []
    depth = 0
    for token in tokens:
        begins = token.value in ITEM_KEYWORDS and (depth == 0 or token.column == 1)
        if begins and chunk:
            yield chunk
            chunk, depth = [], 0
        chunk.append(token)
        depth += (token.value in _OPEN) - (token.value in _CLOSE)
    if chunk:
        yield chunk


def _span(source: Source, token: Token) -> Span:
    start = token.start_pos or 0
    return Span(source, start, token.end_pos or start)


def _parse_item(chunk: list[Token], source: Source, diagnostics: Diagnostics) -> tree.Item | None:
    bad = next((t for t in chunk if t.type == "BAD"), None)
    if bad is not None:
        diagnostics.error(
            _span(source, bad),
            f"the language has no character {bad.value!r}",
            _CHARACTER_HINTS.get(bad.value),
        )
        return None
    if not _brackets(chunk, source, diagnostics):
        return None
    parser = _lark().parse_interactive(start="item")
    last = _span(source, chunk[-1])
    end = Token("$END", "", last.end, end_pos=last.end)
    try:
        for token in chunk:
            parser.feed_token(token)
        result = parser.feed_token(end)
    except UnexpectedToken as error:
        _report(error.token, _accepted(chunk, error.token), chunk, source, diagnostics)
        return None
    before = len(diagnostics.items)
    item = _Builder(source, diagnostics).transform(result)
    if len(diagnostics.items) > before and diagnostics.has_errors:
        return None
    assert isinstance(item, tree.Item)
    return item


def _brackets(chunk: list[Token], source: Source, diagnostics: Diagnostics) -> bool:
    """Whether brackets pair up and nest no deeper than allowed; also bounds operator chains."""
    opened: list[Token] = []
    operators = 0
    for token in chunk:
        ends = token.value in ("{", "}") or token.value in _STATEMENT_STARTS
        # A comma within parentheses is part of a larger expression.
        if ends or (token.value == "," and not (opened and opened[-1].value == "(")):
            operators = 0
        elif token.type in ("BITOP", "SUMOP", "MULOP", "NOT", "AND", "OR"):
            operators += 1
        if operators > MAX_DEPTH:
            diagnostics.error(
                _span(source, token),
                f"this expression has more than {MAX_DEPTH} operators",
                "split it with a const, or into several rules",
            )
            return False
        if token.value in _OPEN:
            opened.append(token)
            if len(opened) > MAX_DEPTH:
                diagnostics.error(_span(source, token), f"brackets nest deeper than {MAX_DEPTH}")
                return False
        elif token.value in _CLOSE:
            if not opened:
                diagnostics.error(_span(source, token), f"this '{token.value}' closes nothing")
                return False
            top = opened.pop()
            if _OPEN[top.value] != token.value:
                line = _span(source, top).line
                diagnostics.error(
                    _span(source, token),
                    f"'{token.value}' cannot close the '{top.value}' of line {line}",
                )
                return False
    # The parser may have found the real mistake before the end; ask it first.
    if opened and not _fails_early(chunk):
        diagnostics.error(_span(source, opened[-1]), f"this '{opened[-1].value}' is never closed")
        return False
    return True


def _fails_early(chunk: list[Token]) -> bool:
    parser = _lark().parse_interactive(start="item")
    try:
        for token in chunk:
            parser.feed_token(token)
    except UnexpectedToken:
        return True
    return False


def _accepted(chunk: list[Token], stop: Token) -> set[str]:
    """The kinds of token that could have stood in the place of `stop`."""
    parser = _lark().parse_interactive(start="item")
    for token in chunk:
        if token is stop:
            break
        parser.feed_token(token)
    return set(parser.accepts())  # type: ignore[no-untyped-call]


_STATEMENT_STARTS = {
    "when", "otherwise", "set", "add", "remove", "replace", "emit", "count",
    "forward", "decap", "encap", "insert", "drop",
}  # fmt: skip

# What to call the grammar's tokens when one of them was expected.
_TOKEN_NAMES = {
    "NAME": "a name",
    "INT": "a number",
    "IPV6": "an IPv6 address",
    "IPV4": "an IPv4 address",
    "PREFIX": "an IPv6 prefix",
    "DURATION": "a duration",
    "COMPARE": "a comparison",
    "BITOP": "an operator",
    "SUMOP": "an operator",
    "MULOP": "an operator",
    "$END": "the end of the item",
}
_CHARACTER_HINTS = {
    ";": "statements need nothing between them",
    '"': "names stand without quotes",
    "'": "names stand without quotes",
    "!": "a condition is turned round with 'not'",
}
_VALUE_TOKENS = {"INT", "IPV6", "IPV4", "DURATION", "NAME", "LPAR", "TRUE", "FALSE", "SAMPLE"}


def _report(
    token: Token,
    expected: set[str],
    chunk: list[Token],
    source: Source,
    diagnostics: Diagnostics,
) -> None:
    span = _span(source, token)
    keywords = {t.name: t.pattern.value for t in _lark().terminals if t.pattern.type == "str"}
    if token.type == "$END":
        found = "the end of this item"
        span = Span(source, max(0, span.start - 1), span.start)
    else:
        found = f"'{token.value}'"

    if token is chunk[0]:
        diagnostics.error(
            span,
            f"{found} begins no declaration and no function",
            nearest(str(token), ITEM_KEYWORDS) or f"a file holds: {', '.join(ITEM_KEYWORDS)}",
        )
        return
    words = [keywords[e] for e in sorted(expected) if e in keywords and keywords[e].isalpha()]
    hint = nearest(str(token), words) if token.type == "NAME" else None
    if token.type == "NAME" or str(token).isalpha():
        reserved = [v for v in keywords.values() if v == token.value]
        if reserved and "NAME" in expected:
            hint = hint or f"'{token.value}' is a word of the language and cannot be a name"
    hint = _habit(token, expected, chunk) or hint
    diagnostics.error(span, f"expected {_expected(expected, keywords)}, found {found}", hint)


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


def _expected(expected: set[str], keywords: dict[str, str]) -> str:
    """The expected tokens in an operator's words, most telling first."""
    names: list[str] = []
    if len(expected & _VALUE_TOKENS) >= 4:
        names.append("a value")
        expected = expected - _VALUE_TOKENS - {"NOT"}
    if {"SET", "DROP"} <= expected:
        names.append("an edit or a verdict")
        expected = {e for e in expected if keywords.get(e) not in _STATEMENT_STARTS}
    for token in sorted(expected):
        name = _TOKEN_NAMES.get(token) or f"'{keywords.get(token, token)}'"
        if name not in names:
            names.append(name)
    # After a complete value an operator is always possible; it is rarely what is missing.
    plain = [n for n in names if n not in ("an operator", "a comparison", "'and'", "'or'", "'['")]
    names = plain or names
    if len(names) > 6:
        names = [*names[:6], "…"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _present(children: list[Any]) -> tuple[Any, ...]:
    return tuple(c for c in children if c is not None)


def _segments_and_tlvs(
    children: list[Any],
) -> tuple[tuple[tree.Expr, ...], tuple[tree.TlvValue, ...]]:
    parts = _present(children)
    tlvs = tuple(p for p in parts if isinstance(p, tree.TlvValue))
    return tuple(p for p in parts if not isinstance(p, tree.TlvValue)), tlvs


@v_args(meta=True)
class _Builder(Transformer[Token, Any]):
    """Turns lark's tree into ours: one short method a rule of the grammar."""

    def __init__(self, source: Source, diagnostics: Diagnostics) -> None:
        super().__init__()
        self.source = source
        self.diagnostics = diagnostics

    def _at(self, meta: Meta) -> Span:
        if meta.empty:
            return Span(self.source, 0, 0)
        return Span(self.source, meta.start_pos, meta.end_pos)

    def _ident(self, token: Token) -> tree.Ident:
        return tree.Ident(_span(self.source, token), str(token))

    def _int(self, token: Token) -> tree.Integer:
        span = _span(self.source, token)
        if len(token) > 40:  # 2^128 has 39 digits; Python refuses to read very long ones
            self.diagnostics.error(span, "this number is longer than any value can be")
            return tree.Integer(span, 0)
        try:
            return tree.Integer(span, int(str(token), 0))
        except ValueError:
            self.diagnostics.error(
                span, f"'{token}' is not a number", "numbers: 10, 1_000, 0x1f, 0b101"
            )
            return tree.Integer(span, 0)

    # declarations

    def word(self, meta: Meta, c: list[Any]) -> Token:
        token: Token = c[0]
        return token

    def type(self, meta: Meta, c: list[Any]) -> tree.Ident:
        return self._ident(c[0])

    def use(self, meta: Meta, c: list[Any]) -> tree.Use:
        return tree.Use(self._at(meta), self._ident(c[0]))

    def const(self, meta: Meta, c: list[Any]) -> tree.Const:
        return tree.Const(self._at(meta), self._ident(c[0]), c[1], c[2])

    def param(self, meta: Meta, c: list[Any]) -> tree.Param:
        return tree.Param(self._at(meta), self._ident(c[0]), c[1], c[2])

    def member(self, meta: Meta, c: list[Any]) -> tree.EnumMember:
        return tree.EnumMember(self._at(meta), self._ident(c[0]), c[1])

    def enum(self, meta: Meta, c: list[Any]) -> tree.Enum:
        return tree.Enum(self._at(meta), self._ident(c[0]), c[1], _present(c[2:]))

    def tlv_field(self, meta: Meta, c: list[Any]) -> tree.TlvField:
        return tree.TlvField(self._at(meta), self._ident(c[0]), c[1], c[2])

    def reserved(self, meta: Meta, c: list[Any]) -> tree.TlvField:
        return tree.TlvField(self._at(meta), None, c[0], None)

    def tlv(self, meta: Meta, c: list[Any]) -> tree.Tlv:
        return tree.Tlv(self._at(meta), self._ident(c[0]), self._int(c[1]), _present(c[2:]))

    def event_field(self, meta: Meta, c: list[Any]) -> tree.EventField:
        return tree.EventField(self._at(meta), self._ident(c[0]), c[1])

    def event(self, meta: Meta, c: list[Any]) -> tree.Event:
        return tree.Event(self._at(meta), self._ident(c[0]), _present(c[1:]))

    def counter(self, meta: Meta, c: list[Any]) -> tree.Counter:
        return tree.Counter(self._at(meta), self._ident(c[0]))

    def argument(self, meta: Meta, c: list[Any]) -> tree.Argument:
        return tree.Argument(self._at(meta), self._ident(c[0]), c[1])

    def define(self, meta: Meta, c: list[Any]) -> tree.Define:
        name, *arguments, type_, value = _present(c)
        return tree.Define(self._at(meta), self._ident(name), tuple(arguments), type_, value)

    # functions

    def endpoint(self, meta: Meta, c: list[Any]) -> tree.Function:
        name = self._ident(c[0])
        span = self._at(meta)
        hook = tree.Ident(Span(self.source, span.start, span.start + 8), "endpoint")
        return tree.Function(span, name, hook, tuple(c[1:]))

    def hook(self, meta: Meta, c: list[Any]) -> tree.Ident:
        return self._ident(c[0])

    def transit(self, meta: Meta, c: list[Any]) -> tree.Function:
        return tree.Function(self._at(meta), self._ident(c[0]), c[1], tuple(c[2:]))

    def when(self, meta: Meta, c: list[Any]) -> tree.Rule:
        return tree.Rule(self._at(meta), c[0], c[1])

    def otherwise(self, meta: Meta, c: list[Any]) -> tree.Rule:
        return tree.Rule(self._at(meta), None, c[0])

    def body(self, meta: Meta, c: list[Any]) -> tuple[tree.Statement, ...]:
        return tuple(c)

    # statements

    def place(self, meta: Meta, c: list[Any]) -> tree.FieldRef:
        return tree.FieldRef(self._at(meta), self._ident(c[0]), self._ident(c[1]))

    def value(self, meta: Meta, c: list[Any]) -> tree.Assign:
        return tree.Assign(self._at(meta), self._ident(c[0]), c[1])

    def tlv_value(self, meta: Meta, c: list[Any]) -> tree.TlvValue:
        return tree.TlvValue(self._at(meta), self._ident(c[0]), _present(c[1:]))

    def set(self, meta: Meta, c: list[Any]) -> tree.Set:
        return tree.Set(self._at(meta), c[0], c[1])

    def position(self, meta: Meta, c: list[Any]) -> tree.Position:
        anchor = self._ident(c[1]) if len(c) > 1 else None
        return tree.Position(self._at(meta), str(c[0]), anchor)

    def remove(self, meta: Meta, c: list[Any]) -> tree.Remove:
        return tree.Remove(self._at(meta), self._ident(c[0]))

    def remove_all(self, meta: Meta, c: list[Any]) -> tree.RemoveAll:
        return tree.RemoveAll(self._at(meta), self._ident(c[0]))

    def replace(self, meta: Meta, c: list[Any]) -> tree.Replace:
        return tree.Replace(self._at(meta), self._ident(c[0]), c[1])

    def add(self, meta: Meta, c: list[Any]) -> tree.Add:
        return tree.Add(self._at(meta), c[0], c[1])

    def emit(self, meta: Meta, c: list[Any]) -> tree.Emit:
        return tree.Emit(self._at(meta), self._ident(c[0]), _present(c[1:]))

    def count(self, meta: Meta, c: list[Any]) -> tree.Count:
        return tree.Count(self._at(meta), self._ident(c[0]), c[1])

    def forward(self, meta: Meta, c: list[Any]) -> tree.Forward:
        return tree.Forward(self._at(meta))

    def forward_via(self, meta: Meta, c: list[Any]) -> tree.ForwardVia:
        return tree.ForwardVia(self._at(meta), c[0])

    def table(self, meta: Meta, c: list[Any]) -> tree.Table:
        return tree.Table(_span(self.source, c[0]), str(c[0]))

    def forward_table(self, meta: Meta, c: list[Any]) -> tree.ForwardTable:
        return tree.ForwardTable(self._at(meta), c[0])

    def decap_table(self, meta: Meta, c: list[Any]) -> tree.DecapTable:
        return tree.DecapTable(self._at(meta), c[0])

    def encap(self, meta: Meta, c: list[Any]) -> tree.Encap:
        return tree.Encap(self._at(meta), *_segments_and_tlvs(c))

    def insert(self, meta: Meta, c: list[Any]) -> tree.Insert:
        return tree.Insert(self._at(meta), *_segments_and_tlvs(c))

    def drop(self, meta: Meta, c: list[Any]) -> tree.Drop:
        return tree.Drop(self._at(meta))

    # expressions

    def integer(self, meta: Meta, c: list[Any]) -> tree.Integer:
        return self._int(c[0])

    def _address(self, span: Span, text: str) -> int:
        try:
            return int(ipaddress.IPv6Address(text))
        except ValueError as error:
            self.diagnostics.error(span, f"not an IPv6 address: {error}")
            return 0

    def ipv6(self, meta: Meta, c: list[Any]) -> tree.Address:
        return tree.Address(self._at(meta), self._address(self._at(meta), str(c[0])))

    def ipv4(self, meta: Meta, c: list[Any]) -> tree.Integer:
        span = self._at(meta)
        try:
            return tree.Integer(span, int(ipaddress.IPv4Address(str(c[0]))))
        except ValueError:
            self.diagnostics.error(span, f"{c[0]} is not an IPv4 address")
            return tree.Integer(span, 0)

    def duration(self, meta: Meta, c: list[Any]) -> tree.Duration:
        text = str(c[0])
        unit = text.lstrip("0123456789_")
        nanoseconds = int(text[: -len(unit)][:30]) * _DURATION_NS[unit]
        if nanoseconds >= 1 << 64:
            self.diagnostics.error(
                self._at(meta),
                "this is longer than a duration can be",
                "at most 584 years: 64 bits of nanoseconds",
            )
            nanoseconds = 0
        return tree.Duration(self._at(meta), nanoseconds)

    def true(self, meta: Meta, c: list[Any]) -> tree.Bool:
        return tree.Bool(self._at(meta), True)

    def false(self, meta: Meta, c: list[Any]) -> tree.Bool:
        return tree.Bool(self._at(meta), False)

    def name(self, meta: Meta, c: list[Any]) -> tree.Name:
        return tree.Name(self._at(meta), str(c[0]))

    def field(self, meta: Meta, c: list[Any]) -> tree.FieldRef:
        return tree.FieldRef(self._at(meta), self._ident(c[0]), self._ident(c[1]))

    def call(self, meta: Meta, c: list[Any]) -> tree.Call:
        return tree.Call(self._at(meta), self._ident(c[0]), _present(c[1:]))

    def element(self, meta: Meta, c: list[Any]) -> tree.Element:
        base, name = self._ident(c[0]), self._ident(c[1])
        return tree.Element(self._at(meta), base, name, self._int(c[2]))

    def sample(self, meta: Meta, c: list[Any]) -> tree.Sample:
        return tree.Sample(self._at(meta), self._int(c[0]), c[1])

    def binary(self, meta: Meta, c: list[Any]) -> tree.Binary:
        return tree.Binary(self._at(meta), str(c[1]), c[0], c[2])

    def compare(self, meta: Meta, c: list[Any]) -> tree.Compare:
        return tree.Compare(self._at(meta), str(c[1]), c[0], c[2])

    def in_prefix(self, meta: Meta, c: list[Any]) -> tree.InPrefix:
        span = self._at(meta)
        address, _, length = str(c[1]).partition("/")
        bits = int(length[:6])
        value = self._address(_span(self.source, c[1]), address)
        if bits > 128:
            self.diagnostics.error(span, "an IPv6 prefix is at most 128 bits long")
        elif value & ((1 << (128 - bits)) - 1):
            network = ipaddress.IPv6Network((value, bits), strict=False)
            self.diagnostics.error(
                _span(self.source, c[1]),
                "this prefix has bits set beyond its length",
                f"the prefix is {network}",
            )
        return tree.InPrefix(span, c[0], value, bits)

    def _logic(self, meta: Meta, c: list[Any], op: str) -> tree.Expr:
        return tree.Logic(self._at(meta), op, c[0], c[1])

    def or_(self, meta: Meta, c: list[Any]) -> tree.Expr:
        return self._logic(meta, c, "or")

    def and_(self, meta: Meta, c: list[Any]) -> tree.Expr:
        return self._logic(meta, c, "and")

    def not_(self, meta: Meta, c: list[Any]) -> tree.Not:
        return tree.Not(self._at(meta), c[0])

    def has(self, meta: Meta, c: list[Any]) -> tree.Has:
        alias = self._ident(c[2]) if c[2] is not None else None
        return tree.Has(self._at(meta), self._ident(c[0]), self._ident(c[1]), alias)
