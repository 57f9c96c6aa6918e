"""`nfc status`: what is deployed here, and how it fares."""

from __future__ import annotations

import click

from nfc.cli import options, output
from nfc.cli.names import deployed


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=deployed)
@options.netns
@options.json_output
def status(names: tuple[str, ...], netns: str | None, as_json: bool) -> None:
    """Show deployed functions: route, params, packets by rule, drops, errors by reason."""
    from nfc.deploy.status import read_sound

    with output.errors_as_json(as_json):
        found, damaged = read_sound(list(names), netns)
    if as_json:
        errors = [output.error_json(problem) for problem in damaged]
        output.show_json([*(item.to_json() for item in found), *errors])
    elif not found and not damaged:
        click.echo("nothing is deployed")
    else:
        for item in found:
            click.echo(str(item))
        for problem in damaged:
            output.error(problem)
    if damaged:
        raise SystemExit(1)
