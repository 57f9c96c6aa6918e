"""An explanation as a terminal shows it: wrapped, and with what matters in colour."""

from __future__ import annotations

import re
import textwrap

import click

MIN_WIDTH, MAX_WIDTH = 60, 120
_LABELS = re.compile(r"^( *)((?:\d+\. line \d+: |- |→ |and |costs |\()?)")
_DIM = ("costs ", "(")
# Blue and magenta are told apart by those who do not see red and green apart.
_VERDICTS = (("drops", "magenta"), ("forwards", "blue"), ("lets", "blue"))


def shown(text: str, width: int, *, color: bool) -> str:
    """The text with lines of at most `width` characters, in which what belongs together stands
    under each other."""
    width = max(MIN_WIDTH, min(width, MAX_WIDTH))
    lines = []
    for line in text.splitlines():
        match = _LABELS.match(line)
        assert match is not None  # it may match nothing
        indent, label = match.groups()
        hanging = len(indent) + (2 if label in _DIM or not label else len(label))
        parts = textwrap.wrap(
            line,
            width,
            subsequent_indent=" " * (min(hanging, 11) if label[:1].isdigit() else hanging),
            break_on_hyphens=False,
            break_long_words=False,
        )
        lines += [_styled(part, line, label, color) for part in parts or [""]]
    return "\n".join(lines)


def _styled(part: str, line: str, label: str, color: bool) -> str:
    if not color:
        return part
    if line and not line.startswith(" "):
        return click.style(part, bold=True)
    if label in _DIM:
        return click.style(part, dim=True)
    if label == "→ ":
        verb = line.split("→ ", 1)[1]
        return click.style(part, fg=next((c for v, c in _VERDICTS if verb.startswith(v)), "cyan"))
    if label[:1].isdigit() and label in part:
        head, rest = part.split(label, 1)
        return click.style(head + label, bold=True) + rest
    return part
