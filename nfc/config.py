"""Configuration files: TOML, read with care, and what the values in it must be.

`read` and `parse` give a file's tables, `table` checks one of them against a `Check` for each key:
that gives the value, or raises ValueError with what is meant, to be put behind "must be".
`nfc.schema` makes a JSON Schema of the same checks.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from nfc.errors import NfcError
from nfc.syntax.diagnostics import nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Check(Generic[T]):
    """What a value must be. Called with one it gives what that means, or raises ValueError with
    what is meant; `schema` is a JSON Schema that all such values fit (and some that are none)."""

    check: Callable[[object], T]
    schema: Mapping[str, Any]

    def __call__(self, value: object) -> T:
        """Check a value."""
        return self.check(value)


def fits(**schema: Any) -> Callable[[Callable[[object], T]], Check[T]]:
    """Make a function a Check, with that JSON Schema."""
    return lambda check: Check(check, schema)


_MOST_BYTES: Final = 1 << 20
_BITS: Final = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_TIMES: Final = {"us": 10**3, "ms": 10**6, "s": 10**9}
_SIZES: Final = {"b": 1, "kb": 1000, "mb": 10**6}
_DIGITS: Final = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*"
_NUMBER: Final = re.compile(_DIGITS + "([A-Za-z%]*)")
_NAME: Final = "[A-Za-z0-9_][A-Za-z0-9_-]{0,31}"
# IFNAMSIZ is 16 with the ending zero; a slash or a space would be refused (net/core/dev.c).
_INTERFACE: Final = "[A-Za-z0-9_.-]{1,15}"
_ADDRESS: Final = "[0-9A-Fa-f:.]+"


def _unit(value: object, units: Mapping[str, float], meant: str) -> float:
    match = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2].lower() not in units:
        raise ValueError(meant)
    return float(match[1]) * units[match[2].lower()]


def _of(pattern: str, meant: str) -> dict[str, Any]:
    """The schema of texts that match a pattern from end to end."""
    return {"type": "string", "pattern": f"^(?:{pattern})$", "description": meant}


def _in(units: Mapping[str, float], meant: str) -> dict[str, Any]:
    """The schema of numbers with a unit, in large or small letters."""
    either = ["".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in one) for one in units]
    return _of(rf"\s*{_DIGITS}(?:{'|'.join(either)})\s*", meant)


_MEANT_RATE: Final = f'a rate above 0, such as "50mbit" ({", ".join(_BITS)})'
_MEANT_TIME: Final = f'a time of up to an hour, such as "15ms" ({", ".join(_TIMES)})'
_MEANT_SIZE: Final = 'a size, such as "64kB" (B, kB, MB)'
_MEANT_SHARE: Final = 'a share, such as "0.5%", up to "100%"'
_MEANT_NAME: Final = "a name of up to 32 letters, digits, _ and -"
_MEANT_INTERFACE: Final = "an interface's name of up to 15 characters"
_MEANT_ADDRESS: Final = 'an IPv6 address, such as "fd00:1::1"'
_MEANT_ON_LINK: Final = 'an IPv6 address with a prefix length, such as "fd00:1::1/64"'
_MEANT_PREFIX: Final = 'an IPv6 prefix, such as "fd00:b::/48", or "default"'
_MEANT_FILE: Final = 'the name of a file, such as "/var/lib/nfc/state.json"'


@fits(**_in(_BITS, _MEANT_RATE))
def rate(value: object) -> int:
    """Bits a second: "50mbit"."""
    found = round(_unit(value, _BITS, _MEANT_RATE))
    if found < 1:
        raise ValueError(_MEANT_RATE)
    return found


@fits(**_in(_TIMES, _MEANT_TIME))
def duration(value: object) -> int:
    """Nanoseconds: "15ms", up to an hour."""
    found = round(_unit(value, _TIMES, _MEANT_TIME))
    if found > 3600 * 10**9:
        raise ValueError(_MEANT_TIME)
    return found


def time_within(low: int, high: int) -> Check[int]:
    """A time from `low` to `high` nanoseconds."""
    meant = f'a time from "{low / 10**6:g}ms" to "{high / 10**6:g}ms"'

    def check(value: object) -> int:
        found = duration(value)
        if not low <= found <= high:
            raise ValueError(meant)
        return found

    return Check(check, _in(_TIMES, meant))


@fits(**_in(_SIZES, _MEANT_SIZE))
def size(value: object) -> int:
    """Bytes: "64kB" (of 1000 bytes)."""
    return round(_unit(value, _SIZES, _MEANT_SIZE))


@fits(**_in({"%": 0.01}, _MEANT_SHARE))
def share(value: object) -> float:
    """A share of 1: "0.5%"."""
    found = _unit(value, {"%": 0.01}, _MEANT_SHARE)
    if found > 1:
        raise ValueError(_MEANT_SHARE)
    return found


def number(low: float, high: float, *, whole: bool = False) -> Check[Any]:
    """A number in a range."""

    def check(value: object) -> Any:
        kinds = (int,) if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            raise ValueError(f"a {'whole ' if whole else ''}number from {low:g} to {high:g}")
        return value

    kind = "integer" if whole else "number"
    return Check(check, {"type": kind, "minimum": low, "maximum": high})


@fits(type="boolean")
def boolean(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def text_of(most: int, meant: str = "a text") -> Check[str]:
    """A text that is not empty, of that many characters at most."""

    def check(value: object) -> str:
        if not isinstance(value, str) or not value.strip() or "\0" in value or len(value) > most:
            raise ValueError(meant)
        return value

    return Check(check, {"type": "string", "minLength": 1, "maxLength": most})


text: Final = text_of(4096)


@fits(**_of(_NAME, _MEANT_NAME))
def name(value: object) -> str:
    """The name of a node, or of a lab."""
    if not isinstance(value, str) or not re.fullmatch(_NAME, value):
        raise ValueError(_MEANT_NAME)
    return value


@fits(**_of(_INTERFACE, _MEANT_INTERFACE))
def interface(value: object) -> str:
    """The name of an interface."""
    if not isinstance(value, str) or not re.fullmatch(_INTERFACE, value) or value in (".", ".."):
        raise ValueError(_MEANT_INTERFACE)
    return value


def _ip(value: object, pattern: str, meant: str, kind: Callable[[str], T]) -> T:
    """What ipaddress makes of a text that looks right: no zones ("fe80::1%eth0")."""
    try:
        if isinstance(value, str) and re.fullmatch(pattern, value):
            return kind(value)
    except ValueError:
        pass
    raise ValueError(meant)


@fits(**_of(_ADDRESS, _MEANT_ADDRESS))
def address(value: object) -> str:
    """An IPv6 address."""
    return str(_ip(value, _ADDRESS, _MEANT_ADDRESS, IPv6Address))


_ON_LINK: Final = f"{_ADDRESS}/[0-9]+"


@fits(**_of(_ON_LINK, _MEANT_ON_LINK))
def interface_address(value: object) -> IPv6Interface:
    """An address with its prefix length."""
    return _ip(value, _ON_LINK, _MEANT_ON_LINK, IPv6Interface)


_PREFIX: Final = f"{_ADDRESS}(?:/[0-9]+)?"


@fits(**_of(f"default|{_PREFIX}", _MEANT_PREFIX))
def prefix(value: object) -> str:
    """A prefix, an address, or "default"."""
    if value == "default":
        return "::/0"
    return str(_ip(value, _PREFIX, _MEANT_PREFIX, IPv6Network))


def list_of(check: Check[T], least: int = 0, most: int = 1000) -> Check[tuple[T, ...]]:
    """A list of values that are all such."""

    def checked(value: object) -> tuple[T, ...]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise ValueError(f"a list of {least} to {most}" if least else "a list")
        return tuple(check(one) for one in value)

    schema = {"type": "array", "items": check.schema, "minItems": least, "maxItems": most}
    return Check(checked, schema)


def one_of(*words: str) -> Check[str]:
    """One of these words."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError("one of " + ", ".join(words))
        return value

    return Check(check, {"enum": list(words)})


@fits(type="object", additionalProperties={"type": ["string", "number", "boolean"]})
def scalars(value: object) -> dict[str, str]:
    """A table of texts, numbers and true or false; as texts."""
    if not isinstance(value, dict) or not all(
        isinstance(one, str | int | float) for one in value.values()
    ):
        raise ValueError("a table of texts and numbers")
    return {
        key: str(one).lower() if isinstance(one, bool) else str(one) for key, one in value.items()
    }


@fits(type="string", minLength=1, maxLength=4096, description=_MEANT_FILE)
def file(value: object) -> Path:
    """The name of a file."""
    if not isinstance(value, str) or not value or "\0" in value or len(value) > 4096:
        raise ValueError(_MEANT_FILE)
    return Path(value)


anything: Final = Check[object](lambda value: value, {})  # looked at elsewhere


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
    except (ValueError, RecursionError) as error:  # the first: a number of too many digits, too
        raise NfcError(f"{name}: {error}") from None


class Wrong(NfcError):
    """A file says something that cannot be; the message has the file and the key."""


def table(
    found: object, keys: Mapping[str, Check[Any]], where: str, needed: tuple[str, ...] = ()
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
