"""`nfc status`: what is deployed here, and how it fares."""

from __future__ import annotations

import click

from nfc.cli import options, output


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@options.netns
@options.json_output
def status(names: tuple[str, ...], netns: str | None, as_json: bool) -> None:
    """Show deployed functions: route, params, packets by rule, drops, errors by reason."""
    from nfc.deploy.status import read_status

    found = read_status(list(names), netns)
    if as_json:
        output.show_json([item.to_json() for item in found])
        return
    if not found:
        click.echo("nothing is deployed")
    for item in found:
        click.echo(str(item))
