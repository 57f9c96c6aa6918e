"""Helpers that read the packet, at every hook (net/core/filter.c)."""

from __future__ import annotations

import errno
from zlib import crc32

from nfc.vm.context import HASH
from nfc.vm.helpers.base import map_for
from nfc.vm.machine import Machine
from nfc.vm.packet import IPV6_SIZE

MAX_OFFSET = 0x7FFFFFFF
HEADERS = (0, 1)  # of bpf_skb_load_bytes_relative: from the MAC header, from the network header


def _load_bytes(m: Machine, ctx: int, offset: int, to: int, size: int, _: int) -> int:
    m.need_context(ctx)
    offset, size = offset & 0xFFFFFFFF, size & 0xFFFFFFFF
    data, at = m.memory.place(to, size, True) if size else (bytearray(), 0)
    if offset > MAX_OFFSET or offset + size > len(m.skb):
        data[at : at + size] = bytes(size)  # the kernel clears what it does not fill
        return -errno.EFAULT
    data[at : at + size] = m.skb.read(offset, size)
    return 0


def _pull_data(m: Machine, ctx: int, size: int, *_: int) -> int:
    m.need_context(ctx)
    size = size & 0xFFFFFFFF or len(m.skb)
    # All of it is in one piece already; pointers are void all the same (bpf_try_make_writable).
    m.skb.moved()
    return 0 if size <= len(m.skb) else -errno.ENOMEM


def csum_partial(data: bytes, seed: int) -> int:
    """The 32-bit ones' complement sum of 16-bit words, as they lie in memory (little endian)."""
    if len(data) & 1:
        data += b"\0"
    total = seed + sum(int.from_bytes(data[i : i + 2], "little") for i in range(0, len(data), 2))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def _csum_diff(m: Machine, old: int, old_size: int, new: int, new_size: int, seed: int) -> int:
    old_size, new_size, seed = old_size & 0xFFFFFFFF, new_size & 0xFFFFFFFF, seed & 0xFFFFFFFF
    removed, added = m.memory.read(old, old_size), m.memory.read(new, new_size)
    if old_size and new_size:
        seed = csum_partial(added, seed) + (~csum_partial(removed, 0) & 0xFFFFFFFF)
        seed = (seed & 0xFFFFFFFF) + (seed >> 32)  # csum_sub
    elif old_size:
        seed = ~csum_partial(removed, ~seed & 0xFFFFFFFF) & 0xFFFFFFFF
    elif new_size:
        seed = csum_partial(added, seed)
    # From 6.13 on the result is folded to 16 bits (bpf_csum_diff ends with csum_from32to16).
    while seed >> 16:
        seed = (seed & 0xFFFF) + (seed >> 16)
    return seed


def _hash(m: Machine, ctx: int, *_: int) -> int:
    m.need_context(ctx)
    if not m.context.get(HASH):
        m.context.put(HASH, m.arrival_hash or flow_hash(m.skb.read(0, IPV6_SIZE)))
    return m.context.get(HASH)


def flow_hash(head: bytes) -> int:
    """A number for a flow, never 0. The kernel's has a key of its own, and knows ports."""
    return crc32(head[1:4] + head[8:]) or 1


def _zero(m: Machine, ctx: int, *_: int) -> int:
    m.need_context(ctx)
    return 0


def _under_cgroup(m: Machine, ctx: int, handle: int, *_: int) -> int:
    m.need_context(ctx)
    map_for(m, handle, 33)
    return -errno.ENOENT  # a packet that is forwarded has no socket


TABLE = {
    17: _zero,  # bpf_get_cgroup_classid: no socket
    24: _zero,  # bpf_get_route_realm: IPv6 routes have none
    26: _load_bytes,
    28: _csum_diff,
    33: _under_cgroup,
    34: _hash,
    39: _pull_data,
}
