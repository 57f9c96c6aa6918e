"""Map types: numbers, names, first versions, and the sizes that they may have.

Numbers: uapi/linux/bpf.h, enum bpf_map_type. First versions: the commits that added them, as
listed in the eBPF docs (docs.ebpf.io, data/feature-versions.yaml).
"""

from __future__ import annotations

from dataclasses import dataclass

from nfc.bpf.object import MapDef
from nfc.bpf.version import KernelVersion


@dataclass(frozen=True, slots=True)
class MapType:
    """A map type; `name` as bpftool writes it."""

    number: int
    name: str
    since: KernelVersion


_TABLE = (
    (1, "hash", "3.19"),
    (2, "array", "3.19"),
    (3, "prog_array", "4.2"),
    (4, "perf_event_array", "4.3"),
    (5, "percpu_hash", "4.6"),
    (6, "percpu_array", "4.6"),
    (7, "stack_trace", "4.6"),
    (8, "cgroup_array", "4.8"),
    (9, "lru_hash", "4.10"),
    (10, "lru_percpu_hash", "4.10"),
    (11, "lpm_trie", "4.11"),
    (12, "array_of_maps", "4.12"),
    (13, "hash_of_maps", "4.12"),
    (14, "devmap", "4.14"),
    (15, "sockmap", "4.14"),
    (16, "cpumap", "4.15"),
    (17, "xskmap", "4.18"),
    (18, "sockhash", "4.18"),
    (19, "cgroup_storage", "4.19"),
    (20, "reuseport_sockarray", "4.19"),
    (21, "percpu_cgroup_storage", "4.20"),
    (22, "queue", "4.20"),
    (23, "stack", "4.20"),
    (24, "sk_storage", "5.2"),
    (25, "devmap_hash", "5.4"),
    (26, "struct_ops", "5.6"),
    (27, "ringbuf", "5.8"),
    (28, "inode_storage", "5.10"),
    (29, "task_storage", "5.11"),
    (30, "bloom_filter", "5.16"),
    (31, "user_ringbuf", "6.1"),
    (32, "cgrp_storage", "6.2"),
    (33, "arena", "6.9"),
)

MAP_TYPES = {number: MapType(number, name, KernelVersion.parse(v)) for number, name, v in _TABLE}
BY_NAME = {map_type.name: map_type for map_type in MAP_TYPES.values()}

PAGE = 4096  # bytes; the smallest page of the machines that nfc makes objects for
NO_PREALLOC = 1  # BPF_F_NO_PREALLOC, uapi/linux/bpf.h
MAX_STACK_VALUE = 512  # keys are copied to the stack of the kernel's caller (MAX_BPF_STACK)


def fault(definition: MapDef) -> str:
    """What BPF_MAP_CREATE would refuse in a map's sizes and flags; empty: nothing.

    The alloc_check functions of kernel/bpf/: arraymap.c, hashtab.c, lpm_trie.c, ringbuf.c,
    queue_stack_maps.c, bpf_local_storage.c. A perf_event_array may have 0 entries: loaders put
    the number of CPUs.
    """
    name = MAP_TYPES[definition.type].name if definition.type in MAP_TYPES else ""
    key, value, entries = definition.key_size, definition.value_size, definition.max_entries
    if name in ("array", "percpu_array", "prog_array", "perf_event_array", "cgroup_array"):
        if key != 4:
            return f"its key has {key} bytes, and has to have 4"
        if name in ("prog_array", "perf_event_array", "cgroup_array") and value != 4:
            return f"its value has {value} bytes, and has to have 4"
    if name in ("array_of_maps", "hash_of_maps"):
        if name == "array_of_maps" and key != 4:
            return f"its key has {key} bytes, and has to have 4"
        if value != 4:
            return f"its value has {value} bytes, and has to have 4"
    if name in ("hash", "percpu_hash", "lru_hash", "lru_percpu_hash", "lpm_trie"):
        if not 0 < key <= MAX_STACK_VALUE:
            return f"its key has {key} bytes"
        if definition.flags & NO_PREALLOC and name.startswith("lru"):
            return "it cannot have the flag BPF_F_NO_PREALLOC"
    if name == "lpm_trie":
        if not definition.flags & NO_PREALLOC:
            return "it has to have the flag BPF_F_NO_PREALLOC"
        if not 5 <= key <= 260:
            return f"its key has {key} bytes; 4 for the length of the prefix, and 1 to 256 for it"
    if name in ("queue", "stack", "ringbuf", "user_ringbuf", "bloom_filter") and key:
        return "it has no keys, so their size has to be 0"
    if name in ("ringbuf", "user_ringbuf"):
        if value:
            return "it has no values, so their size has to be 0"
        if entries < PAGE or entries & (entries - 1):
            return f"its size is {entries} bytes; it has to be a power of 2, and whole pages"
    elif value == 0:
        return "its values have 0 bytes"
    if name in ("sk_storage", "inode_storage", "task_storage", "cgrp_storage"):
        if entries:
            return f"it has {entries} entries; what it stores lies with what it is about"
        if key != 4 or not definition.flags & NO_PREALLOC or not definition.key_type_id:
            return "its key has to be an int, described by BTF, with the flag BPF_F_NO_PREALLOC"
        return ""
    if entries == 0 and name != "perf_event_array":
        return "it has 0 entries"
    return ""
