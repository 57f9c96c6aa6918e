"""Pins: names in a BPF file system that keep maps and programs alive without a process.

kernel/bpf/inode.c: names have no dot (those are the kernel's), pinning onto a name that exists
says EEXIST, and rename(2) puts one pin in another's place in one step.
"""

from __future__ import annotations

import errno
import itertools
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from nfc.errors import KernelError, PrivilegeError, UsageError
from nfc.kernel import maps, programs, syscall
from nfc.kernel.syscall import Fd

BPFFS = Path("/sys/fs/bpf")

_temporary = itertools.count()


@dataclass(frozen=True)
class Pin:
    """A pinned thing: `kind` is `map`, `program` or `other`; `id` is 0 for the last."""

    path: Path
    kind: str
    id: int
    name: str


def mounted(root: Path = BPFFS, *, of: int | None = None) -> bool:
    """Whether a BPF file system is mounted exactly at `root`, for us or for the process `of`.
    Raises KernelError."""
    try:
        text = Path(f"/proc/{of or 'thread-self'}/mountinfo").read_text()
    except OSError as error:
        raise syscall.refused("read the mounts", error.errno or 0, ()) from None
    last = ""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) > 4 and _unescape(fields[4]) == str(root):
            last = right.split(" ")[0]  # a later mount hides an earlier one
    return last == "bpf"


def ensure_mounted(root: Path = BPFFS) -> None:
    """Mount a BPF file system at `root` unless one is there.

    Raises PrivilegeError without CAP_SYS_ADMIN, KernelError when `root` is missing and cannot be
    made.
    """
    if mounted(root):
        return
    what = f"mount a BPF file system at {root}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        syscall.mount("bpf", str(root), "bpf")
    except OSError as error:
        if error.errno == errno.EBUSY and mounted(root):
            return  # somebody else was faster
        raise syscall.refused(what, error.errno or 0, ("CAP_SYS_ADMIN",)) from None


def unmount(root: Path = BPFFS) -> bool:
    """Unmount the BPF file system at `root` if nothing is pinned in it; False if it stays.

    The last mount of one takes its pins along, so one with pins is left alone. Names with a dot
    are the kernel's own (maps.debug). Raises PrivilegeError, KernelError.
    """
    if not mounted(root) or any("." not in name for name in os.listdir(root)):
        return False
    try:
        syscall.unmount(str(root))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        what = f"unmount the BPF file system at {root}"
        raise syscall.refused(what, error.errno or 0, ("CAP_SYS_ADMIN",)) from None
    return True


def pin(fd: Fd, path: Path, *, replace: bool = False) -> None:
    """Pin `fd` at `path`, making directories on the way. All at once, or not at all.

    With `replace` what was pinned there gives way in the same instant: a reader of `path` finds
    the old or the new, never nothing. Raises KernelError (EEXIST without `replace`), UsageError.
    """
    _check(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(f"make directory {path.parent}", error) from None
    if not replace:
        _pin(fd, path)
        return
    beside = path.with_name(f"nfc_new_{os.getpid()}_{next(_temporary)}")
    _pin(fd, beside)
    try:
        os.rename(beside, path)
    except OSError as error:
        os.unlink(beside)
        raise _refused(f"replace the pin {path}", error) from None


def open_pinned(path: Path) -> Fd:
    """Open what is pinned at `path`. Raises KernelError (ENOENT; EACCES: not a pin)."""
    name = syscall.buffer_of(os.fsencode(path) + b"\0")
    attr = struct.pack("=QII", syscall.address(name), 0, 0)
    return Fd(syscall.bpf(syscall.OBJ_GET, attr, f"open the pin {path}"))


def unpin(path: Path) -> bool:
    """Remove the pin; False when there was none. Raises KernelError."""
    _check(path)
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _refused(f"remove the pin {path}", error) from None
    return True


def list_pins(directory: Path = BPFFS) -> tuple[Pin, ...]:
    """All pins below `directory`, sorted by path; none when it is not there.

    Pins that go away meanwhile are left out. Raises KernelError, PrivilegeError.
    """
    found = []
    for place, _, files in sorted(os.walk(directory)):
        for name in sorted(files):
            try:
                found.append(_describe(Path(place, name)))
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
    return tuple(found)


def _describe(path: Path) -> Pin:
    if "." in path.name:  # the kernel's own, such as maps.debug: not opened with OBJ_GET
        return Pin(path, "other", 0, "")
    with open_pinned(path) as fd:
        target = os.readlink(f"/proc/thread-self/fd/{fd.fileno()}")
        if "bpf-map" in target:
            one = maps.info(fd)
            return Pin(path, "map", one.id, one.name)
        if "bpf-prog" in target:
            prog = programs.info(fd)
            return Pin(path, "program", prog.id, prog.name)
    return Pin(path, "other", 0, "")


def _pin(fd: Fd, path: Path) -> None:
    name = syscall.buffer_of(os.fsencode(path) + b"\0")
    attr = struct.pack("=QII", syscall.address(name), fd.fileno(), 0)
    try:
        syscall.attempt(syscall.OBJ_PIN, attr)
    except OSError as error:
        refusal = _refused(f"pin at {path}", error)
        if error.errno in (errno.EINVAL, errno.EPERM) and not isinstance(refusal, PrivilegeError):
            refusal.hint = f"{path.parent} has to be in a BPF file system"
        raise refusal from None


def _check(path: Path) -> None:
    """What the kernel would refuse with EPERM or worse, in words."""
    if not path.is_absolute() or ".." in path.parts or "\0" in str(path):
        raise UsageError(f"a pin's path is absolute and plain; this one is {str(path)!r}")
    if "." in path.name or not path.name:
        raise UsageError(f"the kernel allows no dot in a pin's name: {path.name!r}")
    if len(os.fsencode(path.name)) > 255:
        raise UsageError("a pin's name has at most 255 bytes")


def _refused(what: str, error: OSError) -> KernelError:
    return syscall.refused(what, error.errno or 0, ("CAP_BPF",))


def _unescape(field: str) -> str:
    """A path in mountinfo: space, tab, newline and backslash are octal escapes (seq_path)."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, char)
    return field
