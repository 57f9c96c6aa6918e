"""`nfc segtrace`: every path to a destination."""

from __future__ import annotations

from pathlib import Path

import click

from nfc.cli import options, output
from nfc.errors import NfcError, UsageError


@click.command()
@click.argument("destination", metavar="DESTINATION")
@click.option(
    "--routers",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.toml",
    help="Which addresses are of one router, and the SID of its end_oamp.",
)
@click.option(
    "--flows",
    type=click.IntRange(1, 256),
    default=32,
    show_default=True,
    metavar="N",
    help="How many flows to probe with.",
)
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.svg",
    help="Draw them, too.",
)
@options.netns
@options.json_output
def segtrace(
    destination: str,
    file: Path | None,
    flows: int,
    out: Path | None,
    netns: str | None,
    as_json: bool,
) -> None:
    """Show every path that packets to DESTINATION may take, as a tree.

    Routers whose SID is known are asked for all their next hops; behind the others flows are
    probed as traceroute does, and what they do not happen to take stays unseen. A router that
    limits its ICMPv6 errors shows fewer. Needs no privileges.

    \b
    FILE.toml:
      [[router]]
      name = "r1"
      addresses = ["fd00:1::2", "fd00:12::1"]
      sid = "fd00:a::f"                        # left out: it is probed
    """
    from ipaddress import IPv6Address

    from nfc.discovery.ask import ask
    from nfc.discovery.routers import read
    from nfc.discovery.segtrace import probe, trace

    try:
        target = IPv6Address(destination)
    except ValueError:
        raise UsageError(f"'{destination}' is not an IPv6 address") from None
    with output.errors_as_json(as_json):
        routers = read(file) if file else ()
        along = probe(target, netns=netns, flows=flows)
        graph = trace(target, routers, lambda sid: ask(sid, target, netns=netns), along)
        if not graph.first:
            raise NfcError(
                f"nothing answers on the way to {target}",
                hint="the first router has to send ICMPv6 errors",
            )
        if out is not None:
            from nfc.discovery.picture import svg

            try:
                out.write_text(svg(graph))
            except OSError as error:
                raise NfcError(f"cannot write {out}: {error.strerror}") from None
    if as_json:
        output.show_json({"ok": True, **graph.to_json()})
        return
    paths = graph.paths()
    click.echo(f"to {graph.destination}: {len(paths)} path{'' if len(paths) == 1 else 's'}")
    for line in graph.lines():
        click.echo(line)
