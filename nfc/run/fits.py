"""Whether a manifest is that of an object: what is looked up by what it says has to be there."""

from __future__ import annotations

from nfc.bpf.object import MapDef, Object
from nfc.errors import ObjectError
from nfc.kernel.maps import PERCPU_ARRAY, RINGBUF
from nfc.manifest import (
    EVENTS_MAP,
    PARAMS_ACTIVE_SIZE,
    PARAMS_SECTION,
    TABLE_TYPES,
    Manifest,
    misfit,
)

COUNTER = 8  # bytes


def check(manifest: Manifest, obj: Object) -> None:
    """Raises ObjectError, which names what does not fit, for a manifest of another object."""
    problem = misfit(manifest) or _difference(manifest, obj)
    if problem:
        raise ObjectError(problem, where=f"manifest of {manifest.function}")


def _difference(manifest: Manifest, obj: Object) -> str:
    maps = {definition.name: definition for definition in obj.maps}
    data = {section.name: len(section.content) for section in obj.data}
    stats, counted = maps.get(manifest.stats_map), COUNTER * len(manifest.counters)
    if stats is None or stats.type != PERCPU_ARRAY or stats.value_size < counted:
        return f"the object has no counters: {counted} bytes for each CPU, {manifest.stats_map}"
    for table in manifest.tables:
        kind = TABLE_TYPES.get((table.kind, table.per_cpu))
        if kind is None:
            return f"{table.name} is a table of no kind"
        wanted = MapDef(table.map, kind, table.key_size, table.value_size, table.entries)
        if problem := _other(maps, wanted):
            return problem
    whole = PARAMS_ACTIVE_SIZE + 2 * manifest.params_size
    if manifest.params and data.get(PARAMS_SECTION) != whole:
        return f"the object has no {PARAMS_SECTION} of {whole} bytes"
    if manifest.events and (EVENTS_MAP not in maps or maps[EVENTS_MAP].type != RINGBUF):
        return f"the object has no ring buffer '{EVENTS_MAP}'"
    return ""


def _other(maps: dict[str, MapDef], wanted: MapDef) -> str:
    """Where the map of that name is not as it is wanted: how it is, and how it ought to be."""
    found = maps.get(wanted.name)
    if found is None:
        return f"the object has no map '{wanted.name}'"
    names = ("type", "key_size", "value_size", "max_entries")
    for name in names:
        there, here = getattr(found, name), getattr(wanted, name)
        if there != here:
            return f"map {wanted.name} has {name} {there}, not {here}"
    return ""
