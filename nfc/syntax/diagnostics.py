"""Errors and warnings about source text: collected, sorted, shown.

A stage reports all it finds into a `Diagnostics` and raises `SourceErrors` at its end. The same
diagnostic goes to a terminal (the line, a caret under the span, a hint) and to JSON.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from nfc.errors import NfcError
from nfc.syntax.source import Span

MAX_SHOWN = 20  # after so many errors the first ones matter, not the rest
MAX_LINE = 200  # characters of a line that are shown


@dataclass(frozen=True)
class Diagnostic:
    """One message at one place; `hint` says what to do about it."""

    severity: Literal["error", "warning"]
    span: Span
    message: str
    hint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready object; lines and columns count from 1, the end is exclusive."""
        end_line, end_column = self.span.source.position(self.span.end)
        return {
            "severity": self.severity,
            "file": self.span.source.name,
            "line": self.span.line,
            "column": self.span.column,
            "end_line": end_line,
            "end_column": end_column,
            "message": self.message,
            "hint": self.hint,
        }

    def render(self, *, color: bool = False) -> str:
        """Text for a terminal: place and message, the line, a caret, the hint."""
        bold, accent, dim, reset = (
            (
                "\x1b[1m",
                "\x1b[31m" if self.severity == "error" else "\x1b[33m",
                "\x1b[2m",
                "\x1b[0m",
            )
            if color
            else ("", "", "", "")
        )
        line, column = self.span.line, self.span.column
        text, at = _clipped(self.span.source.line(line), column)
        width = max(1, min(self.span.end - self.span.start, len(text) - at + 1))
        # Tabs stay tabs in the indent, so that the caret stands under its character.
        indent = "".join("\t" if c == "\t" else " " for c in text[: at - 1])
        gutter = f"{line:>5} | "
        out = [
            f"{bold}{self.span.source.name}:{line}:{column}: "
            f"{accent}{self.severity}:{reset}{bold} {self.message}{reset}",
            f"{dim}{gutter}{reset}{_printable(text)}",
            f"{dim}{' ' * 5} | {reset}{indent}{accent}{'^' * width}{reset}",
        ]
        if self.hint:
            out.append(f"{dim}{' ' * 5} = {reset}{self.hint}")
        return "\n".join(out)


def _clipped(text: str, column: int) -> tuple[str, int]:
    """A line as it is shown, and the column there: what is far from the column is left out."""
    first = max(0, column - 1 - MAX_LINE // 3)
    if len(text) <= MAX_LINE:
        return text, column
    head, tail = "… " * (first > 0), " …" * (first + MAX_LINE < len(text))
    return head + text[first : first + MAX_LINE] + tail, column - first + len(head)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


@dataclass
class Diagnostics:
    """Collects what a stage finds. The same message at the same place is kept once."""

    items: list[Diagnostic] = field(default_factory=list)
    _known: set[tuple[object, ...]] = field(default_factory=set, init=False, repr=False)

    def error(self, span: Span, message: str, hint: str | None = None) -> None:
        """Note an error."""
        self._add(Diagnostic("error", span, message, hint))

    def warning(self, span: Span, message: str, hint: str | None = None) -> None:
        """Note a warning."""
        self._add(Diagnostic("warning", span, message, hint))

    def _add(self, diagnostic: Diagnostic) -> None:
        span = diagnostic.span
        key = (span.source.name, span.start, span.end, diagnostic.message, diagnostic.hint)
        if key not in self._known:
            self._known.add(key)
            self.items.append(diagnostic)

    @property
    def has_errors(self) -> bool:
        """Whether any error (not only warnings) was noted."""
        return any(d.severity == "error" for d in self.items)

    def sorted(self) -> list[Diagnostic]:
        """All, by file and place."""
        return sorted(self.items, key=lambda d: (d.span.source.name, d.span.start, d.span.end))

    def check(self) -> None:
        """Raise SourceErrors if any error was noted."""
        if self.has_errors:
            raise SourceErrors(self.sorted())


class SourceErrors(NfcError):
    """One or more errors in source text; `diagnostics` holds them and the warnings, in order."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        """Keep the diagnostics, at least one of which is an error."""
        errors = [d.message for d in diagnostics if d.severity == "error"]
        super().__init__(errors[0] if errors else diagnostics[0].message)
        self.diagnostics = diagnostics

    def render(self, *, color: bool = False) -> str:
        """All of them as text, with a count at the end."""
        errors = [d for d in self.diagnostics if d.severity == "error"]
        shown = self.diagnostics[:MAX_SHOWN]
        out = [d.render(color=color) for d in shown]
        if len(self.diagnostics) > len(shown):
            out.append(f"... and {len(self.diagnostics) - len(shown)} more")
        out.append(f"{len(errors)} error{'s' if len(errors) != 1 else ''}")
        return "\n".join(out)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """A hint with the known name most like `name`, if one is like it."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:
        lowered = {n.lower(): n for n in names}
        close = [lowered[name.lower()]] if name.lower() in lowered else []
    return f"did you mean '{close[0]}'?" if close else None
