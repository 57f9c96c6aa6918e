"""Configuration files: TOML, read with care, and what the values in it must be.

`read` and `parse` give a file's tables, `table` checks one of them against a function for each
key: that gives the value, or raises ValueError with what is meant, to be put behind "must be".
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Any, Final

from nfc.errors import NfcError
from nfc.syntax.diagnostics import nearest

Check = Callable[[object], Any]

_MOST_BYTES: Final = 1 << 20
_BITS: Final = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_TIMES: Final = {"us": 10**3, "ms": 10**6, "s": 10**9}
_SIZES: Final = {"b": 1, "kb": 1000, "mb": 10**6}
_NUMBER: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([A-Za-z%]*)")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,31}")
# IFNAMSIZ is 16 with the ending zero; a slash or a space would be refused (net/core/dev.c).
_INTERFACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,15}")


def _unit(value: object, units: Mapping[str, float], meant: str) -> float:
    match = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2].lower() not in units:
        raise ValueError(meant)
    return float(match[1]) * units[match[2].lower()]


def rate(value: object) -> int:
    """Bits a second: "50mbit"."""
    meant = f'a rate above 0, such as "50mbit" ({", ".join(_BITS)})'
    found = round(_unit(value, _BITS, meant))
    if found < 1:
        raise ValueError(meant)
    return found


def duration(value: object) -> int:
    """Nanoseconds: "15ms", up to an hour."""
    meant = f'a time of up to an hour, such as "15ms" ({", ".join(_TIMES)})'
    found = round(_unit(value, _TIMES, meant))
    if found > 3600 * 10**9:
        raise ValueError(meant)
    return found


def size(value: object) -> int:
    """Bytes: "64kB" (of 1000 bytes)."""
    return round(_unit(value, _SIZES, 'a size, such as "64kB" (B, kB, MB)'))


def share(value: object) -> float:
    """A share of 1: "0.5%"."""
    meant = 'a share, such as "0.5%", up to "100%"'
    found = _unit(value, {"%": 0.01}, meant)
    if found > 1:
        raise ValueError(meant)
    return found


def number(low: float, high: float, *, whole: bool = False) -> Check:
    """A number in a range."""

    def check(value: object) -> Any:
        kinds = (int,) if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            raise ValueError(f"a {'whole ' if whole else ''}number from {low:g} to {high:g}")
        return value

    return check


def boolean(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def text(value: object) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip() or "\0" in value or len(value) > 4096:
        raise ValueError("a text")
    return value


def name(value: object) -> str:
    """The name of a node, or of a lab."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("a name of up to 32 letters, digits, _ and -")
    return value


def interface(value: object) -> str:
    """The name of an interface."""
    if not isinstance(value, str) or not _INTERFACE.fullmatch(value) or value in (".", ".."):
        raise ValueError("an interface's name of up to 15 characters")
    return value


def address(value: object) -> str:
    """An IPv6 address."""
    try:
        if isinstance(value, str):
            return str(IPv6Address(value))
    except ValueError:
        pass
    raise ValueError('an IPv6 address, such as "fd00:1::1"')


def interface_address(value: object) -> IPv6Interface:
    """An address with its prefix length."""
    try:
        if isinstance(value, str) and "/" in value:
            return IPv6Interface(value)
    except ValueError:
        pass
    raise ValueError('an IPv6 address with a prefix length, such as "fd00:1::1/64"')


def prefix(value: object) -> str:
    """A prefix, an address, or "default"."""
    try:
        if value == "default":
            return "::/0"
        if isinstance(value, str):
            return str(IPv6Network(value))
    except ValueError:
        pass
    raise ValueError('an IPv6 prefix, such as "fd00:b::/48", or "default"')


def list_of(check: Check, least: int = 0, most: int = 1000) -> Check:
    """A list of values that are all such."""

    def checked(value: object) -> Any:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise ValueError(f"a list of {least} to {most}" if least else "a list")
        return tuple(check(one) for one in value)

    return checked


def one_of(*words: str) -> Check:
    """One of these words."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError("one of " + ", ".join(words))
        return value

    return check


def scalars(value: object) -> dict[str, str]:
    """A table of texts, numbers and true or false; as texts."""
    if not isinstance(value, dict) or not all(
        isinstance(one, str | int | float) for one in value.values()
    ):
        raise ValueError("a table of texts and numbers")
    return {
        key: str(one).lower() if isinstance(one, bool) else str(one) for key, one in value.items()
    }


def file(value: object) -> Path:
    """The name of a file."""
    if not isinstance(value, str) or not value or "\0" in value or len(value) > 4096:
        raise ValueError('the name of a file, such as "/var/lib/nfc/state.json"')
    return Path(value)


def read(path: Path) -> str:
    """The text of a configuration file. Raises NfcError, which names it."""
    try:
        with path.open("rb") as source:
            data = source.read(_MOST_BYTES + 1)
    except OSError as error:
        raise NfcError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise NfcError(f"{path} is larger than {_MOST_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise NfcError(f"{path} is not text in UTF-8") from None


def parse(text: str, name: str) -> dict[str, Any]:
    """What a text in TOML says. Raises NfcError with the line."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise NfcError(f"{name}: {error}") from None


class Wrong(NfcError):
    """A file says something that cannot be; the message has the file and the key."""


def table(
    found: object, keys: Mapping[str, Check], where: str, needed: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The checked values of a table; `where` is its place, as "lab.toml: link[2]". Raises Wrong
    for an unknown, missing or wrong one."""
    if not isinstance(found, dict):
        raise Wrong(f"{where} must be a table, not {found!r:.80}")
    made = {}
    for key, value in found.items():
        if key not in keys:
            hint = nearest(key, keys) or f"there are: {', '.join(keys)}"
            raise Wrong(f"{_at(where, key[:64])}: there is no such key", hint=hint)
        try:
            made[key] = keys[key](value)
        except ValueError as error:
            raise Wrong(f"{_at(where, key)} must be {error}, not {value!r:.80}") from None
    for key in needed:
        if key not in made:
            raise Wrong(f"{_at(where, key)} is missing")
    return made


def _at(where: str, key: str) -> str:
    return f"{where}{'.' if not where.endswith(':') else ' '}{key}"
