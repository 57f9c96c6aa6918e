"""The BPF file system that holds the pins: the one that other commands see, too.

`ip netns exec` gives a command mounts of its own, with a new /sys (iproute2, lib/namespace.c). A
BPF file system that is mounted there ends with the command, and the pins with it, while routes keep
their programs and records say that there are pins. So pins go where they are seen by who started
the command.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nfc.deploy.state import state_dir
from nfc.errors import KernelError, NfcError
from nfc.kernel import pins

_MOST = 64  # generations of processes


def root() -> Path:
    """The BPF file system, mounted or not: /sys/fs/bpf, or as seen by the first of our ancestors
    that has the same records as we and other mounts."""
    found = _others()
    return found[0] if found and found[1] else pins.BPFFS


def ensure_mounted() -> None:
    """Have one. Raises NfcError where the one that could be mounted would not outlast us."""
    found = _others()
    if found is None:
        pins.ensure_mounted()
    elif not found[1]:
        raise NfcError(
            "no BPF file system is mounted where this command was started, and one mounted here "
            "ends with it (it has mounts of its own, as 'ip netns exec' gives)",
            hint=f"outside, 'mount -t bpf bpf {pins.BPFFS}'; or use --netns there",
        )


def _others() -> tuple[Path, bool] | None:
    """The place as seen by others, and whether one is mounted there; None where it is ours."""
    ours = os.stat("/proc/self/ns/mnt").st_ino
    mine = _device(pins.BPFFS) if pins.mounted() else None
    found: tuple[Path, bool] | None = None
    for number in _ancestors():
        try:
            if os.stat(f"/proc/{number}/ns/mnt").st_ino == ours:
                continue
            outside = Path(f"/proc/{number}/root")
            records = state_dir().resolve()
            if not os.path.samestat(os.stat(records), os.stat(outside / records.relative_to("/"))):
                continue
            place = outside / pins.BPFFS.relative_to("/")
            there = pins.mounted(of=number)
            if there and mine == _device(place):
                return None
            if found is None or (there and not found[1]):
                found = place, there
        except (OSError, KernelError):  # not ours to see, or gone
            continue
    if found is not None and not found[1] and mine is not None:
        return None  # somebody has mounted one here, and nobody one outside
    return found


def _ancestors() -> Iterator[int]:
    """The nearest first, and at last process 1: a parent may be of another PID namespace."""
    number = os.getppid()
    for _ in range(_MOST):
        if number <= 1:
            break
        yield number
        try:
            stat = Path(f"/proc/{number}/stat").read_text()
        except OSError:
            break
        number = int(stat.rpartition(")")[2].split()[1])
    yield 1


def _device(place: Path) -> int:
    return os.stat(place).st_dev
