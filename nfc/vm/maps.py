"""Maps of a machine: what a program sees of them, and what a user does.

For a user a `VmMap` has the methods of `nfc.kernel.maps.Map`, so that counters, tables, params and
events are decoded by the same code. For a program, values lie in one buffer, an element each, so
that its address says which value it is. Here are arrays, hashes and tries (kernel/bpf/ arraymap.c,
hashtab.c, bpf_lru_list.c, lpm_trie.c); `nfc.vm.kinds` knows all that there are.
"""

from __future__ import annotations

import copy
import errno
from collections.abc import Iterator, Sequence

from nfc.bpf.maptypes import MAP_TYPES, NO_PREALLOC, fault
from nfc.bpf.object import MapDef
from nfc.errors import KernelError, ObjectError, UsageError
from nfc.kernel.maps import ANY, EXIST, NOEXIST, PER_CPU, RDONLY_PROG, MapInfo
from nfc.vm.memory import ELEMENT_MASK, OFFSET_MASK, Region, address

MAX_BYTES = 1 << 30  # of one map's values; the buffer takes memory only where it is touched
LOCK = 4  # BPF_F_LOCK
BLOCK = 1 << 16  # bytes of an array that are compared with zero at once


class MapError(Exception):
    """What an operation on a map answers: a positive errno."""

    def __init__(self, number: int) -> None:
        """Keep the errno."""
        super().__init__(errno.errorcode.get(number, str(number)))
        self.errno = number


class VmMap:
    """A map: entries have an index each, and a value for each CPU where the type says so.

    `region` is the number of the memory region of its values, `number` that of the map among
    the machine's.
    """

    has_values = True

    def __init__(self, definition: MapDef, number: int, region: int, cpus: int) -> None:
        """An empty map. Raises ObjectError for sizes that BPF_MAP_CREATE refuses."""
        problem = fault(definition)
        if problem:
            raise ObjectError(problem, where=f"map {definition.name}")
        self.number, self.region_number, self.cpus = number, region, cpus
        self.per_cpu = definition.type in PER_CPU
        entries = definition.max_entries
        self.info = MapInfo(
            number + 1,
            definition.name,
            definition.type,
            definition.key_size,
            definition.value_size,
            entries,
            definition.flags,
        )
        self.slot_size = (definition.value_size + 7) & ~7
        self.region = Region(f"a value of map {definition.name}")
        self.frozen = False
        if self.has_values:
            elements = self.elements * (cpus if self.per_cpu else 1)
            size = elements * self.slot_size
            if elements > ELEMENT_MASK or size > MAX_BYTES or self.slot_size > OFFSET_MASK:
                raise ObjectError(
                    f"{size} bytes are more than the simulator holds ({MAX_BYTES})",
                    where=f"map {definition.name}",
                )
            self.region.data = bytearray(size)
            self.region.stride = self.slot_size
            self.region.limit = definition.value_size
            self.region.count = elements
            self.region.writable = not definition.flags & RDONLY_PROG

    @property
    def elements(self) -> int:
        """Values of one CPU that the buffer has room for."""
        return self.info.max_entries

    # ---- what kinds of maps say ----------------------------------------------------------------

    def find(self, key: bytes) -> int | None:
        """The index of a key's entry."""
        raise MapError(errno.EOPNOTSUPP)

    def insert(self, key: bytes, flags: int) -> int:
        """The index of a key's entry, which is made if it was not there. Raises MapError."""
        raise MapError(errno.EOPNOTSUPP)

    def remove(self, key: bytes) -> None:
        """Take an entry away. Raises MapError."""
        raise MapError(errno.EOPNOTSUPP)

    def keys(self) -> Iterator[bytes]:
        """Every key, once."""
        raise self._refused("list the keys of", errno.EOPNOTSUPP)

    # ---- a program's side ------------------------------------------------------------------------

    def value_address(self, index: int, cpu: int) -> int:
        """The address of the value of an entry, as a CPU sees it."""
        return address(self.region_number, index + (self.elements * cpu if self.per_cpu else 0))

    def program_lookup(self, key: bytes, cpu: int) -> int:
        """bpf_map_lookup_elem: an address, or 0."""
        try:
            index = self.find(key)
        except MapError:
            return 0
        return 0 if index is None else self.value_address(index, cpu)

    def program_update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        """bpf_map_update_elem: 0, or a negative errno. Of a per-CPU map, that CPU's value; the
        others' of an entry that is new are zero (pcpu_init_value)."""
        try:
            fresh = self.per_cpu and self.find(key) is None
            index = self.insert(key, flags)
        except MapError as error:
            return -error.errno
        if fresh:
            for one in range(self.cpus):
                self._put(index, one, bytes(self.info.value_size))
        self._put(index, cpu, value)
        return 0

    def program_delete(self, key: bytes) -> int:
        """bpf_map_delete_elem: 0, or a negative errno."""
        try:
            self.remove(key)
        except MapError as error:
            return -error.errno
        return 0

    def _put(self, index: int, cpu: int, value: bytes) -> None:
        at = (index + (self.elements * cpu if self.per_cpu else 0)) * self.slot_size
        self.region.data[at : at + self.info.value_size] = value

    def _get(self, index: int, cpu: int) -> bytes:
        at = (index + (self.elements * cpu if self.per_cpu else 0)) * self.slot_size
        return bytes(self.region.data[at : at + self.info.value_size])

    # ---- a user's side, as nfc.kernel.maps.Map --------------------------------------------------

    def lookup(self, key: bytes) -> bytes | None:
        """The value at `key`, or None. Raises KernelError; UsageError for a per-CPU map."""
        self.info.want(per_cpu=False)
        index = self._find("look up in", key)
        return None if index is None else self._get(index, 0)

    def lookup_percpu(self, key: bytes) -> tuple[bytes, ...] | None:
        """The values at `key`, one a CPU, or None. Raises KernelError, UsageError."""
        self.info.want(per_cpu=True)
        index = self._find("look up in", key)
        if index is None:
            return None
        return tuple(self._get(index, cpu) for cpu in range(self.cpus))

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Set the value at `key`; `flags`: ANY, NOEXIST, EXIST. Raises KernelError, UsageError."""
        self.info.want(per_cpu=False)
        self._update(key, (value,), flags)

    def update_percpu(self, key: bytes, values: Sequence[bytes], flags: int = ANY) -> None:
        """Set every CPU's value at `key`. Raises KernelError, UsageError."""
        self.info.want(per_cpu=True)
        if len(values) != self.cpus:
            raise UsageError(f"map {self.info.name}: {len(values)} values for {self.cpus} CPUs")
        self._update(key, values, flags)

    def delete(self, key: bytes) -> bool:
        """Remove `key`; False when it was not there. Raises KernelError (EINVAL: an array)."""
        self.info.check("key", key, self.info.key_size)
        try:
            self.remove(key)
        except MapError as error:
            if error.errno == errno.ENOENT:
                return False
            raise self._refused("delete from", error.errno) from None
        return True

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key with its value, for maps that are not per CPU."""
        for key in self.keys():
            value = self.lookup(key)
            if value is not None:
                yield key, value

    def freeze(self) -> None:
        """No more updates by the user."""
        self.frozen = True

    def barrier(self) -> None:
        """Nothing runs while the user does something."""

    def save(self) -> tuple[bytes, dict[str, object]]:
        """All that the map holds, for `restore`."""
        kept = ("region", "info")
        state = {k: copy.copy(v) for k, v in self.__dict__.items() if k not in kept}
        return bytes(self.region.data), state

    def restore(self, saved: tuple[bytes, dict[str, object]]) -> None:
        """Hold again what was saved."""
        content, state = saved
        self.region.data[:] = content  # in place: the native engine knows where it lies
        self.__dict__.update({k: copy.copy(v) for k, v in state.items()})

    def _find(self, what: str, key: bytes) -> int | None:
        self.info.check("key", key, self.info.key_size)
        try:
            return self.find(key)
        except MapError as error:
            raise self._refused(what, error.errno) from None

    def _update(self, key: bytes, values: Sequence[bytes], flags: int) -> None:
        self.info.check("key", key, self.info.key_size)
        for value in values:
            self.info.check("value", value, self.info.value_size)
        try:
            if self.frozen:
                raise MapError(errno.EPERM)
            index = self.insert(key, flags)
        except MapError as error:
            raise self._refused("update", error.errno) from None
        for cpu, value in enumerate(values):
            self._put(index, cpu, value)

    def _refused(self, what: str, number: int) -> KernelError:
        name = errno.errorcode.get(number, str(number))
        return KernelError(f"cannot {what} map {self.info.name}: {name}", errno=number)


class ArrayMap(VmMap):
    """array, percpu_array: all entries are there from the beginning."""

    def find(self, key: bytes) -> int | None:
        """The index that the key is."""
        index = int.from_bytes(key, "little")
        return index if index < self.info.max_entries else None

    def insert(self, key: bytes, flags: int) -> int:
        """The index that the key is."""
        if flags & ~LOCK > EXIST:
            raise MapError(errno.EINVAL)
        index = self.find(key)
        if index is None:
            raise MapError(errno.E2BIG)
        if flags & NOEXIST:
            raise MapError(errno.EEXIST)
        if flags & LOCK:  # no map here has a spin lock
            raise MapError(errno.EINVAL)
        return index

    def remove(self, key: bytes) -> None:
        """Nothing can be taken out of an array."""
        raise MapError(errno.EINVAL)

    def keys(self) -> Iterator[bytes]:
        """All indexes."""
        return (i.to_bytes(4, "little") for i in range(self.info.max_entries))

    def keys_in_use(self) -> Iterator[bytes]:
        """The indexes at which the first CPU's value is not all zero, without a look at each."""
        data, step = self.region.data, self.slot_size
        block = step * max(1, BLOCK // step)
        zeros = bytes(block)
        end = self.info.max_entries * step
        for start in range(0, end, block):
            part = data[start : min(start + block, end)]
            if part != zeros[: len(part)]:
                for at in range(0, len(part), step):
                    if any(part[at : at + step]):
                        yield ((start + at) // step).to_bytes(4, "little")


class HashMap(VmMap):
    """hash, percpu_hash, and both LRU kinds: an index for each key that is there.

    The order of `keys` is that in which they came. An LRU map that is full gives up the entry
    that was used least recently; the kernel approximates that by lists per CPU, so that there it
    may be another one.
    """

    def __init__(self, definition: MapDef, number: int, region: int, cpus: int) -> None:
        """An empty map."""
        super().__init__(definition, number, region, cpus)
        self.lru = "lru" in MAP_TYPES[definition.type].name
        self.index: dict[bytes, int] = {}
        self.free: list[int] = []
        self.unused = 0  # indexes from here on were never used

    def find(self, key: bytes) -> int | None:
        """The index of the key's entry."""
        index = self.index.get(key)
        if self.lru and index is not None:
            del self.index[key]  # to the end: used last
            self.index[key] = index
        return index

    def insert(self, key: bytes, flags: int) -> int:
        """The index of the key's entry; EEXIST, ENOENT, E2BIG as htab_map_update_elem."""
        if flags > EXIST:  # BPF_F_LOCK, too: no map here has a spin lock
            raise MapError(errno.EINVAL)
        index = self.find(key)
        if index is not None:
            if flags == NOEXIST:
                raise MapError(errno.EEXIST)
            return index
        if flags == EXIST:
            raise MapError(errno.ENOENT)
        if len(self.index) >= self.info.max_entries:
            if not self.lru:
                raise MapError(errno.E2BIG)
            self.remove(next(iter(self.index)))
        self.index[key] = index = self._unused()
        return index

    def _unused(self) -> int:
        if self.free:
            return self.free.pop()
        self.unused += 1
        return self.unused - 1

    def remove(self, key: bytes) -> None:
        """Take the entry out; ENOENT."""
        index = self.index.pop(key, None)
        if index is None:
            raise MapError(errno.ENOENT)
        self.free.append(index)

    def keys(self) -> Iterator[bytes]:
        """The keys, oldest first."""
        return iter(list(self.index))


class TrieMap(VmMap):
    """lpm_trie: a key is a length in bits (u32) and as much data as the longest prefix has."""

    def __init__(self, definition: MapDef, number: int, region: int, cpus: int) -> None:
        """An empty trie."""
        super().__init__(definition, number, region, cpus)
        self.bits = 8 * (definition.key_size - 4)
        self.prefixes: dict[tuple[int, int], int] = {}  # (length, leading bits) -> index
        self.used: dict[bytes, tuple[int, int]] = {}  # the key as given
        self.free: list[int] = []
        if not definition.flags & NO_PREALLOC:
            raise ObjectError("has to have BPF_F_NO_PREALLOC", where=f"map {definition.name}")

    def _prefix(self, key: bytes) -> tuple[int, int]:
        length = int.from_bytes(key[:4], "little")
        if length > self.bits:
            raise MapError(errno.EINVAL)
        return length, int.from_bytes(key[4:], "big") >> (self.bits - length)

    def find(self, key: bytes) -> int | None:
        """The entry of the longest prefix that the key begins with."""
        try:
            length, lead = self._prefix(key)
        except MapError:
            return None  # trie_lookup_elem answers NULL
        for shorter in range(length, -1, -1):
            index = self.prefixes.get((shorter, lead))
            if index is not None:
                return index
            lead >>= 1
        return None

    def insert(self, key: bytes, flags: int) -> int:
        """The entry of exactly that prefix."""
        if flags > EXIST:
            raise MapError(errno.EINVAL)
        prefix = self._prefix(key)
        index = self.prefixes.get(prefix)
        if index is not None:
            if flags == NOEXIST:
                raise MapError(errno.EEXIST)
            self._forget(prefix)
            self.used[key] = prefix  # bits behind the prefix are the new key's
            return index
        if flags == EXIST:
            raise MapError(errno.ENOENT)
        if len(self.prefixes) >= self.info.max_entries:
            raise MapError(errno.ENOSPC)
        index = self.free.pop() if self.free else len(self.prefixes)
        self.prefixes[prefix] = index
        self.used[key] = prefix
        return index

    def remove(self, key: bytes) -> None:
        """Take exactly that prefix out; ENOENT."""
        prefix = self._prefix(key)
        index = self.prefixes.pop(prefix, None)
        if index is None:
            raise MapError(errno.ENOENT)
        self.free.append(index)
        self._forget(prefix)

    def _forget(self, prefix: tuple[int, int]) -> None:
        self.used = {k: p for k, p in self.used.items() if p != prefix}

    def keys(self) -> Iterator[bytes]:
        """The prefixes, as they were given."""
        return iter(list(self.used))
