"""A function as a picture: its rules from top to bottom, as an SVG that stands alone.

Each rule is a row: what has to hold, what is done, what becomes of the packet. Verdicts have a
sign and a word besides their colour (Okabe and Ito's, which the colour-blind tell apart), and the
picture follows the reader's light or dark scheme. The same explanation gives the same bytes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

from nfc.explain.report import Explanation, RuleText

# Pixels. Text is set in a fixed width so that it can be measured without a font.
FONT, LINE, GLYPH = 12, 17, 7.3
PAD, GAP, MARGIN, HEAD = 12, 34, 20, 80
WHEN, DOES, ENDS = 46, 52, 34  # characters of a line in each column
# What a verdict's colour, sign and word are.
_FATES = {
    "Forward": ("go", "→", "forward"),
    "ForwardVia": ("go", "→", "forward"),
    "ForwardTable": ("go", "→", "forward"),
    "ForwardLink": ("go", "→", "out of a link"),
    "DecapTable": ("decap", "⇥", "decap"),
    "Encap": ("encap", "⊞", "encap"),
    "Insert": ("encap", "⊞", "insert"),
    "Drop": ("drop", "✕", "drop"),
}
# Without variables: not every program that draws an SVG knows them.
_LIGHT = {
    "paper": "#ffffff", "ink": "#1b1f24", "faint": "#57606a", "line": "#8c959f", "box": "#f6f8fa",
    "go": "#0072b2", "decap": "#007a5a", "encap": "#a05a00", "drop": "#b3261e",
}  # fmt: skip
_DARK = {
    "paper": "#0d1117", "ink": "#e6edf3", "faint": "#9aa4af", "line": "#6e7681", "box": "#161b22",
    "go": "#56b4e9", "decap": "#2fc99a", "encap": "#e69f00", "drop": "#ff8a7a",
}  # fmt: skip
_FONTS = 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace'


def _colours(of: Mapping[str, str]) -> str:
    """The style sheet of one scheme."""
    fates = "".join(
        f"text.{fate} {{ fill: {of[fate]}; }} rect.{fate} {{ stroke: {of[fate]}; }}\n"
        for fate in ("go", "decap", "encap", "drop")
    )
    return (
        f".paper {{ fill: {of['paper']}; }} text {{ fill: {of['ink']}; }}\n"
        f"text.faint {{ fill: {of['faint']}; }}\n"
        f"rect.box, rect.end {{ fill: {of['box']}; }} rect.box {{ stroke: {of['line']}; }}\n"
        f".way {{ stroke: {of['line']}; }} .tip {{ fill: {of['line']}; }}\n"
        f".share {{ fill: {of['go']}; }}\n{fates}"
    )


_STYLE = (
    f"text {{ font-family: {_FONTS}; }}\n.bold {{ font-weight: 700; }}\n"
    ".way { fill: none; stroke-width: 1.5; } rect.end { stroke-width: 2.5; }\n"
    f"{_colours(_LIGHT)}"
    f"@media (prefers-color-scheme: dark) {{\n{_colours(_DARK)}}}\n"
)


@dataclass(frozen=True)
class _Row:
    """A rule, wrapped into lines."""

    rule: RuleText
    when: list[str]
    does: list[str]
    ends: list[str]
    note: str

    @property
    def height(self) -> int:
        """Of its boxes, pixels."""
        lines = max(len(self.when), len(self.does) + bool(self.note), len(self.ends) + 1, 2)
        return lines * LINE + 2 * PAD


def svg(explanation: Explanation) -> str:
    """The picture as an SVG document."""
    rows = [_row(explanation, rule) for rule in explanation.rules]
    widths = [round(n * GLYPH) + 2 * PAD for n in (WHEN, DOES, ENDS)]
    lefts = [MARGIN + sum(widths[:n]) + n * GAP for n in range(3)]
    width = lefts[2] + widths[2] + MARGIN
    height = HEAD + sum(row.height + GAP for row in rows) + MARGIN - GAP + 8
    title = f"{explanation.function} ({explanation.hook})"
    facts = (
        f"{explanation.source}:{explanation.line}   {explanation.checked.instructions} "
        f"instructions, {explanation.checked.stack} bytes of stack, kernel {explanation.oldest} "
        "and later"
    )
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-size="{FONT}" role="img" '
        f'aria-label="{_quoted(f"Decisions of {title}")}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" class="paper"/>',
        _text(MARGIN, 28, title, "bold", 16),
        _text(MARGIN, 48, facts, "faint"),
    ]
    top = HEAD
    for number, row in enumerate(rows, 1):
        last = number == len(rows)
        out += _boxes(row, number, top, lefts, widths, explanation)
        if not last:
            middle = lefts[0] + widths[0] // 2
            out += _arrow(middle, top + row.height, middle, top + row.height + GAP)
            out.append(_text(middle + 8, top + row.height + GAP // 2 + 4, "no", "faint"))
        top += row.height + GAP
    out.append("</svg>\n")
    return "\n".join(out)


def _row(explanation: Explanation, rule: RuleText) -> _Row:
    when = [f"{'if' if not n else 'and'} {part}" for n, part in enumerate(rule.when)]
    only = len(explanation.rules) == 1
    cost = rule.cost
    note = ""
    if cost is not None:
        calls = f"{len(cost.calls)} helper call{'s' * (len(cost.calls) != 1)}"
        note = f"{cost.instructions} instructions, {calls}"
    return _Row(
        rule,
        _wrapped(when or ["all packets" if only else "all other packets"], WHEN),
        _wrapped([f"• {edit}" for edit in rule.edits], DOES),
        _wrapped([rule.verdict], ENDS),
        note,
    )


def _wrapped(parts: list[str], width: int) -> list[str]:
    found: list[str] = []
    for part in parts:
        found += textwrap.wrap(part, width, subsequent_indent="  ", break_on_hyphens=False)
    return found


def _boxes(
    row: _Row, number: int, top: int, lefts: list[int], widths: list[int], explanation: Explanation
) -> list[str]:
    high = row.height
    colour, sign, word = _FATES[row.rule.kind]
    middle = top + high // 2
    out = [_box(lefts[0], top, widths[0], high, 4)]
    if row.rule.packets is not None and explanation.seen:
        part = row.rule.packets / explanation.seen
        full = widths[0] - 2
        out.append(
            f'<rect class="share" x="{lefts[0] + 1}" y="{top + high - 6}" '
            f'width="{round(part * full)}" height="5"/>'
        )
    share = explanation.share(row.rule)
    out += _lines(lefts[0] + PAD, top + PAD, row.when)
    label = f"{number}  line {row.rule.line}" + (f"  {share}" if share else "")
    out.append(_text(lefts[0] + 4, top - 5, label, "faint", 11))
    out += _arrow(lefts[0] + widths[0], middle, lefts[1], middle)
    if row.rule.when:
        out.append(_text(lefts[0] + widths[0] + 5, middle - 5, "yes", "faint", 11))
    out.append(_box(lefts[1], top, widths[1], high, 4))
    out += _lines(lefts[1] + PAD, top + PAD, row.does or ["changes nothing"])
    out.append(_text(lefts[1] + PAD, top + high - 8, row.note, "faint", 11))
    out += _arrow(lefts[1] + widths[1], middle, lefts[2], middle)
    out.append(
        f'<rect class="end {colour}" x="{lefts[2]}" y="{top}" width="{widths[2]}" '
        f'height="{high}" rx="16"/>'
    )
    head = f"{sign} {word}"
    out.append(_text(lefts[2] + PAD, top + PAD + FONT, head, f"bold {colour}"))
    out += _lines(lefts[2] + PAD, top + PAD + LINE, row.ends)
    return out


def _box(x: int, y: int, width: int, height: int, round_: int) -> str:
    return f'<rect class="box" x="{x}" y="{y}" width="{width}" height="{height}" rx="{round_}"/>'


def _lines(x: int, y: int, lines: list[str]) -> list[str]:
    return [_text(x, y + FONT + n * LINE, line) for n, line in enumerate(lines)]


def _text(x: int, y: int, text: str, class_: str = "", size: int = 0) -> str:
    attributes = f' class="{class_}"' if class_ else ""
    attributes += f' font-size="{size}"' if size else ""
    indented = text.replace("  ", "\u00a0\u00a0")
    return f'<text x="{x}" y="{y}"{attributes}>{escape(indented)}</text>'


def _arrow(x1: int, y1: int, x2: int, y2: int) -> list[str]:
    tip = f"{x2},{y2} {x2 - 7},{y2 - 4} {x2 - 7},{y2 + 4}"
    if x1 == x2:
        tip = f"{x2},{y2} {x2 - 4},{y2 - 7} {x2 + 4},{y2 - 7}"
    return [
        f'<path class="way" d="M{x1} {y1}L{x2} {y2}"/>',
        f'<polygon class="tip" points="{tip}"/>',
    ]


def _quoted(text: str) -> str:
    return escape(text, {'"': "&quot;"})
