"""A packet in which fields may be anything, and the one packet that it becomes beside another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from nfc.errors import UsageError
from nfc.nft.values import Wanted, show, show_wanted
from nfc.packet import SRH, UDP, Header, ICMPv6, IPv4, IPv6, Packet, PacketError, decode
from nfc.packet.base import AUTO
from nfc.packet.chain import true_checksum
from nfc.packet.tlvs import AnyTLV, tlv
from nfc.packet.transport import TCP
from nfc.sema import types

_NUMBER = types.Int(64)


@dataclass(frozen=True)
class Free:
    """A field that may be any number from `low` to `high`: an attribute of header number
    `header`, or `bits` bits at `bit` of its TLV number `tlv` (as they are on the wire)."""

    header: int
    field: str
    bits: int
    low: int
    high: int
    tlv: int | None = None
    bit: int = 0
    type: types.Type = _NUMBER


@dataclass(frozen=True)
class Pattern:
    """A packet; headers have AUTO where their fields follow from the rest.

    `more` are SRHs, by number, that may have more TLVs behind so many of theirs; `rest` says that
    anything may follow. `raw`: the whole packet, as bytes.
    """

    headers: tuple[Header, ...] = ()
    payload: bytes = b""
    trailer: bytes = b""
    free: tuple[Free, ...] = ()
    more: tuple[tuple[int, int], ...] = ()
    rest: bool = False
    raw: bytes | None = None

    @property
    def exact(self) -> bool:
        """Whether there is just one such packet."""
        return not (self.free or self.more or self.rest)

    def encode(self) -> bytes:
        """The packet, with zeros where it may be anything."""
        if self.raw is not None:
            return self.raw
        if not self.headers:
            return b""
        return Packet(self.headers, self.payload, self.trailer).encode()

    def beside(self, got: bytes) -> tuple[bytes, list[str]]:
        """The packet of this pattern that is most like another, and what of the other lies
        outside a range. It is the other if, and only if, that one fits."""
        if self.raw is not None or self.exact:
            return self.encode(), []
        try:
            other = decode(got)
        except PacketError:
            return self.encode(), []
        if not self.headers:
            return got, []
        headers = list(self.headers)
        payload, trailer = self.payload, self.trailer
        for at, count in self.more:
            headers[at] = _more_tlvs(headers[at], other, at, count)
        outside = []
        for free in self.free:
            value = _take(headers, other, free)
            if isinstance(value, bytes):  # an ICMPv6 message's second word
                first = 0 if free.field == "identifier" else 2
                payload = payload[:first] + value + payload[first + 2 :]
                value = int.from_bytes(value, "big")
            if value is not None and not free.low <= value <= free.high:
                shown = show_wanted(Wanted(free.low, free.high), _type(free))
                got_text = show(value, _type(free))
                outside.append(f"{free.field}\n  expected {shown}\n  got      {got_text}")
        if self.rest:
            count = len(headers)
            if len(other.headers) >= count:
                last: Any = headers[-1]
                same = type(last) is type(other.headers[count - 1])
                if same and getattr(last, "next_header", 0) == AUTO:
                    name = "protocol" if isinstance(last, IPv4) else "next_header"
                    following = other.headers[count - 1].next_header  # type: ignore[union-attr]
                    headers[-1] = replace(last, **{name: following})
                headers += other.headers[count:]
                payload, trailer = other.payload, other.trailer
        try:
            return Packet(tuple(headers), payload, trailer).encode(), outside
        except UsageError:
            return self.encode(), outside


def _type(free: Free) -> types.Type:
    if free.tlv is None and free.field.startswith(("src", "dst", "segments[")):
        return types.Ipv6() if free.bits == 128 else types.Int(free.bits)
    return free.type


def _more_tlvs(header: Header, other: Packet, at: int, count: int) -> Header:
    """The SRH's first TLVs, with what the other one has behind as many."""
    there = other.headers[at] if at < len(other.headers) else None
    if not isinstance(header, SRH) or not isinstance(there, SRH):
        return header
    try:
        return replace(header, tlvs=(*header.tlvs[:count], *there.tlvs[count:]))
    except UsageError:
        return header


def _take(headers: list[Header], other: Packet, free: Free) -> int | bytes | None:
    """Put the other's value of a field into `headers`, and say what it is; None: it has none."""
    at = free.header
    header: Any = headers[at]
    there: Any = other.headers[at] if at < len(other.headers) else None
    if type(there) is not type(header):
        return None
    if isinstance(header, ICMPv6) and free.field in ("identifier", "sequence"):
        first = 0 if free.field == "identifier" else 2
        return other.payload[first : first + 2].ljust(2, b"\0")
    if free.tlv is not None:
        return _take_tlv(headers, there, free)
    if free.field.startswith("segments["):
        place = int(free.field[9:-1])
        if place >= len(there.segments):
            return None
        segments = list(header.segments)
        segments[place] = there.segments[place]
        headers[at] = replace(header, segments=tuple(segments))
        return int(there.segments[place])
    value = getattr(there, free.field)
    headers[at] = replace(header, **{free.field: value})
    return int(value) if isinstance(value, int | IPv4Address | IPv6Address) else None


def _take_tlv(headers: list[Header], there: SRH, free: Free) -> int | None:
    header = headers[free.header]
    assert isinstance(header, SRH) and free.tlv is not None
    if free.tlv >= min(len(there.tlvs), len(header.tlvs)):
        return None
    mine, theirs = header.tlvs[free.tlv].encode(), there.tlvs[free.tlv].encode()
    if mine[:2] != theirs[:2]:
        return None
    shift = 8 * len(mine) - free.bit - free.bits
    mask = (1 << free.bits) - 1
    value = int.from_bytes(theirs, "big") >> shift & mask
    word = int.from_bytes(mine, "big") & ~(mask << shift) | value << shift
    data = word.to_bytes(len(mine), "big")
    tlvs: list[AnyTLV] = list(header.tlvs)
    tlvs[free.tlv] = tlv(data[0], data[2:])
    headers[free.header] = replace(header, tlvs=tuple(tlvs))
    if isinstance(free.type, types.Timestamp):
        return (value >> 32) * 1_000_000_000 + (value & 0xFFFF_FFFF)
    return value


def settled(data: bytes) -> tuple[list[Header], bytes, bytes] | None:
    """Headers, payload and trailer of a packet, with AUTO for lengths and checksum where they are
    right, so that they follow changes; None if the bytes are no packet."""
    try:
        packet = decode(data)
    except PacketError:
        return None
    loose: list[Header] = [_loose(h) for h in packet.headers]
    try:
        again = Packet(tuple(loose), packet.payload, packet.trailer)
    except UsageError:
        return list(packet.headers), packet.payload, packet.trailer
    parts = zip(packet.headers, loose, again.headers, strict=True)
    kept = [_keep(have, free, worked_out) for have, free, worked_out in parts]
    last = kept[-1]
    right = true_checksum(packet.headers, packet.payload)
    if isinstance(last, UDP | TCP | ICMPv6) and last.checksum == right:
        kept[-1] = replace(last, checksum=AUTO)
    return kept, packet.payload, packet.trailer


_LENGTHS = {
    IPv6: ("payload_length", "next_header"),
    IPv4: ("total_length", "protocol", "checksum"),
    SRH: ("hdr_ext_len", "last_entry", "next_header"),
    UDP: ("length",),
}


def _loose(header: Header) -> Header:
    names = _LENGTHS.get(type(header), ("next_header",) if hasattr(header, "next_header") else ())
    return replace(header, **dict.fromkeys(names, AUTO))  # type: ignore[arg-type]


def _keep(have: Header, loose: Header, worked_out: Header) -> Header:
    """The header with AUTO in those of its fields that are as worked out."""
    lies = {
        name: getattr(have, name)
        for name in _LENGTHS.get(type(have), ("next_header",))
        if hasattr(have, name) and getattr(have, name) != getattr(worked_out, name)
    }
    return replace(loose, **lies) if lies else loose
