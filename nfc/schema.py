"""JSON Schemas (draft 7) of configuration files: for editors, which complete and check with them.

They are made of the same tables that files are read with, and take all that a reader takes. What
depends on two keys, or on what else is there, they leave to the reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nfc.config import Check

Schema = Mapping[str, Any]

_DRAFT: Final = "http://json-schema.org/draft-07/schema#"
# What `nfc schema` knows: the module whose SCHEMA it is, which reads such files too, and what the
# files are of.
KINDS: Final = {
    "bond": ("nfc.bond.config", "nfc bond run"),
    "delay": ("nfc.delay.config", "nfc delay collect"),
    "lab": ("nfc.lab.file", "nfc lab"),
    "routers": ("nfc.discovery.routers", "nfc segtrace --routers"),
}


def table(keys: Mapping[str, Check[Any]], needed: tuple[str, ...] = (), **more: Schema) -> Schema:
    """A table with these keys and no others, as `nfc.config.table` checks it; `more`: keys that
    hold tables, and what they hold."""
    properties = {key: dict(check.schema) for key, check in keys.items()} | more
    return {
        "type": "object",
        "properties": properties,
        "required": list(needed),
        "additionalProperties": False,
    }


def tables(one: Schema, least: int = 0, most: int | None = None) -> Schema:
    """A list of such tables, [[written so]]."""
    limits: dict[str, int] = {"minItems": least} | ({} if most is None else {"maxItems": most})
    return {"type": "array", "items": one, **limits}


def document(title: str, body: Schema) -> Schema:
    """The schema of a whole file."""
    return {"$schema": _DRAFT, "title": title, **body}
