"""The configuration file of `nfc delay collect`: TOML, every key of which is in a table here."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Any, Final

from nfc.delay.paths import Named
from nfc.errors import NfcError, UsageError
from nfc.syntax.diagnostics import nearest

_MOST_BYTES: Final = 1 << 20


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


def endpoint(text: object) -> tuple[str, int]:
    """`[::1]:4739`, `127.0.0.1:9000`, or a port alone, which is that of every address. Raises
    ValueError, which says what is meant."""
    meant = 'an address and a port, such as "[::1]:4739"'
    if not isinstance(text, str):
        raise ValueError(meant)
    address, colon, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 <= int(port[:9]) < 1 << 16:
        raise ValueError(meant)
    if not colon:
        return "::", int(port)
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    elif ":" in address:
        raise ValueError(meant)
    try:
        return str(ip_address(address)), int(port)
    except ValueError:
        raise ValueError(meant) from None


def _number(low: float, high: float, *, whole: bool = False) -> Callable[[object], Any]:
    def check(value: object) -> Any:
        kinds = (int,) if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            raise ValueError(f"a {'whole ' if whole else ''}number from {low:g} to {high:g}")
        return value

    return check


def _file(value: object) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError('the name of a file, such as "/var/lib/nfc/delay.json"')
    return Path(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 64:
        raise ValueError("a text of 1 to 64 characters")
    return value


def _address(value: object) -> str:
    try:
        if isinstance(value, str):
            return str(IPv6Address(value))
    except ValueError:
        pass
    raise ValueError('an IPv6 address, such as "fd00:b::d"')


def _prefixes(value: object) -> tuple[IPv6Network, ...]:
    try:
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return tuple(IPv6Network(one) for one in value)
    except ValueError:
        pass
    raise ValueError('a list of IPv6 prefixes, such as ["fd00::/16"]')


# Each key, and what its value must be: a function that gives it, or says what is meant.
KEYS: Final[dict[str, Callable[[object], Any]]] = {
    "listen": endpoint,
    "metrics": endpoint,
    "state": _file,
    "save_every": _number(0.1, 86_400),
    "step": _number(0.1, 86_400),
    "keep": _number(1, 100_000, whole=True),
    "max_paths": _number(1, 65_536, whole=True),
    "allow": _prefixes,
}
PATH_KEYS: Final[dict[str, Callable[[object], Any]]] = {
    "name": _text,
    "session": _number(0, (1 << 24) - 1, whole=True),
    "source": _address,
    "sid": _address,
    "clock": lambda value: str(_file(value)),
}
_NEEDED: Final = ("name", "session")


def read(file: Path) -> Config:
    """The configuration in a file. Raises NfcError with the file and the key."""
    try:
        with file.open("rb") as source:
            data = source.read(_MOST_BYTES + 1)
    except OSError as error:
        raise NfcError(f"cannot read {file}: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise NfcError(f"{file} is larger than {_MOST_BYTES} bytes")
    try:
        return parse(data.decode(), str(file))
    except UnicodeDecodeError:
        raise NfcError(f"{file} is not text in UTF-8") from None


def parse(text: str, name: str = "configuration") -> Config:
    """The configuration in a text. Raises NfcError, which names the key."""
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise NfcError(f"{name}: {error}") from None
    tables = found.pop("path", [])
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise NfcError(f"{name}: paths are written as [[path]]")
    values = _values(found, KEYS, name, "")
    paths = []
    for number, table in enumerate(tables, start=1):
        where = f"path {number}: "
        given = _values(table, PATH_KEYS, name, where)
        for key in _NEEDED:
            if key not in given:
                raise NfcError(f"{name}: {where}{key} is missing")
        paths.append(Named(**given))
    names = [path.name for path in paths]
    for one in names:
        if names.count(one) > 1:
            raise NfcError(f"{name}: two paths are called '{one}'")
    config = Config(**values, paths=tuple(paths))
    if len(paths) > config.max_paths:
        raise NfcError(f"{name}: {len(paths)} paths are more than max_paths = {config.max_paths}")
    return config


def _values(
    found: Mapping[str, Any], keys: Mapping[str, Callable[[object], Any]], name: str, where: str
) -> dict[str, Any]:
    made = {}
    for key, value in found.items():
        if key not in keys:
            hint = nearest(key, list(keys)) or f"there are: {', '.join(keys)}"
            raise NfcError(f"{name}: {where}there is no '{key[:64]}'", hint=hint)
        try:
            made[key] = keys[key](value)
        except ValueError as error:
            raise NfcError(f"{name}: {where}{key} must be {error}, not {value!r:.80}") from None
    return made


def option(text: str, name: str) -> tuple[str, int]:
    """An address and port from the command line. Raises UsageError."""
    try:
        return endpoint(text)
    except ValueError as error:
        raise UsageError(f"{name} must be {error}, not '{text}'") from None
