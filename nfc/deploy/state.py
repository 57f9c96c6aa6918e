"""What is deployed: one record a function and namespace, in files that outlive the command.

The truth about which program runs is the route in the kernel, whose program name is the tag of
a record. Records are kept where a reboot clears them (/run), as it clears routes and programs.

Changing a record takes two files. `NAME.next.json` says what is about to be put onto the route;
it becomes `NAME.json` once the route has it. A command that was killed in between is finished,
or undone, by the next one, which asks the route (see `nfc.deploy.recovery`).
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nfc.deploy.namespaces import HERE, entered_by, shown, split
from nfc.deploy.shapes import build
from nfc.errors import NfcError, PrivilegeError, UsageError
from nfc.manifest import Manifest, misfit

MAX_RECORD_BYTES = 1 << 20
DEFAULT_METRIC = 1024  # IP6_RT_PRIO_USER, net/ip6_fib.h: what the kernel takes when told nothing
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")  # of a deployed function
HOOKS = ("endpoint", "in", "out", "xmit")
_ROUTE = {
    "prefix": (str,),
    "dev": (str,),
    "table": (str,),
    "via": (str, type(None)),
    "metric": (int, type(None)),
}


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
    netns: str  # the place, as nfc.deploy.namespaces has it
    generation: str
    source: str
    route: dict[str, Any]
    previous: list[dict[str, Any]]
    settings: dict[str, str]
    manifest: Manifest
    since: str  # ISO 8601, UTC
    forced: bool = False
    replaces: str = ""  # the place where an earlier nfc has a record of it that is to go

    @property
    def tag(self) -> str:
        """The program's name on the route."""
        return f"nfc:{self.name}:{self.generation}"

    @property
    def namespace(self) -> str | None:
        """The namespace as nfc.kernel takes it; None is our own. Raises KernelError (ENOENT) where
        it is gone."""
        return entered_by(self.netns)

    @property
    def place(self) -> str | None:
        """What people call the namespace; None is our own."""
        return shown(self.netns)

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
        if route.get("metric") not in (None, DEFAULT_METRIC):
            parts.append(f"metric {route['metric']}")
        return " ".join(parts)

    def to_json(self) -> str:
        """The record as JSON text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str, where: str) -> Record:
        """A record from JSON text. Raises Damaged, naming `where`, for anything else."""
        from nfc.kernel.route import Route

        try:
            record: Record = build(cls, json.loads(text))
            _check(record)
            for route in record.previous:
                Route.from_json(route)
        except (ValueError, RecursionError, NfcError) as error:
            raise Damaged(
                f"{where} is not a record of nfc: {str(error)[:200]}",
                hint="if it is damaged, remove it; the route itself is not touched by that",
            ) from None
        return record


class Damaged(NfcError):
    """A file that should hold a record holds something else; the message has its path."""


def _check(record: Record) -> None:
    """What types alone do not say: values that are used as file names, offsets, formats."""
    manifest = record.manifest
    for name in (record.name, record.generation, manifest.function):
        if not NAME.fullmatch(name):
            raise ValueError(f"{name[:80]!r} is not a name")
    for place in (record.netns, *((record.replaces,) if record.replaces else ())):
        name, _ = split(place)
        check_netns(None if name == HERE else name)
    if record.replaces and (record.replaces == record.netns or split(record.replaces)[1]):
        raise ValueError("replaces")
    if manifest.hook not in HOOKS:
        raise ValueError(f"{manifest.hook!r} is not a hook")
    route = record.route
    for key, kinds in _ROUTE.items():
        if type(route.get(key)) not in kinds:
            raise ValueError(f"route.{key} is {route.get(key)!r}")
    ipaddress.IPv6Network(route["prefix"])
    for table in manifest.tables:
        if not NAME.fullmatch(table.name):
            raise ValueError(f"{table.name[:80]!r} is not a table")
    if problem := misfit(manifest):
        raise ValueError(problem)


def check_netns(netns: str | None) -> None:
    """Raises UsageError for what cannot be the name of a namespace; None is this one."""
    if netns is not None and (
        not netns or netns in (HERE, ".", "..") or "/" in netns or not netns.isprintable()
    ):
        raise UsageError(
            f"{netns!r} is not the name of a network namespace", hint="'ip netns' lists them"
        )


def folder_of(netns: str) -> str:
    """The name of a place's folder."""
    name, of = split(netns)
    return ("here" if name == HERE else f"netns-{name}") + (f"@{of}" if of else "")


class Store:
    """The records on disk, locked against other commands for as long as it is open."""

    def __init__(self, root: Path) -> None:
        """Use `open_store` instead."""
        self.root = root

    def _path(self, netns: str, name: str, *, next_: bool = False) -> Path:
        return self.root / folder_of(netns) / f"{name}{'.next' if next_ else ''}.json"

    def read(self, netns: str, name: str, *, next_: bool = False) -> Record | None:
        """The record of that name at that place, or None. Raises Damaged, NfcError."""
        path = self._path(netns, name, next_=next_)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_RECORD_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(path, error) from None
        if len(data) > MAX_RECORD_BYTES:
            raise Damaged(f"{path} is too large to be a record of nfc")
        record = Record.from_json(data.decode("utf-8", "replace"), str(path))
        if (record.netns, record.name) != (netns, name):
            raise Damaged(f"{path} is the record of another function: {record.name}")
        return record

    def stamp(self, netns: str, name: str) -> tuple[int, int, int] | None:
        """Another for each record that stands there, one after the other; None: there is none."""
        try:
            found = self._path(netns, name).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_ctime_ns

    def names(self) -> list[tuple[str, str]]:
        """(place, name) of every record, pending ones included."""
        found = set()
        for path in self.root.glob("*/*.json"):
            folder = path.parent.name
            netns = folder.removeprefix("netns-")
            if folder == "here" or folder.startswith("here@"):
                netns = HERE + folder.removeprefix("here")
            name = path.name.removesuffix(".json").removesuffix(".next")
            if NAME.fullmatch(name) and folder_of(netns) == folder:
                found.add((netns, name))
        return sorted(found)

    def write_next(self, record: Record) -> None:
        """Say what is about to be put onto the route."""
        self._write(self._path(record.netns, record.name, next_=True), record)

    def commit(self, record: Record) -> None:
        """The route has it: the pending record is the record now. Raises NfcError."""
        path = self._path(record.netns, record.name)
        try:
            os.replace(self._path(record.netns, record.name, next_=True), path)
        except OSError as error:
            raise _refused(path, error) from None

    def write(self, record: Record) -> None:
        """Replace a record whose program stays the same."""
        self._write(self._path(record.netns, record.name), record)

    def remove(self, netns: str, name: str, *, next_: bool = False) -> None:
        """Forget a record; fine if there is none. Raises NfcError."""
        path = self._path(netns, name, next_=next_)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _refused(path, error) from None

    def reader_lock(self, netns: str, name: str) -> Path:
        """The file that who reads a function's events has locked."""
        return self._path(netns, name).with_name(f"{name}.events.lock")

    def forget(self, netns: str, name: str) -> None:
        """Remove all that is kept of a function; a lock that somebody holds stays. Raises
        NfcError."""
        self.remove(netns, name, next_=True)
        self.remove(netns, name)
        path = self.reader_lock(netns, name)
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(lock)
        with contextlib.suppress(OSError):
            path.parent.rmdir()

    def clean(self) -> None:
        """Remove what a killed command had begun to write."""
        for path in self.root.glob("*/*.new"):
            with contextlib.suppress(OSError):
                path.unlink()

    def _write(self, path: Path, record: Record) -> None:
        # One writer at a time (the lock), so the name need not be unique.
        beside = path.with_name(path.name + ".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("w") as file:
                file.write(record.to_json())
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise _refused(path, error) from None


def _refused(path: Path, error: OSError) -> NfcError:
    if isinstance(error, PermissionError):
        return PrivilegeError(
            f"no permission for {path}: nfc keeps its state as root (CAP_DAC_OVERRIDE)",
            hint="run it as root, or point NFC_STATE_DIR at another folder",
        )
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
