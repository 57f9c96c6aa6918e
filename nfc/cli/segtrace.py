"""`nfc segtrace`: every path to a destination."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfc.cli import files, options, output
from nfc.errors import NfcError, UsageError

if TYPE_CHECKING:
    from nfc.discovery.graph import Graph


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
    "--confidence",
    type=options.FloatRange(0, 100, min_open=True, max_open=True),
    default=95,
    show_default=True,
    metavar="PERCENT",
    help="How likely probing is to find every next hop.",
)
@click.option(
    "--flows",
    type=click.IntRange(1, 4096),
    default=256,
    show_default=True,
    metavar="N",
    help="How many flows to probe with at most.",
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
    confidence: float,
    flows: int,
    out: Path | None,
    netns: str | None,
    as_json: bool,
) -> None:
    """Show every path that packets to DESTINATION may take, as a tree.

    Routers whose SID is known are asked for all their next hops. Behind the others flows are
    probed as traceroute does, so many that all next hops are found with the wanted confidence if
    routers spread flows evenly; who limits its ICMPv6 errors is probed slowly. Needs no privileges.
    Exit status 1 where no path to DESTINATION is found.

    \b
    FILE.toml:
      [[router]]
      name = "r1"
      addresses = ["fd00:1::2", "fd00:12::1"]
      sid = "fd00:a::f"                        # left out: it is probed
    """
    from ipaddress import IPv6Address

    from nfc.discovery.routers import read
    from nfc.discovery.segtrace import heard, trace

    with output.errors_as_json(as_json):
        files.svg(out)
        try:
            target = IPv6Address(destination)
        except ValueError:
            raise UsageError(f"'{destination}' is not an IPv6 address") from None
        if target.is_multicast or target.is_unspecified or target.scope_id:
            raise UsageError(f"{destination} is not the address of one host far away")

    def show(graph: Graph) -> None:
        if as_json:
            output.show_json({"ok": bool(graph.paths()), **graph.to_json()})
        else:
            _show(graph)

    with output.errors_as_json(as_json):
        routers = read(file) if file else ()
        partly: list[Graph] = []
        with _progress() as progress:
            try:
                graph = trace(
                    target,
                    routers,
                    netns=netns,
                    confidence=confidence,
                    flows=flows,
                    progress=progress,
                    partly=partly.append,
                )
            except KeyboardInterrupt:
                progress("")
                for found in partly:
                    show(found)
                raise
            finally:
                progress("")
        if not heard(graph):
            raise NfcError(
                f"nothing answers on the way to {target}",
                hint="the first router has to send ICMPv6 errors",
            )
        if out is not None:
            from nfc.discovery.picture import svg

            try:
                out.write_text(svg(graph), encoding="utf-8")
            except OSError as error:
                raise NfcError(f"cannot write {out}: {error.strerror}") from None
    show(graph)
    if not graph.paths():
        raise SystemExit(1)


def _show(graph: Graph) -> None:
    paths = graph.paths()
    click.echo(f"to {graph.destination}: {len(paths)} path{'' if len(paths) == 1 else 's'}")
    for line in graph.lines():
        click.echo(line)
    for text in graph.warnings:
        click.echo(f"warning: {text}", err=True)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """One line on a terminal's standard error, written over each time and gone in the end."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    yield lambda text: click.echo(f"\r\x1b[K{text}", err=True, nl=False)
