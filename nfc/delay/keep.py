"""What a collector keeps in a file, so that it is there after a restart.

The file is replaced as a whole, so a reader sees the old one or the new one, and a machine that
loses its power has one of them.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from operator import attrgetter
from pathlib import Path as File
from typing import Any, Final

from nfc.atomic import replace_file
from nfc.delay.histogram import Histogram
from nfc.delay.paths import Key, Path, Paths, Point
from nfc.errors import NfcError

VERSION: Final = 1
MOST_BYTES: Final = 1 << 30
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


def save(file: File, paths: Paths) -> None:
    """Keep all paths. Raises NfcError."""
    found = [
        {
            "name": path.name,
            "key": asdict(path.key),
            "delays": path.delays.to_json(),
            "points": [_POINT(point) for point in path.points],
            "errors": path.errors,
            "last": path.last,
        }
        for path in paths.all.values()
    ]
    replace_file(file, json.dumps({"version": VERSION, "paths": found}))


def load(file: File) -> tuple[Kept, ...]:
    """The paths in the file. Raises NfcError, which names the file, where it is none of ours."""
    try:
        with file.open("rb") as source:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                raise ValueError("no file")  # a device has no end, and nobody keeps anything there
            data = source.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError("too large")
        found = json.loads(data)
        if found["version"] != VERSION:
            raise ValueError("version")
        return tuple(_kept(one) for one in found["paths"])
    except OSError as error:
        raise NfcError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise NfcError(
            f"{file} is not what 'nfc delay collect' keeps",
            hint="move it away to begin anew",
        ) from None


def restore(file: File, paths: Paths) -> int:
    """Give paths what the file has of them; how many there were, 0 if there is no file. Raises
    NfcError. Names are those of the configuration now."""
    if not file.exists():
        return 0
    found = load(file)
    for kept in found:
        path: Path | None = paths.path(kept.key)
        if path is not None:
            path.delays = kept.delays
            path.points.extend(kept.points)
            path.errors = kept.errors
            path.last = kept.last
    return len(found)


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
