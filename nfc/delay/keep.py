"""What a collector keeps in a file, so that it is there after a restart.

The file is replaced as a whole, so a reader sees the old one or the new one, and a machine that
loses its power has one of them. It is JSON, with a line for each path: so it is read path by path,
and a file that holds something else takes no more memory than a line may have.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from operator import attrgetter
from pathlib import Path as File
from typing import IO, Any, Final

from nfc.atomic import replace_file
from nfc.delay.histogram import Histogram
from nfc.delay.paths import Key, Path, Paths, Point
from nfc.errors import NfcError

VERSION: Final = 1
MOST_BYTES: Final = 1 << 26  # of a file in one line, as an earlier nfc wrote it
MOST_LINE: Final = 1 << 25  # bytes; the most windows that may be kept take some 12 MB
_HEAD: Final = b'{"version": %d, "paths": [\n' % VERSION
_TAIL: Final = b"]}\n"
# All its fields in order; dataclasses.astuple copies them deeply, which took most of a saving.
_POINT: Final = attrgetter(*(field.name for field in fields(Point)))


@dataclass(frozen=True)
class Kept:
    """A path out of the file."""

    name: str
    key: Key
    delays: Histogram
    points: tuple[Point, ...]
    errors: dict[str, int]
    last: float


def hold(file: File) -> int:
    """A descriptor of `FILE.lock` that keeps others from writing the file until it is closed, or
    the process ends. The file itself cannot be locked: each saving puts another in its place.
    Raises NfcError, also where another collector has it."""
    beside = file.with_name(f"{file.name}.lock")
    try:
        lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise NfcError(f"cannot write {beside}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if error.errno == errno.EWOULDBLOCK:
            raise NfcError(
                f"another collector keeps its paths in {file}", hint="give each a file of its own"
            ) from None
        raise NfcError(f"cannot lock {beside}: {error.strerror}") from None
    return lock


def save(file: File, paths: Paths) -> None:
    """Keep all paths. Raises NfcError."""
    found = (
        json.dumps(
            {
                "name": path.name,
                "key": asdict(path.key),
                "delays": path.delays.to_json(),
                "points": [_POINT(point) for point in path.points],
                "errors": path.errors,
                "last": path.last,
            }
        )
        for path in paths.all.values()
    )
    lines = ",\n".join(found)
    replace_file(file, _HEAD.decode() + lines + "\n" * bool(lines) + _TAIL.decode())


def load(file: File) -> Iterator[Kept]:
    """The paths in the file, one after the other. Raises NfcError, which names the file, where it
    is none of ours; paths may have come before."""
    try:
        with file.open("rb") as source:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                raise ValueError("no file")  # a device has no end, and nobody keeps anything there
            first = source.readline(MOST_LINE)
            yield from _by_line(source) if first == _HEAD else _at_once(first, source)
    except OSError as error:
        raise NfcError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise NfcError(
            f"{file} is not what 'nfc delay collect' keeps",
            hint="move it away to begin anew",
        ) from None


def _by_line(source: IO[bytes]) -> Iterator[Kept]:
    while (line := source.readline(MOST_LINE)) != _TAIL:
        if not line.endswith(b"\n"):
            raise ValueError("cut off, or too long")
        yield _kept(json.loads(line.removesuffix(b"\n").removesuffix(b",")))


def _at_once(first: bytes, source: IO[bytes]) -> Iterator[Kept]:
    if os.fstat(source.fileno()).st_size > MOST_BYTES:
        raise ValueError("too large")
    found = json.loads(first + source.read(MOST_BYTES))
    if found["version"] != VERSION:
        raise ValueError("version")
    yield from map(_kept, found["paths"])


def restore(file: File, paths: Paths) -> int:
    """Give paths what the file has of them; how many there were, 0 if there is no file. Raises
    NfcError. Names are those of the configuration now."""
    if not file.exists():
        return 0
    count = 0
    for kept in load(file):
        count += 1
        path: Path | None = paths.path(kept.key)
        if path is not None:
            path.delays = kept.delays
            path.points.extend(kept.points)
            path.errors = kept.errors
            path.last = kept.last
    return count


def _kept(one: Mapping[str, Any]) -> Kept:
    points = [Point(*row) for row in one["points"]]
    for point in points:
        if not all(isinstance(getattr(point, f.name), int | float) for f in fields(Point)):
            raise TypeError("points")
    key = Key(**one["key"])
    for given, of in ((key.session, int), (key.traffic_class, int), (key.source, str)):
        if not isinstance(given, of):
            raise TypeError("key")
    errors = {str(why): int(count) for why, count in one["errors"].items()}
    return Kept(
        str(one["name"]),
        key,
        Histogram.from_json(one["delays"]),
        tuple(points),
        errors,
        float(one["last"]),
    )
