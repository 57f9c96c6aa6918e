"""UDP (RFC 768), TCP (RFC 9293), ICMPv6 (RFC 4443): the payload is what follows these headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nfc.errors import UsageError
from nfc.packet.base import AUTO, Layout, PacketError, check, pack, size, unpack


@dataclass(frozen=True)
class UDP:
    """A UDP header, 8 bytes. `length` counts header and payload in bytes."""

    src_port: int
    dst_port: int
    length: int = AUTO
    checksum: int = AUTO

    KIND: ClassVar[str] = "UDP"
    LAYOUT: ClassVar[Layout] = (
        ("src_port", 16),
        ("dst_port", 16),
        ("length", 16),
        ("checksum", 16),
    )

    def __post_init__(self) -> None:
        """Refuse what does not fit the wire (UsageError)."""
        check(self.KIND, self.LAYOUT, vars(self))

    def encode(self) -> bytes:
        """The 8 bytes. Raises UsageError while a field is AUTO."""
        return pack(self.KIND, self.LAYOUT, vars(self))

    @classmethod
    def decode(cls, data: bytes, offset: int, end: int) -> UDP:
        """Read the header at `offset`; raises PacketError if cut short or its length is < 8."""
        if end - offset < size(cls.LAYOUT):
            raise PacketError(f"a UDP header takes 8 bytes, {end - offset} are left", offset)
        header = cls(**unpack(cls.LAYOUT, data, offset))
        if header.length < size(cls.LAYOUT):
            raise PacketError(f"a UDP length of {header.length} is under 8", offset + 4)
        return header


@dataclass(frozen=True)
class TCP:
    """A TCP header, 20 bytes and its options, which are a multiple of 4 bytes."""

    src_port: int
    dst_port: int
    sequence: int = 0
    acknowledgment: int = 0
    reserved: int = 0
    cwr: int = 0
    ece: int = 0
    urg: int = 0
    ack: int = 0
    psh: int = 0
    rst: int = 0
    syn: int = 0
    fin: int = 0
    window: int = 0
    checksum: int = AUTO
    urgent_pointer: int = 0
    options: bytes = b""

    KIND: ClassVar[str] = "TCP"
    LAYOUT: ClassVar[Layout] = (
        ("src_port", 16),
        ("dst_port", 16),
        ("sequence", 32),
        ("acknowledgment", 32),
        ("data_offset", 4),
        ("reserved", 4),
        ("cwr", 1),
        ("ece", 1),
        ("urg", 1),
        ("ack", 1),
        ("psh", 1),
        ("rst", 1),
        ("syn", 1),
        ("fin", 1),
        ("window", 16),
        ("checksum", 16),
        ("urgent_pointer", 16),
    )

    def __post_init__(self) -> None:
        """Refuse what does not fit the wire (UsageError)."""
        check(self.KIND, self.LAYOUT, vars(self))
        if len(self.options) % 4 or len(self.options) > 40:
            raise UsageError(f"TCP: options cannot be {len(self.options)} bytes long")

    def encode(self) -> bytes:
        """The header's bytes. Raises UsageError while a field is AUTO."""
        values = {"data_offset": 5 + len(self.options) // 4, **vars(self)}
        return pack(self.KIND, self.LAYOUT, values) + self.options

    @classmethod
    def decode(cls, data: bytes, offset: int, end: int) -> TCP:
        """Read the header at `offset`; raises PacketError if it does not fit."""
        if end - offset < size(cls.LAYOUT):
            raise PacketError(f"a TCP header takes 20 bytes, {end - offset} are left", offset)
        values = unpack(cls.LAYOUT, data, offset)
        length = 4 * values.pop("data_offset")
        if not size(cls.LAYOUT) <= length <= end - offset:
            raise PacketError(f"a TCP header of {length} bytes does not fit", offset + 12)
        return cls(options=data[offset + size(cls.LAYOUT) : offset + length], **values)


@dataclass(frozen=True)
class ICMPv6:
    """An ICMPv6 header, 4 bytes: the message body is the packet's payload."""

    type: int
    code: int = 0
    checksum: int = AUTO

    KIND: ClassVar[str] = "ICMPv6"
    LAYOUT: ClassVar[Layout] = (("type", 8), ("code", 8), ("checksum", 16))

    def __post_init__(self) -> None:
        """Refuse what does not fit the wire (UsageError)."""
        check(self.KIND, self.LAYOUT, vars(self))

    def encode(self) -> bytes:
        """The 4 bytes. Raises UsageError while a field is AUTO."""
        return pack(self.KIND, self.LAYOUT, vars(self))

    @classmethod
    def decode(cls, data: bytes, offset: int, end: int) -> ICMPv6:
        """Read the header at `offset`; raises PacketError if it is cut short."""
        if end - offset < size(cls.LAYOUT):
            raise PacketError(f"an ICMPv6 header takes 4 bytes, {end - offset} are left", offset)
        return cls(**unpack(cls.LAYOUT, data, offset))
