"""The helpers that programs at the four hooks may call: numbers, names, first versions.

Numbers: uapi/linux/bpf.h (___BPF_FUNC_MAPPER). Who may call what: the functions named in the
table. First versions: the commits that added a helper or opened it to these program types, as
listed in the eBPF docs (docs.ebpf.io, data/feature-versions.yaml, data/helpers-functions.yaml).
The column of hooks is measured: tests/bpf/test_facts.py asks the running kernel for each number.
"""

from __future__ import annotations

from dataclasses import dataclass

from nfc.bpf.version import KernelVersion

ENDPOINT = ("endpoint",)
XMIT = ("xmit",)
IN_AND_XMIT = ("in", "xmit")
ALL = ("endpoint", "in", "out", "xmit")

# A hook's own age: net/core/lwt_bpf.c (3a0af8fd61f9) and End.BPF (004d4b274e2a).
HOOK_SINCE = {
    "endpoint": KernelVersion(4, 18),
    "in": KernelVersion(4, 10),
    "out": KernelVersion(4, 10),
    "xmit": KernelVersion(4, 10),
}


@dataclass(frozen=True, slots=True)
class Helper:
    """A helper and the hooks that allow it; `since` is when the first of them did."""

    number: int
    name: str
    since: KernelVersion
    hooks: tuple[str, ...]

    def since_at(self, hook: str) -> KernelVersion | None:
        """The first version in which programs at `hook` may call it; None: they never may."""
        if hook not in self.hooks:
            return None
        return max(self.since, HOOK_SINCE[hook], _LATER.get((self.number, hook), self.since))

    def withdrawn_at(self, hook: str, version: KernelVersion) -> KernelVersion | None:
        """The update of this kernel's series that took the helper from programs at `hook`, if
        `version` has it, or names the series alone: then it may be any update of it."""
        for update in _WITHDRAWN.get((self.number, hook), ()):
            same = (update.major, update.minor) == (version.major, version.minor)
            if same and (update <= version or not version.patch):
                return update
        return None


# bpf_lwt_push_encap came to xmit with IP encapsulation (3e0bd37ce0e4).
_LATER = {(73, "xmit"): KernelVersion(5, 1)}

# "bpf: Disallow bpf_skb_pull_data() for LWT_SEG6LOCAL" in a stable series (measured: 6.12.107 has
# it, 6.12.117 not, 6.18.44 has it).
_WITHDRAWN = {(39, "endpoint"): (KernelVersion(6, 12, 112),)}

_TABLE: tuple[tuple[int, str, str, tuple[str, ...]], ...] = (
    # bpf_base_func_proto, kernel/bpf/helpers.c
    (1, "bpf_map_lookup_elem", "3.19", ALL),
    (2, "bpf_map_update_elem", "3.19", ALL),
    (3, "bpf_map_delete_elem", "3.19", ALL),
    (5, "bpf_ktime_get_ns", "4.1", ALL),
    (6, "bpf_trace_printk", "4.1", ALL),
    (7, "bpf_get_prandom_u32", "4.1", ALL),
    (8, "bpf_get_smp_processor_id", "4.1", ALL),
    (12, "bpf_tail_call", "4.2", ALL),
    (14, "bpf_get_current_pid_tgid", "6.10", ALL),
    (35, "bpf_get_current_task", "5.8", ALL),
    (42, "bpf_get_numa_node_id", "4.10", ALL),
    (80, "bpf_get_current_cgroup_id", "6.4", ALL),
    (87, "bpf_map_push_elem", "4.20", ALL),
    (88, "bpf_map_pop_elem", "4.20", ALL),
    (89, "bpf_map_peek_elem", "4.20", ALL),
    (93, "bpf_spin_lock", "5.1", ALL),
    (94, "bpf_spin_unlock", "5.1", ALL),
    (105, "bpf_strtol", "6.0", ALL),
    (106, "bpf_strtoul", "6.0", ALL),
    (112, "bpf_probe_read_user", "5.8", ALL),
    (113, "bpf_probe_read_kernel", "5.8", ALL),
    (114, "bpf_probe_read_user_str", "5.8", ALL),
    (115, "bpf_probe_read_kernel_str", "5.8", ALL),
    (118, "bpf_jiffies64", "5.6", ALL),
    (120, "bpf_get_ns_current_pid_tgid", "6.10", ALL),
    (123, "bpf_get_current_ancestor_cgroup_id", "6.4", ALL),
    (125, "bpf_ktime_get_boot_ns", "5.8", ALL),
    (130, "bpf_ringbuf_output", "5.8", ALL),
    (131, "bpf_ringbuf_reserve", "5.8", ALL),
    (132, "bpf_ringbuf_submit", "5.8", ALL),
    (133, "bpf_ringbuf_discard", "5.8", ALL),
    (134, "bpf_ringbuf_query", "5.8", ALL),
    (149, "bpf_snprintf_btf", "5.10", ALL),
    (153, "bpf_per_cpu_ptr", "5.10", ALL),
    (154, "bpf_this_cpu_ptr", "5.10", ALL),
    (158, "bpf_get_current_task_btf", "6.1", ALL),  # there on 6.1, not on 5.10
    (164, "bpf_for_each_map_elem", "5.13", ALL),
    (165, "bpf_snprintf", "5.13", ALL),
    (169, "bpf_timer_init", "5.15", ALL),
    (170, "bpf_timer_set_callback", "5.15", ALL),
    (171, "bpf_timer_start", "5.15", ALL),
    (172, "bpf_timer_cancel", "5.15", ALL),
    (175, "bpf_task_pt_regs", "5.15", ALL),
    (177, "bpf_trace_vprintk", "5.16", ALL),
    (181, "bpf_loop", "5.17", ALL),
    (182, "bpf_strncmp", "5.17", ALL),
    (194, "bpf_kptr_xchg", "5.19", ALL),
    (195, "bpf_map_lookup_percpu_elem", "5.19", ALL),
    (197, "bpf_dynptr_from_mem", "5.19", ALL),
    (198, "bpf_ringbuf_reserve_dynptr", "5.19", ALL),
    (199, "bpf_ringbuf_submit_dynptr", "5.19", ALL),
    (200, "bpf_ringbuf_discard_dynptr", "5.19", ALL),
    (201, "bpf_dynptr_read", "5.19", ALL),
    (202, "bpf_dynptr_write", "5.19", ALL),
    (203, "bpf_dynptr_data", "5.19", ALL),
    (208, "bpf_ktime_get_tai_ns", "6.1", ALL),
    (209, "bpf_user_ringbuf_drain", "6.1", ALL),
    (210, "bpf_cgrp_storage_get", "6.2", ALL),
    (211, "bpf_cgrp_storage_delete", "6.2", ALL),
    # bpf_sk_base_func_proto, net/core/filter.c
    (136, "bpf_skc_to_tcp6_sock", "5.10", ALL),
    (137, "bpf_skc_to_tcp_sock", "5.10", ALL),
    (138, "bpf_skc_to_tcp_timewait_sock", "5.10", ALL),
    (139, "bpf_skc_to_tcp_request_sock", "5.10", ALL),
    (140, "bpf_skc_to_udp6_sock", "5.10", ALL),
    (160, "bpf_ktime_get_coarse_ns", "5.11", ALL),
    (178, "bpf_skc_to_unix_sock", "5.16", ALL),
    (196, "bpf_skc_to_mptcp_sock", "5.19", ALL),
    # lwt_out_func_proto, net/core/filter.c; the others start from it
    (17, "bpf_get_cgroup_classid", "4.3", ALL),
    (24, "bpf_get_route_realm", "4.4", ALL),
    (25, "bpf_perf_event_output", "4.4", ALL),
    (26, "bpf_skb_load_bytes", "4.5", ALL),
    (28, "bpf_csum_diff", "4.6", ALL),
    (33, "bpf_skb_under_cgroup", "4.8", ALL),
    (34, "bpf_get_hash_recalc", "4.8", ALL),
    (39, "bpf_skb_pull_data", "4.9", ALL),
    # Opened to all program types late; 6.18 has them, and nobody here has looked earlier
    (15, "bpf_get_current_uid_gid", "6.18", ALL),
    (16, "bpf_get_current_comm", "6.18", ALL),
    (22, "bpf_perf_event_read", "6.18", ALL),
    (37, "bpf_current_task_under_cgroup", "6.18", ALL),
    (55, "bpf_perf_event_read_value", "6.18", ALL),
    (109, "bpf_send_signal", "6.18", ALL),
    (117, "bpf_send_signal_thread", "6.18", ALL),
    (141, "bpf_get_task_stack", "6.18", ALL),
    (148, "bpf_copy_from_user", "6.18", ALL),
    (156, "bpf_task_storage_get", "6.18", ALL),
    (157, "bpf_task_storage_delete", "6.18", ALL),
    (176, "bpf_get_branch_snapshot", "6.18", ALL),
    (180, "bpf_find_vma", "6.18", ALL),
    (191, "bpf_copy_from_user_task", "6.18", ALL),
    # lwt_xmit_func_proto
    (9, "bpf_skb_store_bytes", "4.1", XMIT),
    (10, "bpf_l3_csum_replace", "4.1", XMIT),
    (11, "bpf_l4_csum_replace", "4.1", XMIT),
    (13, "bpf_clone_redirect", "4.2", XMIT),
    (20, "bpf_skb_get_tunnel_key", "4.3", XMIT),
    (21, "bpf_skb_set_tunnel_key", "4.3", XMIT),
    (23, "bpf_redirect", "4.4", XMIT),
    (29, "bpf_skb_get_tunnel_opt", "4.6", XMIT),
    (30, "bpf_skb_set_tunnel_opt", "4.6", XMIT),
    (38, "bpf_skb_change_tail", "4.9", XMIT),
    (40, "bpf_csum_update", "4.9", XMIT),
    (41, "bpf_set_hash_invalid", "4.9", XMIT),
    (43, "bpf_skb_change_head", "4.10", XMIT),
    (135, "bpf_csum_level", "5.8", XMIT),
    # lwt_seg6local_func_proto
    (74, "bpf_lwt_seg6_store_bytes", "4.18", ENDPOINT),
    (75, "bpf_lwt_seg6_adjust_srh", "4.18", ENDPOINT),
    (76, "bpf_lwt_seg6_action", "4.18", ENDPOINT),
    # lwt_in_func_proto; bpf_lwt_push_encap at xmit: see below
    (73, "bpf_lwt_push_encap", "4.18", IN_AND_XMIT),
)

HELPERS = {
    number: Helper(number, name, KernelVersion.parse(since), hooks)
    for number, name, since, hooks in sorted(_TABLE)
}
BY_NAME = {helper.name: helper for helper in HELPERS.values()}
