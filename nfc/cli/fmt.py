"""`nfc fmt`: one layout for all programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfc.cli import output
from nfc.errors import NfcError, UsageError

if TYPE_CHECKING:
    from nfc.syntax.rewrite import Formatted


@click.command()
@click.argument(
    "paths",
    nargs=-1,
    type=click.Path(exists=True, allow_dash=True, path_type=Path),
    metavar="[FILE.nf|FOLDER|-]...",
)
@click.option("--check", is_flag=True, help="Write nothing; list what would change, with status 1.")
@click.option("--diff", is_flag=True, help="Write nothing; show what would change.")
def fmt(paths: tuple[Path, ...], check: bool, diff: bool) -> None:
    """Put programs into the one layout of the language (docs/style-of-nf.md).

    Folders stand for all .nf files below them; without any path, this folder is meant. '-'
    formats standard input to standard output. Meaning and comments stay as they are, and a file
    with an error is left alone.
    """
    from nfc.syntax import rewrite
    from nfc.syntax.source import MAX_SOURCE_BYTES

    if Path("-") in paths and len(paths) > 1:
        raise UsageError("'-' stands alone", hint="standard input cannot be mixed with files")
    if paths == (Path("-"),):
        found = rewrite.formatted("<stdin>", sys.stdin.buffer.read(MAX_SOURCE_BYTES + 1))
        if not check and not diff:
            sys.stdout.buffer.write(found.text.encode())
            return
        raise SystemExit(_show(found, check, diff))
    failed = False
    for path in rewrite.find(paths or (Path(),)):
        try:
            if path.suffix == ".nft":
                raise NfcError(f"{path} holds packet tests: those have no one layout")
            found = rewrite.read(path)
            if check or diff:
                failed |= _show(found, check, diff)
            elif found.changed:
                rewrite.write(path, found.text)
                click.echo(f"formatted {click.format_filename(path)}")
        except NfcError as problem:
            output.error(problem)
            failed = True
    if failed:
        raise SystemExit(1)


def _show(found: Formatted, check: bool, diff: bool) -> bool:
    """Show what would change; whether --check has something to complain of."""
    if found.changed and diff:
        click.echo(found.diff(), nl=False)
    elif found.changed:
        click.echo(click.format_filename(found.name))
    return found.changed and check
