"""`nfc bond`: the daemon of hybrid access."""

from __future__ import annotations

from pathlib import Path

import click

from nfc.cli import options


@click.group()
def bond() -> None:
    """Bond links: measure them, hold the faster one back, take out one that fails.

    \b
    nfc bond run CONFIG.toml    beside a deployed function such as examples/bond/bond.nf
    """


@bond.command("run")
@click.argument(
    "config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CONFIG.toml",
)
@options.netns
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each thing that happens.")
@click.option(
    "--every",
    type=options.FloatRange(0.1, 86_400),
    metavar="SECONDS",
    help="Also say so often how the links stand.",
)
@click.option(
    "--timeout", type=options.FloatRange(0), metavar="SECONDS", help="Stop after so many seconds."
)
def run(
    config: Path, netns: str | None, as_json: bool, every: float | None, timeout: float | None
) -> None:
    """Look after the links of a bond, until stopped.

    Each link is queried over the far side's end_dm. One that does not answer for `dead_after` gets
    the weight 0 in the function, and its own again when it answers. Packets over the faster link
    are held back, so that those of both arrive alike. On SIGTERM or SIGINT packets go directly
    again, the state is saved, and the command ends; on SIGHUP it reads CONFIG.toml again, and stays
    as it was where that is wrong.
    """
    import time

    from nfc.bond.config import read
    from nfc.bond.daemon import printing
    from nfc.bond.daemon import run as serve
    from nfc.service import Reload, stopping

    found = read(config)
    deadline = None if timeout is None else time.monotonic() + timeout
    with stopping(reloads=True) as stop, printing(as_json) as say:
        serve(
            found,
            netns,
            say,
            lambda: stop() or (deadline is not None and time.monotonic() >= deadline),
            every,
            Reload(stop, lambda: read(config)),
        )
