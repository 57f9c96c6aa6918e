"""`nfc lab`: whole networks of namespaces on this machine, out of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nfc.cli import files, options, output


def _labs(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    from nfc.lab.records import names

    return [name for name in names() if name.startswith(begun)]


TOPOLOGY = click.Path(exists=True, dir_okay=False, path_type=Path)


def _topology(command: Any) -> Any:
    return click.argument("file", type=TOPOLOGY, metavar="TOPOLOGY.toml")(command)


_as = click.option(
    "--as", "name", metavar="NAME", help="The lab's name, instead of what the file says."
)


@click.group()
def lab() -> None:
    """Networks of namespaces on this machine: nodes, links with rate and delay, functions.

    \b
    nfc lab up TOPOLOGY.toml       makes one that stands until 'nfc lab down'
    nfc lab run TOPOLOGY.toml      up, its steps, their results, down
    nfc lab picture TOPOLOGY.toml  draws it
    """


@lab.command("up")
@_topology
@_as
@options.json_output
def up(file: Path, name: str | None, as_json: bool) -> None:
    """Make the lab; it stands until 'nfc lab down'. It is made whole or not at all."""
    from nfc.lab import records, standing

    with output.errors_as_json(as_json):
        record = standing.up(_read(file, name), (lambda _: None) if as_json else click.echo)
    if as_json:
        output.show_json({"ok": True, **records.to_json(record)})
    else:
        click.echo(f"the lab '{record.name}' stands; 'nfc lab down {record.name}' removes it")


@lab.command("down")
@click.argument("name", metavar="NAME|TOPOLOGY.toml", shell_complete=_labs)
@options.json_output
def down(name: str, as_json: bool) -> None:
    """Remove a lab with all that is in it, whatever state it is in."""
    from nfc.lab import standing

    with output.errors_as_json(as_json):
        found = _name(name)
        gone = standing.down(found)
        standing.clean()
    if as_json:
        output.show_json({"ok": True, "name": found, "namespaces": gone})
    else:
        click.echo(f"removed the lab '{found}' with {len(gone)} namespaces")


@lab.command("status")
@click.argument("name", required=False, metavar="[NAME|TOPOLOGY.toml]", shell_complete=_labs)
@options.json_output
def status(name: str | None, as_json: bool) -> None:
    """Show how a lab stands: links with their counts, processes, functions. Without a name: which
    labs there are. Exit status 1 if something of it is lost."""
    from nfc.lab import records, standing

    with output.errors_as_json(as_json):
        found = [standing.status(n) for n in ([_name(name)] if name else records.names())]
    if as_json:
        output.show_json(found[0] if name else found)
    elif not found:
        click.echo("no lab stands")
    else:
        from nfc.lab.show import status_text

        click.echo("\n".join(status_text(one) for one in found))
    if any(one["lost"] for one in found):
        raise SystemExit(1)


@lab.command("run")
@_topology
@_as
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Put captures, what commands said, and results.json there.",
)
@click.option("--only", multiple=True, metavar="STEP", help="Only steps of this name; repeatable.")
@options.json_output
def run(
    file: Path, name: str | None, results: Path | None, only: tuple[str, ...], as_json: bool
) -> None:
    """Make the lab, do its steps, show their results, and remove it.

    A step that fails is the last one; the lab is removed all the same, and the exit status is 1.
    """
    from nfc.lab.steps import run as run_steps

    with output.errors_as_json(as_json):
        topology = _read(file, name)
        found = run_steps(topology, results, only, (lambda _: None) if as_json else click.echo)
    if as_json:
        output.show_json(found)


@lab.command("link")
@click.argument("name", metavar="NAME", shell_complete=_labs)
@click.argument("link", metavar="LINK")
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE...")
@click.option(
    "--way",
    type=click.Choice(("both", "there", "back")),
    default="both",
    show_default=True,
    help="Which direction: from the link's first end, or to it.",
)
def link(name: str, link: str, changes: tuple[str, ...], way: str) -> None:
    """Change a link while packets cross it: rate=20mbit delay=5ms jitter=1ms loss=1% down=true."""
    from nfc.lab.show import changed
    from nfc.lab.standing import change_link

    shape = changed(changes)
    there, back = (shape if way != other else {} for other in ("back", "there"))
    change_link(name, link, there, back)


@lab.command("picture")
@_topology
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.svg",
    help="Where to; beside the topology if left out.",
)
def picture(file: Path, out: Path | None) -> None:
    """Draw the topology as SVG, for light and dark pages."""
    from nfc.errors import NfcError
    from nfc.lab.picture import svg

    out = out or file.with_suffix(".svg")
    files.svg(out)
    files.not_over(out, file)
    drawn = svg(_read(file, None))
    try:
        out.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise NfcError(f"cannot write {out}: {error.strerror}") from None
    click.echo(str(out))


def _read(file: Path, name: str | None) -> Any:
    from dataclasses import replace

    from nfc import config
    from nfc.errors import UsageError
    from nfc.lab.file import read

    topology = read(file)
    if name is None:
        return topology
    try:
        return replace(topology, name=config.name(name))
    except ValueError as error:
        raise UsageError(f"--as must be {error}, not '{name}'") from None


def _name(text: str) -> str:
    """A lab's name, or that of the lab which a file describes."""
    from nfc import config
    from nfc.errors import UsageError
    from nfc.lab.file import read

    if text.endswith(".toml"):
        return read(Path(text)).name
    try:
        found: str = config.name(text)
    except ValueError as error:
        raise UsageError(f"a lab has {error}, not '{text}'") from None
    return found
