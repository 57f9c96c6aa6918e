"""Hypothesis strategies: any packet that nfc can say, and its parts."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

from nfc.packet import (
    HMAC,
    SRH,
    TCP,
    TLV,
    UDP,
    AnyTLV,
    Extension,
    Fragment,
    Header,
    ICMPv6,
    IPv4,
    IPv6,
    Junk,
    Packet,
    Pad1,
    PadN,
    padding,
)

u8 = st.integers(0, 255)
u16 = st.integers(0, 0xFFFF)
addresses = st.integers(0, 2**128 - 1).map(IPv6Address)
small = st.binary(max_size=40)

plain_tlvs = st.builds(TLV, u8.filter(lambda t: t not in (0, 4, 5)), small)
short_hmacs = st.builds(TLV, st.just(5), st.binary(max_size=5))
hmacs = st.builds(
    HMAC,
    key_id=st.integers(0, 2**32 - 1),
    digest=small,
    d=st.booleans(),
    reserved=st.integers(0, 0x7FFF),
)
whole_tlvs = st.one_of(
    plain_tlvs, short_hmacs, hmacs, st.builds(Pad1), st.builds(PadN, st.binary(max_size=9))
)


@st.composite
def tlv_areas(draw: st.DrawFn) -> tuple[AnyTLV, ...]:
    """TLVs that fill a multiple of 8 bytes, with Junk at the end now and then."""
    found: list[AnyTLV] = list(draw(st.lists(whole_tlvs, max_size=4)))
    length = sum(len(t.encode()) for t in found)
    if draw(st.booleans()):
        found.extend(padding(length))
    else:
        room = -length % 8 or 8
        data = bytes((draw(st.integers(1, 255)), 255, *([draw(u8)] * 6)))
        found.append(Junk(data[:room]))
    return tuple(found)


srhs = st.builds(
    SRH,
    segments=st.lists(addresses, min_size=1, max_size=5).map(tuple),
    segments_left=u8,
    tlvs=tlv_areas(),
    flags=u8,
    tag=u16,
)
ipv6s = st.builds(
    IPv6,
    src=addresses,
    dst=addresses,
    hop_limit=u8,
    traffic_class=u8,
    flow_label=st.integers(0, 0xFFFFF),
)
extensions = st.one_of(
    st.builds(Extension, st.sampled_from((0, 60)), st.sampled_from((6, 14)).map(bytes)),
    st.builds(
        Extension, st.just(43), st.binary(min_size=6, max_size=6).filter(lambda b: b[0] != 4)
    ),
)
words = st.sampled_from((0, 4, 8)).map(bytes)
ipv4s = st.builds(
    IPv4,
    st.integers(0, 2**32 - 1).map(IPv4Address),
    st.integers(0, 2**32 - 1).map(IPv4Address),
    ttl=u8,
    dscp=st.integers(0, 63),
    flags=st.integers(0, 7),
    identification=u16,
    options=words,
)
fragments = st.builds(Fragment, more=st.integers(0, 1), identification=st.integers(0, 2**32 - 1))
transports = st.one_of(
    st.builds(UDP, u16, u16),
    st.builds(UDP, u16, u16, checksum=u16),
    st.builds(TCP, u16, u16, st.integers(0, 2**32 - 1), syn=st.integers(0, 1), options=words),
    st.builds(ICMPv6, u8, u8),
)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    """Any packet whose lengths and next headers tell the truth."""
    headers: list[Header] = [draw(ipv6s)]
    headers += draw(st.lists(st.one_of(srhs, ipv6s, ipv4s, extensions, fragments), max_size=4))
    if draw(st.booleans()):
        headers.append(draw(transports))
    return Packet(tuple(headers), draw(small), draw(st.binary(max_size=5)))
