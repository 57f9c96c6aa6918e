"""What a BPF program has put into a CPU's perf buffer.

perf_event_open(2), uapi/linux/perf_event.h.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import platform
import struct
from typing import Final

from nfc.closing import Closing
from nfc.kernel import syscall

_NUMBER: Final = {"x86_64": 298, "aarch64": 241, "riscv64": 241}
_SOFTWARE, _CPU_CLOCK, _BPF_OUTPUT = 1, 0, 10
_SAMPLE_RAW, _CLOEXEC, _ENABLE = 1 << 10, 8, 0x2400
_PAGES = 16
_HEAD, _TAIL = 1024, 1032  # of struct perf_event_mmap_page
_RECORD_SAMPLE = 9


class PerfReader(Closing):
    """A perf event of one CPU with its buffer; `output`: of the kind that programs write to."""

    def __init__(self, cpu: int, *, output: bool = True) -> None:
        attr = bytearray(112)
        config = _BPF_OUTPUT if output else _CPU_CLOCK
        struct.pack_into("=IIQQQ", attr, 0, _SOFTWARE, len(attr), config, 1, _SAMPLE_RAW)
        if not output:
            struct.pack_into("=Q", attr, 16, 1 << 40)  # no samples of its own
        buffer = syscall.buffer_of(bytes(attr))
        self.fd = syscall.call(_NUMBER[platform.machine()], buffer, -1, cpu, -1, _CLOEXEC)
        self._size = _PAGES * mmap.PAGESIZE
        self._map = mmap.mmap(self.fd, self._size + mmap.PAGESIZE)
        fcntl.ioctl(self.fd, _ENABLE, 0)

    def records(self) -> list[bytes]:
        """The samples since the last call."""
        (head,) = struct.unpack_from("=Q", self._map, _HEAD)
        (tail,) = struct.unpack_from("=Q", self._map, _TAIL)
        data = b""
        while tail < head:
            at = tail % self._size
            step = min(head - tail, self._size - at)
            data += self._map[mmap.PAGESIZE + at : mmap.PAGESIZE + at + step]
            tail += step
        struct.pack_into("=Q", self._map, _TAIL, head)
        found, at = [], 0
        while at < len(data):
            kind, _, size = struct.unpack_from("=IHH", data, at)
            if kind == _RECORD_SAMPLE:
                (length,) = struct.unpack_from("=I", data, at + 8)
                found.append(data[at + 12 : at + 12 + length])
            at += size
        return found

    def close(self) -> None:
        self._map.close()
        os.close(self.fd)
