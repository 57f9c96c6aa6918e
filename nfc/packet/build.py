"""Short constructors, so that a test reads like the packet it means.

    packet(ip("fd00:1::1", "fd00:b::d"),
           srh(["fd00:b::d", "fd00:3::2"], left=1, tlvs=[tlv(7, bytes(46))]),
           udp(1000, 2000),
           b"payload")

Segments are in TRAVEL ORDER (first visited first), not in the reversed order of the wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nfc.errors import UsageError
from nfc.packet.base import AUTO, Address, address
from nfc.packet.chain import Header, Packet
from nfc.packet.ipv6 import IPv6
from nfc.packet.segments import SRH
from nfc.packet.tlvs import AnyTLV, padding
from nfc.packet.transport import UDP, ICMPv6


def packet(*parts: Header | bytes, trailer: bytes = b"") -> Packet:
    """A packet of headers in wire order and, last, the payload if there is one.

    Raises UsageError if bytes stand anywhere but last, or where `Packet` does.
    """
    payload = b""
    if parts and isinstance(parts[-1], bytes):
        payload, parts = parts[-1], parts[:-1]
    headers: list[Header] = []
    for part in parts:
        if isinstance(part, bytes):
            raise UsageError("only the last part of a packet can be bytes: it is the payload")
        headers.append(part)
    return Packet(tuple(headers), payload, trailer)


def ip(
    src: Address,
    dst: Address,
    *,
    hop_limit: int = 64,
    traffic_class: int = 0,
    flow_label: int = 0,
    next_header: int = AUTO,
    payload_length: int = AUTO,
) -> IPv6:
    """An IPv6 header; next header and payload length come from what follows it."""
    return IPv6(
        address(src),
        address(dst),
        next_header=next_header,
        hop_limit=hop_limit,
        traffic_class=traffic_class,
        flow_label=flow_label,
        payload_length=payload_length,
    )


def srh(
    segments: Sequence[Address],
    *,
    left: int = AUTO,
    tlvs: Iterable[AnyTLV] = (),
    flags: int = 0,
    tag: int = 0,
    last_entry: int = AUTO,
    hdr_ext_len: int = AUTO,
    next_header: int = AUTO,
    pad: bool = True,
) -> SRH:
    """An SRH; `segments` in TRAVEL ORDER. `left` AUTO: all but the first.

    `pad` appends the one PadN that makes it a multiple of 8 bytes (RFC 8754 section 2.1.1).
    """
    given = tuple(tlvs)
    if pad:
        given += padding(sum(len(t.encode()) for t in given))
    return SRH(
        tuple(address(s) for s in segments),
        segments_left=left,
        tlvs=given,
        flags=flags,
        tag=tag,
        last_entry=last_entry,
        hdr_ext_len=hdr_ext_len,
        next_header=next_header,
    )


def udp(src_port: int, dst_port: int, *, length: int = AUTO, checksum: int = AUTO) -> UDP:
    """A UDP header; length and checksum come from what surrounds it."""
    return UDP(src_port, dst_port, length, checksum)


def icmp(type: int, code: int = 0, *, checksum: int = AUTO) -> ICMPv6:
    """An ICMPv6 header; its body is the packet's payload. 128 asks for an echo, 129 answers."""
    return ICMPv6(type, code, checksum)
