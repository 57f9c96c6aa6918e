"""The TLVs of a segment routing header (RFC 8754 section 2.1), as values.

Each sequence of bytes reads as exactly one sequence of these values: a TLV whose type has a
class of its own cannot be written as a plain `TLV`, so equal bytes mean equal values.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from nfc.errors import UsageError

PAD1_TYPE: Final = 0
PADN_TYPE: Final = 4
HMAC_TYPE: Final = 5
HMAC_FIXED: Final = 6  # D flag, reserved bits and key id, before the digest


@dataclass(frozen=True)
class TLV:
    """A TLV that nfc does not look into: `value` is what follows the type and length bytes."""

    type: int
    value: bytes = b""

    def __post_init__(self) -> None:
        """Refuse what does not fit, or has a class of its own (UsageError)."""
        if not 0 <= self.type <= 255:
            raise UsageError(f"TLV type {self.type} does not fit in 8 bits")
        _check_value(self.value)
        own = {PAD1_TYPE: "Pad1", PADN_TYPE: "PadN"}.get(self.type)
        if self.type == HMAC_TYPE and len(self.value) >= HMAC_FIXED:
            own = "HMAC"
        if own:
            raise UsageError(f"a TLV of type {self.type} is written as {own}(...), or with tlv()")

    def encode(self) -> bytes:
        """Type, length, value."""
        return bytes((self.type, len(self.value))) + self.value


@dataclass(frozen=True)
class Pad1:
    """One byte of padding, without a length. Linux 6.18 does not understand it; prefer PadN."""

    def encode(self) -> bytes:
        """A zero byte."""
        return b"\0"


@dataclass(frozen=True)
class PadN:
    """Padding of 2 bytes or more: `padding` follows type 4 and the length; a sender writes 0s."""

    padding: bytes = b""

    def __post_init__(self) -> None:
        """Refuse more than 255 bytes (UsageError)."""
        _check_value(self.padding)

    def encode(self) -> bytes:
        """Type 4, length, padding."""
        return bytes((PADN_TYPE, len(self.padding))) + self.padding


@dataclass(frozen=True)
class HMAC:
    """Keyed digest of the SRH (RFC 8754 section 2.1.2): a 15-bit `reserved`, a 32-bit `key_id`.

    `d` set: the destination address was not checked against the segment list. RFC 8754 wants a
    digest whose length is a multiple of 8 and at most 32 bytes; any that fits is kept here.
    """

    key_id: int
    digest: bytes
    d: bool = False
    reserved: int = 0

    def __post_init__(self) -> None:
        """Refuse what does not fit the wire (UsageError)."""
        if not 0 <= self.key_id < 1 << 32 or not 0 <= self.reserved < 1 << 15:
            raise UsageError("HMAC: key_id has 32 bits and reserved 15")
        if len(self.digest) > 255 - HMAC_FIXED:
            raise UsageError(f"HMAC: a digest of {len(self.digest)} bytes does not fit")

    def encode(self) -> bytes:
        """Type 5, length, D and reserved bits, key id, digest."""
        fixed = struct.pack("!HI", self.d << 15 | self.reserved, self.key_id)
        return bytes((HMAC_TYPE, HMAC_FIXED + len(self.digest))) + fixed + self.digest


@dataclass(frozen=True)
class Junk:
    """What is left of a TLV area where no TLV fits: a lone type byte, or a length too long."""

    data: bytes

    def __post_init__(self) -> None:
        """Refuse bytes that do read as a TLV (UsageError)."""
        if not self.data or _first_size(self.data, 0) <= len(self.data):
            raise UsageError("these bytes are a TLV, or nothing; Junk is what is neither")

    def encode(self) -> bytes:
        """The bytes as they were found."""
        return self.data


AnyTLV = TLV | Pad1 | PadN | HMAC | Junk


def tlv(type: int, value: bytes = b"") -> AnyTLV:
    """The TLV of this type and value, in the class that owns the type.

    `tlv(0)` is Pad1. Raises UsageError for a type over 255, a value over 255 bytes, or a Pad1
    with a value.
    """
    if type == PAD1_TYPE and not value:
        return Pad1()
    if type == PADN_TYPE:
        return PadN(value)
    if type == HMAC_TYPE and len(value) >= HMAC_FIXED:
        first, key_id = struct.unpack_from("!HI", value)
        return HMAC(key_id, value[HMAC_FIXED:], bool(first >> 15), first & 0x7FFF)
    return TLV(type, value)


def decode_tlvs(area: bytes) -> tuple[AnyTLV, ...]:
    """The TLVs of a whole TLV area; never fails: what does not fit becomes a last `Junk`."""
    found: list[AnyTLV] = []
    offset = 0
    while offset < len(area):
        stop = offset + _first_size(area, offset)
        if stop > len(area):
            found.append(Junk(area[offset:]))
            break
        found.append(tlv(area[offset], area[offset + 2 : stop]))
        offset = stop
    return tuple(found)


def padding(length: int) -> tuple[PadN, ...]:
    """The PadN that rounds `length` bytes up to a multiple of 8: none, or one.

    A gap of one byte becomes nine, because a PadN takes two bytes and the Linux kernel's check
    (net/ipv6/seg6.c, seg6_validate_srh) reads a length byte even after a Pad1.
    """
    gap = -length % 8
    if gap == 0:
        return ()
    return (PadN(bytes((9 if gap == 1 else gap) - 2)),)


def _first_size(area: bytes, offset: int) -> int:
    """The bytes that the TLV at `offset` claims; one more than are left if it has no length."""
    if area[offset] == PAD1_TYPE:
        return 1
    return 2 + area[offset + 1] if offset + 1 < len(area) else 2


def _check_value(value: bytes) -> None:
    if len(value) > 255:
        raise UsageError(f"a TLV's value of {len(value)} bytes is over 255")
