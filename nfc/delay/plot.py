"""Delay over time, and its distribution, as a picture; drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nfc.delay.keep import Kept
from nfc.errors import NfcError, UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PATHS: Final = 12
FORMATS: Final = (".svg", ".png", ".pdf")
_SIZE, _DPI = (10.0, 4.2), 110  # inches, and dots in one


def draw(paths: Sequence[Kept], out: Path, *, title: str = "") -> None:
    """Draw into a file; its suffix says the format. The same figures make the same SVG.

    Raises UsageError for another suffix or too many paths, NfcError without matplotlib, without
    a figure to draw, or where the file cannot be written.
    """
    if out.suffix not in FORMATS:
        raise UsageError(f"{out} does not end in one of {', '.join(FORMATS)}")
    shown = sorted(
        (path for path in paths if path.delays.count),
        key=lambda p: (p.delays.quantile(0.5), p.name),
    )
    if not shown:
        raise NfcError("there is nothing to draw: no path has a delay")
    if len(shown) > MOST_PATHS:
        raise UsageError(
            f"{len(shown)} paths are too many for one picture (at most {MOST_PATHS})",
            hint="choose with --path",
        )
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise NfcError("plots need matplotlib", hint="pip install 'nfc[plot]'") from None
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
    """The median, in a band from the least delay to the 99th percentile."""
    when: list[Any] = [datetime.fromtimestamp(point.begin, UTC) for point in path.points]
    axes.plot(when, [p.median / 1e6 for p in path.points], color=color, label=path.name, marker=".")
    axes.fill_between(
        when,
        [p.minimum / 1e6 for p in path.points],
        [p.p99 / 1e6 for p in path.points],
        color=color,
        alpha=0.2,
        linewidth=0,
    )


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
