"""Source text and places in it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nfc.errors import NfcError

# A function is 25 lines; a megabyte is not a program, and parsing it would only take time.
MAX_SOURCE_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """A file's text under the name that messages and debug info show.

    `name` is what the user typed; debug info uses its last part alone, so that an object does
    not depend on where it was built.
    """

    name: str
    text: str

    @classmethod
    def read(cls, path: Path, name: str | None = None) -> Source:
        """Read a UTF-8 file. Raises NfcError when it cannot be read, is too large or not UTF-8."""
        shown = name or str(path)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_SOURCE_BYTES + 1)
        except OSError as error:
            raise NfcError(f"cannot read {shown}: {error.strerror or error}") from None
        return cls.decode(shown, data)

    @classmethod
    def decode(cls, name: str, data: bytes) -> Source:
        """The text of `data`. Raises NfcError when it is too large, not UTF-8, or an object."""
        if data.startswith(b"\x7fELF"):
            raise NfcError(
                f"{name} is an object, not a source", hint="'nfc check' and 'nfc run' take objects"
            )
        if len(data) > MAX_SOURCE_BYTES:
            raise NfcError(f"{name} is larger than {MAX_SOURCE_BYTES} bytes, which no program is")
        try:
            return cls(name, data.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise NfcError(f"{name}:{line}: not UTF-8 text (byte {error.start})") from None

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(i + 1 for i, c in enumerate(self.text) if c == "\n")]

    @property
    def base_name(self) -> str:
        """The last part of the name."""
        return Path(self.name).name

    @property
    def line_count(self) -> int:
        """How many lines the text has."""
        return len(self._starts)

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1, of a character offset."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line (from 1), without its end."""
        start = self._starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : len(self.text) if end < 0 else end].rstrip("\r")


@dataclass(frozen=True)
class Span:
    """The characters `start` up to `end` (exclusive) of a source."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        """Line of the first character, from 1."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """Column of the first character, from 1."""
        return self.source.position(self.start)[1]

    def to(self, other: Span) -> Span:
        """The span from here to the end of `other`."""
        return Span(self.source, min(self.start, other.start), max(self.end, other.end))

    def __repr__(self) -> str:
        """Short form: file:line:column."""
        return f"{self.source.name}:{self.line}:{self.column}"
