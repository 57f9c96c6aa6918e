"""What is deployed: one record a function and namespace, in files that outlive the command.

The truth about which program runs is the route in the kernel, whose program name is the tag of
a record. Records are kept where a reboot clears them (/run), as it clears routes and programs.

Changing a record takes two files. `NAME.next.json` says what is about to be put onto the route;
it becomes `NAME.json` once the route has it. A command that was killed in between is finished,
or undone, by the next one, which asks the route (see `nfc.deploy.recovery`).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nfc.errors import NfcError, PrivilegeError
from nfc.manifest import Counter, Event, Field, Manifest, Param

HERE = "-"  # the folder of the namespace that commands run in when none is named
MAX_RECORD_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def state_dir() -> Path:
    """Where records are kept: /run/nfc, or $NFC_STATE_DIR."""
    return Path(os.environ.get("NFC_STATE_DIR", "/run/nfc"))


@dataclass(frozen=True)
class Record:
    """One deployed function.

    `generation` names the program (a hash of all that went into it); `route` is the route as
    asked for, `previous` the routes that stood there before (what undeploy puts back), both as
    `nfc.kernel.routes` gives and takes them; `settings` are params that somebody set.
    """

    name: str
    netns: str  # HERE, or a name as in `ip netns`
    generation: str
    source: str
    route: dict[str, Any]
    previous: list[dict[str, Any]]
    settings: dict[str, str]
    manifest: Manifest
    since: str  # ISO 8601, UTC
    forced: bool = False

    @property
    def tag(self) -> str:
        """The program's name on the route."""
        return f"nfc:{self.name}:{self.generation}"

    @property
    def namespace(self) -> str | None:
        """The namespace as nfc.kernel takes it; None is the one that commands run in."""
        return None if self.netns == HERE else self.netns

    @property
    def route_text(self) -> str:
        """The route as asked for, in the words of `ip route`."""
        route = self.route
        parts = [str(route.get("prefix"))]
        if route.get("via"):
            parts.append(f"via {route['via']}")
        parts.append(f"dev {route.get('dev')}")
        if route.get("table") not in (None, "main"):
            parts.append(f"table {route['table']}")
        if route.get("metric"):
            parts.append(f"metric {route['metric']}")
        return " ".join(parts)

    def to_json(self) -> str:
        """The record as JSON text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str, where: str) -> Record:
        """A record from JSON text. Raises NfcError, naming `where`, for anything else."""
        try:
            data = json.loads(text)
            manifest = _manifest(data.pop("manifest"))
            record = cls(manifest=manifest, **data)
            _check(record)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise NfcError(
                f"{where} is not a record of nfc ({type(error).__name__}: {error})",
                hint="if it is damaged, remove it; the route itself is not touched by that",
            ) from None
        return record


def _manifest(data: dict[str, Any]) -> Manifest:
    return Manifest(
        **{
            **data,
            "params": tuple(Param(Field(**p["field"]), str(p["default"])) for p in data["params"]),
            "events": tuple(
                Event(
                    str(e["name"]),
                    int(e["index"]),
                    tuple(Field(**f) for f in e["fields"]),
                    int(e["size"]),
                )
                for e in data["events"]
            ),
            "counters": tuple(Counter(**c) for c in data["counters"]),
        }
    )


def _check(record: Record) -> None:
    for text in (record.name, record.netns, record.generation, record.source, record.since):
        if not isinstance(text, str):
            raise TypeError("a text is missing")
    for name in (record.name, record.generation):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name")
    if not isinstance(record.route, dict) or not isinstance(record.previous, list):
        raise TypeError("route")
    if not all(isinstance(v, str) for v in record.settings.values()):
        raise TypeError("settings")
    fields = [p.field for p in record.manifest.params]
    fields += [f for e in record.manifest.events for f in e.fields]
    for field in fields:
        if not (isinstance(field.offset, int) and 0 <= field.offset < 1 << 16):
            raise ValueError(f"offset of {field.name}")
        if field.size not in (1, 2, 4, 8, 16):
            raise ValueError(f"size of {field.name}")


class Store:
    """The records on disk, locked against other commands for as long as it is open."""

    def __init__(self, root: Path) -> None:
        """Use `open_store` instead."""
        self.root = root

    def _path(self, netns: str, name: str, *, next_: bool = False) -> Path:
        folder = "here" if netns == HERE else f"netns-{netns}"
        return self.root / folder / f"{name}{'.next' if next_ else ''}.json"

    def read(self, netns: str, name: str, *, next_: bool = False) -> Record | None:
        """The record of that name, or None. Raises NfcError if it is damaged."""
        path = self._path(netns, name, next_=next_)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_RECORD_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(path, error) from None
        if len(data) > MAX_RECORD_BYTES:
            raise NfcError(f"{path} is too large to be a record of nfc")
        return Record.from_json(data.decode("utf-8", "replace"), str(path))

    def names(self) -> list[tuple[str, str]]:
        """(netns, name) of every record, pending ones included."""
        found = set()
        for path in self.root.glob("*/*.json"):
            folder = path.parent.name
            netns = HERE if folder == "here" else folder.removeprefix("netns-")
            found.add((netns, path.name.removesuffix(".json").removesuffix(".next")))
        return sorted(found)

    def write_next(self, record: Record) -> None:
        """Say what is about to be put onto the route."""
        self._write(self._path(record.netns, record.name, next_=True), record)

    def commit(self, record: Record) -> None:
        """The route has it: the pending record is the record now."""
        pending = self._path(record.netns, record.name, next_=True)
        os.replace(pending, self._path(record.netns, record.name))

    def write(self, record: Record) -> None:
        """Replace a record whose program stays the same."""
        self._write(self._path(record.netns, record.name), record)

    def remove(self, netns: str, name: str, *, next_: bool = False) -> None:
        """Forget a record; fine if there is none."""
        self._path(netns, name, next_=next_).unlink(missing_ok=True)

    def _write(self, path: Path, record: Record) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
                file.write(record.to_json())
                file.flush()
                os.fsync(file.fileno())
            os.replace(file.name, path)
        except OSError as error:
            raise _refused(path, error) from None


def _refused(path: Path, error: OSError) -> NfcError:
    if isinstance(error, PermissionError):
        return PrivilegeError(f"no permission for {path}", hint="nfc keeps its state as root")
    return NfcError(f"cannot use {path}: {error.strerror or error}")


@contextmanager
def open_store(*, shared: bool = False) -> Iterator[Store]:
    """The records; others that change them wait until this one is done."""
    root = state_dir()
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _refused(root, error) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield Store(root)
    finally:
        os.close(lock)
