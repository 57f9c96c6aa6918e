"""The file that tells `nfc segtrace` which addresses are of one router, and its SID."""

from __future__ import annotations

from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, Final

from nfc import config, schema
from nfc.config import Check
from nfc.discovery.explore import Router
from nfc.errors import NfcError

KEYS: Final[dict[str, Check[Any]]] = {
    "name": config.text,
    "addresses": config.list_of(config.address, 1),
    "sid": config.address,
}
_NEEDED: Final = ("name", "addresses")
SCHEMA: Final = schema.document(
    "nfc segtrace --routers",
    schema.table({}, router=schema.tables(schema.table(KEYS, _NEEDED))),
)


def read(file: Path) -> tuple[Router, ...]:
    """The routers in a file of [[router]] tables. Raises NfcError with the place."""
    return parse(config.read(file), str(file))


def parse(text: str, name: str) -> tuple[Router, ...]:
    """The routers in a text. Raises NfcError with the place."""
    found = config.parse(text, name)
    config.table(found, {"router": config.anything}, f"{name}:")
    tables = found.get("router", [])
    if not isinstance(tables, list):
        raise NfcError(f"{name}: routers are written as [[router]]")
    made = []
    for number, table in enumerate(tables, start=1):
        where = f"{name}: router[{number}]"
        values = config.table(table, KEYS, where, _NEEDED)
        sid = IPv6Address(values["sid"]) if "sid" in values else None
        made.append(Router(values["name"], tuple(IPv6Address(a) for a in values["addresses"]), sid))
    return tuple(made)
