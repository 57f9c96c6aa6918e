"""Signals that end the process, made to pass through `with` blocks on their way."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import CodeType, FrameType
from typing import Final, NoReturn

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SOON: Final = 0.001  # seconds, for the hook to end


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


def never_lost() -> None:
    """From here on an ending signal is not lost where no exception can pass.

    A handler that raises may run within a finalizer or the callback of a weak reference. Python
    reports what is raised there to sys.unraisablehook and goes on; so the signal is sent again,
    when that hook is over: what is raised in there is lost as well.
    """
    report = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        number = _number(unraisable.exc_value)
        if number is None:
            report(unraisable)
            return
        while True:
            # Not threading.Thread: its start() waits, and by then the signal may be here again.
            with suppress(KeyboardInterrupt, SystemExit):
                _thread.start_new_thread(_again, (number, hook.__code__))
                return

    sys.unraisablehook = hook


def _number(raised: BaseException | None) -> int | None:
    if isinstance(raised, KeyboardInterrupt):
        raising = [n for n in ENDING if signal.getsignal(n) is signal.default_int_handler]
        return raising[0] if raising else None  # SIGINT may be ignored while SIGTERM interrupts
    if isinstance(raised, SystemExit) and isinstance(raised.code, int):
        return next((number for number in ENDING if raised.code == 128 + number), None)
    return None


def _again(number: int, hook: CodeType) -> None:
    """Send a signal to the main thread as soon as that does not run the hook."""
    identity = threading.main_thread().ident
    assert identity is not None
    running = True
    while running:
        time.sleep(_SOON)
        frame = sys._current_frames().get(identity)
        while frame is not None and frame.f_code is not hook:
            frame = frame.f_back
        running = frame is not None
    signal.pthread_kill(identity, number)


@contextmanager
def held() -> Iterator[None]:
    """Within the block, signals that end the process wait until it is over."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
