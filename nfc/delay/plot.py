"""Delay over time, and its distribution, as a picture; drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from math import nan
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from nfc.delay.keep import Kept
from nfc.delay.paths import Point
from nfc.errors import NfcError, UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PATHS: Final = 12
_GAP: Final = 5  # times as long as from one window to the next: nothing was measured
FORMATS: Final = (".svg", ".png", ".pdf")
_SIZE, _DPI = (10.0, 4.2), 110  # inches, and dots in one


def draw(paths: Iterable[Kept], out: Path, *, title: str = "") -> None:
    """Draw into a file; its suffix says the format. The same figures make the same SVG.

    Raises UsageError for another suffix or too many paths, NfcError without matplotlib, without
    a figure to draw, or where the file cannot be written.
    """
    if out.suffix not in FORMATS:
        raise UsageError(f"{out} does not end in one of {', '.join(FORMATS)}")
    shown: list[Kept] = []
    more = 0  # which are not kept: there may be any number of them
    for path in paths:
        if path.delays.count and len(shown) < MOST_PATHS:
            shown.append(path)
        else:
            more += path.delays.count > 0
    shown.sort(key=lambda p: (p.delays.quantile(0.5), p.name))
    if not shown:
        raise NfcError("there is nothing to draw: no path has a delay")
    if more:
        raise UsageError(
            f"{len(shown) + more} paths are too many for one picture (at most {MOST_PATHS})",
            hint="choose with --path",
        )
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise NfcError("plots need matplotlib", hint="pip install matplotlib") from None
    with matplotlib.rc_context({"svg.hashsalt": "nfc", "font.size": 9.0, "svg.fonttype": "none"}):
        figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        for number, path in enumerate(shown):
            color = f"C{number % 10}"
            _over_time(left, path, color)
            _distribution(right, path, color)
        low = min(path.delays.minimum for path in shown)
        _dress(left, right, log=low > 0)
        if title:
            figure.suptitle(title)
        metadata: dict[str, Any] = {"Date": None} if out.suffix == ".svg" else {}
        try:
            figure.savefig(out, metadata=metadata)
        except OSError as error:
            raise NfcError(f"cannot write {out}: {error.strerror}") from None


def _over_time(axes: Axes, path: Kept, color: str) -> None:
    """The median, in a band from the least delay to the 99th percentile; broken where nothing was
    measured for long."""
    points = list(_broken(path.points))
    when: list[Any] = [datetime.fromtimestamp(begin, UTC) for begin, *_ in points]
    axes.plot(when, [p[1] / 1e6 for p in points], color=color, label=path.name, marker=".")
    axes.fill_between(
        when,
        [p[2] / 1e6 for p in points],
        [p[3] / 1e6 for p in points],
        color=color,
        alpha=0.2,
        linewidth=0,
    )


def _broken(points: Sequence[Point]) -> Iterator[tuple[float, float, float, float]]:
    """When, median, least and p99 of each window, with one of no figures before each that comes
    `_GAP` times later than is usual."""
    times = [point.begin for point in points]
    usual = median([b - a for a, b in pairwise(times)] or [0.0])
    last = times[0] if times else 0.0
    for point in points:
        if point.begin - last > _GAP * usual:
            yield (last + point.begin) / 2, nan, nan, nan
        yield point.begin, point.median, point.minimum, point.p99
        last = point.begin


def _distribution(axes: Axes, path: Kept, color: str) -> None:
    """Which share of all delays is at most so long."""
    delays, shares, below = [path.delays.minimum / 1e6], [0.0], 0
    for _, high, count in path.delays.buckets():
        below += count
        delays.append(min(high, path.delays.maximum) / 1e6)
        shares.append(100 * below / path.delays.count)
    axes.step(delays, shares, where="post", color=color, label=path.name)


def _dress(left: Axes, right: Axes, *, log: bool) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    left.set_title("One-way delay: median, least to p99")
    left.set_ylabel("ms")
    left.set_xlabel("time (UTC)")
    locator = AutoDateLocator(maxticks=7)  # type: ignore[no-untyped-call]
    left.xaxis.set_major_locator(locator)
    form = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    left.xaxis.set_major_formatter(form)
    right.set_title("Share of delays at most so long")
    right.set_ylabel("%")
    right.set_xlabel("ms")
    right.set_ylim(0, 101)
    if log:
        left.set_yscale("log")
        right.set_xscale("log")
        from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

        for axis in (left.yaxis, right.xaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FormatStrFormatter("%g"))
            axis.set_minor_locator(NullLocator())
    for axes in (left, right):
        axes.grid(alpha=0.3)
    right.legend(loc="best", framealpha=0.9)
