"""How helpers fail, by number: what Linux 6.18 has given in tests/vm/helpers, where each of these
is provoked in the kernel."""

from __future__ import annotations

import errno

from nfc.bpf.helpers import HELPERS
from nfc.bpf.maptypes import MAP_TYPES
from nfc.bpf.prototypes import PROTOTYPES
from nfc.vm.machine import Machine
from nfc.vm.memory import FaultError

ENOTSUPP = 524  # the kernel's own, include/linux/errno.h
SHOT = 2  # TC_ACT_SHOT, what bpf_redirect gives that was called wrongly
NULL = frozenset({1, 131, 195})  # lookup, reserve, lookup_percpu: a null pointer

# Errnos of each; the first is the one of a failure on demand where nobody says which.
FAILURES: dict[int, tuple[int, ...]] = {
    2: (errno.E2BIG, errno.EINVAL, errno.EEXIST, errno.ENOENT, errno.ENOSPC),  # map_update_elem
    3: (errno.ENOENT, errno.EINVAL),  # map_delete_elem
    6: (errno.EINVAL,),  # trace_printk
    9: (errno.EFAULT, errno.EINVAL),  # skb_store_bytes
    10: (errno.EFAULT, errno.EINVAL),  # l3_csum_replace
    11: (errno.EFAULT, errno.EINVAL),  # l4_csum_replace
    13: (errno.EINVAL, errno.ERANGE, errno.ENETDOWN),  # clone_redirect
    25: (
        errno.ENOENT,
        errno.EINVAL,
        errno.EFAULT,
        errno.E2BIG,
        errno.EOPNOTSUPP,
    ),  # perf_event_output
    26: (errno.EFAULT,),  # skb_load_bytes
    33: (errno.ENOENT,),  # skb_under_cgroup
    38: (errno.EINVAL, ENOTSUPP),  # skb_change_tail
    39: (errno.ENOMEM,),  # skb_pull_data
    40: (ENOTSUPP,),  # csum_update
    43: (errno.EINVAL,),  # skb_change_head
    73: (errno.EINVAL, errno.ENETUNREACH, errno.ENOENT),  # lwt_push_encap
    74: (errno.EFAULT, errno.EINVAL),  # lwt_seg6_store_bytes
    75: (errno.EFAULT, errno.EINVAL),  # lwt_seg6_adjust_srh
    76: (errno.EINVAL, errno.EBADMSG, errno.ENETUNREACH, errno.ENOENT),  # lwt_seg6_action
    87: (errno.E2BIG, errno.EINVAL),  # map_push_elem
    88: (errno.ENOENT,),  # map_pop_elem
    89: (errno.ENOENT,),  # map_peek_elem
    105: (errno.EINVAL, errno.ERANGE),  # strtol
    106: (errno.EINVAL, errno.ERANGE),  # strtoul
    130: (errno.EAGAIN, errno.EINVAL),  # ringbuf_output
    135: (errno.EINVAL, errno.EACCES),  # csum_level
    164: (errno.EINVAL,),  # for_each_map_elem
    165: (errno.EINVAL,),  # snprintf
    177: (errno.EINVAL,),  # trace_vprintk
    181: (errno.E2BIG, errno.EINVAL),  # loop
}
# The same where the map's type says which it is: (helper, type).
BY_MAP = {
    (2, "lpm_trie"): errno.ENOSPC,
    **{(2, name): errno.EEXIST for name in ("lru_hash", "lru_percpu_hash")},  # they are never full
    **{(3, name): errno.EINVAL for name in ("array", "percpu_array")},
}


def can_fail(number: int) -> bool:
    """Whether a helper fails in any way, as far as that is known."""
    return number in FAILURES or number in NULL or number in (12, 23) or number not in PROTOTYPES


def failed(m: Machine, number: int, wanted: int | None, arguments: tuple[int, ...]) -> int:
    """What a helper gives back that fails on demand, and what it leaves in memory.

    `wanted` is an errno; None: the one that the kernel gives. Raises FaultError for what a
    verifier would have refused.
    """
    if number in PROTOTYPES and PROTOTYPES[number].moves:
        m.skb.moved()
    if number in (26, 88, 89, 105, 106):  # these clear what they would have filled in
        m.memory.write(*_target(m, number, arguments))
    if number in NULL or number == 12:  # a tail call that fails goes on behind the call
        return 0
    if number == 23:
        return SHOT
    if wanted is None:
        wanted = _usual(m, number, arguments[0])
    answer = -abs(wanted)
    # bpf_loop, which a kernel puts in the place of the call, gives the lower half only.
    return answer & 0xFFFFFFFF if number == 181 and wanted == errno.E2BIG else answer


def _usual(m: Machine, number: int, first: int) -> int:
    if number in (2, 3):
        name = MAP_TYPES[m.map_at(first).info.type].name
        return BY_MAP.get((number, name), FAILURES[number][0])
    if number not in FAILURES:
        name = HELPERS[number].name
        raise FaultError(f"calls {name}, which is to fail, but does not in any kernel")
    return FAILURES[number][0]


def _target(m: Machine, number: int, arguments: tuple[int, ...]) -> tuple[int, bytes]:
    if number == 26:
        return arguments[2], bytes(arguments[3] & 0xFFFFFFFF)
    if number in (88, 89):
        return arguments[1], bytes(m.map_at(arguments[0]).info.value_size)
    return arguments[3], bytes(8)
