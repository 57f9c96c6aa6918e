"""Helpers that change any part of the packet, at xmit (net/core/filter.c)."""

from __future__ import annotations

import errno

from nfc.vm.context import HASH
from nfc.vm.helpers.failures import ENOTSUPP, SHOT
from nfc.vm.machine import DEEPEST, Machine
from nfc.vm.memory import FaultError
from nfc.vm.packet import ETHERNET_SIZE

RECOMPUTE_CSUM, INVALIDATE_HASH = 1, 2  # flags of bpf_skb_store_bytes
FIELD_MASK, PSEUDO, MANGLED_0, ENFORCE, IPV6_FLAG = 0x0F, 0x10, 0x20, 0x40, 0x80  # of csum_replace
INGRESS = 1
INGRESS_FAULT = "hands the packet to the router as if a link had brought it, which is not modelled"
QUERY, INCREASE, DECREASE, RESET, MAX_LEVEL = 0, 1, 2, 3, 3  # of bpf_csum_level
LOOPBACK = 1  # the number of lo in every namespace
REDIRECTED = 7  # TC_ACT_REDIRECT
# SKB_MAX_ALLOC of 4 KiB pages: 16 KiB less struct skb_shared_info
MAX_LENGTH = 16384 - 320
MAX_OFFSET = 0xFFFF
VLAN_TAG = 4
LINK_DROPPED = 1  # NET_XMIT_DROP: not an errno, but what a link says that has not sent a packet


def _store_bytes(m: Machine, ctx: int, offset: int, source: int, size: int, flags: int) -> int:
    m.need_context(ctx)
    offset, size = offset & 0xFFFFFFFF, size & 0xFFFFFFFF
    content = m.memory.read(source, size)
    if flags & ~(RECOMPUTE_CSUM | INVALIDATE_HASH):
        return -errno.EINVAL
    m.skb.moved()
    if offset > 0x7FFFFFFF or offset + size > len(m.skb):
        return -errno.EFAULT
    m.skb.set(offset, content)
    if flags & INVALIDATE_HASH:
        m.context.put(HASH, 0)
    return 0


def _fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _replaced(field: int, old: int, new: int, width: int) -> int:
    """RFC 1624: a checksum, one 16-bit or 32-bit word of what it covers being another now."""
    mask = (1 << 8 * width) - 1
    return _fold((~field & 0xFFFF) + (~old & mask) + (new & mask))


def _replace(
    m: Machine, offset: int, old: int, new: int, flags: int, *, mangled: bool, force: bool
) -> int:
    size = flags & FIELD_MASK
    if offset > MAX_OFFSET or offset & 1:
        return -errno.EFAULT
    m.skb.moved()
    if offset + 2 > len(m.skb):
        return -errno.EFAULT
    field = int.from_bytes(m.skb.read(offset, 2), "little")
    if mangled and not force and not field:
        return 0
    if size == 0:
        if old:
            return -errno.EINVAL
        field = _fold((~field & 0xFFFF) + (new & 0xFFFFFFFF))
    elif size in (2, 4):
        field = _replaced(field, old, new, size)
    else:
        return -errno.EINVAL
    if mangled and not field:
        field = 0xFFFF
    m.skb.set(offset, field.to_bytes(2, "little"))
    return 0


def _l3(m: Machine, ctx: int, offset: int, old: int, new: int, flags: int) -> int:
    m.need_context(ctx)
    if flags & ~FIELD_MASK:
        return -errno.EINVAL
    return _replace(m, offset & 0xFFFFFFFF, old, new, flags, mangled=False, force=False)


def _l4(m: Machine, ctx: int, offset: int, old: int, new: int, flags: int) -> int:
    m.need_context(ctx)
    if flags & ~(FIELD_MASK | PSEUDO | MANGLED_0 | ENFORCE | IPV6_FLAG):
        return -errno.EINVAL
    mangled, force = bool(flags & MANGLED_0), bool(flags & ENFORCE)
    return _replace(m, offset & 0xFFFFFFFF, old, new, flags, mangled=mangled, force=force)


def _known(m: Machine, index: int) -> bool:
    return not m.fib.links or index == LOOPBACK or index in m.fib.links.values()


def fits_link(m: Machine, size: int) -> bool:
    """Whether a link takes a frame that nobody has held to the MTU: behind `xmit` only the link
    itself does, a veth link leaves room for a VLAN tag (is_skb_forwardable, linux/netdevice.h)."""
    return size <= m.fib.mtu + ETHERNET_SIZE + VLAN_TAG


def _redirect(m: Machine, index: int, flags: int, *_: int) -> int:
    if flags & ~INGRESS:
        return SHOT
    m.redirect = (index & 0xFFFFFFFF, flags)
    return REDIRECTED


def _clone_redirect(m: Machine, ctx: int, index: int, flags: int, *_: int) -> int:
    m.need_context(ctx)
    index &= 0xFFFFFFFF
    if flags & ~INGRESS or not _known(m, index):
        return -errno.EINVAL
    m.skb.moved()
    if m.framed <= 0:
        return -errno.ERANGE  # __bpf_redirect_common: the link-layer header has been overwritten
    if flags:
        raise FaultError(INGRESS_FAULT)
    if m.runs >= DEEPEST:
        return -errno.ENETDOWN  # __bpf_tx_skb, or a link without a queue
    if not fits_link(m, len(m.skb)):
        return LINK_DROPPED
    m.clones.append((m.fib.link_of(index), m.skb.read()))
    return 0


def _change_head(m: Machine, ctx: int, size: int, flags: int, *_: int) -> int:
    m.need_context(ctx)
    size &= 0xFFFFFFFF
    if flags or len(m.skb) + size > MAX_LENGTH:
        return -errno.EINVAL
    m.skb.push(0, size)
    m.network += size
    m.transport += size
    m.framed = m.network
    m.context.resized()
    return 0


def _change_tail(m: Machine, ctx: int, size: int, flags: int, *_: int) -> int:
    m.need_context(ctx)
    size &= 0xFFFFFFFF
    # No shorter than to the transport header, which IPv6 has set (__bpf_skb_min_len).
    if flags or not m.transport <= size <= MAX_LENGTH:
        return -errno.EINVAL
    if m.encapsulated:
        return -ENOTSUPP
    m.skb.resize(size)
    m.context.resized()
    return 0


def _csum_update(m: Machine, ctx: int, *_: int) -> int:
    m.need_context(ctx)
    return -ENOTSUPP  # the device has not summed the packet up


def _csum_level(m: Machine, ctx: int, level: int, *_: int) -> int:
    m.need_context(ctx)
    if level == QUERY:
        return -errno.EACCES if m.summed is None else m.summed
    if level == INCREASE:
        m.summed = 0 if m.summed is None else min(m.summed + 1, MAX_LEVEL)
    elif level == DECREASE:
        m.summed = m.summed - 1 if m.summed else None
    elif level == RESET:
        m.summed = None
    else:
        return -errno.EINVAL
    return 0


def _hash_invalid(m: Machine, ctx: int, *_: int) -> int:
    m.need_context(ctx)
    m.context.put(HASH, 0)
    return 0


TABLE = {
    9: _store_bytes,
    10: _l3,
    11: _l4,
    13: _clone_redirect,
    23: _redirect,
    38: _change_tail,
    40: _csum_update,
    41: _hash_invalid,
    43: _change_head,
    135: _csum_level,
}
