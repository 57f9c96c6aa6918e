"""`nfc events`: what a deployed function reports."""

from __future__ import annotations

import json
import signal
import sys

import click

from nfc.cli import options
from nfc.cli.names import deployed


@click.command()
@click.argument("name", shell_complete=deployed)
@options.netns
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="Stop after N events.")
@click.option(
    "--timeout", type=options.FloatRange(0), metavar="SECONDS", help="Stop after so many seconds."
)
def events(
    name: str, netns: str | None, as_json: bool, count: int | None, timeout: float | None
) -> None:
    """Show the events of a deployed function as they come, until interrupted.

    Events wait in the kernel (256 KiB of them) while nobody reads; one reader at a time.
    Timestamps are TAI: seconds since 1970, in JSON nanoseconds.
    """
    from nfc.deploy.events import follow

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for event in follow(name, netns, count=count, timeout=timeout):
            click.echo(json.dumps(event.to_json()) if as_json else str(event))
            sys.stdout.flush()
    except KeyboardInterrupt:
        return
