"""Ring buffer and perf buffer (kernel/bpf/ringbuf.c; bpf_skb_event_output, net/core/filter.c)."""

from __future__ import annotations

import errno

from nfc.vm.buffers import PerfMap, RingMap
from nfc.vm.helpers.base import map_for
from nfc.vm.machine import Machine
from nfc.vm.memory import FaultError

WAKEUP_FLAGS = 3  # BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP
AVAILABLE, RING_SIZE, CONSUMER, PRODUCER = range(4)  # of bpf_ringbuf_query
INDEX_MASK = CURRENT_CPU = 0xFFFFFFFF
LENGTH_SHIFT, LENGTH_MASK = 32, 0xFFFFF


def _ring(m: Machine, handle: int, helper: int) -> RingMap:
    found = map_for(m, handle, helper)
    if not isinstance(found, RingMap):
        raise FaultError(f"map {found.info.name} is no ring buffer")
    return found


def _output(m: Machine, handle: int, data: int, size: int, flags: int, _: int) -> int:
    ring = _ring(m, handle, 130)
    content = m.memory.read(data, size)
    if flags & ~WAKEUP_FLAGS:
        return -errno.EINVAL
    return 0 if m.emit(ring, content) else -errno.EAGAIN


def _reserve(m: Machine, handle: int, size: int, flags: int, *_: int) -> int:
    ring = _ring(m, handle, 131)
    return 0 if flags or size > ring.size else m.reserve(ring, size)


def _submit(m: Machine, place: int, *_: int) -> int:
    m.submit(place, True)
    return 0


def _discard(m: Machine, place: int, *_: int) -> int:
    m.submit(place, False)
    return 0


def _query(m: Machine, handle: int, what: int, *_: int) -> int:
    ring = _ring(m, handle, 134)
    answers = {
        AVAILABLE: ring.produced - ring.consumed,
        RING_SIZE: ring.size,
        CONSUMER: ring.consumed,
        PRODUCER: ring.produced,
    }
    return answers.get(what, 0)


def _perf(m: Machine, ctx: int, handle: int, flags: int, data: int, size: int) -> int:
    m.need_context(ctx)
    found = map_for(m, handle, 25)
    if not isinstance(found, PerfMap):
        raise FaultError(f"map {found.info.name} is no perf event array")
    content = m.memory.read(data, size)
    length = flags >> LENGTH_SHIFT & LENGTH_MASK
    if flags & ~(LENGTH_MASK << LENGTH_SHIFT | INDEX_MASK):
        return -errno.EINVAL
    if length > len(m.skb):
        return -errno.EFAULT
    index = flags & INDEX_MASK
    index = m.cpu if index == CURRENT_CPU else index
    if index >= (found.info.max_entries or m.cpus):
        return -errno.E2BIG
    if index not in found.events:
        return -errno.ENOENT
    if found.events[index] is None:
        return -errno.EINVAL
    if found.events[index] != m.cpu:
        return -errno.EOPNOTSUPP  # __bpf_perf_event_output: another CPU's buffer
    m.record(found.info.name, content + m.skb.read(0, length))
    return 0


TABLE = {25: _perf, 130: _output, 131: _reserve, 132: _submit, 133: _discard, 134: _query}
