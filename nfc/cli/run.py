"""`nfc run`: a capture through a function, without a router."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from nfc.cli import captures, files, options, output
from nfc.errors import NfcError, UsageError

if TYPE_CHECKING:
    from nfc.observe.events import Decoded
    from nfc.run.replay import Options, Result
    from nfc.run.session import Session
    from nfc.run.subject import Subject
    from nfc.run.tally import Tally

_REFUSED = "a kernel's verifier would have refused it: 'nfc check'"
_LIMIT = "this is a limit of the simulator, not of a kernel: see 'nfc check'"
_CAPTURE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


@click.command()
@click.argument("file", type=options.SOURCE, metavar="FILE.nf|FILE.o")
@click.option(
    "--pcap",
    "capture",
    type=_CAPTURE,
    required=True,
    metavar="IN",
    help="The packets: a pcap or pcapng file, or - for standard input.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="OUT",
    help="Write the packets that leave: as pcapng if the name ends so, else as pcap.",
)
@options.one_function
@click.option(
    "--hook",
    type=click.Choice(("endpoint", "in", "out", "xmit")),
    help="The hook of an object's program whose section names none.",
)
@click.option(
    "--route",
    "prefix",
    metavar="PREFIX",
    help="Run only packets to this prefix, as on that route; all if left out.",
)
@options.params_and_tables
@click.option(
    "--fib",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The router's routes (TOML); everything leaves by 'out' if left out.",
)
@click.option(
    "--trace",
    is_flag=False,
    flag_value="1",
    metavar="[N|FROM-TO]",
    help="Tell how packets came to their fate: the first N that the function sees (1 if left out), "
    "or those numbers of the capture.",
)
@click.option("--packets", "each", is_flag=True, help="Show a line for each packet.")
@click.option("--events", "each_event", is_flag=True, help="Show each event.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="Stop after N packets.")
@click.option(
    "--now",
    metavar="SECONDS",
    help="The time of all packets, TAI seconds since 1970; each packet's own if left out.",
)
@click.option(
    "--tai-offset",
    type=click.IntRange(0, 3600),
    default=0,
    show_default=True,
    metavar="SECONDS",
    help="What the router's TAI clock is ahead of the capture's UTC; a daemon that knows sets 37.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of random numbers.")
@click.option(
    "--engine",
    type=click.Choice(("jit", "interpreter")),
    default="jit",
    show_default=True,
    help="How the bytecode is executed.",
)
@options.kernel
@click.option("--json", "as_json", is_flag=True, help="JSON, an object a line; the summary last.")
def run(
    file: Path,
    capture: Path,
    out: Path | None,
    function: str | None,
    hook: str | None,
    prefix: str | None,
    params: tuple[str, ...],
    tables: tuple[Path, ...],
    fib: Path | None,
    trace: str | None,
    each: bool,
    each_event: bool,
    count: int | None,
    now: str | None,
    tai_offset: int,
    seed: int,
    engine: str,
    kernel: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Run the packets of a capture through a function, in the simulator.

    The simulator executes the same bytes that the kernel would, with what the kernel does before
    and after them; it needs no root, no router and no Linux. FILE is a source, or an object,
    whoever compiled it. Frames that hold no IPv6 packet, and for an endpoint packets without an
    SRH, are counted and passed over.

    The clock that a packet meets is the time at which it was captured.
    """
    from nfc.run.replay import Options
    from nfc.run.session import Session
    from nfc.run.subject import load
    from nfc.run.tally import Tally

    with output.errors_as_json(as_json, lines=True):
        files.not_over(out, file, capture, fib, *tables)
        subject = load(file, function, hook, kernel)
        if not as_json:
            output.warnings(subject.warnings)
        given = captures.params(params)
        route = _prefix(prefix)
        routes = _fib(fib, route, subject.hook)
        session = Session(subject, params=given, fib=routes, engine=engine, seed=seed)
        captures.load(session, tables)
        chosen = Options(route, _time(now), tai_offset, count, *_traced(trace))
        tally = Tally()
        shown = _Show(subject, as_json, each, each_event, err=str(out) == "-")
        try:
            fault = _run(session, capture, out, chosen, tally, shown)
        except NfcError:
            if tally.read:
                shown.summary(session, capture, out, tally)
            raise
        shown.summary(session, capture, out, tally)
        if fault:
            raise fault


def _run(
    session: Session, capture: Path, out: Path | None, chosen: Options, tally: Tally, shown: _Show
) -> NfcError | None:
    """All packets; returns the fault that ended it, if one did."""
    from nfc.run import fast, replay
    from nfc.run.fault import text

    with (
        _out(out) as written,
        captures.opened(capture) as stream,
        captures.progress(stream, capture, tally) as bar,
    ):
        if shown.each or chosen.traces or session.simulator.engine != "jit":
            result = None
            for result in replay.replay(session, stream, chosen, tally, written):
                shown.result(result)
                bar(512)
        else:
            event = shown.event if shown.each_event else None
            result = fast.run(session, stream, chosen, tally, written, event, bar)
        fault = result.ran.outcome.fault if result is not None and result.ran else None
        if result is None or fault is None:
            return None
        why = text(session, fault, result.data, result.time)
        said = f"packet {result.number} makes {session.subject.program} fault: {why}"
        return NfcError(said, hint=_LIMIT if fault.limit else _REFUSED)


# ---- what was asked for ---------------------------------------------------------------------


def _fib(file: Path | None, route: IPv6Network | None, hook: str) -> Any:
    """The routes of a file, with the function on one of them; a SID need not be among them."""
    from nfc.vm.fib import DEFAULT_LINK, Fib

    fib = Fib.default() if file is None else Fib.parse(files.read_text(file), str(file))
    link = DEFAULT_LINK if hook == "endpoint" else ""
    return fib if route is None else fib.with_function(route, link)


def _prefix(text: str | None) -> Any:
    from nfc.kernel.route import parse_prefix

    return None if text is None else parse_prefix(text)


def _time(text: str | None) -> int | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,11})(?:\.(\d{1,9}))?", text)
    nanoseconds = int(found[1]) * 10**9 + int((found[2] or "").ljust(9, "0")) if found else -1
    if not 0 <= nanoseconds < 1 << 64:
        raise UsageError(f"--now: '{text}' is no time", hint="seconds since 1970: 1700000000.5")
    return nanoseconds


def _traced(text: str | None) -> tuple[int, range]:
    """How many of the first packets to trace, and which by number."""
    if text is None:
        return 0, range(0)
    found = re.fullmatch(r"(\d{1,12})(?:-(\d{1,12}))?", text)
    if found is None or int(found[1]) < 1 or (found[2] and int(found[2]) < int(found[1])):
        raise UsageError(f"--trace: '{text}' is neither a number nor FROM-TO", hint="such as 3-5")
    if found[2]:
        return 0, range(int(found[1]), int(found[2]) + 1)
    return int(found[1]), range(0)


# ---- files ----------------------------------------------------------------------------------


@contextmanager
def _out(out: Path | None) -> Iterator[tuple[BinaryIO, str] | None]:
    """Where the packets that leave go, for the block. Raises NfcError where they cannot."""
    if out is None:
        yield None
        return
    try:
        if str(out) == "-":
            yield sys.stdout.buffer, "-"
            sys.stdout.buffer.flush()
        else:
            with out.open("wb", buffering=1 << 20) as stream:
                yield stream, out.name
    except BrokenPipeError:
        raise
    except OSError as error:
        raise NfcError(f"cannot write {out}: {error.strerror or error}") from None


# ---- what is shown --------------------------------------------------------------------------


class _Show:
    """Writes results as they come, and the summary."""

    def __init__(
        self, subject: Subject, as_json: bool, each: bool, each_event: bool, *, err: bool
    ) -> None:
        self.subject, self.as_json = subject, as_json
        self.each, self.each_event, self.err = each, each_event, err
        self.color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.first: int | None = None

    def say(self, text: str) -> None:
        """A line, on standard error where packets go to standard output."""
        click.echo(text, err=self.err)

    def result(self, result: Result) -> None:
        """What was asked for of one packet."""
        if self.first is None:
            self.first = result.time
        if self.as_json:
            if self.each or result.trace is not None:
                self.say(json.dumps(result.to_json()))
            elif self.each_event and result.ran is not None:
                for event in result.ran.events:
                    self.event(result.number, event)
            return
        if self.each or result.trace is not None:
            self.say(result.line(self.first))
        if result.trace is not None:
            function = self.subject.function
            source = function.span.source if function else None
            for line in result.trace.render(source, color=self.color):
                self.say(line)
        elif self.each_event and not self.each and result.ran is not None:
            for event in result.ran.events:
                self.event(result.number, event)

    def event(self, number: int, event: Decoded) -> None:
        """An event of a packet."""
        if self.as_json:
            self.say(json.dumps({"number": number, **event.to_json()}))
        else:
            self.say(f"{number:>7} {event}")

    def summary(self, session: Session, capture: Path, out: Path | None, tally: Tally) -> None:
        """What became of all packets, and what is left in tables."""
        from nfc.run import tally as texts

        counters = session.counters()
        tables = [session.entries(table) for table in session.tables()]
        if self.as_json:
            found = {
                "file": self.subject.file,
                "function": self.subject.program,
                "hook": self.subject.hook,
                "capture": str(capture),
                **tally.to_json(),
            }
            if counters is not None:
                found |= texts.counters_json(counters)
                found["tables"] = [texts.table_json(table) for table in tables]
            else:
                found["maps"] = texts.maps_json(session)
            self.say(json.dumps({"summary": found}))
            return
        self.say(f"{self.subject.title} on {capture}: {tally.read} packets")
        lines = [*tally.lines()]
        if counters is not None:
            lines += texts.counter_lines(counters)
        lines += texts.event_lines(tally)
        for table in tables:
            lines += texts.table_lines(table)
        if counters is None:
            lines += texts.map_lines(session)
        if out is not None:
            lines.append(f"  {tally.written} packets written to {out}")
        for line in lines:
            self.say(line)
