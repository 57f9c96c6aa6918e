"""`nfc schema`: JSON Schemas of configuration files."""

from __future__ import annotations

import importlib
import json

import click

from nfc.schema import KINDS


@click.command()
@click.argument("kind", type=click.Choice(tuple(KINDS)))
def schema(kind: str) -> None:
    """Print the JSON Schema of a configuration file, for editors.

    \b
    bond      of nfc bond run
    delay     of nfc delay collect
    lab       of nfc lab
    routers   of nfc segtrace --routers

    In TOML, `#:schema ./bond.schema.json` in the first line names one to editors that know that
    (Even Better TOML, Taplo).
    """
    click.echo(json.dumps(importlib.import_module(KINDS[kind]).SCHEMA, indent=2))
