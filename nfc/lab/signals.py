"""Signals that end the process, made to pass through `with` blocks on their way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


@contextmanager
def unwinding() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP raise SystemExit (128 + number) in the main thread.

    SIGINT raises KeyboardInterrupt already. A handler that the program has set, and a signal
    that it ignores, stay as they are; so does everything outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    mine = [s for s in ENDING[1:] if signal.getsignal(s) is signal.SIG_DFL]
    try:
        for each in mine:
            signal.signal(each, _leave)
        yield
    finally:
        for each in mine:
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def held() -> Iterator[None]:
    """Within the block, signals that end the process wait until it is over."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
