"""Where a deployed function's program and maps are pinned, and opening them again."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from nfc.deploy.bpffs import root
from nfc.deploy.state import Record, folder_of
from nfc.errors import NfcError
from nfc.manifest import EVENTS_MAP, PARAMS_SECTION, Table

if TYPE_CHECKING:
    from nfc.kernel.maps import Map

PROGRAM, STATS, EVENTS, PARAMS = "program", "stats", "events", "params"


def folder(netns: str, name: str) -> Path:
    """Where all generations of a function are pinned."""
    return root() / "nfc" / plain(folder_of(netns)) / plain(name)


def plain(text: str) -> str:
    """As a name in a BPF file system, which takes no dots (bpf_lookup, kernel/bpf/inode.c)."""
    return "".join(c if c.isalnum() or c in "_-" else f"%{ord(c):x}" for c in text)


def generation(record: Record) -> Path:
    """Where this generation's program and maps are pinned."""
    return folder(record.netns, record.name) / record.generation


def remove_orphans(prefix: str) -> None:
    """Remove the pins of functions in namespaces whose names begin so and that are gone: what
    labs leave whose process was killed."""
    from nfc.kernel import netns

    there = {plain(name) for name in netns.names()}
    pins = root() / "nfc"
    for place in pins.glob(f"netns-{plain(prefix)}*"):
        if place.name.removeprefix("netns-").rpartition(plain("@"))[0] not in there:
            shutil.rmtree(place, ignore_errors=True)
    with contextlib.suppress(OSError):
        pins.rmdir()


def remove_empty(netns: str, name: str) -> None:
    """Remove the folders that held a function's pins, as far as they are empty."""
    place = folder(netns, name)
    for empty in (place, place.parent, place.parent.parent):
        try:
            empty.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return


def pin_names(record: Record) -> dict[str, str]:
    """The object's map names, and the names under which they are pinned."""
    names = {record.manifest.stats_map: STATS}
    if record.manifest.events:
        names[EVENTS_MAP] = EVENTS
    if record.manifest.params:
        names[PARAMS_SECTION] = PARAMS
    return names | {table.map: table_pin(table) for table in record.manifest.tables}


def table_pin(table: Table) -> str:
    """The name under which a table's map is pinned."""
    return f"table_{table.name}"


def params_map(record: Record) -> Map:
    """The function's params. Raises NfcError if it has none."""
    if not record.manifest.params:
        raise NfcError(f"{record.name} has no params")
    return _open(record, PARAMS)


def stats_map(record: Record) -> Map:
    """The function's counters."""
    return _open(record, STATS)


def events_map(record: Record) -> Map:
    """The function's ring buffer. Raises NfcError if it has no events."""
    if not record.manifest.events:
        raise NfcError(f"{record.name} emits no events")
    return _open(record, EVENTS)


def _open(record: Record, what: str) -> Map:
    from nfc.kernel.maps import Map
    from nfc.kernel.pins import open_pinned

    return Map.of(open_pinned(generation(record) / what))
