"""The Internet checksum (RFC 1071), over the IPv6 pseudo-header (RFC 8200 section 8.1) too."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address


def checksum(src: IPv6Address, final_dst: IPv6Address, protocol: int, message: bytes) -> int:
    """The 16-bit checksum of an upper-layer `message` whose own checksum field is zero.

    `final_dst` is where the packet ends up: the last segment while segments_left > 0, else the
    destination in the header. A result of zero is given as it is; UDP sends 0xffff instead.
    """
    pseudo = src.packed + final_dst.packed + struct.pack("!II", len(message), protocol)
    return internet(pseudo + message)


def internet(data: bytes) -> int:
    """The complement of the sum of all 16-bit words; a zero follows an odd last byte."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
