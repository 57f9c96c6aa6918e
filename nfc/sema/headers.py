"""The fields that a program can name: where they are, how wide, what may be written.

RFC 8200, section 3 (ip), RFC 8754, section 2 (srh), and what the kernel knows of a packet
besides its bytes (packet: struct __sk_buff, uapi/linux/bpf.h).
"""

from __future__ import annotations

from dataclasses import dataclass

from nfc.sema.types import Int, Ipv6, Type


@dataclass(frozen=True)
class HeaderField:
    """A field of a fixed header: `bit_offset` from the header's first bit, network bit order."""

    header: str
    name: str
    bit_offset: int
    type: Type
    writable: bool = False  # by an endpoint: bpf_lwt_seg6_store_bytes takes flags and tag only

    @property
    def bits(self) -> int:
        """Width in bits."""
        return self.type.bits


_FIELDS = (
    HeaderField("ip", "traffic_class", 4, Int(8)),
    HeaderField("ip", "flow_label", 12, Int(20)),
    HeaderField("ip", "payload_length", 32, Int(16)),
    HeaderField("ip", "next_header", 48, Int(8)),
    HeaderField("ip", "hop_limit", 56, Int(8)),
    HeaderField("ip", "src", 64, Ipv6()),
    HeaderField("ip", "dst", 192, Ipv6()),
    HeaderField("srh", "next_header", 0, Int(8)),
    HeaderField("srh", "length", 8, Int(8)),
    HeaderField("srh", "segments_left", 24, Int(8)),
    HeaderField("srh", "last_entry", 32, Int(8)),
    HeaderField("srh", "flags", 40, Int(8), writable=True),
    # RFC 9259, section 2.1: the O-flag, bit 2. The others are of the drafts before RFC 8754, and
    # Linux still goes by H (include/uapi/linux/seg6.h, SR6_FLAG1_*).
    HeaderField("srh", "protected", 41, Int(1), writable=True),
    HeaderField("srh", "oam", 42, Int(1), writable=True),
    HeaderField("srh", "alert", 43, Int(1), writable=True),
    HeaderField("srh", "hmac", 44, Int(1)),
    HeaderField("srh", "tag", 48, Int(16), writable=True),
)

HEADERS: dict[str, dict[str, HeaderField]] = {
    header: {f.name: f for f in _FIELDS if f.header == header} for header in ("ip", "srh")
}
HMAC_FLAG = 0x08  # in srh.flags


@dataclass(frozen=True)
class MetaField:
    """What the kernel knows of a packet: `offset` in struct __sk_buff, bytes; None: by helper."""

    name: str
    type: Type
    offset: int | None
    writable: bool = False


META = {
    f.name: f
    for f in (
        MetaField("length", Int(32), 0),
        MetaField("mark", Int(32), 8, writable=True),
        MetaField("priority", Int(32), 32, writable=True),
        MetaField("ingress", Int(32), 36),
        MetaField("hash", Int(32), None),
        MetaField("cpu", Int(32), None),
    )
}
META_NAME = "packet"
SEGMENT_LIST = "segment_list"
MAX_SEGMENT_INDEX = 126  # Hdr Ext Len has room for 127 segments
HEADER_SIZE = {"ip": 40, "srh": 8}  # bytes: the fixed part
