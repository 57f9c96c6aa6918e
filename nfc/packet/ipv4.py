"""The IPv4 header (RFC 791 section 3.1), as it stands inside an IPv6 packet."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import ClassVar

from nfc.errors import UsageError
from nfc.packet.base import AUTO, Layout, PacketError, check, pack, size, unpack
from nfc.packet.checksum import internet

_LONGEST = 60  # bytes: the header's length is 4 bits, in words


@dataclass(frozen=True)
class IPv4:
    """An IPv4 header, 20 bytes and its options. `total_length` counts it and what follows it.

    `fragment_offset` is in units of 8 bytes; `flags` has three bits, of which 1 says that more
    fragments follow and 2 that none may be made.
    """

    src: IPv4Address
    dst: IPv4Address
    protocol: int = AUTO
    ttl: int = 64
    dscp: int = 0
    ecn: int = 0
    identification: int = 0
    flags: int = 0
    fragment_offset: int = 0
    total_length: int = AUTO
    checksum: int = AUTO
    options: bytes = b""

    KIND: ClassVar[str] = "IPv4"
    LAYOUT: ClassVar[Layout] = (
        ("version", 4),
        ("ihl", 4),
        ("dscp", 6),
        ("ecn", 2),
        ("total_length", 16),
        ("identification", 16),
        ("flags", 3),
        ("fragment_offset", 13),
        ("ttl", 8),
        ("protocol", 8),
        ("checksum", 16),
        ("src", 32),
        ("dst", 32),
    )

    def __post_init__(self) -> None:
        """Refuse what does not fit the wire (UsageError)."""
        check(self.KIND, self.LAYOUT, vars(self))
        if len(self.options) % 4 or len(self) > _LONGEST:
            raise UsageError(f"IPv4: options cannot be {len(self.options)} bytes long")

    def __len__(self) -> int:
        """The header's bytes, with options."""
        return size(self.LAYOUT) + len(self.options)

    @property
    def next_header(self) -> int:
        """The protocol of what follows, by the name that other headers have for it."""
        return self.protocol

    def encode(self) -> bytes:
        """The bytes. Raises UsageError while a field is AUTO."""
        values = {"version": 4, "ihl": len(self) // 4, **vars(self)}
        return pack(self.KIND, self.LAYOUT, values) + self.options

    def true_checksum(self) -> int:
        """What its checksum ought to be."""
        return internet(replace(self, checksum=0).encode())

    def pseudo(self, protocol: int, length: int) -> bytes:
        """The pseudo-header of UDP and TCP (RFC 768), of a message of `length` bytes."""
        return self.src.packed + self.dst.packed + struct.pack("!BBH", 0, protocol, length & 0xFFFF)

    @classmethod
    def decode(cls, data: bytes, offset: int, end: int) -> IPv4:
        """Read the header at `offset`; raises PacketError if it is cut short or not version 4."""
        if end - offset < size(cls.LAYOUT):
            raise PacketError(f"an IPv4 header takes 20 bytes, {end - offset} are left", offset)
        values = unpack(cls.LAYOUT, data, offset)
        if (version := values.pop("version")) != 4:
            raise PacketError(f"IP version {version} where 4 should be", offset)
        length = 4 * values.pop("ihl")
        if not size(cls.LAYOUT) <= length <= end - offset:
            raise PacketError(f"an IPv4 header of {length} bytes does not fit", offset)
        if values["total_length"] < length:
            raise PacketError(f"a total length of {values['total_length']} bytes", offset + 2)
        src, dst = IPv4Address(values.pop("src")), IPv4Address(values.pop("dst"))
        options = data[offset + size(cls.LAYOUT) : offset + length]
        return cls(src=src, dst=dst, options=options, **values)
