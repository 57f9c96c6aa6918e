"""Routing tables by name, as iproute2 knows them."""

from __future__ import annotations

from pathlib import Path

from nfc.errors import UsageError

MAIN = 254  # RT_TABLE_MAIN, include/uapi/linux/rtnetlink.h

_BUILT_IN = {"default": 253, "main": MAIN, "local": 255}
# iproute2 before and after 6.5; what the administrator wrote wins.
_PLACES = (Path("/usr/share/iproute2"), Path("/usr/lib/iproute2"), Path("/etc/iproute2"))


def table_names() -> dict[str, int]:
    """All names with their ids. Lines that do not parse are left out, as `ip` does."""
    names = dict(_BUILT_IN)
    for place in _PLACES:
        for file in (place / "rt_tables", *sorted(place.glob("rt_tables.d/*.conf"))):
            try:
                content = file.read_text(errors="replace")
            except OSError:
                continue
            names.update(parse_tables(content))
    return names


def parse_tables(content: str) -> dict[str, int]:
    """The names in the text of an rt_tables file: `id name` a line, `#` begins a comment."""
    names = {}
    for line in content.splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) == 2 and (number := _number(words[0])) is not None:
            names[words[1]] = number
    return names


def table_id(table: int | str) -> int:
    """The id of a table given by name, number, or number in text. Raises UsageError."""
    number = table if isinstance(table, int) else _number(table)
    if number is None:
        number = table_names().get(str(table))
    if number is None:
        known = ", ".join(sorted(table_names()))
        raise UsageError(
            f"no routing table {table!r}; the names are: {known}",
            hint="names come from /etc/iproute2/rt_tables; any number works without",
        )
    if not 0 < number < 1 << 32:
        raise UsageError(f"routing table {number} is not between 1 and {(1 << 32) - 1}")
    return number


def _number(word: str) -> int | None:
    try:
        return int(word, 0)
    except ValueError:
        return None
