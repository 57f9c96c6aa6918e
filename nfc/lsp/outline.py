"""A document at a glance: its items as symbols, and what can be folded."""

from __future__ import annotations

from collections.abc import Iterator

from lsprotocol import types as lsp

from nfc.lsp.document import Document
from nfc.lsp.mentions import Item

Kind = lsp.SymbolKind
_KINDS = {
    "use": Kind.Module, "const": Kind.Constant, "param": Kind.Variable, "enum": Kind.Enum,
    "tlv": Kind.Struct, "event": Kind.Event, "counter": Kind.Variable, "table": Kind.Class,
    "state": Kind.Variable, "define": Kind.Function, "endpoint": Kind.Function,
    "transit": Kind.Function,
}  # fmt: skip
_INNER = {"member": Kind.EnumMember, "field": Kind.Field, "key": Kind.Key}
MAX_TITLE = 60  # characters of a rule


def symbols(document: Document) -> list[lsp.DocumentSymbol]:
    """The items that have a name, with what they hold."""
    return [
        _symbol(document, start, item)
        for start, item in document.items()
        if item.name and item.keyword in _KINDS
    ]


def _symbol(document: Document, start: int, item: Item) -> lsp.DocumentSymbol:
    named = item.mentions[0]
    text = document.text
    return lsp.DocumentSymbol(
        item.name,
        _KINDS[item.keyword],
        text.range(start + item.start, start + item.end),
        text.range(start + named.start, start + named.end),
        detail=f"transit at {item.hook}" if item.keyword == "transit" else item.keyword,
        children=[*_parts(document, start, item), *_rules(document, start, item)],
    )


def _parts(document: Document, start: int, item: Item) -> Iterator[lsp.DocumentSymbol]:
    for mention in item.mentions:
        if mention.role in _INNER:
            place = document.text.range(start + mention.start, start + mention.end)
            yield lsp.DocumentSymbol(mention.text, _INNER[mention.role], place, place)


def _rules(document: Document, start: int, item: Item) -> Iterator[lsp.DocumentSymbol]:
    text = document.text.text
    for begin, end in zip(item.rules, [*item.rules[1:], item.end], strict=False):
        whole = text[start + begin : start + end].rstrip()
        title = whole.split("{")[0].split("\n")[0].strip()
        shown = title if len(title) <= MAX_TITLE else title[:MAX_TITLE] + "…"
        place = document.text.range(start + begin, start + begin + len(whole))
        head = document.text.range(start + begin, start + begin + len(title))
        yield lsp.DocumentSymbol(shown, Kind.Event, place, head)


def folds(document: Document) -> list[lsp.FoldingRange]:
    """Brackets and comments of several lines, and a row of `use`."""
    text = document.text
    found: list[tuple[int, int, lsp.FoldingRangeKind]] = []
    uses: list[int] = []
    for start, part in document.parts:
        opened: list[int] = []
        for token in part.tokens:
            if token.value in ("{", "[", "("):
                opened.append(start + (token.start_pos or 0))
            elif token.value in ("}", "]", ")") and opened:
                begin = text.position(opened.pop()).line
                end = text.position(start + (token.start_pos or 0)).line
                found.append((begin, end - 1, lsp.FoldingRangeKind.Region))
        lines = [text.position(start + begin).line for begin, _ in part.comments]
        found += [(a, b, lsp.FoldingRangeKind.Comment) for a, b in _runs(lines)]
        uses += [text.position(start + i.start).line for i in part.items if i.keyword == "use"]
    found += [(a, b, lsp.FoldingRangeKind.Imports) for a, b in _runs(uses)]
    unique = {begin: (begin, end, kind) for begin, end, kind in reversed(found) if end > begin}
    return [lsp.FoldingRange(a, b, kind=kind) for a, b, kind in sorted(unique.values())]


def _runs(lines: list[int]) -> Iterator[tuple[int, int]]:
    """Lines that follow each other, as first and last."""
    first = last = None
    for line in [*lines, -1]:
        if last is not None and line != last + 1:
            assert first is not None
            yield first, last
            first = None
        if first is None:
            first = line
        last = line
