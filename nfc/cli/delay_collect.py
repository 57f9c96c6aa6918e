"""`nfc delay collect`, told what to do."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import click

from nfc.delay.collector import Collector
from nfc.delay.config import Config
from nfc.delay.paths import Path
from nfc.delay.stop import stopping
from nfc.delay.wire import Report

T = TypeVar("T")


@dataclass(frozen=True)
class Output:
    """What goes to standard output: `table`, `json` every so many seconds, or `samples`."""

    kind: str
    every: float


def collect_until_stopped(
    config: Config, netns: str | None, output: Output, timeout: float | None
) -> None:
    """Collect, and show it as wanted."""
    with ExitStack() as stack:
        stop = stack.enter_context(stopping())
        collector = stack.enter_context(_inside(netns, partial(Collector, config)))
        address, port = collector.address
        click.echo(f"collecting on [{address}]:{port}", err=True)
        if config.metrics is not None:
            from nfc.delay.metrics import Server

            server = _inside(netns, partial(Server, collector, config.metrics))
            stack.callback(server.close)
            click.echo(f"metrics on port {server.port}, /metrics", err=True)
        end = None if timeout is None else time.monotonic() + timeout

        def over() -> bool:
            return stop() or (end is not None and time.monotonic() >= end)

        if output.kind == "samples":
            collector.run(over, heard=_sample)
        elif output.kind == "json":
            collector.run(over, tick=_every(collector, output.every))
            _lines(collector)
        elif sys.stdout.isatty():
            from nfc.delay.show import live

            screen, refresh = live(collector)
            with screen:
                collector.run(over, tick=refresh)
                refresh()
        else:
            from nfc.delay.show import final

            collector.run(over)
            final(collector)


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
