"""Events of a deployed function, by its name, also of the functions that replace it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nfc.deploy.places import events_map
from nfc.deploy.recovery import recover_all
from nfc.deploy.select import select_one
from nfc.deploy.state import Record, Store, open_store, state_dir
from nfc.errors import NfcError
from nfc.manifest import Manifest
from nfc.observe.events import Decoded, read_events

if TYPE_CHECKING:
    from nfc.kernel.maps import Map

LOOK_AGAIN_S = 1.0  # how soon `follow` sees that a function was replaced


def follow(
    name: str, netns: str | None, *, count: int | None = None, timeout: float | None = None
) -> Iterator[Decoded]:
    """Events of a deployed function, also of the functions that replace it meanwhile.

    Raises UsageError, NfcError: someone else reads them, or it is undeployed.
    """
    with open_store() as store:
        recover_all(store)
        record = select_one(store, name, netns)
    until = None if timeout is None else time.monotonic() + timeout
    left = count
    with _only_reader(record):
        while True:
            with open_store(shared=True):  # nobody removes its pins now
                record = _current(record)
                opened = events_map(record)
            with opened as ring:
                for event in _of_one_generation(ring, record, left, until):
                    yield event
                    left = None if left is None else left - 1
            if left == 0 or (until is not None and time.monotonic() >= until):
                return


def follow_records(
    name: str, netns: str | None, *, most: int, wait: float
) -> Iterator[tuple[Manifest, list[bytes]]]:
    """Records of a deployed function as they lie in its ring buffer, and what declares them: up
    to `most` at once, none where nothing came for `wait` seconds; also those of the functions
    that replace it. For programs that take many a second.

    Needs no more than to open the pins: whoever owns them needs no capability from 6.5 on.
    Raises as `follow` does.
    """
    from nfc.kernel.ringbuf import RingBuffer

    with open_store(shared=True) as store:
        record = select_one(store, name, netns)
    with _only_reader(record):
        while True:
            with open_store(shared=True):
                record = _current(record)
                opened = events_map(record)
            with opened as ring, RingBuffer(ring) as buffer:
                look, replaced = 0.0, False
                while True:
                    batch: list[bytes] = []
                    while len(batch) < most and (one := buffer.read()) is not None:
                        batch.append(one)
                    if not batch and replaced:
                        break
                    if time.monotonic() >= look:
                        replaced = _current(record).generation != record.generation
                        look = time.monotonic() + LOOK_AGAIN_S
                    if not batch and not replaced:
                        buffer.wait(wait)
                    yield record.manifest, batch


def _of_one_generation(
    ring: Map, record: Record, left: int | None, until: float | None
) -> Iterator[Decoded]:
    """Events until there were enough, the time is up, or another program is in force."""
    while left is None or left > 0:
        now = time.monotonic()
        rest = LOOK_AGAIN_S if until is None else min(LOOK_AGAIN_S, max(0.0, until - now))
        replaced = _current(record).generation != record.generation
        # What the old program said last still waits in its ring.
        slice_ = 0.0 if replaced else rest
        for event in read_events(ring, record.manifest, count=left, timeout=slice_):
            yield event
            left = None if left is None else left - 1
        if replaced or (until is not None and time.monotonic() >= until):
            return


def _current(record: Record) -> Record:
    """The record that is in force now; records are replaced whole, so no lock is needed."""
    current = Store(state_dir()).read(record.netns, record.name)
    if current is None:
        raise NfcError(f"{record.name} is not deployed any more")
    return current


@contextmanager
def _only_reader(record: Record) -> Iterator[None]:
    """A ring buffer has one read position, in the kernel: two readers would share events out."""
    path = Store(state_dir()).reader_lock(record.netns, record.name)
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise NfcError(f"{record.name} is not deployed any more") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NfcError(
                f"the events of {record.name} are being read already",
                hint="a ring buffer has one reader",
            ) from None
        yield
    finally:
        os.close(lock)
