"""What generated programs are written with: names, addresses, numbers, shapes of declarations."""

from __future__ import annotations

from dataclasses import dataclass

HOOKS = ("endpoint", "endpoint", "endpoint", "endpoint", "in", "in", "out", "xmit")
ADDRESSES = ("fd20::1", "fd30::1", "fd2f::7", "fd20:9::1", "fd00:1::1", "2001:db8::1", "fd99::1")
PREFIXES = (
    "fd20::/16",
    "fd30::/16",
    "::/0",
    "fd20::1/128",
    "fd00::/8",
    "2001:db8::/32",
    "fc00::/7",
)
LINKS = ("h2", "h3")
NEXTHOPS = ("fd00:3::2", "fd00:2::2", "fd30::9", "fd99::1")
TABLES = ("main", "100", "107", "T", "default", "4000000")
IP = (
    ("traffic_class", 8),
    ("flow_label", 20),
    ("payload_length", 16),
    ("next_header", 8),
    ("hop_limit", 8),
)
SRH = (
    ("tag", 16),
    ("flags", 8),
    ("segments_left", 8),
    ("next_header", 8),
    ("length", 8),
    ("last_entry", 8),
    ("protected", 1),
    ("oam", 1),
    ("alert", 1),
    ("hmac", 1),
)
UPPER = {
    "ipv4": (
        ("dscp", 6),
        ("total_length", 16),
        ("ttl", 8),
        ("protocol", 8),
        ("src", 32),
        ("dst", 32),
    ),
    "udp": (("src_port", 16), ("dst_port", 16), ("length", 16), ("checksum", 16)),
    "tcp": (
        *(("src_port", 16), ("dst_port", 16), ("sequence", 32), ("acknowledgment", 32)),
        *(("syn", 1), ("ack", 1), ("fin", 1), ("rst", 1), ("psh", 1), ("window", 16)),
    ),
    "icmp6": (("type", 8), ("code", 8), ("identifier", 16), ("sequence", 16)),
}
META = (("length", 32), ("mark", 32), ("priority", 32), ("ingress", 32), ("cpu", 32))
NUMBERS_OF_TLVS = (200, 201, 202, 6, 7, 131, 255, 1)
DM = (
    "DM",
    7,
    48,
    (("version", "u4"), ("response", "u1"), ("session", "u24"), ("sent", "timestamp")),
)
ROUTED = (("fd20::", 16), ("fd20::1", 128), ("fd00::", 8), ("::", 0), ("2001:db8::", 32))
ROUTED4 = ((0, 0), (0, 8), (255 << 24, 8), (0xFFFFFFFF, 32), (0, 32))
PREFIXES4 = ("0.0.0.0/0", "0.0.0.0/8", "255.0.0.0/8", "255.255.255.255/32", "0.0.0.7/32")
MAX_BUILT = 200
MAX_ENCAP = 300
MAX_XMIT = 200


@dataclass(frozen=True)
class Tlv:
    """A declared TLV: type, size in bytes with type and length, named fields with types."""

    name: str
    number: int
    size: int
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A declared table or counter with keys; fields and keys with types."""

    name: str
    kind: str
    per_cpu: bool
    keys: tuple[str, ...]
    fields: tuple[tuple[str, str], ...]
