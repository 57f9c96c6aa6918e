"""Places in a text: character offsets here, lines and code units in the protocol.

LSP 3.17, section "Position": lines end with \\n, \\r\\n or \\r and count from 0; a column counts
the code units of the encoding that client and server have agreed on, UTF-16 if they say nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

from lsprotocol import types as lsp

_LINE_END = re.compile(r"\r\n|\n|\r")


def units(text: str, encoding: str) -> int:
    """How many code units of an encoding (utf-8, utf-16, utf-32) a text has."""
    if encoding == "utf-32" or text.isascii():
        return len(text)
    if encoding == "utf-8":
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text) + sum(c > "\uffff" for c in text)


@dataclass(frozen=True)
class Text:
    """A text, and the places in it under an encoding."""

    text: str
    encoding: str = "utf-16"

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(found.end() for found in _LINE_END.finditer(self.text))]

    def _line(self, number: int) -> str:
        """A line without its end."""
        start = self._starts[number]
        end = self._starts[number + 1] if number + 1 < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r\n")

    def position(self, offset: int) -> lsp.Position:
        """The line and column of a character offset."""
        line = bisect_right(self._starts, offset) - 1
        return lsp.Position(line, units(self.text[self._starts[line] : offset], self.encoding))

    def range(self, start: int, end: int) -> lsp.Range:
        """The characters `start` up to `end`."""
        return lsp.Range(self.position(start), self.position(end))

    def offset(self, position: lsp.Position) -> int:
        """The character offset of a place; one outside of the text is the nearest within it.

        A place within a character's code units is that character's beginning.
        """
        if position.line >= len(self._starts):
            return len(self.text)
        line = self._line(position.line)
        if self.encoding == "utf-32" or line.isascii():
            return self._starts[position.line] + min(position.character, len(line))
        left = position.character
        for index, character in enumerate(line):
            left -= units(character, self.encoding)
            if left < 0:
                return self._starts[position.line] + index
        return self._starts[position.line] + len(line)
