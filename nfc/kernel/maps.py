"""BPF maps: create, look up, update, delete, iterate; keys and values are raw bytes.

Structures: include/uapi/linux/bpf.h (union bpf_attr, struct bpf_map_info). Per-CPU values have
one slot a *possible* CPU, each rounded up to 8 bytes (kernel/bpf/syscall.c,
bpf_map_value_size).
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nfc.bpf.object import MapDef
from nfc.closing import Closing
from nfc.errors import KernelError, UsageError
from nfc.kernel import syscall
from nfc.kernel.syscall import Fd

# enum bpf_map_type
HASH = 1
ARRAY = 2
PERF_EVENT_ARRAY = 4
PERCPU_HASH = 5
PERCPU_ARRAY = 6
LRU_HASH = 9
LRU_PERCPU_HASH = 10
LPM_TRIE = 11
PERCPU_CGROUP_STORAGE = 21
RINGBUF = 27
PER_CPU = frozenset({PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH, PERCPU_CGROUP_STORAGE})

# Flags of BPF_MAP_CREATE
RDONLY_PROG = 1 << 7

# Flags of BPF_MAP_UPDATE_ELEM
ANY = 0
NOEXIST = 1
EXIST = 2

_INFO = struct.Struct("=IIIIII16s")


@dataclass(frozen=True)
class MapInfo:
    """What the kernel knows of a map; sizes in bytes (`value_size`: of one CPU's value)."""

    id: int
    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int

    @property
    def per_cpu(self) -> bool:
        """Whether there is a value for each possible CPU."""
        return self.type in PER_CPU

    def want(self, *, per_cpu: bool) -> None:
        """Raises UsageError unless there is a value for each CPU, or there is one for all."""
        if self.per_cpu != per_cpu:
            kind = "has a value for each CPU" if self.per_cpu else "has one value for all CPUs"
            raise UsageError(f"map {self.name} {kind}")

    def check(self, what: str, data: bytes, size: int) -> None:
        """Raises UsageError unless a key or a value (`what`) has that many bytes."""
        if len(data) != size:
            raise UsageError(
                f"map {self.name}: a {what} has {size} bytes, this one has {len(data)}"
            )


def cpu_count(listing: str) -> int:
    """How many CPUs a kernel list such as `0-3,6` spans, counted from CPU 0: 7.

    The kernel's per-CPU copies run over possible CPUs by ascending number
    (for_each_possible_cpu), so holes do not count: `0-3,6` is 5. Raises KernelError.
    """
    total = 0
    try:
        for part in listing.strip().split(","):
            first, dash, last = part.partition("-")
            total += int(last if dash else first) - int(first) + 1
    except ValueError:
        raise KernelError(f"cannot read a list of CPUs out of {listing!r}") from None
    return total


@cache
def possible_cpus() -> int:
    """The number of per-CPU slots. Raises KernelError when sysfs is not there."""
    try:
        return cpu_count(Path("/sys/devices/system/cpu/possible").read_text())
    except OSError as error:
        raise KernelError(
            "cannot read the possible CPUs from /sys/devices/system/cpu/possible",
            errno=error.errno or 0,
            hint="mount sysfs at /sys",
        ) from None


def index_key(index: int) -> bytes:
    """The key of an array's entry: u32 in the machine's byte order."""
    return struct.pack("=I", index)


def info(fd: Fd | int) -> MapInfo:
    """Ask the kernel about the map. Raises KernelError (EBADF, EINVAL: not a map)."""
    number = fd if isinstance(fd, int) else fd.fileno()
    raw = syscall.object_info(number, 80, "read a map's info")
    kind, ident, key, value, entries, flags, name = _INFO.unpack_from(raw)
    return MapInfo(ident, syscall.object_name(name), kind, key, value, entries, flags)


@dataclass(frozen=True)
class Map(Closing):
    """An open map and what it looks like. Owns `fd`; a context manager."""

    fd: Fd
    info: MapInfo

    @staticmethod
    def of(fd: Fd) -> Map:
        """Take over `fd`, which is closed if it is not a map. Raises KernelError."""
        try:
            return Map(fd, info(fd))
        except BaseException:
            fd.close()
            raise

    @staticmethod
    def by_id(ident: int) -> Map:
        """Open the map with this id. Raises KernelError (ENOENT when there is none)."""
        what = f"open map {ident}"
        number = syscall.bpf(
            syscall.MAP_GET_FD_BY_ID, struct.pack("=III", ident, 0, 0), what, ("CAP_SYS_ADMIN",)
        )
        return Map.of(Fd(number))

    @staticmethod
    def create(definition: MapDef, *, btf: Fd | None = None) -> Map:
        """Make a new map. Raises KernelError, PrivilegeError.

        BTF type ids are used when `btf` is given; a map type that takes none (ENOTSUPP) or ids
        that do not fit are no reason to fail, since they only serve dumps.
        """
        entries = definition.max_entries
        if definition.type == PERF_EVENT_ARRAY and entries == 0:
            entries = possible_cpus()
        what = f"create map {definition.name}"
        base = _pack_sizes(definition, entries, what)
        if definition.inner is not None:  # the maps in it are to look like this one
            with Map.create(definition.inner, btf=btf) as like:
                inner = struct.pack("=I", like.fd.fileno())
                base = base[:20] + inner + base[24:]
                return Map.of(Fd(syscall.bpf(syscall.MAP_CREATE, base, what)))
        typed = btf is not None and definition.key_type_id and definition.value_type_id
        if btf is not None and typed:
            ids = (btf.fileno(), definition.key_type_id, definition.value_type_id)
            try:
                number = syscall.attempt(syscall.MAP_CREATE, base + struct.pack("=III", *ids))
                return Map.of(Fd(number))
            except OSError:
                pass  # asked again without, below; that answer is the one to report
        return Map.of(Fd(syscall.bpf(syscall.MAP_CREATE, base, what)))

    @property
    def per_cpu(self) -> bool:
        """Whether there is a value for each possible CPU."""
        return self.info.per_cpu

    @property
    def cpus(self) -> int:
        """How many values a key has in a per-CPU map. Raises KernelError."""
        return possible_cpus()

    @property
    def slot_size(self) -> int:
        """The bytes from one CPU's value to the next: `value_size` rounded up to 8."""
        return (self.info.value_size + 7) & ~7

    def lookup(self, key: bytes) -> bytes | None:
        """The value at `key`, or None. Raises KernelError; UsageError for a per-CPU map."""
        self.info.want(per_cpu=False)
        return self._lookup(key, self.info.value_size)

    def lookup_percpu(self, key: bytes) -> tuple[bytes, ...] | None:
        """The values at `key`, one a possible CPU, or None. Raises KernelError, UsageError."""
        self.info.want(per_cpu=True)
        raw = self._lookup(key, self.slot_size * possible_cpus())
        if raw is None:
            return None
        size = self.info.value_size
        return tuple(raw[at : at + size] for at in range(0, len(raw), self.slot_size))

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Set the value at `key`; `flags`: ANY, NOEXIST, EXIST. Raises KernelError, UsageError."""
        self.info.want(per_cpu=False)
        self.info.check("value", value, self.info.value_size)
        self._update(key, value, flags)

    def update_percpu(self, key: bytes, values: Sequence[bytes], flags: int = ANY) -> None:
        """Set every CPU's value at `key`, one of `values` a possible CPU. Raises as `update`."""
        self.info.want(per_cpu=True)
        if len(values) != possible_cpus():
            raise UsageError(
                f"map {self.info.name}: {len(values)} values for {possible_cpus()} possible CPUs"
            )
        for value in values:
            self.info.check("value", value, self.info.value_size)
        self._update(key, b"".join(v.ljust(self.slot_size, b"\0") for v in values), flags)

    def delete(self, key: bytes) -> bool:
        """Remove `key`; False when it was not there. Raises KernelError (EINVAL: an array)."""
        self.info.check("key", key, self.info.key_size)
        keybuf = syscall.buffer_of(key)
        try:
            syscall.attempt(syscall.MAP_DELETE_ELEM, self._attr(keybuf, None, 0))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise self._refused("delete from", error) from None
        return True

    def keys(self) -> Iterator[bytes]:
        """Every key, once. Keys that come or go meanwhile may or may not be among them.

        A hash whose current key is deleted under us starts over (kernel/bpf/hashtab.c,
        htab_map_get_next_key); so keys seen are remembered, and the walk is bounded.
        """
        seen: set[bytes] = set()
        key: ctypes.Array[ctypes.c_char] | None = None
        for _ in range(2 * self.info.max_entries + 16):
            following = ctypes.create_string_buffer(max(self.info.key_size, 1))
            try:
                syscall.attempt(syscall.MAP_GET_NEXT_KEY, self._attr(key, following, 0))
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return
                raise self._refused("list the keys of", error) from None
            key = following
            if following.raw not in seen:
                seen.add(following.raw)
                yield following.raw

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key with its value, for maps that are not per CPU. Raises as `lookup`."""
        for key in self.keys():
            value = self.lookup(key)
            if value is not None:
                yield key, value

    def freeze(self) -> None:
        """No more updates from user space, for ever (BPF_MAP_FREEZE, 5.2). Raises KernelError."""
        what = f"freeze map {self.info.name}"
        syscall.bpf(syscall.MAP_FREEZE, struct.pack("=I", self.fd.fileno()), what)

    def barrier(self) -> None:
        """Wait until every program that could see what was there before is done."""
        syscall.membarrier()

    def close(self) -> None:
        """Close the descriptor; the map lives while a program, pin or other descriptor does."""
        self.fd.close()

    def _lookup(self, key: bytes, size: int) -> bytes | None:
        self.info.check("key", key, self.info.key_size)
        keybuf = syscall.buffer_of(key)
        value = ctypes.create_string_buffer(max(size, 1))
        try:
            syscall.attempt(syscall.MAP_LOOKUP_ELEM, self._attr(keybuf, value, 0))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise self._refused("look up in", error) from None
        return value.raw[:size]

    def _update(self, key: bytes, value: bytes, flags: int) -> None:
        self.info.check("key", key, self.info.key_size)
        keybuf, valuebuf = syscall.buffer_of(key), syscall.buffer_of(value)
        try:
            syscall.attempt(syscall.MAP_UPDATE_ELEM, self._attr(keybuf, valuebuf, flags))
        except OSError as error:
            raise self._refused("update", error) from None

    def _attr(
        self,
        key: ctypes.Array[ctypes.c_char] | None,
        value: ctypes.Array[ctypes.c_char] | None,
        flags: int,
    ) -> bytes:
        addresses = (syscall.address(key), syscall.address(value))
        return struct.pack("=IIQQQ", self.fd.fileno(), 0, *addresses, flags)

    def _refused(self, what: str, error: OSError) -> KernelError:
        return syscall.refused(f"{what} map {self.info.name}", error.errno or 0)


def _pack_sizes(definition: MapDef, entries: int, what: str) -> bytes:
    numbers = (definition.type, definition.key_size, definition.value_size, entries)
    if not all(0 <= n < 1 << 32 for n in (*numbers, definition.flags)):
        raise KernelError(f"cannot {what}: a size is not an unsigned 32-bit number")
    name = syscall.kernel_name(definition.name)
    return struct.pack("=IIIIIII16sI", *numbers, definition.flags, 0, 0, name, 0)
