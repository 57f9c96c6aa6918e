"""A histogram of delays that takes little memory, whatever comes.

Buckets are log-linear, as in HDR histograms: one nanosecond wide up to 256 ns, then 128 of one
width to each doubling. So a bucket is never wider than 1/128 of what is in it, and its middle is
at most 0.4 % away. Delays may be negative, where the clocks of two routers differ. What is
2^36 ns (68 s) or more counts as that.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

_BITS: Final = 7
_HALF: Final = 1 << _BITS
LIMIT: Final = (1 << 36) - 1  # nanoseconds
BUCKETS: Final = (36 - _BITS) * _HALF + _HALF  # for each sign


def bucket(value: int) -> int:
    """The bucket of a delay from 0 to `LIMIT` nanoseconds."""
    shift = value.bit_length() - _BITS - 1
    return value if shift <= 0 else (shift << _BITS) + (value >> shift)


def bounds(index: int) -> tuple[int, int]:
    """The least and the greatest delay of a bucket, in nanoseconds."""
    if index < 2 * _HALF:
        return index, index
    shift = (index >> _BITS) - 1
    low = (index - (shift << _BITS)) << shift
    return low, low + (1 << shift) - 1


class Histogram:
    """Counts by bucket, and the count, sum, minimum and maximum of all values."""

    def __init__(self) -> None:
        """Empty: some bytes; 30 kB once there is a value, 60 kB with negative ones."""
        self.count = 0
        self.total = 0
        self.minimum = 0
        self.maximum = 0
        self._above: array[int] | None = None
        self._below: array[int] | None = None  # bucket of -1 - value

    def add(self, value: int, times: int = 1) -> None:
        """Count a delay in nanoseconds."""
        if not self.count or value < self.minimum:
            self.minimum = value
        if not self.count or value > self.maximum:
            self.maximum = value
        self.count += times
        self.total += value * times
        if value >= 0:
            if self._above is None:
                self._above = array("Q", bytes(8 * BUCKETS))
            self._above[bucket(value if value < LIMIT else LIMIT)] += times
        else:
            if self._below is None:
                self._below = array("Q", bytes(8 * BUCKETS))
            self._below[bucket(min(-1 - value, LIMIT))] += times

    def buckets(self) -> Iterator[tuple[int, int, int]]:
        """(least, greatest, count) of each bucket that is not empty, in order."""
        if self._below is not None:
            for index in range(BUCKETS - 1, -1, -1):
                if self._below[index]:
                    low, high = bounds(index)
                    yield -1 - high, -1 - low, self._below[index]
        if self._above is not None:
            for index, count in enumerate(self._above):
                if count:
                    yield *bounds(index), count

    def quantile(self, share: float) -> int:
        """The delay that `share` (0 to 1) of all do not exceed (nearest rank): the middle of its
        bucket, but not outside what was seen. 0 where nothing was."""
        if not self.count:
            return 0
        rank = min(self.count, max(1, -int(-share * self.count // 1)))
        for low, high, count in self.buckets():
            rank -= count
            if rank <= 0:
                return max(self.minimum, min(self.maximum, (low + high) // 2))
        return self.maximum

    @property
    def mean(self) -> float:
        """The mean in nanoseconds; 0 where there is nothing."""
        return self.total / self.count if self.count else 0.0

    def clear(self) -> None:
        """Forget everything; the memory stays for what comes."""
        for part in (self._above, self._below):
            if part is not None:
                part[:] = array("Q", bytes(8 * BUCKETS))
        self.count = self.total = self.minimum = self.maximum = 0

    def to_json(self) -> dict[str, object]:
        """Everything, with buckets as [least, count]."""
        return {
            "count": self.count,
            "sum": self.total,
            "min": self.minimum,
            "max": self.maximum,
            "buckets": [[low, count] for low, _, count in self.buckets()],
        }

    @classmethod
    def from_json(cls, found: dict[str, object]) -> Histogram:
        """What `to_json` gave. Raises ValueError, TypeError or KeyError for anything else."""
        made = cls()
        rows = found["buckets"]
        if not isinstance(rows, list) or len(rows) > 2 * BUCKETS:
            raise ValueError("buckets")
        for low, count in rows:
            if type(low) is not int or type(count) is not int or not 0 < count < 1 << 62:
                raise ValueError("buckets")
            made.add(low, count)
        numbers = [found[key] for key in ("sum", "min", "max")]
        if not all(type(number) is int for number in numbers):
            raise ValueError("sum, min or max")
        if made.count != found["count"]:
            raise ValueError("count")
        made.total, made.minimum, made.maximum = numbers  # type: ignore[assignment]
        return made
