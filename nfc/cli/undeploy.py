"""`nfc undeploy`: take a function off its route."""

from __future__ import annotations

import click

from nfc.cli import options
from nfc.cli.names import deployed


@click.command()
@click.argument("names", nargs=-1, metavar="NAME...", shell_complete=deployed)
@options.netns
@click.option("--all", "all_", is_flag=True, help="All functions (of that namespace, if named).")
def undeploy(names: tuple[str, ...], netns: str | None, all_: bool) -> None:
    """Take functions off their routes and put back what stood there before."""
    from nfc.deploy.deployments import undeploy as run
    from nfc.errors import UsageError

    if bool(names) == all_:
        raise UsageError("say which functions, or --all", hint="'nfc status' lists them")
    for line in run(list(names), netns, all_=all_):
        click.echo(line)
