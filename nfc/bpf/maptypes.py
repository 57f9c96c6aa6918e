"""Map types: numbers, names, first versions.

Numbers: uapi/linux/bpf.h, enum bpf_map_type. First versions: the commits that added them, as
listed in the eBPF docs (docs.ebpf.io, data/feature-versions.yaml).
"""

from __future__ import annotations

from dataclasses import dataclass

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
