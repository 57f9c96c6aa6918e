"""Ending a service when it is told to."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_TOLD = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Within the block SIGTERM and SIGINT end nothing; what it gives says whether one came.

    A second one ends the process as usual. System calls are not cut short (PEP 475), so whoever
    waits should wait for a short time. Only in the main thread.
    """
    told = False

    def note(number: int, _frame: FrameType | None) -> None:
        nonlocal told
        told = True
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, note) for number in _TOLD}
    try:
        yield lambda: told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
