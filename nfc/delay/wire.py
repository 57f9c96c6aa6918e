"""The DM TLV as a value, and the report that carries it to a collector.

The TLV is the message of RFC 6374, section 3.2, behind a type and a length byte, as the paper and
`stdlib/dm.nf` have it. So it has version 1 where the RFC has 0, 24 bits of session and 8 of class
where that has 26 and 6, a flag T that is set only where the class counts, and four times that stay
where they are: sent, received, reply sent, reply received. (A responder of the RFC moves the first
two to the third and fourth place, section 4.3.3.)

A report is the payload of a UDP datagram (after RFC 7876): the DM TLV that the far router saw,
turned into a response, and behind it the addresses of who sent the query and for whom it was, as
the objects 130 and 129 of RFC 6374, section 3.5.2. All is in network byte order; times are
nanoseconds of TAI.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from nfc.errors import ObjectError, UsageError

DM_TYPE: Final = 7
URO_TYPE: Final = 131  # RFC 7876
# RFC 6374, section 3.5.2: type, length, address family (16 bits), address.
DESTINATION_TYPE, SOURCE_TYPE = 129, 130
OPTIONAL: Final = 128  # TLVs from here on may be skipped by whom they tell nothing (section 3.5)

# Control codes (RFC 6374, section 3.1): of a query, and of a response. IANA keeps them as
# "Loss/Delay Measurement Control Code" (g-ach-parameters).
IN_BAND, OUT_OF_BAND, NO_ANSWER = 0x00, 0x01, 0x02
SUCCESS, BAD_VERSION, BAD_CONTROL = 0x01, 0x11, 0x12
VERSION: Final = 1
PTP: Final = 3  # the time format: 32 bits of seconds, 32 of nanoseconds (RFC 6374, section 3.4)

NS: Final = 1_000_000_000
_AFI_IPV6: Final = 2  # IANA's address family number
# Type, length, version and flags, control code, formats, session and class, four times.
_MESSAGE = struct.Struct("!BBxxBBxxBBxxI8I")
MESSAGE_SIZE: Final = _MESSAGE.size  # 48
_HEAD = struct.Struct("!BBxxBBxxBBxxI")
_TIMES = struct.Struct("!8I")
_ADDRESS = struct.Struct("!BBH16s")
_RESPONSE, _CLASS_SET = 0x08, 0x04  # of the byte with the version

# From 0x10 on they are errors, below notifications; the times of a response are to be used only
# where it is SUCCESS (RFC 6374, section 4.3.4).
REASONS: Final = {
    SUCCESS: "success",
    0x02: "invalid data format",
    0x03: "initialization in progress",
    0x04: "a reset of the data occurred",
    0x05: "resource temporarily unavailable",
    0x10: "unspecified error",
    BAD_VERSION: "unsupported version",
    BAD_CONTROL: "unsupported control code",
    0x13: "unsupported data format",
    0x14: "authentication failure",
    0x15: "invalid destination node identifier",
    0x16: "connection mismatch",
    0x17: "unsupported mandatory TLV object",
    0x18: "unsupported query interval",
    0x19: "administrative block",
    0x1A: "resource unavailable",
    0x1B: "resource released",
    0x1C: "invalid message",
    0x1D: "protocol error",
}


def reason(control: int) -> str:
    """A response's control code in words."""
    return REASONS.get(control, f"control code 0x{control:02x}")


@dataclass(frozen=True, slots=True)
class Message:
    """A DM TLV: `session` has 24 bits, times are 0 where not yet known, `more` are the bytes
    behind the 48 that RFC 6374 fixes (its TLV block)."""

    session: int
    sent: int = 0
    received: int = 0
    reply_sent: int = 0
    reply_received: int = 0
    control: int = IN_BAND
    response: bool = False
    version: int = VERSION
    class_set: bool = False
    traffic_class: int = 0
    query_format: int = PTP
    response_format: int = 0
    preferred_format: int = 0
    more: bytes = b""

    def encode(self) -> bytes:
        """The TLV, with its type and length. Raises UsageError for what does not fit."""
        times = (self.sent, self.received, self.reply_sent, self.reply_received)
        try:
            fixed = _MESSAGE.pack(
                DM_TYPE,
                MESSAGE_SIZE - 2 + len(self.more),
                self.version << 4 | self.response * _RESPONSE | self.class_set * _CLASS_SET,
                self.control,
                self.query_format << 4 | self.response_format,
                self.preferred_format << 4,
                self.session << 8 | self.traffic_class,
                *(part for time in times for part in divmod(time, NS)),
            )
        except struct.error as error:
            raise UsageError(f"this does not fit a DM TLV: {error}") from None
        return fixed + self.more

    @classmethod
    def decode(cls, data: bytes | memoryview, at: int = 0) -> Message:
        """The DM TLV at byte `at`. Raises ObjectError where there is none that is whole, or
        whose times are not in the format of PTP."""
        if len(data) - at < MESSAGE_SIZE:
            raise ObjectError(f"a DM TLV has {MESSAGE_SIZE} bytes", where=f"byte {at}")
        head, parts = _HEAD.unpack_from(data, at), _TIMES.unpack_from(data, at + 16)
        type_, length, flags, control, formats, preferred, session = head
        s1, n1, s2, n2, s3, n3, s4, n4 = parts
        end = at + 2 + length
        if type_ != DM_TYPE or length < MESSAGE_SIZE - 2 or end > len(data):
            raise ObjectError(f"type {type_}, length {length}: no DM TLV", where=f"byte {at}")
        if n1 >= NS or n2 >= NS or n3 >= NS or n4 >= NS:
            raise ObjectError("a time has a second's worth of nanoseconds", where=f"byte {at + 16}")
        return cls(
            session=session >> 8,
            sent=s1 * NS + n1,
            received=s2 * NS + n2,
            reply_sent=s3 * NS + n3,
            reply_received=s4 * NS + n4,
            control=control,
            response=bool(flags & _RESPONSE),
            version=flags >> 4,
            class_set=bool(flags & _CLASS_SET),
            traffic_class=session & 0xFF,
            query_format=formats >> 4,
            response_format=formats & 0x0F,
            preferred_format=preferred >> 4,
            more=bytes(data[at + MESSAGE_SIZE : end]),
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What a collector is told: the message, the router whose probe it was, and the SID that
    took it, where they are known."""

    message: Message
    source: IPv6Address | None = None
    destination: IPv6Address | None = None

    def encode(self) -> bytes:
        """The payload of the datagram."""
        data = self.message.encode()
        for type_, address in ((SOURCE_TYPE, self.source), (DESTINATION_TYPE, self.destination)):
            if address is not None:
                data += _ADDRESS.pack(type_, _ADDRESS.size - 2, _AFI_IPV6, address.packed)
        return data

    @classmethod
    def decode(cls, data: bytes) -> Report:
        """A report out of a datagram from anywhere.

        Raises ObjectError, with the byte, for what is none: not a response, a time that is
        missing or of another format, a TLV that is cut off or has to be understood and is not.
        """
        message = Message.decode(data)
        if not message.response:
            raise ObjectError("a query, not a response", where="byte 4")
        if message.control == SUCCESS:
            if message.query_format != PTP or message.response_format != PTP:
                raise ObjectError("times are not in the format of PTP", where="byte 8")
            if not message.sent or not message.received:
                raise ObjectError("a time is missing", where="byte 16")
        found: dict[int, IPv6Address] = {}
        at = MESSAGE_SIZE + len(message.more)
        while at < len(data):
            if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
                raise ObjectError("a TLV is cut off", where=f"byte {at}")
            type_, length = data[at], data[at + 1]
            if type_ in (SOURCE_TYPE, DESTINATION_TYPE):
                if length != _ADDRESS.size - 2 or data[at + 2 : at + 4] != b"\0\2":
                    raise ObjectError("an address is not of IPv6", where=f"byte {at}")
                found[type_] = IPv6Address(bytes(data[at + 4 : at + 20]))
            elif type_ < OPTIONAL and type_ != 0:  # 0 is padding
                raise ObjectError(f"TLV {type_} is not understood", where=f"byte {at}")
            at += 2 + length
        return cls(message, found.get(SOURCE_TYPE), found.get(DESTINATION_TYPE))
