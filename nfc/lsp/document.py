"""A file as the server knows it: its text in parts, each known by its text alone."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lark import Token

from nfc.lsp.mentions import Item, Mention, read_item
from nfc.lsp.positions import Text
from nfc.syntax import tree
from nfc.syntax.diagnostics import Diagnostics
from nfc.syntax.parser import chunks, lex, parse_tokens, parts
from nfc.syntax.source import MAX_SOURCE_BYTES, Source, Span

_COMMENT = re.compile(r"#[^\n]*")


@dataclass(frozen=True, eq=False)
class Part:
    """A piece of a file that is lexed and parsed by itself; places count from its start."""

    text: str

    @cached_property
    def tokens(self) -> list[Token]:
        """Its tokens, without comments."""
        return lex(self.text)

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """Its items with the names in them; one, as a rule."""
        return tuple(read_item(chunk) for chunk in chunks(self.tokens))

    @cached_property
    def names(self) -> frozenset[str]:
        """All names in it."""
        return frozenset(m.text for item in self.items for m in item.mentions)

    @cached_property
    def declares(self) -> bool:
        """Whether anything but functions is in it."""
        return any(item.keyword not in ("endpoint", "transit") for item in self.items)

    @cached_property
    def parsed(self) -> tuple[tree.Item, ...] | None:
        """Its items as trees, or None if there are errors in them."""
        diagnostics = Diagnostics()
        found, _ = parse_tokens(self.tokens, Source("", self.text), diagnostics)
        return None if diagnostics.items else found

    @cached_property
    def comments(self) -> tuple[tuple[int, int], ...]:
        """Where its comments begin and end."""
        # What begins with '#' outside of a token is one: no token but BAD holds that character.
        return tuple(found.span() for found in _COMMENT.finditer(self.text))


@dataclass(frozen=True)
class Document:
    """A text of a file, at a path; `version` is the editor's, None for a file on the disk."""

    path: Path
    text: Text
    version: int | None
    parts: tuple[tuple[int, Part], ...]

    @classmethod
    def of(
        cls, path: Path, text: str, encoding: str, version: int | None, old: Document | None = None
    ) -> Document:
        """A document of a text; parts that `old` has too are taken from it. One that is too large
        to be a program is taken as if nothing was in it."""
        if len(text) > MAX_SOURCE_BYTES:
            return cls(path, Text(text, encoding), version, ((0, Part("")),))
        known = {part.text: part for _, part in old.parts} if old else {}
        starts = parts(text)
        found = []
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
            piece = text[start:end]
            found.append((start, known.get(piece) or Part(piece)))
        return cls(path, Text(text, encoding), version, tuple(found))

    @cached_property
    def declarations(self) -> tuple[object, ...]:
        """The path and the texts of all declarations: what they mean is the same while this is."""
        return (self.path, *(part.text for _, part in self.parts if part.declares))

    @cached_property
    def declared_names(self) -> frozenset[str]:
        """All names in declarations."""
        return frozenset().union(*(part.names for _, part in self.parts if part.declares))

    def at(self, offset: int) -> tuple[int, Part]:
        """The part that holds an offset, and where it begins."""
        index = bisect_right([start for start, _ in self.parts], offset) - 1
        start, part = self.parts[max(0, index)]
        # At the end of a line that a part ends with, the next one has not begun.
        return start, part

    def items(self) -> Iterator[tuple[int, Item]]:
        """All items, with where their parts begin."""
        for start, part in self.parts:
            for item in part.items:
                yield start, item

    def item_at(self, offset: int) -> tuple[int, Item] | None:
        """The item that an offset stands in or behind, before the next item begins."""
        start, part = self.at(offset)
        before = [item for item in part.items if item.start + start <= offset]
        return (start, before[-1]) if before else None

    def mention_at(self, offset: int) -> tuple[int, Item, Mention] | None:
        """The name at an offset or right before it, its item, and where the part begins."""
        start, part = self.at(offset)
        near: tuple[int, Item, Mention] | None = None
        for item in part.items:
            for mention in item.mentions:
                if mention.start <= offset - start < mention.end:
                    return start, item, mention
                if mention.end == offset - start:
                    near = start, item, mention
        return near

    def token_at(self, offset: int) -> tuple[int, Token] | None:
        """The token at an offset or right before it, and where the part begins."""
        start, part = self.at(offset)
        near = None
        for token in part.tokens:
            begins, ends = token.start_pos or 0, token.end_pos or 0
            if begins <= offset - start < ends:
                return start, token
            if ends == offset - start:
                near = start, token
        return near

    def comment_above(self, offset: int) -> str:
        """The comment in the lines right above an offset's line, or else behind it in its line."""
        text = self.text.text
        begin = text.rfind("\n", 0, offset) + 1
        lines: list[str] = []
        while begin > 0:
            before = text.rfind("\n", 0, begin - 1) + 1
            line = text[before : begin - 1].strip()
            if not line.startswith("#"):
                break
            lines.insert(0, line.lstrip("#").strip())
            begin = before
        if lines:
            return "\n".join(lines)
        end = text.find("\n", offset)
        line = text[offset : end if end >= 0 else len(text)]
        return line.partition("#")[2].strip()

    def tree(self, source: Source, diagnostics: Diagnostics, *, functions: bool) -> tree.File:
        """The tree as the parser makes it of the whole `source`, without functions that have no
        errors unless they are wanted."""
        items: list[tree.Item] = []
        broken: frozenset[str] = frozenset()
        for start, part in self.parts:
            if part.parsed is None:
                found, names = parse_tokens(lex(part.text, start), source, diagnostics)
                items += found
                broken |= names
            else:
                items += [
                    moved(item, source, start)
                    for item in part.parsed
                    if functions or not isinstance(item, tree.Function)
                ]
        return tree.File(Span(source, 0, len(source.text)), tuple(items), broken)


def moved(node: Any, source: Source, by: int) -> Any:
    """A tree as it would be `by` characters further on, in another source."""
    if isinstance(node, tuple):
        return tuple([moved(child, source, by) for child in node])
    if isinstance(node, Span):
        return Span(source, node.start + by, node.end + by)
    if isinstance(node, tree.Node):
        changes = {name: getattr(node, name) for name in node.__dataclass_fields__}
        return type(node)(**{n: moved(v, source, by) for n, v in changes.items()})
    return node
