"""Columns: declarations under each other, and comments behind lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH = 100  # columns of a line; a comment may make it longer


@dataclass
class Row:
    """The lines of one entry of a body; `comment` stands behind the last of them.

    `columns` are the parts of a declaration: keyword and name, type (may be empty), value.
    """

    lines: list[str]
    blank: bool
    comment: str | None = None
    columns: tuple[str, ...] = ()

    @property
    def keyword(self) -> str:
        """The word that the declaration begins with; empty if there are no columns."""
        return self.columns[0].partition(" ")[0] if self.columns else ""


def arrange(rows: Sequence[Row], *, top: bool = False) -> list[str]:
    """The lines of a body. Empty lines stay, one at most; at the `top` of a file, items of
    several lines have one on each side.
    """
    if top:
        _set_apart(rows)
    for section in _sections(rows):
        for run in _runs(section, lambda row: row.keyword):
            _align_columns(run)
        _align_comments(section)
    out: list[str] = []
    for i, row in enumerate(rows):
        if row.blank and i:
            out.append("")
        out += row.lines
        if row.comment:
            out[-1] += f"  {row.comment}"
    return out


def _is_comment(row: Row) -> bool:
    return row.lines[0].lstrip().startswith("#")


def _set_apart(rows: Sequence[Row]) -> None:
    for i, row in enumerate(rows):
        if len(row.lines) == 1:
            continue
        first = i
        while first and not rows[first].blank and _is_comment(rows[first - 1]):
            first -= 1
        rows[first].blank = True
        if i + 1 < len(rows):
            rows[i + 1].blank = True


def _sections(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of one line that stand together, without an empty line or one of several between."""
    sections: list[list[Row]] = [[]]
    for row in rows:
        if row.blank or len(row.lines) > 1:
            sections.append([])
        if len(row.lines) == 1:
            sections[-1].append(row)
    return sections


def _runs(rows: Sequence[Row], key: Callable[[Row], str]) -> list[list[Row]]:
    """Rows of one declaration's keyword in a row; comments between do not count."""
    runs: list[list[Row]] = []
    for row in rows:
        if _is_comment(row):
            continue
        if not runs or key(runs[-1][0]) != key(row):
            runs.append([])
        runs[-1].append(row)
    return runs


def _align_columns(rows: Sequence[Row]) -> None:
    if not rows[0].columns:
        return
    name = max(len(row.columns[0]) for row in rows)
    type_ = max(len(row.columns[1]) for row in rows)
    value = max(len(row.columns[2]) for row in rows)
    # A very long one would only push the others away.
    if name + type_ + value + 2 > WIDTH:
        return
    for row in rows:
        middle = f" {row.columns[1]:{type_}}" if type_ else ""
        row.lines = [f"{row.columns[0]:{name}}{middle} {row.columns[2]}"]


def _align_comments(rows: Sequence[Row]) -> None:
    rows = [row for row in rows if row.comment]
    place = max((len(row.lines[0]) for row in rows), default=0)
    for row in rows:
        alone = len(row.lines[0]) + 2 + len(row.comment or "")
        if place > WIDTH or place + 2 + len(row.comment or "") > WIDTH >= alone:
            return
    for row in rows:
        row.lines = [row.lines[0].ljust(place)]
