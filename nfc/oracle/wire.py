"""Bits, extension headers and TLVs of a packet given as bytes (RFC 8200, RFC 8754)."""

from __future__ import annotations

from dataclasses import dataclass

IPV6_SIZE = 40
HOP_BY_HOP, IPV4, TCP, UDP, IPV6, ROUTING, FRAGMENT, AUTHENTICATION = 0, 4, 6, 17, 41, 43, 44, 51
ICMP6, NO_NEXT, OPTIONS = 58, 59, 60
EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, OPTIONS)
PADN = 4
PADN_OPTION = 1  # of Hop-by-Hop options (RFC 8200, section 4.2)
SRH_TYPE = 4
MAX_EXTENSIONS = 8


def bits(data: bytes, first: int, width: int) -> int:
    """The `width` bits from bit `first` on, most significant first. Raises IndexError."""
    end = -(-(first + width) // 8)
    if end > len(data):
        raise IndexError(first)
    word = int.from_bytes(data[first // 8 : end], "big")
    return word >> (end * 8 - first - width) & ((1 << width) - 1)


def with_bits(data: bytes, first: int, width: int, value: int) -> bytes:
    """The same bytes with those bits changed. Raises IndexError."""
    bits(data, first, width)
    shift = len(data) * 8 - first - width
    word = int.from_bytes(data, "big")
    mask = ((1 << width) - 1) << shift
    return (word & ~mask | value << shift & mask).to_bytes(len(data), "big")


def extension_size(protocol: int, data: bytes, at: int) -> int:
    """The bytes of the extension header at `at`, two bytes of which must be there."""
    if protocol == FRAGMENT:
        return 8
    if protocol == AUTHENTICATION:
        return (data[at + 1] + 2) * 4  # RFC 4302, section 2.2
    return (data[at + 1] + 1) * 8


def later_fragment(data: bytes, at: int) -> bool:
    """Whether a fragment header is of a fragment other than the first."""
    return int.from_bytes(data[at + 2 : at + 4], "big") >> 3 != 0


def behind(data: bytes, ip_at: int) -> tuple[int, int] | None:
    """The protocol behind an IPv6 header and its extension headers, and where it begins.

    None if there is no such thing: cut short, more than 8 of them, a fragment but the first.
    """
    if len(data) < ip_at + IPV6_SIZE:
        return None
    protocol, at = data[ip_at + 6], ip_at + IPV6_SIZE
    for _ in range(MAX_EXTENSIONS + 1):
        if protocol not in EXTENSIONS:
            return protocol, at
        if len(data) < at + 8 or (protocol == FRAGMENT and later_fragment(data, at)):
            return None
        protocol, at = data[at], at + extension_size(protocol, data, at)
    return None


@dataclass(frozen=True)
class Srh:
    """The SRH of a packet: where it begins and ends, and where its TLVs begin, in bytes."""

    at: int
    end: int
    tlvs_at: int
    extensions: int  # headers before it
    first: bool  # no other routing header stands before it


def any_srh(data: bytes) -> Srh | None:
    """The SRH that a transit function sees: the first routing header, if it is an SRH that lies
    in the packet and holds its segments."""
    protocol, at = data[6], IPV6_SIZE
    for count in range(MAX_EXTENSIONS + 1):
        if len(data) < at + 8 or protocol not in EXTENSIONS:
            return None
        if protocol == ROUTING:
            entries = data[at + 4] + 1
            end = at + 8 * (data[at + 1] + 1)
            sound = data[at + 2] == SRH_TYPE and 2 * entries <= data[at + 1]
            if not sound or data[at + 3] > entries or end > len(data):
                return None
            return Srh(at, end, at + 8 + 16 * entries, count, True)
        if protocol == FRAGMENT and later_fragment(data, at):
            return None
        protocol, at = data[at], at + extension_size(protocol, data, at)
    return None


def sound_tlvs(data: bytes, most: int) -> bool:
    """Whether TLVs fill `data` exactly, as far as the first `most` of them say."""
    at = 0
    for _ in range(most):
        if at == len(data):
            return True
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            return False
        at += 2 + data[at + 1]
    return True


def split_tlvs(data: bytes) -> list[bytes]:
    """TLVs as Linux reads them: a type and a length byte each, type 0 too; as far as they fit."""
    found = []
    at = 0
    while at + 2 <= len(data):
        size = 2 + data[at + 1]
        found.append(data[at : at + size])
        at += size
    return found


def padding(size: int) -> bytes:
    """The least PadN behind `size` bytes of TLVs: a gap of one byte takes nine."""
    gap = -size % 8
    gap += 8 if gap == 1 else 0
    return bytes((PADN, gap - 2)) + bytes(gap - 2) if gap else b""
