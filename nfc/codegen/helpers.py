"""The kernel helpers that compiled functions call, with their prototypes and numbers.

Numbers: uapi/linux/bpf.h (__BPF_FUNC_MAPPER); prototypes: net/core/filter.c and
kernel/bpf/helpers.c.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Helper:
    """A helper: arguments are "ptr" or "i32"/"i64"; `result` is "ptr" or "i64"."""

    name: str
    number: int
    arguments: tuple[str, ...]
    result: str = "i64"


MAP_LOOKUP = Helper("bpf_map_lookup_elem", 1, ("ptr", "ptr"), "ptr")
MAP_UPDATE = Helper("bpf_map_update_elem", 2, ("ptr", "ptr", "ptr", "i64"))
MAP_DELETE = Helper("bpf_map_delete_elem", 3, ("ptr", "ptr"))
PRANDOM = Helper("bpf_get_prandom_u32", 7, ())
STORE_BYTES = Helper("bpf_skb_store_bytes", 9, ("ptr", "i64", "ptr", "i64", "i64"))
REDIRECT = Helper("bpf_redirect", 23, ("i64", "i64"))
CHANGE_HEAD = Helper("bpf_skb_change_head", 43, ("ptr", "i64", "i64"))
LOAD_BYTES = Helper("bpf_skb_load_bytes", 26, ("ptr", "i64", "ptr", "i64"))
CPU_ID = Helper("bpf_get_smp_processor_id", 8, ())
HASH = Helper("bpf_get_hash_recalc", 34, ("ptr",))
PULL_DATA = Helper("bpf_skb_pull_data", 39, ("ptr", "i64"))
PUSH_ENCAP = Helper("bpf_lwt_push_encap", 73, ("ptr", "i64", "ptr", "i64"))
SEG6_STORE = Helper("bpf_lwt_seg6_store_bytes", 74, ("ptr", "i64", "ptr", "i64"))
SEG6_ADJUST = Helper("bpf_lwt_seg6_adjust_srh", 75, ("ptr", "i64", "i64"))
SEG6_ACTION = Helper("bpf_lwt_seg6_action", 76, ("ptr", "i64", "ptr", "i64"))
RINGBUF_OUTPUT = Helper("bpf_ringbuf_output", 130, ("ptr", "ptr", "i64", "i64"))
KTIME_TAI = Helper("bpf_ktime_get_tai_ns", 208, ())
