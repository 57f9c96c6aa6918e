"""What a collector knows of each path: a histogram of all delays, and figures by window of time.

Reports come from anybody, so there are only so many paths, and each takes only so much memory:
some 130 kB, and 100 bytes a window.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any, Final

from nfc.delay.clock import Clock
from nfc.delay.histogram import Histogram
from nfc.delay.wire import SUCCESS, Report, reason

MAX_REASONS: Final = 32


@dataclass(frozen=True, slots=True)
class Key:
    """What makes a path: its session, the router that sent the probes, the SID that took them,
    and their class where it was to be looked at (else 0). Addresses are text, empty if unknown."""

    session: int
    source: str = ""
    sid: str = ""
    traffic_class: int = 0

    def __str__(self) -> str:
        """As it is called where the operator gave no name."""
        ends = f" {self.source or '?'} → {self.sid or '?'}" if self.source or self.sid else ""
        return f"session {self.session}{ends}" + (
            f" class {self.traffic_class}" if self.traffic_class else ""
        )


@dataclass(frozen=True, slots=True)
class Named:
    """A path that the configuration names: which reports are meant, and the file in which
    `nfc delay query` keeps the offset of its far clock."""

    name: str
    session: int
    source: str = ""
    sid: str = ""
    clock: str = ""

    def holds(self, key: Key) -> bool:
        """Whether the path is meant; what is left out may be anything."""
        return (
            self.session == key.session
            and self.source in ("", key.source)
            and self.sid in ("", key.sid)
        )


@dataclass(frozen=True, slots=True)
class Point:
    """One window: when it began (seconds since 1970), and figures of its delays in ns."""

    begin: float
    count: int
    minimum: int
    median: int
    p99: int
    maximum: int


class Path:
    """One path's figures."""

    def __init__(self, key: Key, named: Named | None, keep: int) -> None:
        """Nothing measured yet; the last `keep` windows will be kept."""
        self.key = key
        self.clock: Clock | None = None
        self.delays = Histogram()
        self.points: deque[Point] = deque(maxlen=keep)
        self.errors: dict[str, int] = {}
        self.last = 0.0  # seconds since 1970
        self._window = Histogram()
        self.adopt(named, keep)

    def adopt(self, named: Named | None, keep: int) -> None:
        """Be called so from now on, and keep so many windows."""
        self.name = named.name if named else str(self.key)
        file = named.clock if named else ""
        if file != (str(self.clock.file) if self.clock else ""):
            self.clock = Clock(file) if file else None
            if self.clock is not None:
                self.clock.look()
        if keep != self.points.maxlen:
            self.points = deque(self.points, maxlen=keep)

    def take(self, report: Report, now: float) -> int | None:
        """Count a report, at the collector's time; the delay in ns, None where it is an error."""
        message = report.message
        self.last = now
        if message.control != SUCCESS:
            why = reason(message.control)
            if why in self.errors or len(self.errors) < MAX_REASONS:
                self.errors[why] = self.errors.get(why, 0) + 1
            return None
        value = message.received - message.sent
        if self.clock is not None and self.clock.offset is not None:
            value -= self.clock.offset
        self.delays.add(value)
        self._window.add(value)
        return value

    def close(self, begin: float) -> None:
        """End the window that began then."""
        window = self._window
        if window.count:
            middle, high = window.quantile(0.5), window.quantile(0.99)
            self.points.append(
                Point(begin, window.count, window.minimum, middle, high, window.maximum)
            )
            window.clear()

    def figures(self, now: float) -> dict[str, Any]:
        """For a line of JSON or a table; times in nanoseconds. `bound` is how far the clocks'
        difference may be off, None where nobody measures it."""
        delays = self.delays
        clock = self.clock
        return {
            "path": self.name,
            **asdict(self.key),
            "samples": delays.count,
            "minimum": delays.minimum,
            "median": delays.quantile(0.5),
            "p99": delays.quantile(0.99),
            "maximum": delays.maximum,
            "offset": clock.offset if clock else None,
            "bound": clock.bound(now) if clock else None,
            "errors": dict(self.errors),
            "last": self.last,
        }


class Paths:
    """All paths of a collector, `most` of them at most."""

    def __init__(self, named: tuple[Named, ...] = (), *, most: int = 256, keep: int = 360) -> None:
        """None yet. Room for the named ones is kept free."""
        self.named = named
        self.most = most
        self.keep = keep
        self.all: dict[Key, Path] = {}
        self.turned_away = 0
        self._reserved = dict.fromkeys(named, 0)

    def take(self, report: Report, sender: str, now: float) -> tuple[Path, int | None] | None:
        """Count a report from a router with that address; None where there is no room for
        another path."""
        message = report.message
        path = self.path(
            Key(
                message.session,
                _text(report.source),
                _text(report.destination) or sender,
                message.traffic_class if message.class_set else 0,
            )
        )
        if path is None:
            self.turned_away += 1
            return None
        return path, path.take(report, now)

    def path(self, key: Key) -> Path | None:
        """The path, a new one if need be and there is room."""
        found = self.all.get(key)
        if found is None:
            named = self._named(key)
            free = self.most - len(self.all)
            kept = sum(1 for used in self._reserved.values() if not used)
            if named is not None and not self._reserved[named]:
                kept = 0
            if free <= kept:
                return None
            if named is not None:
                self._reserved[named] += 1
            found = self.all[key] = Path(key, named, self.keep)
        return found

    def adopt(self, named: tuple[Named, ...], most: int, keep: int) -> None:
        """Call paths by these names from now on, and keep so much. All paths that there are stay,
        even if they are more than `most`."""
        self.named, self.most, self.keep = named, most, keep
        self._reserved = dict.fromkeys(named, 0)
        for key, path in self.all.items():
            name = self._named(key)
            if name is not None:
                self._reserved[name] += 1
            path.adopt(name, keep)

    def _named(self, key: Key) -> Named | None:
        return next((one for one in self.named if one.holds(key)), None)

    def close(self, begin: float) -> None:
        """End the window that began then, on all paths."""
        for path in self.all.values():
            path.close(begin)


@lru_cache(maxsize=4096)
def _text(address: IPv6Address | None) -> str:
    return "" if address is None else str(address)
