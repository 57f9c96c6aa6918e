"""The file that tells `nfc segtrace` which addresses are of one router, and its SID."""

from __future__ import annotations

from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

from nfc import config
from nfc.config import Check
from nfc.discovery.explore import Router
from nfc.errors import NfcError

KEYS: Final[dict[str, Check]] = {
    "name": config.text,
    "addresses": config.list_of(config.address, 1),
    "sid": config.address,
}


def read(file: Path) -> tuple[Router, ...]:
    """The routers in a file of [[router]] tables. Raises NfcError with the place."""
    found = config.parse(config.read(file), str(file))
    config.table(found, {"router": lambda value: value}, f"{file}:")
    tables = found.get("router", [])
    if not isinstance(tables, list):
        raise NfcError(f"{file}: routers are written as [[router]]")
    made = []
    for number, table in enumerate(tables, start=1):
        where = f"{file}: router[{number}]"
        values = config.table(table, KEYS, where, ("name", "addresses"))
        sid = IPv6Address(values["sid"]) if "sid" in values else None
        made.append(Router(values["name"], tuple(IPv6Address(a) for a in values["addresses"]), sid))
    return tuple(made)
