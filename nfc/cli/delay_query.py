"""`nfc delay query`, told what to ask."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from nfc.cli import output
from nfc.delay.clock import Filter
from nfc.delay.histogram import Histogram
from nfc.delay.query import Answer, Querier, reachable_hint
from nfc.errors import KernelError, NfcError
from nfc.observe.histogram import microseconds

WRITE_S = 1.0  # from one writing of the clock file to the next
LOOK_S = 0.25  # how soon a signal is seen


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    count: int
    interval: float
    timeout: float
    clock: Path | None
    drift: float
    as_json: bool


class _Session:
    """What the answers have said so far."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.sent = 0
        self.delays = Histogram()
        self.errors: Counter[str] = Counter()
        self.filter = Filter(drift_ppm=asked.drift)
        self._written = 0.0

    @property
    def answered(self) -> int:
        return self.delays.count + self.errors.total()

    def take(self, answer: Answer) -> None:
        problem = answer.problem
        if problem:
            self.errors[problem] += 1
        else:
            self.delays.add(answer.delay)
            self.filter.add(answer.offset, answer.bound, time.time())
        if self.asked.as_json:
            row = {"sequence": answer.sequence, "control": answer.control, "sent": answer.sent}
            if problem is None:
                row |= {
                    "received": answer.received,
                    "reply_sent": answer.reply_sent,
                    "reply_received": answer.reply_received,
                    "delay": answer.delay,
                    "offset": answer.offset,
                    "bound": answer.bound,
                }
            click.echo(json.dumps(row))
        elif problem is None:
            click.echo(
                f"{answer.sequence}: {microseconds(answer.delay)} there and back, "
                f"clock {_signed(answer.offset)} ± {microseconds(answer.bound)}"
            )
        else:
            click.echo(f"{answer.sequence}: {problem}")
        sys.stdout.flush()

    def write(self, *, last: bool = False) -> None:
        """Keep the best estimate, now and then."""
        now = time.time()
        best = self.filter.best(now)
        if self.asked.clock and best and (last or now - self._written >= WRITE_S):
            self._written = now
            best.write(self.asked.clock)

    def summary(self) -> None:
        """The last lines."""
        delays = self.delays
        best = self.filter.best(time.time())
        lost = self.sent - self.answered
        if self.asked.as_json:
            row: dict[str, object] = {
                "sent": self.sent,
                "answered": self.answered,
                "lost": lost,
                "errors": dict(self.errors),
            }
            if best is not None:
                row |= {
                    "minimum": delays.minimum,
                    "median": delays.quantile(0.5),
                    "p99": delays.quantile(0.99),
                    "maximum": delays.maximum,
                    "offset": best.offset,
                    "bound": best.bound_at(time.time()),
                }
            click.echo(json.dumps(row))
            return
        share = 100 * lost / self.sent if self.sent else 0
        click.echo(f"{self.sent} sent, {self.answered} answered, {lost} lost ({share:.1f} %)")
        for why, count in self.errors.items():
            click.echo(f"{count} errors: {why}")
        if best is not None:
            figures = (
                ("minimum", delays.minimum),
                ("median", delays.quantile(0.5)),
                ("p99", delays.quantile(0.99)),
                ("maximum", delays.maximum),
            )
            click.echo("two-way " + ", ".join(f"{n} {microseconds(v)}" for n, v in figures))
            bound = microseconds(best.bound_at(time.time()))
            click.echo(f"the far clock: {_signed(best.offset)} ± {bound}")


def ask(querier: Querier, sid: str, asked: Asked, stop: Callable[[], bool]) -> None:
    """Send queries and show what comes. Raises NfcError where no answer came at all.

    Asked for a count of 0 it goes on until it is told to stop, whatever happens to the route
    meanwhile: what cannot be sent is lost, and that no answer came is only said.
    """
    session = _Session(asked)
    endless = asked.count == 0
    problem = ""
    due = time.monotonic()
    until = None
    while not stop():
        now = time.monotonic()
        if until is None and now >= due:
            try:
                querier.send()
                problem = ""
            except KernelError as error:
                if not endless:
                    raise
                if problem != error.message:
                    problem = error.message
                    click.echo(problem, err=True)
            session.sent += 1
            due = max(due + asked.interval, now)
            if session.sent == asked.count:
                until = now + asked.timeout
        if until is not None and (now >= until or session.answered >= session.sent):
            break
        wait = (due if until is None else until) - time.monotonic()
        answer = querier.receive(max(0.0, min(wait, LOOK_S)))
        if answer is not None:
            session.take(answer)
            session.write()
    session.write(last=True)
    session.summary()
    if not session.answered and session.sent:
        silent = NfcError(f"no answer from {sid}", hint=reachable_hint(querier))
        if not endless:
            raise silent
        output.error(silent)


def _signed(nanoseconds: int) -> str:
    return ("+" if nanoseconds >= 0 else "") + microseconds(nanoseconds)
