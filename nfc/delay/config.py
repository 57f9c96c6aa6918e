"""The configuration file of `nfc delay collect`: TOML, every key of which is in a table here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_address
from pathlib import Path
from typing import Any, Final

from nfc import config, schema
from nfc.config import Check, fits
from nfc.delay.paths import Named
from nfc.errors import NfcError, UsageError


@dataclass(frozen=True)
class Config:
    """Where to listen and what to keep. `metrics` and `state` are None where there are none;
    `step` and `save_every` are seconds, `keep` windows of `step`."""

    listen: tuple[str, int] = ("::", 4739)
    metrics: tuple[str, int] | None = None
    state: Path | None = None
    save_every: float = 10.0
    step: float = 10.0
    keep: int = 360
    max_paths: int = 256
    allow: tuple[IPv6Network, ...] = ()
    paths: tuple[Named, ...] = ()


_MEANT_ENDPOINT: Final = 'an address and a port, such as "[::1]:4739"'


@fits(type="string", pattern="^(?:[^\\n]*:)?[0-9]{1,5}$", description=_MEANT_ENDPOINT)
def endpoint(text: object) -> tuple[str, int]:
    """`[::1]:4739`, `127.0.0.1:9000`, or a port alone, which is that of every address. Raises
    ValueError, which says what is meant."""
    if not isinstance(text, str):
        raise ValueError(_MEANT_ENDPOINT)
    address, colon, port = text.rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) >= 1 << 16:
        raise ValueError(_MEANT_ENDPOINT)
    if not colon:
        return "::", int(port)
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    elif ":" in address:
        raise ValueError(_MEANT_ENDPOINT)
    try:
        return str(ip_address(address)), int(port)
    except ValueError:
        raise ValueError(_MEANT_ENDPOINT) from None


_MEANT_PREFIXES: Final = 'a list of IPv6 prefixes, such as ["fd00::/16"]'


@fits(type="array", items={"type": "string"}, description=_MEANT_PREFIXES)
def _prefixes(value: object) -> tuple[IPv6Network, ...]:
    try:
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return tuple(IPv6Network(one) for one in value)
    except ValueError:
        pass
    raise ValueError(_MEANT_PREFIXES)


def _clock(value: object) -> str:
    return str(config.file(value))


# Each key, and what its value must be: a function that gives it, or says what is meant.
KEYS: Final[dict[str, Check[Any]]] = {
    "listen": endpoint,
    "metrics": endpoint,
    "state": config.file,
    "save_every": config.number(0.1, 86_400),
    "step": config.number(0.1, 86_400),
    "keep": config.number(1, 100_000, whole=True),
    "max_paths": config.number(1, 65_536, whole=True),
    "allow": _prefixes,
}
PATH_KEYS: Final[dict[str, Check[Any]]] = {
    "name": config.text_of(64, "a text of 1 to 64 characters"),
    "session": config.number(0, (1 << 24) - 1, whole=True),
    "source": config.address,
    "sid": config.address,
    "clock": Check(_clock, config.file.schema),
}
_NEEDED: Final = ("name", "session")
SCHEMA: Final = schema.document(
    "nfc delay collect",
    schema.table(KEYS, path=schema.tables(schema.table(PATH_KEYS, _NEEDED))),
)


def read(file: Path) -> Config:
    """The configuration in a file. Raises NfcError with the file and the key."""
    return parse(config.read(file), str(file))


def parse(text: str, name: str = "configuration") -> Config:
    """The configuration in a text. Raises NfcError, which names the key."""
    found = config.parse(text, name)
    tables = found.pop("path", [])
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise NfcError(f"{name}: paths are written as [[path]]")
    values = config.table(found, KEYS, f"{name}:")
    paths = []
    for number, table in enumerate(tables, start=1):
        given = config.table(table, PATH_KEYS, f"{name}: path[{number}]", _NEEDED)
        paths.append(Named(**given))
    names = [path.name for path in paths]
    for one in names:
        if names.count(one) > 1:
            raise NfcError(f"{name}: two paths are called '{one}'")
    made = Config(**values, paths=tuple(paths))
    if len(paths) > made.max_paths:
        raise NfcError(f"{name}: {len(paths)} paths are more than max_paths = {made.max_paths}")
    return made


def option(text: str, name: str) -> tuple[str, int]:
    """An address and port from the command line. Raises UsageError."""
    try:
        return endpoint(text)
    except ValueError as error:
        raise UsageError(f"{name} must be {error}, not '{text}'") from None
