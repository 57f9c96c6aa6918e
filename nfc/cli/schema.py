"""`nfc schema`: JSON Schemas of configuration files."""

from __future__ import annotations

import importlib
import json

import click

from nfc.schema import KINDS

_KINDS = "\n".join(f"{kind:<9} of {of}" for kind, (_, of) in KINDS.items())
_HELP = f"""Print the JSON Schema of a configuration file, for editors.

\b
{_KINDS}

In TOML, `#:schema ./bond.schema.json` in the first line names one to editors that know that
(Even Better TOML, Taplo).
"""


@click.command(help=_HELP)
@click.argument("kind", type=click.Choice(tuple(KINDS)))
def schema(kind: str) -> None:
    """Print the JSON Schema of a configuration file."""
    module, _ = KINDS[kind]
    click.echo(json.dumps(importlib.import_module(module).SCHEMA, indent=2))
