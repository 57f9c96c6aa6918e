"""The configuration file of `nfc bond run`: TOML, every key of which is in a table here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nfc import config, schema
from nfc.config import Check, Wrong

_MAX_LINKS: Final = 16
MS: Final = 10**6


@dataclass(frozen=True)
class LinkConfig:
    """One link: the function's param that weighs it, the far side's SID that packets go to over
    it, the far SID that runs end_dm, our address that answers come to, and its interface."""

    name: str
    param: str
    weight: int
    sid: str
    probe: str
    source: str
    dev: str

    @property
    def way(self) -> tuple[str, ...]:
        """What makes it the same link: where packets and queries go, and over what."""
        return self.sid, self.probe, self.source, self.dev


@dataclass(frozen=True)
class Config:
    """What to do; times in nanoseconds. `state` None: nothing is kept."""

    function: str
    links: tuple[LinkConfig, ...]
    state: Path | None = None
    interval: int = 50 * MS
    window: int = 1000 * MS
    dead_after: int = 500 * MS
    back_after: int = 5
    equalise: bool = True
    least: int = MS // 2
    most: int = 200 * MS


KEYS: Final[dict[str, Check[Any]]] = {
    "function": config.text,
    "state": config.file,
    "interval": config.time_within(5 * MS, 1000 * MS),
    "window": config.time_within(100 * MS, 60_000 * MS),
    "dead_after": config.time_within(50 * MS, 60_000 * MS),
    "back_after": config.number(1, 1000, whole=True),
    "equalise": config.boolean,
    "least": config.time_within(0, 100 * MS),
    "most": config.time_within(0, 10_000 * MS),
}
LINK_KEYS: Final[dict[str, Check[Any]]] = {
    "name": config.name,
    "param": config.text,
    "weight": config.number(1, 65_535, whole=True),
    "sid": config.address,
    "probe": config.address,
    "source": config.address,
    "dev": config.interface,
}
_NEEDED: Final = tuple(key for key in LINK_KEYS if key not in ("param", "weight"))
SCHEMA: Final = schema.document(
    "nfc bond run",
    schema.table(
        KEYS,
        ("function", "link"),
        link=schema.tables(schema.table(LINK_KEYS, _NEEDED), 2, _MAX_LINKS),
    ),
)


def read(file: Path) -> Config:
    """The configuration in a file. Raises NfcError with the file and the key."""
    return parse(config.read(file), str(file))


def parse(text: str, name: str) -> Config:
    """The configuration in a text. Raises NfcError, which names the key."""
    found = config.parse(text, name)
    tables = found.pop("link", [])
    if not isinstance(tables, list) or not 2 <= len(tables) <= _MAX_LINKS:
        raise Wrong(f"{name}: a bond has 2 to {_MAX_LINKS} links, written as [[link]]")
    values = config.table(found, KEYS, f"{name}:", ("function",))
    links: list[LinkConfig] = []
    for number, table in enumerate(tables, start=1):
        where = f"{name}: link[{number}]"
        given: dict[str, Any] = config.table(table, LINK_KEYS, where, _NEEDED)
        link = LinkConfig(**{"param": f"weight_{given['name']}", "weight": 1, **given})
        for other in links:
            for key in ("name", "param", "sid", "probe", "source"):
                if getattr(link, key) == getattr(other, key):
                    raise Wrong(f"{where}.{key}: link '{other.name}' has the same")
        links.append(link)
    made = Config(**values, links=tuple(links))
    if made.dead_after < 2 * made.interval:
        raise Wrong(f"{name}: dead_after must be at least twice the interval")
    return made
