"""How far the clocks of two routers differ, and how far that may be off.

A query gives four times: T1 and T4 of the near clock, T2 and T3 of the far one. Where the way
there and the way back take the same time, the far clock is ahead by ((T2-T1) + (T3-T4)) / 2; in
any case that is off by no more than half the time on the way, ((T4-T1) - (T3-T2)) / 2. So the
query that was fastest tells most. It tells less as it gets old: two clocks that nobody
disciplines drift apart by some 20 to 50 us a second (ppm).
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nfc.atomic import replace_file
from nfc.errors import NfcError

DRIFT_PPM: Final = 50.0
_MOST_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Estimate:
    """The far clock is ahead by `offset` nanoseconds, give or take `bound`, at `when` (seconds
    since 1970, the near clock)."""

    offset: int
    bound: int
    when: float
    drift_ppm: float = DRIFT_PPM

    def bound_at(self, now: float) -> int:
        """The bound at another time, in nanoseconds."""
        return self.bound + int(abs(now - self.when) * self.drift_ppm * 1000)

    def to_json(self) -> dict[str, float]:
        """As `write` keeps it."""
        return {
            "offset": self.offset,
            "bound": self.bound,
            "when": self.when,
            "drift_ppm": self.drift_ppm,
        }

    def write(self, file: Path) -> None:
        """Put it into a file, whole or not at all. Raises NfcError."""
        replace_file(file, json.dumps(self.to_json()) + "\n")

    @classmethod
    def read(cls, file: Path) -> Estimate:
        """Out of a file. Raises NfcError for a file that holds none."""
        try:
            with file.open("rb") as source:
                found = json.loads(source.read(_MOST_BYTES))
            made = cls(
                int(found["offset"]),
                int(found["bound"]),
                float(found["when"]),
                float(found["drift_ppm"]),
            )
        except OSError as error:
            raise NfcError(f"cannot read {file}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise NfcError(f"{file} holds no clock offset") from None
        times = made.when, made.drift_ppm
        if made.bound < 0 or made.drift_ppm < 0 or not all(map(math.isfinite, times)):
            raise NfcError(f"{file} holds no clock offset")
        return made


def estimate(sent: int, received: int, reply_sent: int, reply_received: int) -> tuple[int, int]:
    """Offset and bound, in nanoseconds, from the four times of one query."""
    offset = ((received - sent) + (reply_sent - reply_received)) // 2
    way = (reply_received - sent) - (reply_sent - received)
    return offset, max(0, (way + 1) // 2)


class Filter:
    """The best of the latest estimates: that with the least bound now."""

    def __init__(self, keep: int = 64, drift_ppm: float = DRIFT_PPM) -> None:
        """Nothing known yet; `keep` estimates are looked at."""
        self._drift = drift_ppm
        self._all: deque[Estimate] = deque(maxlen=keep)

    def add(self, offset: int, bound: int, when: float) -> None:
        """One more."""
        self._all.append(Estimate(offset, bound, when, self._drift))

    def best(self, now: float) -> Estimate | None:
        """The best one."""
        return min(self._all, key=lambda one: one.bound_at(now), default=None)


class Clock:
    """The offset that a file holds, read again when the file is another one."""

    def __init__(self, file: str) -> None:
        """Nothing known before `look`."""
        self.file = Path(file)
        self.offset: int | None = None
        self.problem = ""
        self._found: Estimate | None = None
        self._seen: tuple[int, int] | None = None

    def look(self) -> None:
        """Read the file if it has changed. What is wrong with it is in `problem`; the last good
        offset stays."""
        try:
            status = os.stat(self.file)
            seen = (status.st_mtime_ns, status.st_ino)
            if seen == self._seen:
                return
            self._found = Estimate.read(self.file)
            self.offset, self._seen, self.problem = self._found.offset, seen, ""
        except OSError as error:
            self.problem = f"cannot read {self.file}: {error.strerror}"
        except NfcError as error:
            self.problem = error.message

    def bound(self, now: float) -> int | None:
        """How far the offset may be off now, in nanoseconds."""
        return None if self._found is None else self._found.bound_at(now)
