"""What signals tell a service: to end (SIGTERM, SIGINT), or to read its configuration again
(SIGHUP; `systemctl reload` with the units of contrib/systemd)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, Generic, TypeVar

from nfc.errors import NfcError
from nfc.notify import Heartbeat, notify

C = TypeVar("C")

_END: Final = (signal.SIGTERM, signal.SIGINT)
_TERMINAL: Final = "/dev/tty"  # the controlling one (tty(4)); ENXIO where there is none


class Told:
    """What signals have said so far. Called, it says whether to end; and as long as it is called
    the service lives (`nfc.notify.Heartbeat`)."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._end = self._reload = self._ending = False
        self._terminal = _has_terminal()
        self._heart = Heartbeat()

    def __call__(self) -> bool:
        """Whether to end."""
        self._heart.beat()
        if self._end and not self._ending:
            self._ending = True
            notify("STOPPING=1")
        return self._end

    def reload(self) -> bool:
        """Whether SIGHUP came since this was last asked."""
        told, self._reload = self._reload, False
        return told

    def end(self, number: int, _frame: FrameType | None) -> None:
        """For SIGTERM and SIGINT; a second one ends the process as usual."""
        self._end = True
        signal.signal(number, signal.SIG_DFL)

    def hang_up(self, _number: int, _frame: FrameType | None) -> None:
        """For SIGHUP. A terminal that is gone means what it always did."""
        if self._terminal and not _has_terminal():
            self._end = True
        self._reload = True


@contextmanager
def stopping(*, reloads: bool = False) -> Iterator[Told]:
    """Within the block SIGTERM and SIGINT end nothing, and with `reloads` SIGHUP does not either;
    what it gives says which of them came.

    System calls are not cut short (PEP 475), so whoever waits should wait for a short time: one
    that does not ask for long is taken for one that hangs. Only in the main thread.
    """
    told = Told()
    handlers: dict[int, Callable[[int, FrameType | None], None]] = dict.fromkeys(_END, told.end)
    if reloads:
        handlers[signal.SIGHUP] = told.hang_up
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Reload(Generic[C]):
    """How a service reads its configuration again while it runs."""

    def __init__(self, told: Told, read: Callable[[], C]) -> None:
        """`read` gives the configuration, or raises NfcError."""
        self._told, self._read = told, read

    def __call__(self, use: Callable[[C], object], say: Callable[[str], object]) -> None:
        """If told to, read the configuration and use it. `use` takes all of it, or raises NfcError
        and has changed nothing. Either way the service goes on: with what is wrong in `say`, and
        as it was."""
        if not self._told.reload():
            return
        try:
            use(self._read())
        except NfcError as error:
            hint = f" ({error.hint})" if error.hint else ""
            say(f"the configuration stays as it was: {error.message}{hint}")


def _has_terminal() -> bool:
    try:
        os.close(os.open(_TERMINAL, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
