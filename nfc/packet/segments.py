"""The segment routing header (RFC 8754 section 2).

THE ORDER OF SEGMENTS: on the wire the list is reversed: Segment List[0] is the LAST segment of
the path. Everywhere in nfc `segments` is in TRAVEL ORDER, the first one visited first, as in
`ip route ... segs a,b` and in the language; only `encode` and `decode` turn it round. So
`Segment List[i]` is `segments[-1 - i]`, and the active one is `srh.active`.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import ClassVar, Final

from nfc.errors import UsageError
from nfc.packet.base import AUTO, Layout, PacketError, check, pack, unpack
from nfc.packet.ipv6 import SRH_TYPE, extension_end
from nfc.packet.tlvs import AnyTLV, Junk, decode_tlvs

FIXED: Final = 8  # bytes before the segment list
MAX_SIZE: Final = 8 + 8 * 255


@dataclass(frozen=True)
class SRH:
    """A segment routing header; `segments` in TRAVEL ORDER (see above).

    `segments_left` AUTO: all but the first are left, as when the packet has just been sent.
    `last_entry` and `hdr_ext_len` (units of 8 bytes, the first 8 not counted) AUTO: the truth.
    """

    segments: tuple[IPv6Address, ...]
    segments_left: int = AUTO
    tlvs: tuple[AnyTLV, ...] = ()
    flags: int = 0
    tag: int = 0
    last_entry: int = AUTO
    hdr_ext_len: int = AUTO
    next_header: int = AUTO

    KIND: ClassVar[str] = "SRH"
    LAYOUT: ClassVar[Layout] = (
        ("next_header", 8),
        ("hdr_ext_len", 8),
        ("routing_type", 8),
        ("segments_left", 8),
        ("last_entry", 8),
        ("flags", 8),
        ("tag", 16),
    )

    def __post_init__(self) -> None:
        """Refuse what no SRH can hold (UsageError)."""
        check(self.KIND, self.LAYOUT, vars(self))
        if not self.segments or not all(isinstance(s, IPv6Address) for s in self.segments):
            raise UsageError("SRH: segments must be one IPv6Address or more")
        if any(isinstance(item, Junk) for item in self.tlvs[:-1]):
            raise UsageError("SRH: nothing can follow Junk, where no TLV could be read")
        length = len(self)
        if length % 8:
            raise UsageError(
                f"SRH: {length} bytes is not a multiple of 8", hint="srh(...) pads by itself"
            )
        if length > MAX_SIZE:
            raise UsageError(f"SRH: {length} bytes is over the {MAX_SIZE} that it can say")

    def __len__(self) -> int:
        """The header's bytes, with segments and TLVs."""
        return FIXED + 16 * len(self.segments) + sum(len(t.encode()) for t in self.tlvs)

    @property
    def active(self) -> IPv6Address | None:
        """Segment List[segments_left]; None where segments_left points outside the list."""
        left = self.segments_left
        return self.segments[-1 - left] if 0 <= left < len(self.segments) else None

    def encode(self) -> bytes:
        """The bytes, segments reversed. Raises UsageError while a field is AUTO."""
        fixed = pack(self.KIND, self.LAYOUT, {"routing_type": SRH_TYPE, **vars(self)})
        listed = b"".join(s.packed for s in reversed(self.segments))
        return fixed + listed + b"".join(t.encode() for t in self.tlvs)

    @classmethod
    def decode(cls, data: bytes, offset: int, end: int) -> SRH:
        """Read the SRH at `offset`. Raises PacketError if it, or its segment list, does not fit.

        The number of segments is last_entry + 1. A segments_left out of range and TLVs that do
        not fit (kept as a last Junk) are not errors here.
        """
        stop = extension_end(data, offset, end)
        values = unpack(cls.LAYOUT, data, offset)
        if values.pop("routing_type") != SRH_TYPE:
            raise PacketError(f"routing type {data[offset + 2]} where 4 should be", offset + 2)
        first = offset + FIXED
        listed = first + 16 * (values["last_entry"] + 1)
        if listed > stop:
            raise PacketError(
                f"last entry {values['last_entry']} does not fit an SRH of {stop - offset} bytes",
                offset + 4,
            )
        found = (IPv6Address(data[at : at + 16]) for at in range(first, listed, 16))
        return cls(
            segments=tuple(reversed(tuple(found))), tlvs=decode_tlvs(data[listed:stop]), **values
        )
