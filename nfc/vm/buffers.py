"""Maps whose values programs cannot point to: queues, sets, rings, and arrays of other things.

kernel/bpf/ queue_stack_maps.c, bloom_filter.c, ringbuf.c, arraymap.c.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from nfc.bpf.maptypes import MAP_TYPES
from nfc.bpf.object import MapDef
from nfc.kernel.maps import ANY, EXIST
from nfc.vm.maps import VmMap


class KeylessMap(VmMap):
    """Values without keys: a user gives an empty one."""

    def push(self, value: bytes, flags: int) -> int:
        """bpf_map_push_elem: 0, or a negative errno."""
        raise NotImplementedError

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Put a value in. Raises KernelError (EINVAL, E2BIG), UsageError."""
        self.info.check("key", key, 0)
        self.info.check("value", value, self.info.value_size)
        if answer := self.push(value, flags):
            raise self._refused("update", -answer)

    def keys(self) -> Iterator[bytes]:
        """There are none."""
        return iter(())


class QueueMap(KeylessMap):
    """queue, stack: values without keys; a user reads with an empty key, which takes nothing."""

    def __init__(self, definition: MapDef, number: int, region: int, cpus: int) -> None:
        """An empty queue."""
        super().__init__(definition, number, region, cpus)
        self.values: list[bytes] = []
        self.last_first = MAP_TYPES[definition.type].name == "stack"

    def push(self, value: bytes, flags: int) -> int:
        """bpf_map_push_elem: with BPF_EXIST the oldest makes room."""
        if flags not in (ANY, EXIST):
            return -errno.EINVAL
        if len(self.values) >= self.info.max_entries:
            if not flags:
                return -errno.E2BIG
            del self.values[0]
        self.values.append(value)
        return 0

    def peek(self, take: bool) -> bytes | None:
        """bpf_map_peek_elem, or bpf_map_pop_elem; None: it is empty."""
        if not self.values:
            return None
        return (
            self.values.pop(-1 if self.last_first else 0)
            if take
            else (self.values[-1 if self.last_first else 0])
        )

    def lookup(self, key: bytes) -> bytes | None:
        """The value that would be taken next."""
        self.info.check("key", key, 0)
        return self.peek(False)


class BloomMap(KeylessMap):
    """bloom_filter: a set. The kernel's says now and then that something is in it that is not;
    this one does not."""

    has_values = False

    def __init__(self, definition: MapDef, number: int, region: int, cpus: int) -> None:
        """An empty set."""
        super().__init__(definition, number, region, cpus)
        self.values: set[bytes] = set()

    def push(self, value: bytes, flags: int) -> int:
        """bpf_map_push_elem: there is always room."""
        if flags != ANY:
            return -errno.EINVAL
        self.values.add(value)
        return 0


class ProgArrayMap(VmMap):
    """prog_array: which programs of the object a tail call reaches, by index.

    A user puts names in `programs`, since the simulator has no file descriptors.
    """

    has_values = False

    def __init__(self, definition: MapDef, number: int, region: int, cpus: int) -> None:
        """An empty array."""
        super().__init__(definition, number, region, cpus)
        self.programs: dict[int, str] = {}

    def keys(self) -> Iterator[bytes]:
        """The indexes that have a program."""
        return (i.to_bytes(4, "little") for i in sorted(self.programs))


class RingMap(VmMap):
    """ringbuf: records wait in the ring until a user takes them, as far as there is room.

    Positions count bytes, an 8-byte header a record included, and only grow (ringbuf.c).
    """

    has_values = False
    HEADER = 8

    def __init__(self, definition: MapDef, number: int, region: int, cpus: int) -> None:
        """An empty ring."""
        super().__init__(definition, number, region, cpus)
        self.size = definition.max_entries
        self.waiting: list[tuple[int, bytes]] = []  # (end, record) of what was submitted
        self.open: dict[int, int] = {}  # begin -> end of what is reserved
        self.produced = self.consumed = 0

    def reserve(self, size: int) -> int | None:
        """The position of a new record; None: there is no room."""
        step = (size + self.HEADER + 7) & ~7
        if step > self.size or self.produced + step - self.consumed > self.size - 1:
            return None
        begin = self.produced
        self.produced += step
        self.open[begin] = self.produced
        return begin

    def commit(self, begin: int, record: bytes | None) -> None:
        """Submit a record that was reserved; None: discard it."""
        end = self.open.pop(begin)
        if record is not None:
            self.waiting.append((end, record))
            self.waiting.sort()
        elif not self.waiting and not self.open:
            self.consumed = self.produced

    def take(self) -> list[bytes]:
        """All records that a reader can have now: those before the first that is still open."""
        barrier = min(self.open, default=self.produced)
        ready = [record for end, record in self.waiting if end <= barrier]
        self.waiting = [(end, record) for end, record in self.waiting if end > barrier]
        self.consumed = barrier
        return ready

    def keys(self) -> Iterator[bytes]:
        """There are none."""
        return iter(())


class CgroupMap(VmMap):
    """cgroup_array: no packet here has a socket, so nobody asks which groups are in it."""

    has_values = False

    def keys(self) -> Iterator[bytes]:
        """There are none."""
        return iter(())


class PerfMap(VmMap):
    """perf_event_array: as if a reader sat at every CPU's buffer, and never fell behind.

    A user who wants less puts `events` there: by index, the CPU whose buffer that is, or None for
    an event that programs cannot write to.
    """

    has_values = False

    def __init__(self, definition: MapDef, number: int, region: int, cpus: int) -> None:
        """A buffer for every CPU, at its number."""
        super().__init__(definition, number, region, cpus)
        self.events: dict[int, int | None] = {cpu: cpu for cpu in range(cpus)}

    def keys(self) -> Iterator[bytes]:
        """There are none."""
        return iter(())
