"""What the running kernel has, asked and not guessed from its version."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nfc.bpf.object import Object, Program
from nfc.errors import KernelError
from nfc.kernel import capabilities, maps, pins
from nfc.kernel.loader import load
from nfc.kernel.programs import PROG_TYPES

# mov64 r0, 0; exit: every hook takes it (0 is BPF_OK)
RETURN_ZERO = bytes.fromhex("b700000000000000 9500000000000000")


@dataclass(frozen=True)
class Features:
    """The running kernel. `hooks` maps each hook to None, or to why it cannot be used here.

    `jit` and `unprivileged_bpf_disabled` are the sysctls' values, None: not there.
    """

    release: str
    machine: str
    jit: int | None
    unprivileged_bpf_disabled: int | None
    hooks: tuple[tuple[str, str | None], ...]
    bpffs: bool
    capabilities: tuple[str, ...]
    missing_capabilities: tuple[str, ...]
    possible_cpus: int


def probe() -> Features:
    """Ask the running kernel. Raises KernelError when /proc or /sys are not there."""
    uname = os.uname()
    return Features(
        release=uname.release,
        machine=uname.machine,
        jit=_sysctl("net/core/bpf_jit_enable"),
        unprivileged_bpf_disabled=_sysctl("kernel/unprivileged_bpf_disabled"),
        hooks=tuple((hook, probe_hook(hook)) for hook in PROG_TYPES),
        bpffs=pins.mounted(),
        capabilities=tuple(sorted(capabilities.effective())),
        missing_capabilities=capabilities.missing(capabilities.LOAD),
        possible_cpus=maps.possible_cpus(),
    )


def probe_hook(hook: str) -> str | None:
    """Load the least program there is for `hook`: None when the kernel takes it, else why not."""
    least = Object((Program("probe", hook, RETURN_ZERO),), license="GPL")
    try:
        load(least, "probe", hook=hook).close()
    except KernelError as error:
        return error.message
    return None


def _sysctl(name: str) -> int | None:
    try:
        return int(Path("/proc/sys", name).read_text())
    except (OSError, ValueError):
        return None
