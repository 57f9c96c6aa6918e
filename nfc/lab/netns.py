"""Network namespaces with names, by system calls: make, enter, remove.

A name is a file in /run/netns on which the namespace is bind-mounted, as iproute2 has it
(ip-netns(8)), so `ip netns exec` and `ip -n` work on these too. The namespace lives until the
mount, every socket and every process in it are gone.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from nfc.errors import KernelError, PrivilegeError

DIRECTORY: Final = Path("/run/netns")

# uapi/linux/sched.h, uapi/linux/mount.h; MNT_DETACH from umount(2).
_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_SHARED: Final = 0x100000
_MNT_DETACH: Final = 2

_libc: Final = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def create(name: str) -> int:
    """Make the namespace /run/netns/`name`; returns a descriptor of it, to pass to `run`.

    Raises PrivilegeError without CAP_SYS_ADMIN, KernelError otherwise (EEXIST: the name is
    taken). The calling thread stays where it is.
    """
    _share_directory()
    path = DIRECTORY / name
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
    except OSError as error:
        raise _error(f"make {path}", error) from error

    def unshare_and_mount() -> int:
        _call("make a network namespace", "unshare", _CLONE_NEWNET)
        _mount(f"bind-mount {path}", b"/proc/thread-self/ns/net", path, _MS_BIND)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    try:
        return _in_thread(unshare_and_mount)
    except BaseException:
        remove(name)
        raise


def remove(name: str) -> None:
    """Take the name away; nothing happens if it is not there. Raises as `create` does.

    The kernel destroys the namespace and its links when the last user is gone.
    """
    path = DIRECTORY / name
    while _libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
        pass  # more than one mount can lie on a name, after races between other tools
    reason = ctypes.get_errno()
    if reason not in (errno.EINVAL, errno.ENOENT):  # not (or no longer) a mount point
        raise _error(f"unmount {path}", OSError(reason, os.strerror(reason)))
    path.unlink(missing_ok=True)


def run(namespace: int, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call the function inside the namespace (a descriptor), and return what it returns.

    It runs in a thread of its own which then ends, so the caller never changes namespace.
    Sockets opened in the function stay in the namespace and can be used from any thread. That
    is not so for a pyroute2 IPRoute: it opens a new socket for each thread that uses it, so
    make, use and close it in the function. Exceptions are those of the function; KernelError
    or PrivilegeError if the namespace cannot be entered.
    """

    def inside() -> T:
        _call("enter a network namespace", "setns", namespace, _CLONE_NEWNET)
        return function(*args, **kwargs)

    return _in_thread(inside)


def enter(namespace: int) -> None:
    """Move the calling thread into the namespace for good; for a child before it execs."""
    _call("enter a network namespace", "setns", namespace, _CLONE_NEWNET)


def _in_thread(function: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(function())
        except BaseException as error:  # handed to the caller, below
            errors.append(error)

    thread = threading.Thread(target=work, name="nfc-netns", daemon=True)
    thread.start()
    try:
        thread.join()
    except BaseException:
        # A signal: let the thread finish what it is making, so that it can be removed after.
        thread.join(timeout=2)
        raise
    if errors:
        raise errors[0]
    return results[0]


def _share_directory() -> None:
    """Make /run/netns a shared mount of its own, once, as ip-netns does: without that, a later
    `ip netns add` would mount over the names made here and they could not be removed."""
    try:
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        lock = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _error(f"make {DIRECTORY}", error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two labs may begin at once
        path = os.fsencode(DIRECTORY)
        if _libc.mount(b"", path, b"none", _MS_SHARED | _MS_REC, None) != 0:
            _mount(f"mount {DIRECTORY}", path, DIRECTORY, _MS_BIND | _MS_REC)
            _mount(f"share {DIRECTORY}", b"", DIRECTORY, _MS_SHARED | _MS_REC)
    finally:
        os.close(lock)


def _mount(what: str, source: bytes, target: Path, flags: int) -> None:
    _call(what, "mount", source, os.fsencode(target), b"none", ctypes.c_ulong(flags), None)


def _call(what: str, function: str, *args: object) -> None:
    if getattr(_libc, function)(*args) != 0:
        reason = ctypes.get_errno()
        raise _error(what, OSError(reason, os.strerror(reason)))


def _error(what: str, error: OSError) -> KernelError:
    reason = error.errno or 0
    if reason in (errno.EPERM, errno.EACCES):
        return PrivilegeError(f"cannot {what}: it takes CAP_SYS_ADMIN (root)", errno=reason)
    return KernelError(f"cannot {what}: {error.strerror}", errno=reason)
