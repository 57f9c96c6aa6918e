"""The header fields that a program can name: where they are, how wide, what may be written.

RFC 8200, section 3 (ip) and RFC 8754, section 2 (srh).
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
    HeaderField("srh", "tag", 48, Int(16), writable=True),
)

HEADERS: dict[str, dict[str, HeaderField]] = {
    header: {f.name: f for f in _FIELDS if f.header == header} for header in ("ip", "srh")
}
HEADER_SIZE = {"ip": 40, "srh": 8}  # bytes: the fixed part
