"""Map types, and what a machine has for each."""

from __future__ import annotations

from nfc.bpf.maptypes import MAP_TYPES
from nfc.bpf.object import MapDef
from nfc.errors import ObjectError
from nfc.vm.buffers import BloomMap, CgroupMap, PerfMap, ProgArrayMap, QueueMap, RingMap
from nfc.vm.maps import ArrayMap, HashMap, TrieMap, VmMap
from nfc.vm.nested import OuterMap

_KINDS: dict[str, type[VmMap]] = {
    "hash": HashMap,
    "array": ArrayMap,
    "prog_array": ProgArrayMap,
    "perf_event_array": PerfMap,
    "percpu_hash": HashMap,
    "cgroup_array": CgroupMap,
    "percpu_array": ArrayMap,
    "lru_hash": HashMap,
    "lru_percpu_hash": HashMap,
    "lpm_trie": TrieMap,
    "queue": QueueMap,
    "stack": QueueMap,
    "ringbuf": RingMap,
    "bloom_filter": BloomMap,
    "array_of_maps": OuterMap,
    "hash_of_maps": OuterMap,
}


def make_map(definition: MapDef, number: int, region: int, cpus: int) -> VmMap:
    """A new map. Raises ObjectError for a type that is not modelled, or sizes that are wrong."""
    name = MAP_TYPES[definition.type].name if definition.type in MAP_TYPES else "unknown"
    if name not in _KINDS:
        raise ObjectError(
            f"the simulator has no maps of type {definition.type} ({name})",
            where=f"map {definition.name}",
        )
    return _KINDS[name](definition, number, region, cpus)
