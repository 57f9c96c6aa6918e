"""The file that tells `nfc segtrace` which addresses are of one router, and its SID."""

from __future__ import annotations

import tomllib
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

from nfc.discovery.segtrace import Router
from nfc.errors import NfcError
from nfc.lab import checked
from nfc.lab.checked import Check

_MOST_BYTES: Final = 1 << 20
KEYS: Final[dict[str, Check]] = {
    "name": checked.text,
    "addresses": checked.list_of(checked.address, 1),
    "sid": checked.address,
}


def read(file: Path) -> tuple[Router, ...]:
    """The routers in a file of [[router]] tables. Raises NfcError with the place."""
    try:
        with file.open("rb") as source:
            found = tomllib.loads(source.read(_MOST_BYTES).decode())
    except OSError as error:
        raise NfcError(f"cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NfcError(f"{file}: {error}") from None
    checked.table(found, {"router": lambda value: value}, f"{file}:")
    tables = found.get("router", [])
    if not isinstance(tables, list):
        raise NfcError(f"{file}: routers are written as [[router]]")
    made = []
    for number, table in enumerate(tables, start=1):
        where = f"{file}: router[{number}]"
        values = checked.table(table, KEYS, where, ("name", "addresses"))
        sid = IPv6Address(values["sid"]) if "sid" in values else None
        made.append(Router(values["name"], tuple(IPv6Address(a) for a in values["addresses"]), sid))
    return tuple(made)
