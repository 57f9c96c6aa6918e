"""Captures that commands take through a function: opened, with params and tables, with a bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nfc.cli import files
from nfc.errors import NfcError

if TYPE_CHECKING:
    from nfc.run.session import Session
    from nfc.run.tally import Tally

PATIENCE_S = 2.0  # before a bar says how far it is


def params(words: tuple[str, ...]) -> dict[str, str]:
    """The values of --param. Raises UsageError."""
    from nfc.deploy.settings import split

    return split(words)


def load(session: Session, tables: Iterable[Path]) -> None:
    """Put the entries of --table into a session's tables. Raises NfcError."""
    from nfc.run.session import parse_tables

    for file in tables:
        for name, items in parse_tables(files.read_json(file), str(file)):
            try:
                session.load(name, items)
            except NfcError as error:
                raise NfcError(f"{file}: {error.message}", hint=error.hint) from None


@contextmanager
def opened(capture: Path) -> Iterator[BinaryIO]:
    """A capture to be read, `-` being standard input. Raises NfcError; a PacketError of what is
    read becomes one that names the file."""
    from nfc.packet.base import PacketError

    try:
        if str(capture) == "-":
            yield sys.stdin.buffer
            return
        with _open(capture) as stream:
            yield stream
    except PacketError as error:
        name = "standard input" if str(capture) == "-" else capture
        raise NfcError(f"{name}: {error.message}", hint=error.hint) from None


def _open(capture: Path) -> BinaryIO:
    try:
        return capture.open("rb", buffering=1 << 20)
    except OSError as error:
        raise NfcError(f"cannot read {capture}: {error.strerror or error}") from None


@contextmanager
def progress(stream: BinaryIO, capture: Path, tally: Tally) -> Iterator[Callable[..., None]]:
    """Gives what is called as packets are read: it shows a bar on a terminal's standard error once
    that has taken longer than PATIENCE_S since the first time. With a number it looks only each so
    many packets."""
    if not sys.stderr.isatty():
        yield lambda every=1: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    size = capture.stat().st_size if str(capture) != "-" else 0
    columns = (
        TextColumn("{task.fields[packets]:>10} packets"),
        BarColumn(),
        TimeRemainingColumn(),
    )
    began: float | None = None
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("", total=size or None, packets=0)

    def advance(every: int = 1) -> None:
        nonlocal began
        if tally.read % every == 0:
            at = stream.tell() if size else 0
            bar.update(task, completed=at, packets=tally.read)
            now = time.monotonic()
            began = now if began is None else began
            if now - began > PATIENCE_S:
                bar.start()

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
