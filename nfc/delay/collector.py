"""The collector: a UDP socket that anybody may send to, and what is kept of what comes."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from typing import Any, Final

from nfc.delay import keep
from nfc.delay.config import Config
from nfc.delay.paths import Path, Paths
from nfc.delay.wire import Report
from nfc.errors import KernelError, NfcError, ObjectError

AT_ONCE: Final = 512  # datagrams between two looks at the clock
TICK_S: Final = 0.25
_MOST_BYTES: Final = 1024  # of a datagram; a report has 88
_RECEIVE_BUFFER: Final = 8 << 20
_MOST_SENDERS: Final = 4096  # whose addresses are remembered as allowed or not

Heard = Callable[[Path, Report, int | None], None]


@dataclass
class Counts:
    """Datagrams by what became of them: `taken` were counted on a path; `malformed` are no
    reports, `refused` came from outside the allowed prefixes."""

    taken: int = 0
    malformed: int = 0
    refused: int = 0
    problem: str = ""  # the last that was malformed: why


class Collector:
    """Receives, counts and keeps; a context manager that closes the socket."""

    def __init__(self, config: Config) -> None:
        """Open the socket and restore what was kept. Raises KernelError, NfcError."""
        self.config = config
        self.paths = Paths(config.paths, most=config.max_paths, keep=config.keep)
        self.counts = Counts()
        self.lock = threading.Lock()  # of paths and counts, for those who ask from elsewhere
        self.began = time.time()
        self.problem = ""  # with saving
        self._senders: dict[str, bool] = {}
        with contextlib.ExitStack() as opened:
            if config.state is not None:
                opened.callback(os.close, keep.hold(config.state))
                keep.restore(config.state, self.paths)
            self._socket = _listen(config.listen)
            self._opened = opened.pop_all()
        self._window = self._saved = time.monotonic()
        self._window_began = time.time()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        found = self._socket.getsockname()
        return str(found[0]), int(found[1])

    def adopt(self, config: Config) -> None:
        """Go by another configuration from now on; what was counted stays. To be called in the
        namespace of the socket. Raises NfcError; then everything is as it was."""
        if config.state != self.config.state:
            raise NfcError("another 'state' takes a restart: what is in that file would be lost")
        listening = None
        if config.listen != self.config.listen:
            listening = _listen(config.listen)
        with self.lock:
            if listening is not None:
                for _ in range(_RECEIVE_BUFFER // AT_ONCE):
                    if not self._drain(None):
                        break
                self._socket.close()
                self._socket = listening
            self.config = config
            self.paths.adopt(config.paths, config.max_paths, config.keep)
            self._senders.clear()

    def run(
        self,
        stop: Callable[[], bool],
        *,
        tick: Callable[[], None] = lambda: None,
        heard: Heard | None = None,
    ) -> None:
        """Collect until `stop` says so, then save. `tick` is called every 0.25 s or so, `heard`
        for each report. Raises NfcError where the last saving fails."""
        until = time.monotonic() + TICK_S
        while not stop():
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)  # which `adopt` may have replaced
            poll.poll(max(0.0, until - time.monotonic()) * 1000)
            with self.lock:
                self._drain(heard)
            if time.monotonic() >= until:
                until = time.monotonic() + TICK_S
                self._upkeep()
                tick()
        with self.lock:
            self._drain(heard)
            self.paths.close(self._window_began)
        self.save()

    def save(self) -> None:
        """Keep what there is, if there is a file for it. Raises NfcError."""
        if self.config.state is not None:
            keep.save(self.config.state, self.paths)

    def figures(self) -> list[dict[str, Any]]:
        """All paths' figures, named ones first, in an order that stays."""
        now = time.time()
        with self.lock:
            found = list(self.paths.all.values())
            found.sort(key=lambda p: (p.name == str(p.key), p.name, str(p.key)))
            return [path.figures(now) for path in found]

    def _drain(self, heard: Heard | None) -> bool:
        """Take what waits in the socket, but come back; whether there may be more."""
        receive, counts, now = self._socket.recvfrom, self.counts, time.time()
        for _ in range(AT_ONCE):
            try:
                data, sender = receive(_MOST_BYTES)
            except BlockingIOError:
                return False
            except OSError as error:  # what ICMP said of something else
                counts.problem = error.strerror or str(error)
                continue
            address = sender[0]
            if self.config.allow and not self._allowed(address):
                counts.refused += 1
                continue
            try:
                report = Report.decode(data)
            except ObjectError as error:
                counts.malformed += 1
                counts.problem = error.message
                continue
            taken = self.paths.take(report, address, now)
            if taken is not None:
                counts.taken += 1
                if heard is not None:
                    heard(taken[0], report, taken[1])
        return True

    def _allowed(self, address: str) -> bool:
        known = self._senders.get(address)
        if known is None:
            if len(self._senders) >= _MOST_SENDERS:
                self._senders.clear()
            known = _within(address, self.config.allow)
            self._senders[address] = known
        return known

    def _upkeep(self) -> None:
        now = time.monotonic()
        with self.lock:
            for path in self.paths.all.values():
                if path.clock is not None:
                    path.clock.look()
            if now - self._window >= self.config.step:
                self.paths.close(self._window_began)
                self._window, self._window_began = now, time.time()
        if self.config.state is not None and now - self._saved >= self.config.save_every:
            self._saved = now
            try:
                self.save()
                self.problem = ""
            except NfcError as error:  # a full disk may have room again
                self.problem = error.message

    def __enter__(self) -> Collector:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket, and let others have the file."""
        self._socket.close()
        self._opened.close()


def _within(address: str, allowed: tuple[IPv6Network, ...]) -> bool:
    try:
        return any(IPv6Address(address.partition("%")[0]) in prefix for prefix in allowed)
    except ValueError:
        return False


def _listen(where: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
    found = socket.socket(family, socket.SOCK_DGRAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        found.bind(where)
    except OSError as error:
        found.close()
        shown = f"[{where[0]}]:{where[1]}" if ":" in where[0] else f"{where[0]}:{where[1]}"
        raise KernelError(
            f"cannot listen on {shown}: {error.strerror}", errno=error.errno or 0
        ) from None
    found.setblocking(False)
    return found
