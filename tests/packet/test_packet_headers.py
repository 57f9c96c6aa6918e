"""Packets against bytes written out by hand from the RFCs, and what cannot be said."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from nfc.errors import UsageError
from nfc.packet import (
    HMAC,
    TLV,
    Extension,
    Junk,
    Packet,
    PacketError,
    Pad1,
    PadN,
    decode,
    icmp,
    ip,
    packet,
    srh,
    tlv,
    udp,
)

A, B, C = (IPv6Address(f"fd00::{n}") for n in "abc")


def test_ipv6_header_is_rfc_8200_section_3() -> None:
    p = packet(ip(A, B, hop_limit=7, traffic_class=0xAB, flow_label=0x12345), b"xyz")
    assert p.encode().hex() == (
        "6ab12345" "0003" "3b" "07"
        "fd00000000000000000000000000000a" "fd00000000000000000000000000000b" "78797a"
    )  # fmt: skip


def test_srh_is_rfc_8754_section_2_with_the_segments_reversed() -> None:
    p = packet(ip(C, A), srh([A, B], tlvs=[tlv(7, b"\1\2\3")], flags=8, tag=0x1234), udp(1, 2))
    assert p.encode()[40:-8].hex() == (
        "11" "05" "04" "01" "01" "08" "1234"
        "fd00000000000000000000000000000b"  # Segment List[0]: the last one visited
        "fd00000000000000000000000000000a"
        "0703010203" "040100"
    )  # fmt: skip
    assert p.srh is not None
    assert p.srh.segments == (A, B)
    assert p.srh.active == A


@pytest.mark.parametrize(("value", "pad"), [(6, None), (5, 7), (4, 0), (3, 1), (7, 5), (0, 4)])
def test_padding_is_one_padn_and_a_gap_of_one_byte_becomes_nine(
    value: int, pad: int | None
) -> None:
    expected = () if pad is None else (PadN(bytes(pad)),)
    assert srh([A], tlvs=[tlv(7, bytes(value))]).tlvs == (TLV(7, bytes(value)), *expected)


def test_hmac_is_rfc_8754_section_2_1_2() -> None:
    item = HMAC(key_id=0x01020304, digest=bytes(32), d=True)
    assert item.encode()[:8].hex() == "0526800001020304"
    assert tlv(5, item.encode()[2:]) == item


def test_udp_checksum_known_by_hand() -> None:
    # Words: fd00+1, fd00+2, length 8, protocol 0x11, ports 1 and 2, length 8.
    total = 2 * 0xFD00 + 1 + 2 + 8 + 0x11 + 1 + 2 + 8
    total = (total & 0xFFFF) + (total >> 16)
    p = packet(ip("fd00::1", "fd00::2"), udp(1, 2))
    assert p.encode()[-2:] == (~total & 0xFFFF).to_bytes(2, "big")


def test_checksums_count_the_final_destination() -> None:
    direct = packet(ip(C, B), udp(1, 2), b"data").encode()[-12:]
    on_the_way = packet(ip(C, A), srh([A, B]), udp(1, 2), b"data").encode()[-12:]
    arrived = packet(ip(C, B), srh([A, B], left=0), udp(1, 2), b"data").encode()[-12:]
    assert direct == on_the_way == arrived
    assert packet(ip(C, A), udp(1, 2), b"data").encode()[-12:] != direct


def test_checksums_count_the_inner_addresses_of_a_tunnel() -> None:
    inner = (ip(A, B), icmp(128), b"ping")
    tunnelled = packet(ip(C, A), srh([A, C]), *inner).encode()
    assert tunnelled.endswith(packet(*inner).encode())


def test_a_udp_checksum_of_zero_is_sent_as_all_ones() -> None:
    base = packet(ip(A, B), udp(1, 2, checksum=0), b"\0\0")
    zero = packet(ip(A, B), udp(1, 2), b"\0\0").encode()[46:48]
    p = packet(ip(A, B), udp(1, 2), zero)
    assert p.encode()[46:48] == b"\xff\xff"
    assert base.encode()[46:48] == b"\0\0"


def test_given_fields_are_kept_even_where_they_lie() -> None:
    lying = packet(
        ip(A, B, payload_length=9, next_header=43),
        srh([A], left=9, last_entry=3, hdr_ext_len=200, next_header=1),
    )
    data = lying.encode()
    assert (data[5], data[41], data[43], data[44]) == (9, 200, 9, 3)
    assert decode(data).encode() == data


@pytest.mark.parametrize(
    ("data", "payload_at", "problem"),
    [
        (packet(ip(A, B, next_header=43), bytes((59, 200, 4, 0, 0, 0, 0, 0))), 40, "1608 bytes"),
        (packet(ip(A, B, next_header=43), bytes((59, 0, 4, 0, 0, 0, 0, 0))), 40, "last entry 0"),
        (packet(ip(A, B, next_header=17), b"short"), 40, "a UDP header takes 8 bytes, 5"),
        (packet(ip(A, B), udp(1, 2, length=7)), 40, "UDP length of 7"),
        (packet(ip(A, B), udp(1, 2, length=99), b"abc"), 48, "counts 88 bytes too many"),
        (packet(ip(A, B, payload_length=99), b"abc"), 40, "counts 96 bytes too many"),
        (packet(ip(A, B, next_header=41), bytes(40)), 40, "IP version 0"),
        (packet(ip(A, B, next_header=58), b"abc"), 40, "an ICMPv6 header takes 4"),
        (packet(ip(A, B, next_header=0), bytes(7)), 40, "takes 8 bytes, 7"),
    ],
)
def test_what_does_not_fit_stays_in_the_payload_with_the_reason(
    data: Packet, payload_at: int, problem: str
) -> None:
    found = decode(data.encode())
    assert found.payload == data.encode()[payload_at:]
    assert problem in found.problem
    assert found.problem.startswith("byte ")


def test_unknown_protocols_are_no_problem() -> None:
    found = decode(packet(ip(A, B, next_header=132), b"segment").encode())
    assert (found.payload, found.problem) == (b"segment", "")


def test_bytes_behind_the_length_are_the_trailer() -> None:
    assert decode(packet(ip(A, B), b"abc").encode() + b"\0\0") == packet(
        ip(A, B), b"abc", trailer=b"\0\0"
    )


def test_tlvs_that_run_over_end_in_junk() -> None:
    area = bytes((7, 1, 0xAA, 4, 200, 0, 0, 0))
    data = packet(ip(A, B), srh([A], tlvs=[TLV(7, b"\xaa"), Junk(area[3:])]), b"x").encode()
    found = decode(data).srh
    assert data[64:72] == area
    assert found is not None
    assert found.tlvs == (TLV(7, b"\xaa"), Junk(area[3:]))


@pytest.mark.parametrize("data", [b"", b"\x60", bytes(40), b"\x45" + bytes(60)])
def test_what_is_not_ipv6_is_the_declared_error(data: bytes) -> None:
    with pytest.raises(PacketError, match=r"^byte 0: ") as caught:
        decode(data)
    assert caught.value.offset == 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ip("fd00::g", B),
        lambda: ip("fe80::1%eth0", B),
        lambda: ip(A, B, hop_limit=256),
        lambda: ip(A, B, flow_label=1 << 20),
        lambda: ip(A, B, hop_limit=-2),
        lambda: srh([]),
        lambda: srh([A], tag=1 << 16),
        lambda: srh([A], tlvs=[TLV(7)], pad=False),
        lambda: srh([A] * 128),
        lambda: srh([A], tlvs=[Junk(b"\7"), TLV(7)]),
        lambda: TLV(0),
        lambda: TLV(4, b"\0"),
        lambda: TLV(5, bytes(6)),
        lambda: TLV(256),
        lambda: TLV(7, bytes(256)),
        lambda: tlv(0, b"x"),
        lambda: PadN(bytes(256)),
        lambda: HMAC(1 << 32, b""),
        lambda: HMAC(0, bytes(250)),
        lambda: Junk(b""),
        lambda: Junk(b"\0"),
        lambda: Junk(b"\7\0"),
        lambda: udp(70000, 1),
        lambda: Extension(43, b"\x04\0\0\0\0\0"),
        lambda: Extension(60, b""),
        lambda: Extension(6),
        lambda: packet(udp(1, 2)),
        packet,
        lambda: packet(ip(A, B), udp(1, 2), ip(A, B)),
        lambda: packet(ip(A, B), b"x", b"y"),
        lambda: packet(ip(A, B), bytes(65536)),
        lambda: packet(ip(A, B), udp(1, 2), bytes(65535)),
        lambda: ip(A, B).encode(),
    ],
)
def test_what_cannot_be_on_the_wire_cannot_be_said(wrong: object) -> None:
    with pytest.raises(UsageError):
        wrong()  # type: ignore[operator]


def test_pad1_is_one_byte() -> None:
    data = packet(ip(A, B), srh([A], tlvs=[Pad1()] * 8)).encode()
    assert data[64:] == bytes(8)
    assert decode(data).srh == srh([A], tlvs=[Pad1()] * 8, left=0, last_entry=0, hdr_ext_len=3,
                                   next_header=59)  # fmt: skip
