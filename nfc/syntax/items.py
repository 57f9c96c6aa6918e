"""Cuts a file into items and parses each by itself, whatever the grammar.

The file is cut into tokens once, the tokens into items, and each item is parsed alone: so an
unclosed brace in one does not hide the errors of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from lark import Lark, Token, Tree, UnexpectedToken
from lark.lexer import BasicLexer

from nfc.syntax import tables
from nfc.syntax.diagnostics import Diagnostics, nearest
from nfc.syntax.source import Source, Span


@cache
def grammar(name: str) -> Lark:
    """Lark with a grammar of ours: LALR, one item at a time."""
    found = tables.parser(name)
    # Where there is none, `Lark.lex` makes a lexer at each call: several milliseconds.
    found.lexer = BasicLexer(found.lexer_conf)
    return found


def span_of(source: Source, token: Token) -> Span:
    """Where a token stands."""
    start = token.start_pos or 0
    return Span(source, start, token.end_pos or start)


@dataclass(frozen=True)
class Unexpected:
    """A token of an item that cannot stand where it does; `expected` are kinds of token that
    could, `words` the texts of those that have but one."""

    token: Token
    expected: set[str]
    chunk: list[Token]
    words: Mapping[str, str]


@dataclass(frozen=True)
class Notation:
    """A grammar, with what is to be known of it to cut files into items and to tell of errors."""

    grammar: str  # its file
    called: str  # what has a character or not
    begins: str  # what a word is said to begin none of
    items: tuple[str, ...]  # words that begin an item
    brackets: Mapping[str, str]  # by what opens one, what closes it
    depth: int  # of brackets, and of operators in an expression
    hints: Mapping[str, str]  # for characters that the grammar does not have
    tell: Callable[[Unexpected], tuple[str, str | None]]  # what was expected, and a hint
    statements: Collection[str] = ()  # words that begin an expression anew
    operators: Collection[str] = ()  # kinds of token that make an expression deeper
    most: int | None = None  # tokens of an item

    @cached_property
    def closing(self) -> frozenset[str]:
        """What closes a bracket."""
        return frozenset(self.brackets.values())

    def lex(self, text: str, base: int = 0) -> list[Token]:
        """The tokens of a text, without comments; `base` is the place in the file where it
        begins."""
        tokens = [t for t in grammar(self.grammar).lex(text) if t.type not in ("SPACE", "COMMENT")]
        if base:
            for token in tokens:
                token.start_pos = (token.start_pos or 0) + base
                token.end_pos = (token.end_pos or 0) + base
        return tokens

    def chunks(self, tokens: list[Token]) -> Iterator[list[Token]]:
        """The tokens of each item: one begins at a word of `items`, outside brackets or first in
        its line."""
        items, opening, closing = self.items, self.brackets, self.closing
        chunk: list[Token] = []
        depth = 0
        for token in tokens:
            named = len(chunk) != 1  # `param table` is one item, with a bad name
            begins = token.value in items and (token.column == 1 or (depth == 0 and named))
            if begins and chunk:
                yield chunk
                chunk, depth = [], 0
            chunk.append(token)
            depth += (token.value in opening) - (token.value in closing)
        if chunk:
            yield chunk

    def parse(
        self, chunk: list[Token], source: Source, diagnostics: Diagnostics
    ) -> Tree[Token] | None:
        """What lark makes of an item; None after an error, which goes to `diagnostics`."""
        bad = next((t for t in chunk if t.type == "BAD"), None)
        if bad is not None:
            said = f"{self.called} has no character {bad.value!r}"
            diagnostics.error(span_of(source, bad), said, self.hints.get(bad.value))
            return None
        if self.most is not None and len(chunk) > self.most:
            begin = span_of(source, chunk[0])
            diagnostics.error(begin, f"this has more than {self.most} words")
            return None
        opened = self._brackets(chunk, source, diagnostics)
        if opened is None:
            return None
        parser = grammar(self.grammar).parse_interactive(start="item")
        last = span_of(source, chunk[-1])
        end = Token("$END", "", last.end, end_pos=last.end)
        stop = end
        try:
            for token in chunk:
                stop = token
                parser.feed_token(token)
            stop = end
            found: Tree[Token] = parser.feed_token(end)
        except UnexpectedToken:
            # The parser may have found the real mistake before what is never closed.
            if stop is end and opened:
                span = span_of(source, opened[-1])
                diagnostics.error(span, f"this '{opened[-1].value}' is never closed")
            else:
                self._report(stop, chunk, source, diagnostics)
            return None
        return found

    def _brackets(
        self, chunk: list[Token], source: Source, diagnostics: Diagnostics
    ) -> list[Token] | None:
        """What is never closed; None after an error: brackets that do not pair up or nest deeper
        than allowed, or an expression of too many operators."""
        opened: list[Token] = []
        operators = 0
        for token in chunk:
            ends = token.value in ("{", "}") or token.value in self.statements
            # A comma within parentheses is part of a larger expression.
            if ends or (token.value == "," and not (opened and opened[-1].value == "(")):
                operators = 0
            elif token.type in self.operators:
                operators += 1
            if operators > self.depth:
                diagnostics.error(
                    span_of(source, token),
                    f"this expression has more than {self.depth} operators",
                    "split it with a const, or into several rules",
                )
                return None
            if token.value in self.brackets:
                opened.append(token)
                if len(opened) > self.depth:
                    said = f"brackets nest deeper than {self.depth}"
                    diagnostics.error(span_of(source, token), said)
                    return None
            elif token.value in self.closing:
                if not opened:
                    said = f"this '{token.value}' closes nothing"
                    diagnostics.error(span_of(source, token), said)
                    return None
                top = opened.pop()
                if self.brackets[top.value] != token.value:
                    line = span_of(source, top).line
                    said = f"'{token.value}' cannot close the '{top.value}' of line {line}"
                    diagnostics.error(span_of(source, token), said)
                    return None
        return opened

    def _accepted(self, chunk: list[Token], stop: Token) -> set[str]:
        """The kinds of token that could have stood in the place of `stop`."""
        parser = grammar(self.grammar).parse_interactive(start="item")
        for token in chunk:
            if token is stop:
                break
            parser.feed_token(token)
        return set(parser.accepts())  # type: ignore[no-untyped-call]

    def _report(
        self, token: Token, chunk: list[Token], source: Source, diagnostics: Diagnostics
    ) -> None:
        """Say that a token cannot stand where it does, and what could."""
        span = span_of(source, token)
        found = f"'{token.value}'" if token.type != "STRING" else "a text"
        if token.type == "$END":
            found, span = "the end of this item", Span(source, max(0, span.start - 1), span.start)
        if token is chunk[0]:
            hint = nearest(str(token), self.items) or f"a file holds: {', '.join(self.items)}"
            diagnostics.error(span, f"{found} begins {self.begins}", hint)
            return
        terminals = grammar(self.grammar).terminals
        words = {t.name: t.pattern.value for t in terminals if t.pattern.type == "str"}
        expected, told = self.tell(Unexpected(token, self._accepted(chunk, token), chunk, words))
        diagnostics.error(span, f"expected {expected}, found {found}", told)


def one_of(names: list[str]) -> str:
    """Names of which one was expected, six of them at most."""
    if len(names) > 6:
        names = [*names[:6], "…"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
