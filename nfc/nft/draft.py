"""A packet while it is put together, and the headers that can be named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from nfc.nft.pattern import Free
from nfc.nft.values import Wanted
from nfc.packet import SRH, UDP, Fragment, Header, ICMPv6, IPv4, IPv6
from nfc.packet.ipv6 import DESTINATION_OPTIONS, HOP_BY_HOP, ROUTING
from nfc.packet.tlvs import HMAC_TYPE, PADN_TYPE, AnyTLV, Pad1, padding
from nfc.packet.transport import TCP
from nfc.sema import typed, types
from nfc.sema.types import Int, Ipv6

HOST, FAR = IPv6Address("fd00:1::1"), IPv6Address("fd00:2::2")  # who sends, and to whom
HOST4, FAR4 = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
PORTS = (4000, 5000)
ECHO = (128, 129)  # ICMPv6 types with an identifier and a sequence number

_NEXT = {"next_header": Int(8)}
_IP: dict[str, types.Type] = {
    "src": Ipv6(), "dst": Ipv6(), "traffic_class": Int(8), "flow_label": Int(20),
    "payload_length": Int(16), "hop_limit": Int(8), **_NEXT,
}  # fmt: skip
_IPV4: dict[str, types.Type] = {
    "src": Int(32), "dst": Int(32), "dscp": Int(6), "ecn": Int(2), "total_length": Int(16),
    "identification": Int(16), "flags": Int(3), "fragment_offset": Int(13), "ttl": Int(8),
    "protocol": Int(8), "checksum": Int(16),
}  # fmt: skip
FLAGS = {"protected": 0x40, "oam": 0x20, "alert": 0x10, "hmac": 0x08}  # RFC 8754, RFC 9259
SRH_FIELDS: dict[str, types.Type] = {
    "length": Int(8), "segments_left": Int(8), "last_entry": Int(8), "flags": Int(8),
    "tag": Int(16), **{name: Int(1) for name in FLAGS}, **_NEXT,
}  # fmt: skip
_UDP: dict[str, types.Type] = {
    "src_port": Int(16), "dst_port": Int(16), "length": Int(16), "checksum": Int(16),
}  # fmt: skip
_TCP: dict[str, types.Type] = {
    "src_port": Int(16), "dst_port": Int(16), "sequence": Int(32), "acknowledgment": Int(32),
    **{flag: Int(1) for flag in ("cwr", "ece", "urg", "ack", "psh", "rst", "syn", "fin")},
    "window": Int(16), "checksum": Int(16), "urgent_pointer": Int(16),
}  # fmt: skip
_ICMP6: dict[str, types.Type] = {
    "type": Int(8), "code": Int(8), "checksum": Int(16),
    "identifier": Int(16), "sequence": Int(16),
}  # fmt: skip
_FRAGMENT: dict[str, types.Type] = {
    "offset": Int(13), "more": Int(1), "identification": Int(32), **_NEXT,
}  # fmt: skip
# By the word for a header: its class, its fields, and the two that `a -> b` sets.
KINDS: dict[str, tuple[type, dict[str, types.Type], tuple[str, str] | None]] = {
    "ip": (IPv6, _IP, ("src", "dst")),
    "ipv4": (IPv4, _IPV4, ("src", "dst")),
    "srh": (SRH, SRH_FIELDS, None),
    "udp": (UDP, _UDP, ("src_port", "dst_port")),
    "tcp": (TCP, _TCP, ("src_port", "dst_port")),
    "icmp6": (ICMPv6, _ICMP6, None),
    "fragment": (Fragment, _FRAGMENT, None),
}
EXTENSIONS = {
    "hop_by_hop": HOP_BY_HOP, "destination_options": DESTINATION_OPTIONS, "routing": ROUTING,
}  # fmt: skip
ATTRIBUTES = {"length": {SRH: "hdr_ext_len"}}  # where a field's name is not the attribute's


@dataclass
class Draft:
    """A packet while it is put together: headers with AUTO fields, and what may be anything."""

    headers: list[Header] = field(default_factory=list)
    payload: bytes = b""
    trailer: bytes = b""
    free: list[Free] = field(default_factory=list)
    more: dict[int, int] = field(default_factory=dict)  # SRHs whose TLVs may go on, after so many
    rest: bool = False


KINDS_BY_CLASS = {class_: known for class_, known, _ in KINDS.values()}


def free_tlv(at: int, place: int, declared: typed.Tlv, one: typed.TlvField, wanted: Wanted) -> Free:
    """A TLV's field that is left open."""
    return Free(
        at,
        f"{declared.name}.{one.name}",
        one.type.bits,
        wanted.low,
        wanted.high,
        tlv=place,
        bit=one.bit_offset,
        type=one.type,
    )


def padded(tlvs: Sequence[AnyTLV]) -> tuple[AnyTLV, ...]:
    """The TLVs and the padding that makes them a multiple of 8 bytes."""
    return (*tlvs, *padding(sum(len(t.encode()) for t in tlvs)))


def without_padding(tlvs: Sequence[AnyTLV]) -> list[AnyTLV]:
    """The TLVs that are none."""
    return [t for t in tlvs if not isinstance(t, Pad1) and t.encode()[0] != PADN_TYPE]


def without_hmac(tlvs: Sequence[AnyTLV]) -> list[AnyTLV]:
    """The TLVs that are no HMAC."""
    return [t for t in tlvs if t.encode()[0] != HMAC_TYPE]


def to_wire(value: int, type_: types.Type) -> int:
    """The bits of a TLV's field: a timestamp is 32 bits of seconds and 32 of nanoseconds."""
    if isinstance(type_, types.Timestamp):
        return (value // 1_000_000_000 & 0xFFFF_FFFF) << 32 | value % 1_000_000_000
    return value
