"""What a packet became: headers beside what they were, whatever came before or between them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from packet_strategies import packets

from nfc.packet import Packet, changes, ip, packet, srh, tlv, udp

INNER = (ip("fd00:1::1", "fd00:3::2"), udp(1000, 2000), b"hello")
OUTER = (ip("fd00::1", "fd00:b::d"), srh(["fd00:b::d", "fd00:3::2"], tlvs=[tlv(7, bytes(46))]))


def shown(before: Packet, after: Packet) -> list[str]:
    return changes.render(changes.changes(bytes(before), bytes(after)), color=False)


def titles(found: Sequence[changes.Change]) -> list[tuple[str, str]]:
    signs = {(False, True): "-", (True, False): "+", (False, False): " "}
    return [(signs[c.was is None, c.now is None], c.title) for c in found]


def test_encapsulation_leaves_the_packet_inside_as_it_was() -> None:
    found = changes.changes(bytes(packet(*INNER)), bytes(packet(*OUTER, *INNER)))
    assert titles(found) == [("+", "IPv6"), ("+", "SRH"), ("+", "SRH TLV[0]")]
    gone = changes.changes(bytes(packet(*OUTER, *INNER)), bytes(packet(*INNER)))
    assert titles(gone) == [("-", "IPv6"), ("-", "SRH"), ("-", "SRH TLV[0]")]


def test_fields_and_tlvs() -> None:
    before = packet(
        ip("fd00::1", "fd00::2", hop_limit=64), srh(["fd00::2"], tlvs=[tlv(9, b"abcd")])
    )
    after = packet(
        ip("fd00::1", "fd00::2", hop_limit=63),
        srh(["fd00::2"], tag=2, tlvs=[tlv(8, b"123456"), tlv(9, b"abcx")]),
    )
    assert shown(before, after) == [
        "  IPv6",
        "    payload_length  32 → 40",
        "    hop_limit       64 → 63",
        "  SRH",
        "    hdr_ext_len     3 → 4",
        "    tag             0x0000 → 0x0002",
        "+ SRH TLV[0]: type 8, length 6, value 6 bytes: 31 32 33 34 35 36",
        "  SRH TLV[1]",
        "    value           4 bytes: 61 62 63 64 → 4 bytes: 61 62 63 78",
    ]


def test_long_values_from_where_they_differ() -> None:
    before = packet(ip("fd00::1", "fd00::2", next_header=59), bytes(100))
    after = packet(ip("fd00::1", "fd00::2", next_header=59), bytes(90) + b"x" * 10)
    (line,) = [line for line in shown(before, after) if "→" in line]
    assert "100 bytes, from byte 90: 00 00" in line
    assert "100 bytes, from byte 90: 78 78" in line


def test_colours_only_where_they_are_wanted() -> None:
    found = changes.changes(bytes(packet(*INNER)), bytes(packet(*OUTER, *INNER)))
    assert "\x1b" not in "".join(changes.render(found, color=False))
    assert all(line.endswith(changes.RESET) for line in changes.render(found, color=True))


def test_what_is_no_packet() -> None:
    assert titles(changes.changes(b"abc", b"abd")) == [(" ", "bytes")]
    assert changes.changes(b"", b"") == ()


def test_a_chain_too_long_to_be_aligned() -> None:
    many = packet(*(ip("fd00::1", "fd00::2") for _ in range(150)), b"x")
    more = packet(*(ip("fd00::1", "fd00::2") for _ in range(149)), b"x")
    assert changes.changes(bytes(many), bytes(many)) == ()
    assert len(changes.changes(bytes(many), bytes(more))) == 150


@given(packets(), packets())
def test_nothing_is_said_of_equal_packets_only(one: Packet, two: Packet) -> None:
    assert changes.changes(bytes(one), bytes(one)) == ()
    assert (changes.changes(bytes(one), bytes(two)) == ()) == (bytes(one) == bytes(two))


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_any_bytes_can_be_compared(one: bytes, two: bytes) -> None:
    assert bool(changes.render(changes.changes(one, two), color=True)) == (one != two)
