"""`nfc discovery`: what end_oamp answers from."""

from __future__ import annotations

import click

from nfc.cli import options
from nfc.cli.names import deployed


@click.group()
def discovery() -> None:
    """Network discovery: keep the table that end_oamp answers from."""


@discovery.command("agent")
@click.argument("name", shell_complete=deployed)
@options.netns
def agent(name: str, netns: str | None) -> None:
    """Keep the table of the deployed function NAME (end_oamp) as the routes are, until stopped.

    Of each prefix in the tables local and main it holds up to eight next hops; a link-local one
    is replaced by a global address of that neighbour, if the neighbour table knows one. On SIGHUP
    it reads the table and the routes anew, which puts right what somebody else has written there.
    """
    from nfc.discovery.agent import Counts, run
    from nfc.notify import ready
    from nfc.service import stopping

    def right(counts: Counts) -> None:
        click.echo(f"the table of {name} has {counts.entries} entries", err=True)
        ready(f"keeping the table of {name} as the routes are")

    with stopping(reloads=True) as stop:
        click.echo(str(run(name, netns, stop, right, stop.reload)), err=True)
