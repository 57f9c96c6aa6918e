"""Formatting: `nfc fmt` as edits of the lines that change."""

from __future__ import annotations

from lsprotocol import types as lsp

from nfc.errors import NfcError
from nfc.lsp.document import Document
from nfc.syntax.format import format_source
from nfc.syntax.source import Source


def formatted(document: Document) -> str | None:
    """The text in its layout; None if it has errors, as `nfc fmt` then leaves it alone."""
    if any(part.parsed is None for _, part in document.parts):
        return None
    tokens = [(start + (t.start_pos or 0), t) for start, p in document.parts for t in p.tokens]
    try:
        return format_source(Source(document.path.name, document.text.text), tokens)
    except (NfcError, UnicodeEncodeError):  # half a surrogate pair is no text
        return None


def format_edits(document: Document) -> list[lsp.TextEdit]:
    """What `nfc fmt` would change."""
    text = formatted(document)
    return [] if text is None else edits(document, text)


def edits(document: Document, text: str) -> list[lsp.TextEdit]:
    """The edit that makes a document's text another: what is alike before and behind stays."""
    old = document.text.text
    if old == text:
        return []
    shorter = min(len(old), len(text))
    start = next((i for i in range(shorter) if old[i] != text[i]), shorter)
    start = old.rfind("\n", 0, start) + 1
    limit = shorter - start
    end = next((i for i in range(limit) if old[-1 - i] != text[-1 - i]), limit)
    if end and old[len(old) - end - 1 : len(old) - end + 1] == "\r\n":
        end -= 1  # no place of the protocol is between the two
    new = text[start : len(text) - end]
    return [lsp.TextEdit(document.text.range(start, len(old) - end), new)]
