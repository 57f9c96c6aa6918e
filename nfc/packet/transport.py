"""UDP (RFC 768) and ICMPv6 (RFC 4443) headers; what follows them is the packet's payload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

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
