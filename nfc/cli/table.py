"""`nfc table`: the tables, state and keyed counters of running functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nfc.cli import files, options
from nfc.cli.names import deployed, deployed_tables
from nfc.cli.output import errors_as_json, show_json
from nfc.errors import NfcError, UsageError

_name = click.argument("name", shell_complete=deployed)
_table = click.argument("table", shell_complete=deployed_tables)


@click.group("table")
def table_() -> None:
    """Tables, state and keyed counters of deployed functions.

    The functions of a file that run in one namespace share its tables, which stay when a function
    is replaced, and go with the last of them. State is the table 'state', or 'state_per_cpu'.
    """


@table_.command("list")
@options.netns
@options.json_output
def list_(netns: str | None, as_json: bool) -> None:
    """List tables with how full they are."""
    from nfc.deploy.tables import listed

    with errors_as_json(as_json):
        found = listed(netns)
    if as_json:
        show_json({"ok": True, "tables": [one.to_json() for one in found]})
        return
    for one in found:
        table = one.table
        kind = f"{'per cpu ' if table.per_cpu else ''}{table.kind}"
        users = ", ".join(one.functions)
        click.echo(f"{table.name:<20} {kind:<14} {one.used} of {table.entries}  used by {users}")
    if not found:
        click.echo("no deployed function has a table")


@table_.command("show")
@_name
@_table
@options.netns
@options.json_output
def show(name: str, table: str, netns: str | None, as_json: bool) -> None:
    """Show the entries of TABLE of the deployed function NAME."""
    from nfc.deploy.tables import entries

    with errors_as_json(as_json):
        declared, found = entries(name, table, netns)
    if as_json:
        show_json({"ok": True, "table": table, "entries": [e.to_json() for e in found]})
        return
    for entry in found:
        for line in entry.lines():
            click.echo(line)
    if not found:
        click.echo(f"{declared.role} {table} is empty")


@table_.command("put")
@_name
@_table
@click.argument("entry", nargs=-1, required=True, metavar="KEY... FIELD=VALUE...")
@options.netns
def put(name: str, table: str, entry: tuple[str, ...], netns: str | None) -> None:
    """Put an entry into TABLE of the deployed function NAME.

    A prefix is written fd00::/16, an array's key is the index. Fields that are left out stay as
    they are, or are zero in a new entry.
    """
    from nfc.deploy import settings, tables

    keys = [word for word in entry if "=" not in word]
    keys = keys or (["0"] if table.startswith("state") else keys)
    given = settings.split(word for word in entry if "=" in word)
    tables.put(name, table, netns, keys, given)


@table_.command("remove")
@_name
@_table
@click.argument("key", nargs=-1, required=True)
@options.netns
def remove(name: str, table: str, key: tuple[str, ...], netns: str | None) -> None:
    """Remove the entry at KEY from TABLE of the deployed function NAME."""
    from nfc.deploy import tables

    if not tables.remove(name, table, netns, key):
        raise UsageError(f"{table} has no entry at {' '.join(key)}")


@table_.command("clear")
@_name
@_table
@options.netns
def clear(name: str, table: str, netns: str | None) -> None:
    """Remove all entries of TABLE of the deployed function NAME; an array's become zero."""
    from nfc.deploy import tables

    click.echo(f"{tables.clear(name, table, netns)} entries removed")


@table_.command("load")
@_name
@_table
@click.argument("file", type=click.Path(allow_dash=True, dir_okay=False, path_type=Path))
@click.option("--only", is_flag=True, help="Remove all other entries.")
@options.netns
def load(name: str, table: str, file: Path, only: bool, netns: str | None) -> None:
    """Put the entries of a JSON file (- for standard input) into TABLE of the function NAME.

    The file holds what 'nfc table show --json' gives, or just its list of entries. Everything is
    checked before anything is changed.
    """
    from nfc.deploy import tables

    count = tables.load(name, table, netns, _entries(file), only=only)
    click.echo(f"{count} entries put")


def _entries(file: Path) -> list[Any]:
    found = files.read_json(file)
    if isinstance(found, dict):
        found = found.get("entries")
    if not isinstance(found, list):
        raise NfcError(f"{file} holds no list of entries")
    return found
