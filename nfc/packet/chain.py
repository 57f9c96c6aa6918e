"""A packet: a chain of headers, the payload behind them, and bytes to and from it.

`Packet` fills every AUTO field when it is made, so a packet is always explicit and two packets
that stand for the same bytes are equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address

from nfc.errors import UsageError
from nfc.packet.base import AUTO, PacketError, size
from nfc.packet.checksum import checksum, internet
from nfc.packet.ipv4 import IPv4
from nfc.packet.ipv6 import (
    DESTINATION_OPTIONS,
    FRAGMENT,
    HOP_BY_HOP,
    ICMPV6_PROTOCOL,
    IPV4_PROTOCOL,
    IPV6_PROTOCOL,
    NO_NEXT_HEADER,
    ROUTING,
    SRH_TYPE,
    TCP_PROTOCOL,
    UDP_PROTOCOL,
    Extension,
    Fragment,
    IPv6,
)
from nfc.packet.segments import SRH
from nfc.packet.transport import TCP, UDP, ICMPv6

Header = IPv6 | IPv4 | Extension | Fragment | SRH | UDP | TCP | ICMPv6
_NUMBERS = {
    IPv6: IPV6_PROTOCOL,
    IPv4: IPV4_PROTOCOL,
    Fragment: FRAGMENT,
    SRH: ROUTING,
    UDP: UDP_PROTOCOL,
    TCP: TCP_PROTOCOL,
    ICMPv6: ICMPV6_PROTOCOL,
}
_LAST = (UDP, TCP, ICMPv6)  # nothing but the payload follows them


@dataclass(frozen=True)
class Packet:
    """Headers from the outside in, the payload, and a `trailer` that no header counts.

    Made by hand, lengths, next headers and checksums that are AUTO are worked out; given ones
    are kept even where they lie. `decode(encode(p)) == p` for every packet whose given fields
    agree with its structure; where they lie, the bytes still come back the same.

    `problem` says why decoding left the rest in `payload`, or what does not fit ("" if all is
    well); it is no part of the value. Raises UsageError if the first header is not IPv6, if
    something follows UDP, TCP or ICMPv6, or if a length does not fit 16 bits.
    """

    headers: tuple[Header, ...]
    payload: bytes = b""
    trailer: bytes = b""
    problem: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Fill the AUTO fields."""
        if not self.headers or not isinstance(self.headers[0], IPv6):
            raise UsageError("a packet begins with an IPv6 header")
        if any(isinstance(h, _LAST) for h in self.headers[:-1]):
            raise UsageError("no header can follow UDP, TCP or ICMPv6")
        object.__setattr__(self, "headers", _fill(self.headers, self.payload))

    def encode(self) -> bytes:
        """The packet's bytes."""
        return b"".join(h.encode() for h in self.headers) + self.payload + self.trailer

    def __bytes__(self) -> bytes:
        """The packet's bytes: `bytes(p)` is `p.encode()`."""
        return self.encode()

    @property
    def ip(self) -> IPv6:
        """The outermost header."""
        outer = self.headers[0]
        assert isinstance(outer, IPv6)  # __post_init__ saw to it
        return outer

    @property
    def srh(self) -> SRH | None:
        """The first SRH, or None."""
        return next((h for h in self.headers if isinstance(h, SRH)), None)


def encode(packet: Packet) -> bytes:
    """The packet's bytes."""
    return packet.encode()


def decode(data: bytes) -> Packet:
    """The packet in `data`, which starts at the outer IPv6 header (LINKTYPE_RAW).

    Raises PacketError, and nothing else, if there is no whole IPv6 header. All else is kept:
    headers that nfc does not know, or that do not fit, stay in `payload` and `problem` says
    why; bytes behind the innermost length are the `trailer`.
    """
    headers: list[Header] = []
    number, offset, end, problem = IPV6_PROTOCOL, 0, len(data), ""
    try:
        while True:
            header = _decode_one(number, data, offset, end)
            if header is None:
                break
            headers.append(header)
            length = _size(header)
            declared = end
            if isinstance(header, IPv6):
                declared = offset + length + header.payload_length
            elif isinstance(header, IPv4):
                declared = offset + header.total_length
            elif isinstance(header, UDP):
                declared = offset + header.length
            if declared > end and not problem:
                problem = f"byte {offset}: {header.KIND} counts {declared - end} bytes too many"
            end = min(end, declared)
            offset += length
            if isinstance(header, _LAST) or _later_fragment(header):
                break
            number = header.next_header
    except PacketError as error:
        if not headers:
            raise
        problem = problem or error.message
    return Packet(tuple(headers), data[offset:end], data[end:], problem)


def _decode_one(number: int, data: bytes, offset: int, end: int) -> Header | None:
    """The header of protocol `number` at `offset`; None if nfc does not read that protocol."""
    if number == IPV6_PROTOCOL:
        return IPv6.decode(data, offset, end)
    if number == IPV4_PROTOCOL:
        return IPv4.decode(data, offset, end)
    if number == FRAGMENT:
        return Fragment.decode(data, offset, end)
    if number == UDP_PROTOCOL:
        return UDP.decode(data, offset, end)
    if number == TCP_PROTOCOL:
        return TCP.decode(data, offset, end)
    if number == ICMPV6_PROTOCOL:
        return ICMPv6.decode(data, offset, end)
    if number == ROUTING and end - offset > 2 and data[offset + 2] == SRH_TYPE:
        return SRH.decode(data, offset, end)
    if number in (HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS):
        return Extension.decode(number, data, offset, end)
    return None


def _later_fragment(header: Header) -> bool:
    """Whether what follows is the middle of something: there is no header to read."""
    return (isinstance(header, IPv4) and header.fragment_offset > 0) or (
        isinstance(header, Fragment) and header.offset > 0
    )


def true_checksum(headers: tuple[Header, ...], payload: bytes) -> int:
    """What the checksum of the last header ought to be; AUTO if that is not UDP, TCP or
    ICMPv6.

    The pseudo-header takes the innermost source, and as destination the last segment of an SRH
    that still has segments left (RFC 8200 section 8.1).
    """
    last = headers[-1]
    if not isinstance(last, _LAST):
        return AUTO
    src, dst = IPv6Address(0), IPv6Address(0)
    inside: IPv4 | None = None
    for header in headers:
        if isinstance(header, IPv6):
            src, dst, inside = header.src, header.dst, None
        elif isinstance(header, SRH) and header.segments_left > 0:
            dst = header.segments[-1]
        elif isinstance(header, IPv4):
            inside = header
    message = replace(last, checksum=0).encode() + payload
    number = _NUMBERS[type(last)]
    if inside is not None and not isinstance(last, ICMPv6):
        value = internet(inside.pseudo(number, len(message)) + message)
    else:
        value = checksum(src, dst, number, message)
    return 0xFFFF if value == 0 and isinstance(last, UDP) else value


def _size(header: Header) -> int:
    """The header's bytes on the wire, AUTO fields or not."""
    if isinstance(header, SRH | IPv4):
        return len(header)
    if isinstance(header, Extension):
        return size(header.LAYOUT) + len(header.body)
    if isinstance(header, TCP):
        return size(header.LAYOUT) + len(header.options)
    return size(header.LAYOUT)


def _fill(headers: tuple[Header, ...], payload: bytes) -> tuple[Header, ...]:
    """The headers with every AUTO field worked out, from the inside out."""
    filled: list[Header] = []
    number, after = NO_NEXT_HEADER, len(payload)
    for header in reversed(headers):
        done = _fill_one(header, number, after)
        number = done.number if isinstance(done, Extension) else _NUMBERS[type(done)]
        after += _size(done)
        filled.append(done)
    filled.reverse()
    tail = filled[-1]
    if isinstance(tail, _LAST) and tail.checksum == AUTO:
        filled[-1] = replace(tail, checksum=true_checksum(tuple(filled), payload))
    return tuple(filled)


def _fill_one(header: Header, number: int, after: int) -> Header:
    """`header` before one of protocol `number`, with `after` bytes behind it."""
    if isinstance(header, ICMPv6 | TCP):
        return header
    if isinstance(header, IPv4):
        length = _length(header.total_length, len(header) + after)
        header = replace(header, total_length=length, protocol=_auto(header.protocol, number))
        return replace(header, checksum=_auto(header.checksum, header.true_checksum()))
    if isinstance(header, UDP):
        return replace(header, length=_length(header.length, 8 + after))
    next_header = _auto(header.next_header, number)
    if isinstance(header, IPv6):
        length = _length(header.payload_length, after)
        return replace(header, payload_length=length, next_header=next_header)
    if isinstance(header, Extension | Fragment):
        return replace(header, next_header=next_header)
    last = len(header.segments) - 1
    return replace(
        header,
        segments_left=_auto(header.segments_left, last),
        last_entry=_auto(header.last_entry, last),
        hdr_ext_len=_auto(header.hdr_ext_len, len(header) // 8 - 1),
        next_header=next_header,
    )


def _auto(given: int, worked_out: int) -> int:
    return worked_out if given == AUTO else given


def _length(given: int, worked_out: int) -> int:
    if given == AUTO and worked_out > 0xFFFF:
        raise UsageError(f"{worked_out} bytes do not fit a 16-bit length")
    return _auto(given, worked_out)
