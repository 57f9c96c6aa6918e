"""`nfc delay collect`, told what to do."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import click

from nfc.delay.collector import Collector
from nfc.delay.config import Config
from nfc.delay.paths import Path
from nfc.delay.wire import Report
from nfc.errors import NfcError
from nfc.notify import ready
from nfc.service import Reload, stopping

if TYPE_CHECKING:
    from nfc.delay.metrics import Server

T = TypeVar("T")


@dataclass(frozen=True)
class Output:
    """What goes to standard output: `table`, `json` every so many seconds, or `samples`."""

    kind: str
    every: float


def collect_until_stopped(
    read: Callable[[], Config],
    reloads: bool,
    netns: str | None,
    output: Output,
    timeout: float | None,
) -> None:
    """Collect as `read` says, and show it as wanted; with `reloads` it is asked again on SIGHUP."""
    with ExitStack() as stack:
        stop = stack.enter_context(stopping(reloads=reloads))
        config = read()
        collector = stack.enter_context(_inside(netns, partial(Collector, config)))
        service = _Service(collector, config, netns)
        stack.callback(service.close)
        reload = Reload(stop, read)
        end = None if timeout is None else time.monotonic() + timeout

        def over() -> bool:
            return stop() or (end is not None and time.monotonic() >= end)

        def ticking(refresh: Callable[[], None] = lambda: None) -> Callable[[], None]:
            def tick() -> None:
                reload(service.adopt, lambda why: click.echo(why, err=True))
                refresh()

            return tick

        if output.kind == "samples":
            collector.run(over, tick=ticking(), heard=_sample)
        elif output.kind == "json":
            collector.run(over, tick=ticking(_every(collector, output.every)))
            _lines(collector)
        elif sys.stdout.isatty():
            from nfc.delay.show import live

            screen, refresh = live(collector)
            with screen:
                collector.run(over, tick=ticking(refresh))
                refresh()
        else:
            from nfc.delay.show import final

            collector.run(over, tick=ticking())
            final(collector)


class _Service:
    """The collector, and the server of its metrics where there is one."""

    def __init__(self, collector: Collector, config: Config, netns: str | None) -> None:
        self.collector, self.config, self.netns = collector, config, netns
        self.server = self._serve(config)
        self._say("collecting")

    def adopt(self, config: Config) -> None:
        """Go by another configuration. Raises NfcError; then everything is as it was."""
        other = config.metrics != self.config.metrics
        server = self._serve(config) if other else self.server
        try:
            _inside(self.netns, partial(self.collector.adopt, config))
        except NfcError:
            if other and server is not None:
                server.close()
            raise
        if other:
            self.close()
        self.config, self.server = config, server
        self._say("configuration read again; collecting")

    def close(self) -> None:
        if self.server is not None:
            self.server.close()

    def _serve(self, config: Config) -> Server | None:
        if config.metrics is None:
            return None
        from nfc.delay.metrics import Server

        return _inside(self.netns, partial(Server, self.collector, config.metrics))

    def _say(self, what: str) -> None:
        address, port = self.collector.address
        click.echo(f"{what} on [{address}]:{port}", err=True)
        ready(f"collecting on [{address}]:{port}")
        if self.server is not None:
            click.echo(f"metrics on port {self.server.port}, /metrics", err=True)


def _inside(netns: str | None, make: Callable[[], T]) -> T:
    """What `make` makes, whose sockets are then of that namespace."""
    if netns is None:
        return make()
    from nfc.kernel.netns import run_in

    return run_in(netns, make)


def _every(collector: Collector, seconds: float) -> Callable[[], None]:
    due = time.monotonic() + seconds

    def tick() -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + seconds
            _lines(collector)

    return tick


def _lines(collector: Collector) -> None:
    for row in collector.figures():
        click.echo(json.dumps({"time": round(time.time(), 3), **row}))
    sys.stdout.flush()


def _sample(path: Path, report: Report, delay: int | None) -> None:
    message = report.message
    click.echo(
        json.dumps(
            {
                "path": path.name,
                "session": message.session,
                "sent": message.sent,
                "received": message.received,
                "delay": delay,
                "control": message.control,
            }
        )
    )
