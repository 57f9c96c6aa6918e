"""The IPv6 header (RFC 8200 section 3) and the extension headers that nfc only steps over."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import ClassVar, Final

from nfc.errors import UsageError
from nfc.packet.base import AUTO, Layout, PacketError, check, pack, size, unpack

# IANA "Assigned Internet Protocol Numbers".
HOP_BY_HOP: Final = 0
IPV4_PROTOCOL: Final = 4
TCP_PROTOCOL: Final = 6
UDP_PROTOCOL: Final = 17
IPV6_PROTOCOL: Final = 41
ROUTING: Final = 43
FRAGMENT: Final = 44
ICMPV6_PROTOCOL: Final = 58
NO_NEXT_HEADER: Final = 59
DESTINATION_OPTIONS: Final = 60

PROTOCOL_NAMES: Final = {
    HOP_BY_HOP: "hop-by-hop options",
    IPV4_PROTOCOL: "IPv4",
    TCP_PROTOCOL: "TCP",
    UDP_PROTOCOL: "UDP",
    IPV6_PROTOCOL: "IPv6",
    ROUTING: "routing",
    FRAGMENT: "fragment",
    ICMPV6_PROTOCOL: "ICMPv6",
    NO_NEXT_HEADER: "none",
    DESTINATION_OPTIONS: "destination options",
    143: "Ethernet",
}

SRH_TYPE: Final = 4  # IANA "Routing Types", RFC 8754 section 2


@dataclass(frozen=True)
class IPv6:
    """An IPv6 header, 40 bytes. Lengths in bytes; `payload_length` counts what follows it."""

    src: IPv6Address
    dst: IPv6Address
    next_header: int = AUTO
    hop_limit: int = 64
    traffic_class: int = 0
    flow_label: int = 0
    payload_length: int = AUTO

    KIND: ClassVar[str] = "IPv6"
    LAYOUT: ClassVar[Layout] = (
        ("version", 4),
        ("traffic_class", 8),
        ("flow_label", 20),
        ("payload_length", 16),
        ("next_header", 8),
        ("hop_limit", 8),
        ("src", 128),
        ("dst", 128),
    )

    def __post_init__(self) -> None:
        """Refuse what does not fit the wire (UsageError)."""
        check(self.KIND, self.LAYOUT, vars(self))

    def encode(self) -> bytes:
        """The 40 bytes. Raises UsageError while a field is AUTO."""
        return pack(self.KIND, self.LAYOUT, {"version": 6, **vars(self)})

    @classmethod
    def decode(cls, data: bytes, offset: int = 0, end: int | None = None) -> IPv6:
        """Read the header at `offset`; raises PacketError if it is cut short or not version 6."""
        end = len(data) if end is None else end
        if end - offset < size(cls.LAYOUT):
            raise PacketError(f"an IPv6 header takes 40 bytes, {end - offset} are left", offset)
        values = unpack(cls.LAYOUT, data, offset)
        if values["version"] != 6:
            raise PacketError(f"IP version {values['version']} where 6 should be", offset)
        return cls(
            src=IPv6Address(values["src"]),
            dst=IPv6Address(values["dst"]),
            next_header=values["next_header"],
            hop_limit=values["hop_limit"],
            traffic_class=values["traffic_class"],
            flow_label=values["flow_label"],
            payload_length=values["payload_length"],
        )


@dataclass(frozen=True)
class Extension:
    """Hop-by-hop options, destination options, or a routing header other than the SRH.

    `body` is everything after the next-header and length bytes, so its length is 6 more than a
    multiple of 8 (RFC 8200 sections 4.3, 4.4, 4.6). `number` is the header's protocol number.
    """

    number: int
    body: bytes = b"\x01\x04\0\0\0\0"  # one PadN option that fills it
    next_header: int = AUTO

    KIND: ClassVar[str] = "extension"
    LAYOUT: ClassVar[Layout] = (("next_header", 8), ("hdr_ext_len", 8))

    def __post_init__(self) -> None:
        """Refuse what does not fit the wire, and an SRH in disguise (UsageError)."""
        check(self.KIND, self.LAYOUT, vars(self))
        if self.number not in (HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS):
            raise UsageError(f"protocol {self.number} is not an extension header nfc knows")
        if len(self.body) % 8 != 6 or len(self.body) > 2046:
            raise UsageError(f"an extension header's body cannot be {len(self.body)} bytes long")
        if self.number == ROUTING and self.body[0] == SRH_TYPE:
            raise UsageError("a routing header of type 4 is an SRH; write it as one")

    def encode(self) -> bytes:
        """The header's bytes, a multiple of 8. Raises UsageError while a field is AUTO."""
        values = {"next_header": self.next_header, "hdr_ext_len": (len(self.body) - 6) // 8}
        return pack(self.KIND, self.LAYOUT, values) + self.body

    @classmethod
    def decode(cls, number: int, data: bytes, offset: int, end: int) -> Extension:
        """Read the header at `offset`; raises PacketError if it runs past `end`."""
        stop = extension_end(data, offset, end)
        return cls(number, data[offset + 2 : stop], data[offset])


@dataclass(frozen=True)
class Fragment:
    """The fragment header, 8 bytes (RFC 8200 section 4.5); `offset` in units of 8 bytes."""

    offset: int = 0
    more: int = 0
    identification: int = 0
    next_header: int = AUTO
    reserved: int = 0
    reserved2: int = 0

    KIND: ClassVar[str] = "fragment"
    LAYOUT: ClassVar[Layout] = (
        ("next_header", 8),
        ("reserved", 8),
        ("offset", 13),
        ("reserved2", 2),
        ("more", 1),
        ("identification", 32),
    )

    def __post_init__(self) -> None:
        """Refuse what does not fit the wire (UsageError)."""
        check(self.KIND, self.LAYOUT, vars(self))

    def encode(self) -> bytes:
        """The 8 bytes. Raises UsageError while a field is AUTO."""
        return pack(self.KIND, self.LAYOUT, vars(self))

    @classmethod
    def decode(cls, data: bytes, offset: int, end: int) -> Fragment:
        """Read the header at `offset`; raises PacketError if it is cut short."""
        if end - offset < size(cls.LAYOUT):
            raise PacketError(f"a fragment header takes 8 bytes, {end - offset} are left", offset)
        return cls(**unpack(cls.LAYOUT, data, offset))


def extension_end(data: bytes, offset: int, end: int) -> int:
    """Where the extension header at `offset` stops, from its length byte (in units of 8 bytes,
    the first 8 not counted). Raises PacketError if that is past `end`."""
    if end - offset < 8:
        raise PacketError(f"an extension header takes 8 bytes, {end - offset} are left", offset)
    stop = offset + 8 + 8 * data[offset + 1]
    if stop > end:
        raise PacketError(
            f"the header says it is {stop - offset} bytes long, {end - offset} are left", offset + 1
        )
    return stop
