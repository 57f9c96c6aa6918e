"""A collector's figures for people: a table, that stays live on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nfc.delay.collector import Collector
from nfc.observe.histogram import microseconds

_MOST_ROWS: Final = 40


class Shown:
    """What a screen shows of a collector; remembers the last look to tell rates."""

    def __init__(self, collector: Collector) -> None:
        """Nothing seen yet."""
        self._collector = collector
        self._before: dict[str, int] = {}
        self._when = time.monotonic()
        self._rates: dict[str, float] = {}

    def render(self) -> Group:
        """The table, and a line of what came in all."""
        figures = self._collector.figures()
        now = time.monotonic()
        if now - self._when >= 0.9:
            self._rates = {
                row["path"]: (row["samples"] - self._before.get(row["path"], 0))
                / (now - self._when)
                for row in figures
            }
            self._before = {row["path"]: row["samples"] for row in figures}
            self._when = now
        counts = self._collector.counts
        line = f"{counts.taken} reports"
        for count, what in (
            (counts.malformed, f"malformed ({counts.problem})"),
            (counts.refused, "from elsewhere"),
            (self._collector.paths.turned_away, "of paths for which there is no room"),
        ):
            line += f", {count} {what}" if count else ""
        problem = self._collector.problem
        return Group(table(figures, self._rates), Text(line + (f"; {problem}" if problem else "")))


def table(figures: list[dict[str, Any]], rates: dict[str, float] | None = None) -> Table:
    """One row a path. `bound` says how far the clocks may be off; `?` where nobody knows."""
    made = Table(box=None, pad_edge=False)
    made.add_column("path", overflow="fold")
    names = ("samples", "a second", "minimum", "median", "p99", "maximum", "clock ±", "errors")
    for name in names:
        made.add_column(name, justify="right", no_wrap=True)
    for row in figures[:_MOST_ROWS]:
        measured = row["samples"] > 0
        times = [
            microseconds(row[key]) if measured else "-"
            for key in ("minimum", "median", "p99", "maximum")
        ]
        bound = "?" if row["bound"] is None else microseconds(row["bound"])
        errors = sum(row["errors"].values())
        made.add_row(
            Text(row["path"]),
            str(row["samples"]),
            f"{(rates or {}).get(row['path'], 0.0):.0f}",
            *times,
            bound,
            str(errors) if errors else "-",
        )
    if len(figures) > _MOST_ROWS:
        made.add_row(f"… and {len(figures) - _MOST_ROWS} more")
    return made


def live(collector: Collector) -> tuple[AbstractContextManager[object], Callable[[], None]]:
    """A screen as a context manager, and what refreshes it."""
    shown = Shown(collector)
    screen = Live(shown.render(), console=Console(stderr=False), auto_refresh=False)
    return screen, lambda: screen.update(shown.render(), refresh=True)


def final(collector: Collector) -> None:
    """Print the table once."""
    Console().print(Shown(collector).render())
