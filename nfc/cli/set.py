"""`nfc set`: change params of a running function."""

from __future__ import annotations

import click

from nfc.cli import options
from nfc.cli.names import deployed, deployed_params


@click.command("set")
@click.argument("name", shell_complete=deployed)
@click.argument(
    "settings", nargs=-1, required=True, metavar="PARAM=VALUE...", shell_complete=deployed_params
)
@options.netns
def set_(name: str, settings: tuple[str, ...], netns: str | None) -> None:
    """Change params of a deployed function, without a reload.

    All of the values take effect together: a packet sees the old ones or the new ones.
    """
    from nfc.deploy.settings import set_params, split

    for line in set_params(name, netns, split(settings)):
        click.echo(line)
