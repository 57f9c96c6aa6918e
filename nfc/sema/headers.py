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
    writable: tuple[str, ...] = ()  # at these hooks

    @property
    def bits(self) -> int:
        """Width in bits."""
        return self.type.bits


# bpf_lwt_seg6_store_bytes takes flags and tag of an SRH only; at xmit bpf_skb_store_bytes takes
# everything (lwt_seg6local_func_proto, lwt_xmit_func_proto, net/core/filter.c). What says how
# long headers are or which follows stays the compiler's business, and addresses are part of the
# transport's checksum.
_SRH_WRITERS = ("endpoint", "xmit")
_IP_WRITERS = ("xmit",)


def _ipv6(header: str, writers: tuple[str, ...] = ()) -> tuple[HeaderField, ...]:
    """The fields of an IPv6 header: RFC 8200, section 3."""
    return (
        HeaderField(header, "traffic_class", 4, Int(8), writers),
        HeaderField(header, "flow_label", 12, Int(20), writers),
        HeaderField(header, "payload_length", 32, Int(16)),
        HeaderField(header, "next_header", 48, Int(8)),
        HeaderField(header, "hop_limit", 56, Int(8), writers),
        HeaderField(header, "src", 64, Ipv6()),
        HeaderField(header, "dst", 192, Ipv6()),
    )


_FIELDS = (
    *_ipv6("ip", _IP_WRITERS),
    *_ipv6("inner"),
    HeaderField("srh", "next_header", 0, Int(8)),
    HeaderField("srh", "length", 8, Int(8)),
    HeaderField("srh", "segments_left", 24, Int(8)),
    HeaderField("srh", "last_entry", 32, Int(8)),
    HeaderField("srh", "flags", 40, Int(8), _SRH_WRITERS),
    # RFC 9259, section 2.1: the O-flag, bit 2. The others are of the drafts before RFC 8754, and
    # Linux still goes by H (include/uapi/linux/seg6.h, SR6_FLAG1_*).
    HeaderField("srh", "protected", 41, Int(1), _SRH_WRITERS),
    HeaderField("srh", "oam", 42, Int(1), _SRH_WRITERS),
    HeaderField("srh", "alert", 43, Int(1), _SRH_WRITERS),
    HeaderField("srh", "hmac", 44, Int(1)),
    HeaderField("srh", "tag", 48, Int(16), _SRH_WRITERS),
    # RFC 791, section 3.1
    HeaderField("ipv4", "dscp", 8, Int(6)),
    HeaderField("ipv4", "total_length", 16, Int(16)),
    HeaderField("ipv4", "ttl", 64, Int(8)),
    HeaderField("ipv4", "protocol", 72, Int(8)),
    HeaderField("ipv4", "src", 96, Int(32)),
    HeaderField("ipv4", "dst", 128, Int(32)),
    # RFC 768
    HeaderField("udp", "src_port", 0, Int(16)),
    HeaderField("udp", "dst_port", 16, Int(16)),
    HeaderField("udp", "length", 32, Int(16)),
    HeaderField("udp", "checksum", 48, Int(16)),
    # RFC 9293, section 3.1
    HeaderField("tcp", "src_port", 0, Int(16)),
    HeaderField("tcp", "dst_port", 16, Int(16)),
    HeaderField("tcp", "sequence", 32, Int(32)),
    HeaderField("tcp", "acknowledgment", 64, Int(32)),
    HeaderField("tcp", "ack", 107, Int(1)),
    HeaderField("tcp", "psh", 108, Int(1)),
    HeaderField("tcp", "rst", 109, Int(1)),
    HeaderField("tcp", "syn", 110, Int(1)),
    HeaderField("tcp", "fin", 111, Int(1)),
    HeaderField("tcp", "window", 112, Int(16)),
    # RFC 4443, section 2.1; the last two of an echo request or reply, section 4.1
    HeaderField("icmp6", "type", 0, Int(8)),
    HeaderField("icmp6", "code", 8, Int(8)),
    HeaderField("icmp6", "identifier", 32, Int(16)),
    HeaderField("icmp6", "sequence", 48, Int(16)),
)

HEADERS: dict[str, dict[str, HeaderField]] = {}
for _field in _FIELDS:
    HEADERS.setdefault(_field.header, {})[_field.name] = _field
HMAC_FLAG = 0x08  # in srh.flags
HMAC_TLV = 5  # RFC 8754, section 2.1.2


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
# Bytes of the fixed part. The last five lie behind the extension headers: inner or ipv4 is the
# packet inside, udp, tcp or icmp6 is that packet's, or the outer one's if there is none inside.
HEADER_SIZE = {
    "ip": 40, "srh": 8, "inner": 40, "ipv4": 20, "udp": 8, "tcp": 20, "icmp6": 8,
}  # fmt: skip
UPPER = ("inner", "ipv4", "udp", "tcp", "icmp6")
