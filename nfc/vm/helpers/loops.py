"""Helpers that call functions of the program (kernel/bpf/bpf_iter.c, kernel/bpf/arraymap.c)."""

from __future__ import annotations

import errno

from nfc.vm.helpers.base import map_for
from nfc.vm.machine import Machine

MAX_LOOPS = 8 * 1024 * 1024  # BPF_MAX_LOOPS, linux/bpf.h


def _loop(m: Machine, count: int, function: int, argument: int, flags: int, _: int) -> int:
    slot = m.function_at(function)
    count &= 0xFFFFFFFF
    if flags:
        return -errno.EINVAL
    if count > MAX_LOOPS:
        # A kernel that puts the loop in the place of the call gives the lower half only.
        return -errno.E2BIG & 0xFFFFFFFF
    for i in range(count):
        m.spend(1)
        if m.callback(slot, (i, argument, 0, 0, 0)):
            return i + 1
    return count


def _for_each(m: Machine, handle: int, function: int, argument: int, flags: int, _: int) -> int:
    found = map_for(m, handle, 164)
    slot = m.function_at(function)
    if flags:
        return -errno.EINVAL
    done = 0
    for key in list(found.keys()):
        value = found.program_lookup(key, m.cpu)
        if not value:
            continue
        done += 1
        m.spend(1)
        with m.scratch(key) as place:
            if m.callback(slot, (handle, place, value, argument, 0)):
                break
    return done


TABLE = {164: _for_each, 181: _loop}
