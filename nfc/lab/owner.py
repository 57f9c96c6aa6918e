"""Whose lab a namespace is, by its name; and removing those whose owner is dead.

A name is nfc-PID-START-TOKEN-NODE: START is when the process started, in clock ticks since
boot (proc_pid_stat(5), field 22), so a PID that has been given out again is not mistaken for
the owner. TOKEN tells two labs of one process apart.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterable
from functools import cache
from typing import Final

from nfc.errors import KernelError, PrivilegeError
from nfc.lab import netns

_NAME: Final = re.compile(r"nfc-(\d{1,10})-(\d{1,20})-[0-9a-f]+-.+")
_KILL_SECONDS: Final = 2.0


def started(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            after_name = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    dead = after_name[0] in (b"Z", b"X")
    return None if dead else int(after_name[19])


@cache
def _owner(pid: int) -> str:
    return f"nfc-{pid}-{started(pid)}"


def name(token: str, node: str) -> str:
    """The full name of a namespace of a lab of this process."""
    return f"{_owner(os.getpid())}-{token}-{node}"


def stale() -> list[str]:
    """The names of namespaces whose lab's process has died."""
    try:
        names = os.listdir(netns.DIRECTORY)
    except OSError:
        return []
    matches = (_NAME.fullmatch(name) for name in names)
    return sorted(m[0] for m in matches if m and started(int(m[1])) != int(m[2]))


def clean() -> list[str]:
    """Remove the labs of dead processes, with the processes left in them; returns the names.

    Labs of living processes, and namespaces that are not a lab's, are left alone. Raises
    PrivilegeError without CAP_SYS_ADMIN, if there is anything to remove.
    """
    found = stale()
    kill_inside(found)
    for each in found:
        netns.remove(each)
    return found


def kill_inside(names: Iterable[str]) -> None:
    """Kill every process that is in one of the namespaces (this one excepted), and wait.

    Raises KernelError if one is still there after two seconds.
    """
    inodes = set()
    for each in names:
        with contextlib.suppress(OSError):
            inodes.add(os.stat(netns.DIRECTORY / each).st_ino)
    if not inodes:
        return
    deadline = time.monotonic() + _KILL_SECONDS
    while left := [pid for pid in _processes() if _inside(pid, inodes)]:
        for pid in left:
            _kill(pid, inodes)
        if time.monotonic() > deadline:
            raise KernelError(f"processes {left} in a lab's namespace do not end when killed")
        time.sleep(0.002)


def _processes() -> Iterable[int]:
    return (int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid())


def _inside(pid: int, inodes: set[int]) -> bool:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino in inodes
    except OSError:  # it ended, is a zombie, or is none of our business
        return False


def _kill(pid: int, inodes: set[int]) -> None:
    """Kill by a descriptor, so that a PID given out again in between is not hit."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _inside(pid, inodes):
            signal.pidfd_send_signal(process, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise PrivilegeError(
            f"cannot end process {pid} of a dead lab: it takes CAP_KILL"
        ) from error
    finally:
        os.close(process)
