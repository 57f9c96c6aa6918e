"""Helpers of every hook: maps, clocks, random numbers (kernel/bpf/helpers.c)."""

from __future__ import annotations

import errno

from nfc.bpf.prototypes import HELPER_MAPS, MAP_HELPERS
from nfc.vm.buffers import BloomMap, ProgArrayMap, QueueMap
from nfc.vm.machine import Machine, TailCallError
from nfc.vm.maps import VmMap
from nfc.vm.memory import FaultError
from nfc.vm.nested import OuterMap

MAX_TAIL_CALLS = 33


def map_for(machine: Machine, handle: int, helper: int) -> VmMap:
    """The map of an argument, if the helper takes such maps. Raises FaultError."""
    found = machine.map_at(handle)
    kind = found.info.type
    if (helper in HELPER_MAPS and kind not in HELPER_MAPS[helper]) or (
        kind in MAP_HELPERS and helper not in MAP_HELPERS[kind]
    ):
        raise FaultError(f"calls a helper that does not work on map {found.info.name}")
    return found


def _lookup(m: Machine, handle: int, key: int, *_: int) -> int:
    found = map_for(m, handle, 1)
    if isinstance(found, OuterMap):
        inner = found.inner.get(m.memory.read(key, found.info.key_size))
        return m.adopted(inner) if inner else 0
    return found.program_lookup(m.memory.read(key, found.info.key_size), m.cpu)


def _lookup_percpu(m: Machine, handle: int, key: int, cpu: int, *_: int) -> int:
    found = map_for(m, handle, 195)
    data = m.memory.read(key, found.info.key_size)
    cpu &= 0xFFFFFFFF
    return found.program_lookup(data, cpu) if cpu < m.cpus else 0


def _update(m: Machine, handle: int, key: int, value: int, flags: int, _: int) -> int:
    found = map_for(m, handle, 2)
    data = m.memory.read(key, found.info.key_size)
    content = m.memory.read(value, found.info.value_size)
    return found.program_update(data, content, flags, m.cpu)


def _delete(m: Machine, handle: int, key: int, *_: int) -> int:
    found = map_for(m, handle, 3)
    return found.program_delete(m.memory.read(key, found.info.key_size))


def _queue(m: Machine, handle: int, helper: int) -> QueueMap | BloomMap:
    found = map_for(m, handle, helper)
    if isinstance(found, BloomMap):
        return found
    if not isinstance(found, QueueMap):
        raise FaultError(f"map {found.info.name} is no queue")
    return found


def _push(m: Machine, handle: int, value: int, flags: int, *_: int) -> int:
    found = _queue(m, handle, 87)
    return found.push(m.memory.read(value, found.info.value_size), flags)


def _taken(m: Machine, handle: int, value: int, helper: int) -> int:
    found = _queue(m, handle, helper)
    if isinstance(found, BloomMap):  # the value is what is asked about
        asked = m.memory.read(value, found.info.value_size)
        return 0 if asked in found.values else -errno.ENOENT
    content = found.peek(helper == 88)
    m.memory.write(value, content if content is not None else bytes(found.info.value_size))
    return 0 if content is not None else -errno.ENOENT


def _pop(m: Machine, handle: int, value: int, *_: int) -> int:
    return _taken(m, handle, value, 88)


def _peek(m: Machine, handle: int, value: int, *_: int) -> int:
    return _taken(m, handle, value, 89)


def _tail_call(m: Machine, ctx: int, handle: int, index: int, *_: int) -> int:
    m.need_context(ctx)
    found = map_for(m, handle, 12)
    if not isinstance(found, ProgArrayMap):
        raise FaultError(f"map {found.info.name} holds no programs")
    name = found.programs.get(index & 0xFFFFFFFF)
    if (
        index & 0xFFFFFFFF >= found.info.max_entries
        or name is None
        or m.tail_calls >= MAX_TAIL_CALLS
    ):
        return 0  # the program goes on, and cannot read r0: the helper gives nothing
    m.tail_calls += 1
    raise TailCallError(name)


def next_random(state: int) -> int:
    """The next state of the generator (xorshift64, Marsaglia 2003); its high half is the number."""
    state ^= state << 13 & (1 << 64) - 1
    state ^= state >> 7
    return (state ^ state << 17) & (1 << 64) - 1


def _random(m: Machine, *_: int) -> int:
    m.drawn += 1
    if m.draws:
        return m.draws.pop(0)
    m.random = next_random(m.random)
    return m.random >> 32


def _monotonic(m: Machine, *_: int) -> int:
    return max(0, m.clock.tai - m.clock.monotonic)


def _boot(m: Machine, *_: int) -> int:
    return max(0, m.clock.tai - m.clock.monotonic + m.clock.suspended)


def _coarse(m: Machine, *_: int) -> int:
    tick = 1_000_000_000 // m.clock.hz
    return _monotonic(m) // tick * tick


def _jiffies(m: Machine, *_: int) -> int:
    # INITIAL_JIFFIES is five minutes before the 32-bit counter wraps (linux/jiffies.h).
    return _monotonic(m) * m.clock.hz // 1_000_000_000 + (1 << 32) - 300 * m.clock.hz


def _tai(m: Machine, *_: int) -> int:
    return m.clock.tai


def _cpu(m: Machine, *_: int) -> int:
    return m.cpu


def _node(_m: Machine, *_: int) -> int:
    return 0


TABLE = {
    1: _lookup,
    2: _update,
    3: _delete,
    5: _monotonic,
    7: _random,
    8: _cpu,
    12: _tail_call,
    42: _node,
    87: _push,
    88: _pop,
    89: _peek,
    118: _jiffies,
    125: _boot,
    160: _coarse,
    195: _lookup_percpu,
    208: _tai,
}
