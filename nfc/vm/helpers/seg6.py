"""Helpers on the segment routing header, and encapsulation.

net/core/filter.c (bpf_lwt_seg6_*, bpf_push_seg6_encap), net/ipv6/seg6.c, seg6_local.c,
seg6_iptunnel.c, net/core/lwt_bpf.c (bpf_lwt_push_ip_encap).
"""

from __future__ import annotations

import errno

from nfc.vm.context import HASH, MARK
from nfc.vm.machine import Machine
from nfc.vm.packet import ETH_P_IP, ETH_P_IPV6, IPV6, IPV6_SIZE, ROUTING, find_header

SRH_SIZE, SRH_TYPE, HMAC_FLAG, HMAC_TLV, HMAC_SIZE = 8, 4, 0x08, 5, 40
END_X, END_T, END_DT6, END_B6, END_B6_ENCAP = 2, 3, 7, 9, 10  # uapi/linux/seg6_local.h
ENCAP_SEG6, ENCAP_SEG6_INLINE, ENCAP_IP = 0, 1, 2  # enum bpf_lwt_encap_mode
MAX_HEADROOM = 256  # LWT_BPF_MAX_HEADROOM
MAX_GROWTH = 1 << 16
HOP_LIMIT = 64  # net.ipv6.conf.*.hop_limit: of an outer header around what is not IPv6


def valid_srh(srh: bytes, reduced: bool) -> bool:
    """seg6_validate_srh, given as many bytes as the header is said to have."""
    if len(srh) < SRH_SIZE or srh[2] != SRH_TYPE or (srh[1] + 1) * 8 != len(srh):
        return False
    left, last = srh[3], srh[4]
    if not reduced and left > last:
        return False
    if last > srh[1] // 2 - 1 or left > last + 1:
        return False
    at = SRH_SIZE + 16 * (last + 1)
    while at < len(srh):
        if at + 2 > len(srh):
            return False
        at += 2 + srh[at + 1]
    return at == len(srh)


def hmac_tlv(srh: bytes) -> bool:
    """Whether the last TLV is an HMAC that the flags announce (seg6_get_tlv_hmac)."""
    if len(srh) < SRH_SIZE or srh[1] < (srh[4] + 1) * 2 + 5 or not srh[5] & HMAC_FLAG:
        return False
    end = (srh[1] + 1) * 8
    tlv = srh[end - HMAC_SIZE : end - HMAC_SIZE + 2]
    return tlv == bytes((HMAC_TLV, HMAC_SIZE - 2))


# ---- struct seg6_bpf_srh_state ------------------------------------------------------------------


def remember(m: Machine) -> None:
    """bpf_update_srh_state: the first routing header is the SRH from now on."""
    data = m.skb.read()
    at = find_header(data, ROUTING)
    m.srh.there = at is not None
    if at is not None:
        m.srh.at = m.skb.end - m.skb.start - at
        m.srh.length = data[at + 1] * 8 if at + 1 < len(data) else 0
        m.srh.valid = True


def has_valid_srh(m: Machine) -> bool:
    """seg6_bpf_has_valid_srh: also writes the header's length, where helpers have changed it."""
    if not m.srh.there:
        return False
    if not m.srh.valid:
        if m.srh.length & 7:
            return False
        at = len(m.skb) - m.srh.at
        length = m.srh.length >> 3 & 0xFF
        m.skb.set(at + 1, bytes([length]))
        if not valid_srh(m.skb.read(at, (length + 1) * 8), True):
            return False
        m.srh.valid = True
    return True


def _store_bytes(m: Machine, ctx: int, offset: int, source: int, size: int, _: int) -> int:
    m.need_context(ctx)
    offset, size = offset & 0xFFFFFFFF, size & 0xFFFFFFFF
    content = m.memory.read(source, size)
    if not m.srh.there:
        return -errno.EINVAL
    at = len(m.skb) - m.srh.at
    entries = m.skb.buffer[m.skb.start + at + 4] + 1
    # The kernel forgets the header's first 8 bytes here: the last 8 of the last segment count
    # as TLVs.
    if offset >= at + entries * 16 and offset + size <= at + SRH_SIZE + m.srh.length:
        m.srh.valid = False
    elif offset < at + 5 or offset + size > at + SRH_SIZE:
        return -errno.EFAULT
    m.skb.moved()
    if offset + size > len(m.skb):
        return -errno.EFAULT
    if not _find_again(m):
        return -errno.EINVAL
    m.skb.set(offset, content)
    return 0


def _find_again(m: Machine) -> bool:
    at = find_header(m.skb.read(), ROUTING)
    if at is None:
        return False
    m.srh.at = len(m.skb) - at
    return True


def _adjust_srh(m: Machine, ctx: int, offset: int, delta: int, *_: int) -> int:
    m.need_context(ctx)
    offset = offset & 0xFFFFFFFF
    delta = (delta & 0xFFFFFFFF) - ((delta & 0x80000000) << 1)
    if not m.srh.there:
        return -errno.EINVAL
    at = len(m.skb) - m.srh.at
    entries = m.skb.buffer[m.skb.start + at + 4] + 1
    end = at + SRH_SIZE + m.srh.length
    if not at + SRH_SIZE + entries * 16 <= offset <= end:
        return -errno.EFAULT
    if delta < 0 and offset - delta > end:
        return -errno.EFAULT
    if delta > 0:
        if delta > MAX_GROWTH:
            return -errno.ENOMEM
        m.skb.push(offset, delta)
    else:
        if offset - delta > len(m.skb):
            return -errno.ENOMEM
        m.skb.pop(offset, -delta)
    m.context.resized()
    m.skb.set(4, (len(m.skb) - IPV6_SIZE & 0xFFFF).to_bytes(2, "big"))
    if not _find_again(m):
        return -errno.EINVAL
    m.srh.length += delta
    m.srh.valid = False
    return 0


# ---- where the packet goes ----------------------------------------------------------------------


def look_up(m: Machine, destination: bytes | None, table: int) -> int:
    """seg6_lookup_nexthop: take the packet's destination, or another, from the FIB."""
    where = m.skb.header(m.network)[24:] if destination is None else destination
    hop = m.fib.hop(where, m.context.get(MARK), table & 0xFFFFFFFF)
    m.link, m.route_error, m.function = hop
    m.routed = True
    return hop.error


def _action(m: Machine, ctx: int, action: int, parameter: int, size: int, _: int) -> int:
    m.need_context(ctx)
    action, size = action & 0xFFFFFFFF, size & 0xFFFFFFFF
    content = m.memory.read(parameter, size)
    if action in (END_X, END_T, END_DT6):
        if not has_valid_srh(m):
            return -errno.EBADMSG
        if size != (16 if action == END_X else 4):
            return -errno.EINVAL
        if action == END_X:
            return look_up(m, content, 0)
        table = int.from_bytes(content, "little")
        return look_up(m, None, table) if action == END_T else _decapsulate(m, table)
    if action in (END_B6, END_B6_ENCAP):
        if m.srh.there and not has_valid_srh(m):
            return -errno.EBADMSG
        mode = ENCAP_SEG6_INLINE if action == END_B6 else ENCAP_SEG6
        answer = push_seg6(m, mode, content)
        if not answer:
            remember(m)
        return answer
    return -errno.EINVAL


def _decapsulate(m: Machine, table: int) -> int:
    at = find_header(m.skb.read(), IPV6)
    if at is None or at > len(m.skb):
        return -errno.EBADMSG
    m.skb.pop(0, at)
    m.context.resized()
    remember(m)
    return look_up(m, None, table)


def keep_route(m: Machine) -> None:
    """Before the packet's destination changes at `in`: with BPF_OK it goes where it was going,
    whatever the mark says now."""
    if m.hook == "in" and not m.routed:
        where = m.skb.read(24, 16)
        m.link, m.route_error = m.fib.lookup(where, m.arrival_mark)
        m.routed = True


def push_seg6(m: Machine, mode: int, srh: bytes) -> int:
    """bpf_push_seg6_encap: an outer header and the SRH, or the SRH behind the header."""
    if not valid_srh(srh, False):
        return -errno.EINVAL
    keep_route(m)
    last = srh[4]
    if mode == ENCAP_SEG6:
        inner = m.skb.read(0, 8)
        if m.context.protocol != ETH_P_IPV6:
            inner = bytes(7) + bytes([HOP_LIMIT])
        m.encapsulated = True
        m.skb.push(0, IPV6_SIZE + len(srh))
        first = srh[SRH_SIZE + 16 * last : SRH_SIZE + 16 * last + 16]
        # Traffic class, flow label and hop limit are those of the packet (seg6_flowlabel is 0).
        head = bytes([0x60 | inner[0] & 0x0F]) + inner[1:4] + bytes(2)
        head += bytes([ROUTING, inner[7]]) + m.fib.tunnel_source.packed + first
        m.skb.set(0, head + bytes([IPV6]) + srh[1:])
    else:
        m.skb.push(IPV6_SIZE, len(srh))
        head = m.skb.read(0, IPV6_SIZE)
        srh = bytes([head[6]]) + srh[1:SRH_SIZE] + head[24:40] + srh[SRH_SIZE + 16 :]
        first = srh[SRH_SIZE + 16 * last : SRH_SIZE + 16 * last + 16]
        m.skb.set(0, head[:6] + bytes([ROUTING]) + head[7:24] + first + srh)
    m.context.resized()
    if srh[5] & HMAC_FLAG:  # seg6_push_hmac: there are no keys
        return -errno.ENOENT if hmac_tlv(srh) else -errno.EINVAL
    m.skb.set(4, (len(m.skb) - IPV6_SIZE & 0xFFFF).to_bytes(2, "big"))
    return look_up(m, None, 0)


def push_ip(m: Machine, header: bytes) -> int:
    """bpf_lwt_push_ip_encap: a whole header, given by the program."""
    size = len(header)
    if not 20 <= size <= MAX_HEADROOM:
        return -errno.EINVAL
    version = header[0] >> 4
    if version not in (4, 6) or size < ((header[0] & 15) * 4 if version == 4 else IPV6_SIZE):
        return -errno.EINVAL
    keep_route(m)
    m.skb.push(0, size)
    m.transport += size
    m.framed -= size
    m.network = 0
    m.encapsulated = True
    if version == 4 and header[10:12] == bytes(2):
        words = range(0, (header[0] & 15) * 4, 2)
        total = sum(int.from_bytes(header[i : i + 2], "big") for i in words)
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        header = header[:10] + (total ^ 0xFFFF).to_bytes(2, "big") + header[12:]
    m.skb.set(0, header)
    m.context.resized()
    m.context.put(HASH, 0)
    m.context.protocol = ETH_P_IP if version == 4 else ETH_P_IPV6
    return 0


def _push_encap(m: Machine, ctx: int, mode: int, header: int, size: int, _: int) -> int:
    m.need_context(ctx)
    mode, size = mode & 0xFFFFFFFF, size & 0xFFFFFFFF
    content = m.memory.read(header, size)
    if mode == ENCAP_IP:
        return push_ip(m, content)
    if mode in (ENCAP_SEG6, ENCAP_SEG6_INLINE) and m.hook == "in":
        return push_seg6(m, mode, content)
    return -errno.EINVAL


TABLE = {73: _push_encap, 74: _store_bytes, 75: _adjust_srh, 76: _action}
