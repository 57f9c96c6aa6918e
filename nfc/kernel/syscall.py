"""System calls that Python has no binding for, and file descriptors with an owner.

Numbers: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h (aarch64 and
riscv64). Commands and structures of bpf(2): include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
from collections.abc import Iterable

from nfc.closing import Closing
from nfc.errors import KernelError, PrivilegeError
from nfc.kernel import capabilities

# machine: (bpf, membarrier, setns)
_NUMBERS = {
    "x86_64": (321, 324, 308),
    "aarch64": (280, 283, 268),
    "riscv64": (280, 283, 268),
}
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# enum bpf_cmd
MAP_CREATE = 0
MAP_LOOKUP_ELEM = 1
MAP_UPDATE_ELEM = 2
MAP_DELETE_ELEM = 3
MAP_GET_NEXT_KEY = 4
PROG_LOAD = 5
OBJ_PIN = 6
OBJ_GET = 7
PROG_TEST_RUN = 10
PROG_GET_NEXT_ID = 11
PROG_GET_FD_BY_ID = 13
MAP_GET_FD_BY_ID = 14
OBJ_GET_INFO_BY_FD = 15
BTF_LOAD = 18
MAP_FREEZE = 22
ENABLE_STATS = 32

CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
MEMBARRIER_CMD_GLOBAL = 1  # include/uapi/linux/membarrier.h

ENOTSUPP = 524  # include/linux/errno.h: not in the C library, yet bpf(2) returns it
# BPF_PROG_LOAD says EAGAIN when a signal is pending; libbpf tries five times too.
_ATTEMPTS = 5


class Fd(Closing):
    """A file descriptor that this value owns: closed by `close`, `with`, or nobody twice."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        """Take over the open descriptor `fd`."""
        self._fd = fd

    def fileno(self) -> int:
        """The number. Raises KernelError (EBADF) when closed already."""
        if self._fd < 0:
            raise KernelError("the file descriptor is closed already", errno=errno.EBADF)
        return self._fd

    def dup(self) -> Fd:
        """A second descriptor of the same thing, close-on-exec, with its own owner."""
        return Fd(os.dup(self.fileno()))

    def close(self) -> None:
        """Close it; nothing when closed already."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __repr__(self) -> str:
        """`Fd(7)`, or `Fd(closed)`."""
        return f"Fd({self._fd if self._fd >= 0 else 'closed'})"


def numbers() -> tuple[int, int, int]:
    """The system call numbers (bpf, membarrier, setns). Raises KernelError elsewhere."""
    machine = platform.machine()
    if machine not in _NUMBERS:
        raise KernelError(
            f"no system call numbers for a {machine} machine",
            errno=errno.ENOSYS,
            hint=f"supported: {', '.join(_NUMBERS)}",
        )
    return _NUMBERS[machine]


def describe(code: int) -> str:
    """An errno in words: `File exists (EEXIST)`; knows ENOTSUPP (524), which libc does not."""
    if code == ENOTSUPP:
        return "operation not supported (ENOTSUPP)"
    return f"{os.strerror(code)} ({errno.errorcode.get(code, code)})"


def refused(what: str, code: int, needed: Iterable[str] = capabilities.LOAD) -> KernelError:
    """The error for `what` ("create map stats") that ended with errno `code`.

    EPERM becomes a PrivilegeError that names which of the `needed` capabilities is missing.
    """
    if code not in (errno.EPERM, errno.EACCES):
        return KernelError(f"cannot {what}: {describe(code)}", errno=code)
    lacking = capabilities.missing(tuple(needed))
    if lacking:
        hint = f"run as root, or with {' and '.join(lacking)}"
        if "CAP_BPF" in lacking:
            hint += " (kernel.unprivileged_bpf_disabled keeps bpf(2) for those who have it)"
        return PrivilegeError(
            f"cannot {what}: this process lacks {', '.join(lacking)}", errno=code, hint=hint
        )
    hint = "not for want of capabilities: look at lockdown, security modules, a frozen map"
    return KernelError(f"cannot {what}: {describe(code)}", errno=code, hint=hint)


def call(number: int, *args: int | ctypes.Array[ctypes.c_char]) -> int:
    """One raw system call; raises OSError. Buffers must stay alive in the caller."""
    converted = [
        ctypes.c_long(a) if isinstance(a, int) else ctypes.c_void_p(ctypes.addressof(a))
        for a in args
    ]
    result = int(_libc.syscall(ctypes.c_long(number), *converted))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def attempt(command: int, attr: bytes | ctypes.Array[ctypes.c_char]) -> int:
    """bpf(command, attr), repeated when interrupted. Raises OSError as the kernel said it.

    Before 5.11 maps and programs count against RLIMIT_MEMLOCK and a low limit looks like EPERM;
    so for those two the limit is lifted and the call made once more.
    """
    buffer = ctypes.create_string_buffer(attr, len(attr)) if isinstance(attr, bytes) else attr
    number = numbers()[0]
    for left in reversed(range(_ATTEMPTS)):
        try:
            return call(number, command, buffer, len(buffer))
        except OSError as error:
            again = error.errno in (errno.EINTR, errno.EAGAIN)
            if error.errno == errno.EPERM and command in (MAP_CREATE, PROG_LOAD, BTF_LOAD):
                again = _lift_memlock()
            if not (again and left):
                raise
    raise AssertionError("unreachable: the last round returns or raises")


def bpf(
    command: int,
    attr: bytes | ctypes.Array[ctypes.c_char],
    what: str,
    needed: Iterable[str] = capabilities.LOAD,
) -> int:
    """bpf(command, attr); `what` is the operator's word for it, as in "create map stats".

    Raises KernelError with the errno, or PrivilegeError that names what is `needed`.
    """
    try:
        return attempt(command, attr)
    except OSError as error:
        raise refused(what, error.errno or 0, needed) from None


def membarrier() -> None:
    """Wait until every packet that is in a BPF program now has left it.

    MEMBARRIER_CMD_GLOBAL is synchronize_rcu() (kernel/sched/membarrier.c), and BPF programs run
    inside an RCU read section. Raises KernelError (EINVAL under the nohz_full boot option).
    """
    try:
        call(numbers()[1], MEMBARRIER_CMD_GLOBAL, 0, 0)
    except OSError as error:
        raise refused("wait for running programs (membarrier)", error.errno or 0, ()) from None


def setns(fd: int) -> None:
    """Move the calling thread into the network namespace `fd`. Raises OSError."""
    call(numbers()[2], fd, CLONE_NEWNET)


def mount(source: str, target: str, kind: str) -> None:
    """mount(2) without flags or options. Raises OSError."""
    if _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(0), None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def unmount(target: str) -> None:
    """umount(2). Raises OSError (EBUSY: something in it is open)."""
    if _libc.umount(target.encode()) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def address(buffer: ctypes.Array[ctypes.c_char] | None) -> int:
    """The buffer's address for a __aligned_u64 field; 0 for None. Keep the buffer alive."""
    return 0 if buffer is None else ctypes.addressof(buffer)


def buffer_of(data: bytes) -> ctypes.Array[ctypes.c_char]:
    """A C buffer of exactly these bytes (at least one byte long, so that it has an address)."""
    return ctypes.create_string_buffer(data, max(len(data), 1))


def object_info(fd: int, size: int, what: str) -> bytes:
    """BPF_OBJ_GET_INFO_BY_FD: the first `size` bytes of the kernel's info, zero-filled."""
    return fill_info(fd, ctypes.create_string_buffer(size), what)


def fill_info(fd: int, buffer: ctypes.Array[ctypes.c_char], what: str) -> bytes:
    """As `object_info`, with a buffer in which the caller has put pointers for arrays."""
    attr = fd.to_bytes(4, "little") + len(buffer).to_bytes(4, "little")
    bpf(OBJ_GET_INFO_BY_FD, attr + address(buffer).to_bytes(8, "little"), what)
    return buffer.raw


def object_name(raw: bytes) -> str:
    """A `char name[16]` of the kernel's as text."""
    return raw.split(b"\0", 1)[0].decode("ascii", "replace")


def kernel_name(name: str) -> bytes:
    """`name` as the kernel takes it: 15 bytes of letters, digits, `_` and `.`.

    bpf_obj_name_cpy() in kernel/bpf/syscall.c refuses anything else.
    """
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)
    return kept.encode()[:15]


def _lift_memlock() -> bool:
    """Set RLIMIT_MEMLOCK to infinity; False when it is already, or may not be."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    if resource.getrlimit(resource.RLIMIT_MEMLOCK) == unlimited:
        return False
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    except (OSError, ValueError):
        return False
    return True
