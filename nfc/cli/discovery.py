"""`nfc discovery`: what end_oamp answers from."""

from __future__ import annotations

import click

from nfc.cli import options
from nfc.cli.names import deployed, tables


@click.group()
def discovery() -> None:
    """Network discovery: keep the table that end_oamp answers from."""


@discovery.command("agent")
@click.argument("name", shell_complete=deployed)
@click.option(
    "--table",
    metavar="TABLE",
    shell_complete=tables,
    help="Look up this routing table alone (that of a VRF, say), and no rule.",
)
@options.netns
def agent(name: str, table: str | None, netns: str | None) -> None:
    """Keep the table of the deployed function NAME (end_oamp) as the routes are, until stopped.

    It holds what the rules and routing tables say of each destination: up to eight next hops, of
    which a link-local one is replaced by a global address of that neighbour if the neighbour
    table knows one. Rules that look at more than the destination are named as warnings. On SIGHUP
    it reads the table and the routes anew, which puts right what somebody else has written there.
    """
    from nfc.discovery.agent import Counts, run
    from nfc.kernel.tables import table_id
    from nfc.notify import ready
    from nfc.service import stopping

    def right(counts: Counts) -> None:
        click.echo(f"the table of {name} has {counts.entries} entries", err=True)
        ready(f"keeping the table of {name} as the routes are")

    def doubt(text: str) -> None:
        click.echo(f"warning: {text}", err=True)

    only = None if table is None else table_id(table)
    with stopping(reloads=True) as stop:
        counts = run(name, netns, stop, right, stop.reload, only=only, doubt=doubt)
    click.echo(str(counts), err=True)
