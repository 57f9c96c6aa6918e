"""Helpers that no program at the four hooks may call: their names, for messages.

Numbers: uapi/linux/bpf.h (___BPF_FUNC_MAPPER), up to Linux 6.1, after which new helpers are kernel
functions instead. `nfc.bpf.helpers` has those of the hooks.
"""

from __future__ import annotations

from nfc.bpf.helpers import HELPERS

_RUNS = {  # the number of the first of each line, and how those from there on are called
    4: "probe_read",
    18: "skb_vlan_push skb_vlan_pop",
    27: "get_stackid",
    31: "skb_change_proto skb_change_type",
    36: "probe_write_user",
    44: (
        "xdp_adjust_head probe_read_str get_socket_cookie get_socket_uid set_hash setsockopt "
        "skb_adjust_room redirect_map sk_redirect_map sock_map_update xdp_adjust_meta"
    ),
    56: (
        "perf_prog_read_value getsockopt override_return sock_ops_cb_flags_set "
        "msg_redirect_map msg_apply_bytes msg_cork_bytes msg_pull_data bind xdp_adjust_tail "
        "skb_get_xfrm_state get_stack skb_load_bytes_relative fib_lookup sock_hash_update "
        "msg_redirect_hash sk_redirect_hash"
    ),
    77: "rc_repeat rc_keydown skb_cgroup_id",
    81: (
        "get_local_storage sk_select_reuseport skb_ancestor_cgroup_id sk_lookup_tcp "
        "sk_lookup_udp sk_release"
    ),
    90: "msg_push_data msg_pop_data rc_pointer_rel",
    95: (
        "sk_fullsock tcp_sock skb_ecn_set_ce get_listener_sock skc_lookup_tcp "
        "tcp_check_syncookie sysctl_get_name sysctl_get_current_value sysctl_get_new_value "
        "sysctl_set_new_value"
    ),
    107: "sk_storage_get sk_storage_delete",
    110: "tcp_gen_syncookie skb_output",
    116: "tcp_send_ack",
    119: "read_branch_records",
    121: "xdp_output get_netns_cookie",
    124: "sk_assign",
    126: "seq_printf seq_write sk_cgroup_id sk_ancestor_cgroup_id",
    142: "load_hdr_opt store_hdr_opt reserve_hdr_opt inode_storage_get inode_storage_delete d_path",
    150: "seq_printf_btf skb_cgroup_classid redirect_neigh",
    155: "redirect_peer",
    159: "bprm_opts_set",
    161: "ima_inode_hash sock_from_file check_mtu",
    166: "sys_bpf btf_find_by_name_kind sys_close",
    173: "get_func_ip get_attach_cookie",
    179: "kallsyms_lookup_name",
    183: (
        "get_func_arg get_func_ret get_func_arg_cnt get_retval set_retval xdp_get_buff_len "
        "xdp_load_bytes xdp_store_bytes"
    ),
    192: "skb_set_tstamp ima_file_hash",
    204: (
        "tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6 tcp_raw_check_syncookie_ipv4 "
        "tcp_raw_check_syncookie_ipv6"
    ),
}
_OTHERS = {
    first + place: f"bpf_{name}"
    for first, names in _RUNS.items()
    for place, name in enumerate(names.split())
}


def helper_name(number: int) -> str:
    """A helper's name, whoever may call it; `helper 9999` for a number that no kernel has had."""
    known = HELPERS.get(number)
    return known.name if known else _OTHERS.get(number, f"helper {number}")
