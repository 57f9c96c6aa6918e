"""Network namespaces by name, as `ip netns` keeps them, and running code inside one.

A namespace belongs to a thread. `run_in` therefore starts a thread, moves that one, and lets it
end: the caller's own namespace never changes, whatever happens in between.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nfc.errors import KernelError, UsageError
from nfc.kernel import syscall
from nfc.kernel.syscall import Fd

NETNS_DIR = Path("/run/netns")
_SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h, from Linux 5.14

T = TypeVar("T")


@dataclass(frozen=True)
class NetnsId:
    """What makes a namespace the same one: device and inode of its nsfs file (stat(2))."""

    device: int
    inode: int


def names() -> tuple[str, ...]:
    """The namespaces that `ip netns` knows, sorted. Raises KernelError."""
    try:
        return tuple(sorted(os.listdir(NETNS_DIR)))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise syscall.refused(f"list {NETNS_DIR}", error.errno or 0, ()) from None


def path_of(netns: str | None) -> Path:
    """Where namespace `netns` is: a name, an absolute path (`/proc/77/ns/net`), None: our own.

    Raises UsageError for what can be neither.
    """
    if netns is None:
        return Path("/proc/thread-self/ns/net")
    if "\0" in netns or not netns:
        raise UsageError(f"{netns!r} is not the name of a network namespace")
    if netns.startswith("/"):
        return Path(netns)
    if "/" in netns or netns in (".", ".."):
        raise UsageError(f"{netns!r} is not the name of a network namespace")
    return NETNS_DIR / netns


def open_netns(netns: str | None) -> Fd:
    """Open the namespace. Raises KernelError (ENOENT names those that exist), UsageError."""
    path = path_of(netns)
    try:
        return Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.ENOENT:
            known = ", ".join(names()) or "none"
            raise KernelError(
                f"no network namespace {netns!r}; there are: {known}",
                errno=errno.ENOENT,
                hint=f"make it with: ip netns add {netns}",
            ) from None
        what = f"open network namespace {netns!r}"
        raise syscall.refused(what, error.errno or 0, ("CAP_SYS_ADMIN",)) from None


def identity(netns: str | None = None) -> NetnsId:
    """The namespace's identity; a name that is made anew gets another. Raises KernelError."""
    with open_netns(netns) as fd:
        status = os.fstat(fd.fileno())
        return NetnsId(status.st_dev, status.st_ino)


def cookie(netns: str | None = None) -> int:
    """A number that this namespace has and none that comes after it; 0 where the kernel has none
    (before Linux 5.14). An inode, unlike it, is given anew. Raises as `run_in` does."""

    def read() -> int:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            try:
                value = sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
            except OSError:
                return 0
        return int(struct.unpack("=Q", value)[0])

    return read() if netns is None else run_in(netns, read)


def called(inode: int) -> tuple[str, ...]:
    """By what a namespace can be entered: the names that `ip netns` has for it, sorted; else the
    path of one of the processes in it; nothing where none is seen."""
    found = [name for name in names() if _inode(NETNS_DIR / name) == inode]
    if found:
        return tuple(found)
    for number in os.listdir("/proc"):
        path = Path("/proc", number, "ns", "net")
        if number.isdecimal() and _inode(path) == inode:
            return (str(path),)
    return ()


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def run_in(netns: str | None, function: Callable[[], T]) -> T:
    """Call `function` in a thread that is in namespace `netns` (None: the caller's).

    Gives its result, or raises what it raised. Raises KernelError when there is no such
    namespace, PrivilegeError without CAP_SYS_ADMIN. A socket made inside stays in that namespace
    and may be handed out. What threads share (the mounts, so /sys) is that of the process;
    /proc/sys/net is the thread's.
    """
    results: list[T] = []
    failures: list[BaseException] = []
    with open_netns(netns) as fd:
        # A refusal to enter comes as an error out of the thread like any other.
        def body() -> None:
            try:
                if netns is not None:
                    _enter(fd, netns)
                results.append(function())
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=body, name=f"netns {netns}")
        thread.start()
        thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _enter(fd: Fd, netns: str) -> None:
    try:
        syscall.setns(fd.fileno())
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise KernelError(
                f"{path_of(netns)} is not a network namespace", errno=errno.EINVAL
            ) from None
        what = f"enter network namespace {netns!r}"
        raise syscall.refused(what, error.errno or 0, ("CAP_SYS_ADMIN",)) from None
