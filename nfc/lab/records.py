"""Labs that stand by themselves: what is written down about each, and who may work on it.

A lab's folder is labs/NAME under the state directory of `nfc deploy`. Its record says in which
`phase` it is: `making`, `up`, `running` (the steps of `nfc lab run`) or `removing`. Whoever works
on a lab holds its lock, which a killed process gives back: a lab that is not `up`, and whose lock
is free, was left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from nfc.deploy.shapes import build
from nfc.deploy.state import state_dir
from nfc.errors import NfcError, PrivilegeError

PHASES: Final = ("making", "up", "running", "removing")
_MOST_BYTES: Final = 4 << 20


@dataclass(frozen=True)
class Process:
    """A process of a lab: its PID and when it started (`owner.started`), its log's file name."""

    name: str
    pid: int
    started: int
    log: str


@dataclass(frozen=True)
class Record:
    """One lab. `namespaces` by node; `wires` by link are the names to speak to them by."""

    name: str
    file: str
    phase: str
    namespaces: dict[str, str] = field(default_factory=dict)
    wires: dict[str, str] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    functions: list[list[str]] = field(default_factory=list)  # node, name


def labs_dir() -> Path:
    """Where all labs' folders are."""
    return state_dir() / "labs"


def folder(name: str) -> Path:
    """A lab's folder: its record and logs."""
    return labs_dir() / name


def names() -> list[str]:
    """The labs that have a record."""
    return sorted(path.parent.name for path in labs_dir().glob("*/lab.json"))


def read(name: str) -> Record | None:
    """A lab's record; None if there is none. Raises NfcError."""
    path = folder(name) / "lab.json"
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused(path, error) from None
    try:
        record: Record = build(Record, json.loads(data))
        if record.phase not in PHASES or record.name != name:
            raise ValueError("not of this lab")
        if any(len(one) != 2 for one in record.functions):
            raise ValueError("functions")
    except (ValueError, RecursionError, NfcError) as error:
        raise NfcError(
            f"{path} is not the record of a lab: {str(error)[:200]}",
            hint=f"'nfc lab down {name}' removes the lab all the same",
        ) from None
    return record


def write(record: Record) -> None:
    """Write a record, whole or not at all. Raises NfcError."""
    path = folder(record.name) / "lab.json"
    beside = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(asdict(record), indent=1))
        os.replace(beside, path)
    except OSError as error:
        raise _refused(path, error) from None


def phase(record: Record, new: str) -> Record:
    """The record in another phase, written."""
    changed = replace(record, phase=new)
    write(changed)
    return changed


def forget(name: str) -> None:
    """Remove a lab's folder."""
    shutil.rmtree(folder(name), ignore_errors=True)
    with contextlib.suppress(OSError):
        labs_dir().rmdir()


_TRIES = 1000  # to make a folder that others, as they end, remove


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Work on a lab. Raises NfcError if somebody else does."""
    path = labs_dir() / f".{name}.lock"
    tries = 0
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            tries += 1
            if isinstance(error, FileNotFoundError) and tries < _TRIES:
                continue  # the folder was removed in between, or can be nowhere: below /proc
            raise _refused(path, error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise NfcError(f"somebody else is at work on the lab '{name}'") from None
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(lock).st_ino:
                break
        os.close(lock)  # the one before has just removed it: try again
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(lock)
        with contextlib.suppress(OSError):
            labs_dir().rmdir()


def to_json(record: Record) -> dict[str, Any]:
    """As `--json` shows it."""
    return asdict(record)


def _refused(path: Path, error: OSError) -> NfcError:
    if isinstance(error, PermissionError):
        return PrivilegeError(f"no permission for {path}: labs are root's", hint="run it as root")
    return NfcError(f"cannot use {path}: {error.strerror or error}")
