"""Which capabilities this thread holds: what the kernel will ask for, by name.

Numbers: include/uapi/linux/capability.h. Who asks: kernel/bpf/syscall.c (CAP_BPF, and
CAP_NET_ADMIN for networking program types; CAP_SYS_ADMIN stands for both), net/core/rtnetlink.c
(CAP_NET_ADMIN), fs/namespace.c and setns(2) (CAP_SYS_ADMIN).
"""

from __future__ import annotations

from pathlib import Path

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
# What BPF_PROG_LOAD of a networking program needs since 5.8.
LOAD = ("CAP_BPF", "CAP_NET_ADMIN")


def effective() -> frozenset[str]:
    """The names out of `CAPABILITIES` that are in this thread's effective set."""
    for line in Path("/proc/thread-self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
            return frozenset(name for name, bit in CAPABILITIES.items() if mask >> bit & 1)
    return frozenset()


def missing(needed: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `needed` that this thread lacks, in the order given.

    CAP_SYS_ADMIN includes CAP_BPF (bpf_capable() in include/linux/capability.h), so the latter
    is not missing where the former is held.
    """
    held = effective()
    if "CAP_SYS_ADMIN" in held:
        held |= {"CAP_BPF", "CAP_PERFMON"}
    return tuple(name for name in needed if name not in held)
