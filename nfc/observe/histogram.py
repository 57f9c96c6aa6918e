"""Delays as a table and a histogram for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_BARS = " ▏▎▍▌▋▊▉█"
_STEPS = (1, 2, 5)


@dataclass(frozen=True)
class Summary:
    """Figures of a sample, in nanoseconds; percentiles are nearest-rank."""

    count: int
    minimum: int
    median: int
    p99: int
    maximum: int


def summarize(values: Sequence[int]) -> Summary:
    """The figures of a sample that is not empty. Raises ValueError if it is."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)

    def rank(percent: int) -> int:
        return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]

    return Summary(len(ordered), ordered[0], rank(50), rank(99), ordered[-1])


def microseconds(nanoseconds: int) -> str:
    """A time for people, in microseconds or milliseconds."""
    if abs(nanoseconds) >= 10_000_000:
        return f"{nanoseconds / 1e6:.2f} ms"
    return f"{nanoseconds / 1e3:.1f} µs"


def histogram(values: Sequence[int], *, rows: int = 12, width: int = 40) -> list[str]:
    """Lines of a histogram with buckets of one round size, up to the 99th percentile; what is
    above it is one last line. Values in nanoseconds, `width` in characters."""
    summary = summarize(values)
    low, high = summary.minimum, max(summary.p99, summary.minimum + 1)
    size = _round_size((high - low) / rows)
    start = low // size * size
    buckets = [0] * ((high - start) // size + 1)
    above = 0
    for value in values:
        index = (value - start) // size
        if index < len(buckets):
            buckets[index] += 1
        else:
            above += 1
    most = max(buckets)
    lines = [
        f"{microseconds(start + i * size):>10} {_bar(n, most, width)} {n}"
        for i, n in enumerate(buckets)
    ]
    if above:
        lines.append(f"{'above':>10} {_bar(above, most, width)} {above}")
    return lines


def _round_size(wanted: float) -> int:
    """The least of 1, 2, 5, 10, 20, … that is not below `wanted`."""
    scale = 1
    while True:
        for step in _STEPS:
            if step * scale >= wanted:
                return step * scale
        scale *= 10


def _bar(value: int, most: int, width: int) -> str:
    eighths = round(value * width * 8 / most)
    full, rest = divmod(eighths, 8)
    bar = "█" * full + (_BARS[rest] if rest else "")
    return bar or ("▏" if value else "")
