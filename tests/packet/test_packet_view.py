"""What a person reads: dissections and differences."""

from __future__ import annotations

from nfc.packet import HMAC, TCP, Fragment, diff, ip, packet, show, srh, tlv, udp

SID, END = "fd00:b::d", "fd00:3::2"
PACKET = packet(
    ip("fd00:1::1", SID), srh([SID, END], tlvs=[tlv(7, bytes(range(46)))]), udp(1, 2), b"hi"
)


def test_show_reads_like_the_packet() -> None:
    text = show(bytes(packet(ip("fd00::1", SID), srh([SID, END], tlvs=[HMAC(5, b"\xab")]))))
    assert text.splitlines() == [
        "IPv6 @0",
        "  version         6",
        "  traffic_class   0x00",
        "  flow_label      0x00000",
        "  payload_length  56",
        "  next_header     43 (routing)",
        "  hop_limit       64",
        "  src             fd00::1",
        "  dst             fd00:b::d",
        "SRH @40",
        "  next_header     59 (none)",
        "  hdr_ext_len     6",
        "  routing_type    4",
        "  segments_left   1",
        "  last_entry      1",
        "  flags           0x00",
        "  tag             0x0000",
        "  segment[0]      fd00:3::2",
        "  segment[1]      fd00:b::d  <- segments_left",
        "SRH TLV[0] @80",
        "  type            5",
        "  length          7",
        "  d               0",
        "  reserved        0",
        "  key_id          0x00000005",
        "  digest          1 bytes: ab",
        "SRH TLV[1] @89",
        "  type            4",
        "  length          5",
        "  value           5 bytes: 00 00 00 00 00",
    ]


def test_show_says_that_a_checksum_is_wrong_and_what_it_should_be() -> None:
    good = packet(ip("fd00::1", SID), udp(1, 2))
    bad = packet(ip("fd00::1", SID), udp(1, 2, checksum=0x1111))
    right = int.from_bytes(good.encode()[-2:], "big")
    assert "wrong" not in show(bytes(good))
    assert f"0x1111 (wrong: should be {right:#06x})" in show(bytes(bad))


def test_the_checksum_of_tcp_is_not_its_last_field() -> None:
    """The note was on the urgent pointer, of every TCP header."""
    good = packet(ip("fd00::1", SID), TCP(1, 2, options=b"\1\1\1\0"), b"x")
    bad = packet(ip("fd00::1", SID), TCP(1, 2, checksum=0x1111, options=b"\1\1\1\0"), b"x")
    right = int.from_bytes(good.encode()[56:58], "big")
    assert "wrong" not in show(bytes(good))
    (line,) = (line for line in show(bytes(bad)).splitlines() if "wrong" in line)
    assert line == f"  checksum        0x1111 (wrong: should be {right:#06x})"


def test_nobody_can_tell_the_checksum_of_a_first_fragment() -> None:
    for more in (0, 1):
        first = packet(ip("fd00::1", SID), Fragment(more=more), udp(1, 2, checksum=0x1111), b"x")
        assert ("wrong" in show(bytes(first))) == (not more)


def test_show_dumps_what_is_not_a_packet() -> None:
    assert show(b"\x45\x00") == (
        "not an IPv6 packet (2 bytes): byte 0: an IPv6 header takes 40 bytes, 2 are left\n"
        "    0  45 00"
    )


def test_show_names_the_problem() -> None:
    area = bytes((59, 9, 4, 0, 0, 0, 0, 0))
    assert show(bytes(packet(ip("fd00::1", SID, next_header=43), area))).endswith(
        "problem: byte 41: the header says it is 80 bytes long, 8 are left"
    )


def test_diff_names_the_fields_and_nothing_else() -> None:
    forwarded = packet(
        ip("fd00:1::1", END, hop_limit=63),
        srh([SID, END], left=0, tlvs=[tlv(7, bytes(range(45)) + b"\xff")]),
        udp(1, 2),
        b"hi",
    )
    value = bytes(range(32)).hex(" ")
    assert diff(bytes(PACKET), bytes(forwarded)).splitlines() == [
        "IPv6 hop_limit",
        "  expected 64",
        "  got      63",
        "IPv6 dst",
        "  expected fd00:b::d",
        "  got      fd00:3::2",
        "SRH segments_left",
        "  expected 1",
        "  got      0",
        "SRH TLV[0] value, from its byte 45",
        f"  expected 46 bytes: {value} ...",
        f"  got      46 bytes: {value} ...",
    ]


def test_diff_names_what_is_missing_and_what_is_new() -> None:
    plain = packet(ip("fd00:1::1", SID), udp(1, 2), b"hi")
    text = diff(bytes(plain), bytes(PACKET))
    assert "SRH segment[0] is not expected: got fd00:3::2" in text
    assert "length: expected 50 bytes, got 138" in text
    assert "SRH segment[0] is missing: expected fd00:3::2" in diff(bytes(PACKET), bytes(plain))
