"""`nfc delay`: agents, collector, querier and plots of delay monitoring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from nfc.cli import options
from nfc.cli.names import deployed


@click.group()
def delay() -> None:
    """Monitor the delay of paths: report it, collect it, query it, draw it.

    \b
    nfc delay report NAME     on the far router: events of end_dm go to their collectors
    nfc delay collect         where they go: a table, metrics, JSON, a file for plots
    nfc delay query SID       on the near router: two-way delay and clock offset
    nfc delay plot FILE       draws what a collector has kept
    """


@delay.command("report")
@click.argument("name", shell_complete=deployed)
@options.netns
@click.option(
    "--to",
    metavar="[ADDRESS]:PORT",
    help="Send everything there, instead of where each probe says.",
)
@click.option(
    "--default",
    "fallback",
    metavar="[ADDRESS]:PORT",
    help="Where reports on probes go that say nothing.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="PREFIX",
    help="Send only to collectors in this prefix; may be given more than once.",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="Stop after N reports.")
def report(
    name: str,
    netns: str | None,
    to: str | None,
    fallback: str | None,
    allow: tuple[str, ...],
    count: int | None,
) -> None:
    """Send what the deployed function NAME (end_dm) measures to the collectors, until stopped.

    Each probe's URO TLV names its collector. The DM TLV goes there as on the wire, with the
    addresses of both ends behind it. The command also serves the functions that replace NAME.
    On SIGTERM or SIGINT it says what it has sent, and ends.
    """
    from nfc.delay.report import BATCH, WAIT_S, Reporter, run, sender, target
    from nfc.deploy.events import follow_records
    from nfc.kernel.route import parse_prefix
    from nfc.notify import ready
    from nfc.service import stopping

    def begun() -> None:
        click.echo(f"reporting what {name} measures", err=True)
        ready(f"reporting what {name} measures")

    everything = target(to) if to else None
    otherwise = target(fallback) if fallback else None
    allowed = tuple(parse_prefix(text) for text in allow)
    with sender(netns) as out, stopping() as stop:
        reporter = Reporter(out, fallback=otherwise, only=everything, allowed=allowed)
        batches = follow_records(name, netns, most=BATCH, wait=WAIT_S)
        sent = run(batches, reporter, count=count, stop=stop, ready=begun)
        click.echo(str(sent), err=True)


@delay.command("collect")
@click.argument(
    "config",
    required=False,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="[CONFIG.toml]",
)
@click.option("--listen", metavar="[ADDRESS]:PORT", help="Where reports come in.")
@click.option(
    "--metrics", metavar="[ADDRESS]:PORT", help="Serve figures for Prometheus there, over HTTP."
)
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep everything in FILE, and begin with what is in it.",
)
@options.netns
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a path and interval.")
@click.option("--samples", is_flag=True, help="One line of JSON a report.")
@click.option(
    "--every",
    type=options.FloatRange(0.25, 86_400),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="The interval of --json.",
)
@click.option(
    "--timeout", type=options.FloatRange(0), metavar="SECONDS", help="Stop after so many seconds."
)
def collect(
    config: Path | None,
    listen: str | None,
    metrics: str | None,
    state: Path | None,
    netns: str | None,
    as_json: bool,
    samples: bool,
    every: float,
    timeout: float | None,
) -> None:
    """Receive the reports of far routers and keep the delays of each path, until stopped.

    On a terminal the figures stay on the screen; otherwise they are printed at the end. Options
    go before what CONFIG.toml says. On SIGTERM or SIGINT all is saved, and the command ends; on
    SIGHUP it reads CONFIG.toml again, and stays as it was where that is wrong.
    """
    from nfc.cli.delay_collect import Output, collect_until_stopped
    from nfc.delay import config as configuration

    def configured() -> configuration.Config:
        found = configuration.read(config) if config else configuration.Config()
        if listen is not None:
            found = replace(found, listen=configuration.option(listen, "--listen"))
        if metrics is not None:
            found = replace(found, metrics=configuration.option(metrics, "--metrics"))
        if state is not None:
            found = replace(found, state=state)
        return found

    if as_json and samples:
        raise click.UsageError("--json and --samples exclude each other")
    output = Output("json" if as_json else "samples" if samples else "table", every)
    collect_until_stopped(configured, config is not None, netns, output, timeout)


@delay.command("query")
@click.argument("sid", metavar="SID")
@click.option(
    "--via",
    "there",
    multiple=True,
    metavar="SEGMENT",
    help="Go over this segment there.",
)
@click.option("--back", multiple=True, metavar="SEGMENT", help="Come over this one back.")
@click.option("--source", metavar="ADDRESS", help="Which address of this router asks.")
@options.netns
@click.option("--session", type=click.IntRange(0, (1 << 24) - 1), default=1, show_default=True)
@click.option(
    "--count",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    metavar="N",
    help="How many queries; 0: until stopped.",
)
@click.option(
    "--interval",
    type=options.FloatRange(0.001, 3600),
    default=0.1,
    show_default=True,
    metavar="SECONDS",
    help="From one query to the next.",
)
@click.option(
    "--timeout",
    type=options.FloatRange(0.001, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the last answers.",
)
@click.option(
    "--clock",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep the offset of the far clock in FILE, for 'nfc delay collect'.",
)
@click.option(
    "--drift",
    type=options.FloatRange(0, 1000),
    default=50.0,
    show_default=True,
    metavar="PPM",
    help="How fast the clocks may drift apart: microseconds a second.",
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON an answer, and the sum.")
def query(
    sid: str,
    there: tuple[str, ...],
    back: tuple[str, ...],
    source: str | None,
    netns: str | None,
    session: int,
    count: int,
    interval: float,
    timeout: float,
    clock: Path | None,
    drift: float,
    as_json: bool,
) -> None:
    """Ask the far router's end_dm at SID: the two-way delay, and how far its clock is off.

    Queries go to SID and come back in-band, over the segments given, if any. The delay leaves out
    the time at the far router, and needs no common clock. Needs no privileges; the interface that
    answers come in at needs seg6_enabled. Exit status 1 where no answer came,
    unless it was to ask until stopped.
    """
    from nfc.cli.delay_query import Asked, ask
    from nfc.delay.query import Querier
    from nfc.notify import ready
    from nfc.service import stopping

    asked = Asked(count, interval, timeout, clock, drift, as_json)
    with (
        Querier(
            sid, there=there, back=back, source=source, netns=netns, session=session
        ) as querier,
        stopping() as stop,
    ):
        ready(f"asking {sid}, as {querier.source}")
        ask(querier, sid, asked, stop)


@delay.command("plot")
@click.argument(
    "state", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE"
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="delay.svg",
    show_default=True,
    help="The picture: .svg, .png or .pdf.",
)
@click.option("--path", "names", multiple=True, metavar="NAME", help="Only this path; repeatable.")
@click.option("--title", default="", metavar="TEXT", help="What stands above.")
def plot(state: Path, output: Path, names: tuple[str, ...], title: str) -> None:
    """Draw the delays over time, and their distribution, out of what a collector keeps.

    FILE is the collector's state. Needs matplotlib: pip install matplotlib.
    """
    from nfc.delay.keep import load
    from nfc.delay.plot import draw
    from nfc.errors import UsageError
    from nfc.syntax.diagnostics import nearest

    known = [path.name for path in load(state)]
    for name in names:
        if name not in known:
            raise UsageError(
                f"{state} has no path '{name}'", hint=nearest(name, known) or ", ".join(known)
            )
    draw((path for path in load(state) if not names or path.name in names), output, title=title)
    count = len(set(names or known))
    click.echo(f"{output}: {count} path{'s' * (count != 1)}")
