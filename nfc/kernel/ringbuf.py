"""Reading a BPF ring buffer (BPF_MAP_TYPE_RINGBUF, 5.8) through mmap and epoll.

kernel/bpf/ringbuf.c. Page 0 holds the consumer's position (ours to write), page 1 the
producer's; then the data, mapped twice in a row so that a record never wraps. A record is an
8-byte header (u32 length with two flag bits, u32 page offset) and its data, padded to 8 bytes.
Positions are unsigned and only grow; the offset is the position modulo the size.
"""

from __future__ import annotations

import errno
import mmap
import platform
import select
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from nfc.errors import KernelError
from nfc.kernel import maps, syscall
from nfc.kernel.maps import Map
from nfc.kernel.syscall import Fd

_BUSY = 1 << 31  # reserved, not submitted yet
_DISCARDED = 1 << 30
_HEADER = 8
_STRONG_ORDER = platform.machine() == "x86_64"
_BUSY_PAUSE = 0.0005  # seconds; a program submits within microseconds
_LONGEST_WAIT = 3600.0  # seconds; epoll_wait(2) takes an int of milliseconds

_fence_lock = threading.Lock()


class RingBuffer:
    """The one consumer of a ring buffer. A context manager; leaves the map itself alone.

    Memory: one record at a time. A record counts as read once it is copied out, just before it
    is given; what is not read stays in the ring for the next consumer.
    """

    def __init__(self, source: Map | Fd) -> None:
        """Map the ring. Raises KernelError (EINVAL when it is not a ring buffer)."""
        fd = source if isinstance(source, Fd) else source.fd
        info = maps.info(fd)
        if info.type != maps.RINGBUF:
            raise KernelError(f"map {info.name} is not a ring buffer", errno=errno.EINVAL)
        page = mmap.PAGESIZE
        self._name = info.name
        self._size = info.max_entries
        number = fd.fileno()
        both = mmap.PROT_READ | mmap.PROT_WRITE
        try:
            self._ours = mmap.mmap(number, page, mmap.MAP_SHARED, both)
            self._theirs = mmap.mmap(
                number, page + 2 * self._size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
            )
        except OSError as error:
            raise syscall.refused(f"map ring buffer {info.name}", error.errno or 0) from None
        # Native formats: one aligned load or store each, where "=Q" would go byte by byte.
        self._consumer = memoryview(self._ours).cast("Q")
        self._producer = memoryview(self._theirs)[:8].cast("Q")
        self._data = memoryview(self._theirs)[page:]
        self._headers = self._data.cast("I")
        self._epoll = select.epoll()
        self._epoll.register(number, select.EPOLLIN)

    def read(self) -> bytes | None:
        """The next record, or None when there is none that is complete. Does not wait."""
        while True:
            position = self._consumer[0]
            produced = self._producer[0]
            if position >= produced:
                return None
            _fence()
            at = position % self._size
            header = self._headers[at // 4]
            if header & _BUSY:
                return None
            _fence()
            length = header & ~_DISCARDED
            step = (length + _HEADER + 7) & ~7
            if step > self._size or position + step > produced:
                raise KernelError(f"ring buffer {self._name} is corrupt at {position}")
            begin = at + _HEADER
            record = None if header & _DISCARDED else bytes(self._data[begin : begin + length])
            _fence()
            self._consumer[0] = position + step
            if record is not None:
                return record

    def records(self, timeout: float | None = None) -> Iterator[bytes]:
        """Records as they come; ends when none came for `timeout` seconds (None: never).

        0 gives what is there now. Raises KernelError when the ring is corrupt.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            record = self.read()
            if record is not None:
                yield record
                deadline = None if timeout is None else time.monotonic() + timeout
                continue
            left = _LONGEST_WAIT if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return
            self._wait(min(left, _LONGEST_WAIT))

    def fileno(self) -> int:
        """An epoll descriptor that is readable when the ring may hold a record."""
        return self._epoll.fileno()

    def _wait(self, seconds: float) -> None:
        """Sleep until the ring is not empty. epoll looks at both positions itself before it
        sleeps (ringbuf_map_poll_kern), so a record that came since `read` is not missed."""
        if self._epoll.poll(seconds) and self._consumer[0] < self._producer[0]:
            header = self._headers[self._consumer[0] % self._size // 4]
            if header & _BUSY:
                # Not empty, yet nothing to read: epoll would say so again at once.
                time.sleep(min(seconds, _BUSY_PAUSE))

    def close(self) -> None:
        """Unmap; nothing when closed already."""
        self._epoll.close()
        for view in (self._consumer, self._producer, self._headers, self._data):
            view.release()
        self._ours.close()
        self._theirs.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def _fence() -> None:
    """Keep loads and stores before from mixing with those after, where the machine may.

    x86_64 never reorders two loads or two stores. Elsewhere an unlock followed by a lock does it:
    a store-release and a load-acquire, which stay in order between themselves.
    """
    if _STRONG_ORDER:
        return
    with _fence_lock:
        pass
    with _fence_lock:
        pass
