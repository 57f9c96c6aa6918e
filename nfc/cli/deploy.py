"""`nfc deploy`: compile, check, load, and put onto a route."""

from __future__ import annotations

from pathlib import Path

import click

from nfc.cli import options, output
from nfc.cli.names import interfaces, params, tables


@click.command()
@options.source
@click.option(
    "--route",
    "prefix",
    required=True,
    metavar="PREFIX",
    help="The route to put it on: a SID, or a destination.",
)
@click.option(
    "--dev", required=True, metavar="DEV", shell_complete=interfaces, help="The route's interface."
)
@options.one_function
@click.option("--name", metavar="NAME", help="What to call it; the function's name if left out.")
@click.option(
    "--table",
    metavar="T",
    shell_complete=tables,
    default="main",
    show_default=True,
    help="The routing table, by name or number.",
)
@click.option(
    "--via",
    metavar="ADDRESS",
    help="The next hop, for a transit function; that of the route which is there if left out.",
)
@click.option(
    "--metric",
    type=click.IntRange(1, 2**32 - 1),
    metavar="N",
    help="The route's metric; that of the route which is there if left out.",
)
@options.netns
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PARAM=VALUE",
    shell_complete=params,
    help="A param's value from the first packet on; may be repeated.",
)
@click.option(
    "--kernel", metavar="VERSION", help="Compile for this kernel; the running one if left out."
)
@click.option("--force", is_flag=True, help="Deploy even if the check refuses it.")
@options.json_output
def deploy(
    file: Path,
    prefix: str,
    dev: str,
    function: str | None,
    name: str | None,
    table: str,
    via: str | None,
    metric: int | None,
    netns: str | None,
    settings: tuple[str, ...],
    kernel: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Put a function of FILE.nf onto a route of this machine, whole or not at all.

    The function is compiled, checked and loaded first; the route is then replaced in one
    netlink message. Where any step fails, all is as it was. Doing the same twice changes
    nothing. 'nfc undeploy' puts back what stood there before.
    """
    from nfc.deploy.deployments import Request
    from nfc.deploy.deployments import deploy as run
    from nfc.deploy.settings import split

    with output.errors_as_json(as_json):
        outcome = run(
            Request(
                file=file,
                prefix=prefix,
                dev=dev,
                function=function,
                name=name,
                table=table,
                via=via,
                metric=metric,
                netns=netns,
                settings=split(settings),
                kernel=kernel,
                force=force,
            )
        )
    output.warnings(outcome.warnings)
    if as_json:
        output.show_json(outcome.to_json())
        return
    click.echo(str(outcome))
