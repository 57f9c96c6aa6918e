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

from nfc.closing import Closing
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


class RingReader:
    """The consumer's side of a ring in memory: what to read, and when to say so.

    `consumer` and `producer` are views of one u64 each (format "Q": Python then loads and stores
    it whole); `data` is the ring's bytes twice in a row.
    """

    def __init__(self, consumer: memoryview, producer: memoryview, data: memoryview) -> None:
        """Keep the views, which the caller releases after `close`."""
        self._consumer = consumer
        self._producer = producer
        self._data = data
        self._headers = data.cast("I")
        self._size = len(data) // 2

    def read(self) -> bytes | None:
        """The next record, or None when there is none that is complete.

        Raises KernelError when the ring's bookkeeping makes no sense.
        """
        while True:
            position, produced = self._consumer[0], self._producer[0]
            if position == produced:
                return None
            _fence()
            at = position % self._size
            header = self._headers[at // 4]
            if header & _BUSY:
                return None
            _fence()
            length = header & ~_DISCARDED
            step = (length + _HEADER + 7) & ~7
            if position % 8 or step > self._size or position + step > produced:
                raise KernelError(f"the ring buffer is corrupt at byte {position}")
            begin = at + _HEADER
            record = None if header & _DISCARDED else bytes(self._data[begin : begin + length])
            _fence()
            self._consumer[0] = position + step
            if record is not None:
                return record

    def blocked(self) -> bool:
        """Whether the ring is not empty, but its first record is not submitted yet."""
        position = self._consumer[0]
        if position == self._producer[0]:
            return False
        _fence()
        return bool(self._headers[position % self._size // 4] & _BUSY)

    def close(self) -> None:
        """Release what was derived from `data`."""
        self._headers.release()


class RingBuffer(Closing):
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
        page, number, size = mmap.PAGESIZE, fd.fileno(), info.max_entries
        both = mmap.PROT_READ | mmap.PROT_WRITE
        try:
            self._ours = mmap.mmap(number, page, mmap.MAP_SHARED, both)
            self._theirs = mmap.mmap(
                number, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
            )
        except OSError as error:
            raise syscall.refused(f"map ring buffer {info.name}", error.errno or 0) from None
        theirs = memoryview(self._theirs)
        self._views = (memoryview(self._ours)[:8].cast("Q"), theirs[:8].cast("Q"), theirs[page:])
        self._reader = RingReader(*self._views)
        self._epoll = select.epoll()
        self._epoll.register(number, select.EPOLLIN)

    def read(self) -> bytes | None:
        """The next record, or None when there is none that is complete. Does not wait."""
        return self._reader.read()

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
            self.wait(min(left, _LONGEST_WAIT))

    def fileno(self) -> int:
        """An epoll descriptor that is readable when the ring may hold a record."""
        return self._epoll.fileno()

    def wait(self, seconds: float) -> None:
        """Sleep until the ring is not empty, for so long at most. epoll looks at both positions
        itself before it sleeps (ringbuf_map_poll_kern), so a record that came since `read` is
        not missed."""
        if self._epoll.poll(seconds) and self._reader.blocked():
            # Not empty, yet nothing to read: epoll would say so again at once.
            time.sleep(min(seconds, _BUSY_PAUSE))

    def close(self) -> None:
        """Unmap; nothing when closed already."""
        self._epoll.close()
        self._reader.close()
        for view in self._views:
            view.release()
        self._ours.close()
        self._theirs.close()


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
