"""tshark as a second opinion on packets, and what it does and does not see."""

from __future__ import annotations

import shutil
from ipaddress import IPv6Address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nfc.errors import UsageError
from nfc.lab.dissect import SegmentRouting, dissect
from nfc.packet import HMAC, AnyTLV, Junk, Pad1, PadN, decode, icmp, ip, packet, srh, tlv, udp

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
SID, END = "fd00:b::d", "fd00:3::2"
OUTER = ip("fd00:1::1", SID)
DM, URO = tlv(7, bytes(46)), tlv(131, bytes(18))


def test_a_good_packet_has_its_fields_and_no_complaint() -> None:
    [found] = dissect(
        [packet(OUTER, srh([SID, END], tlvs=[DM, URO], flags=8, tag=0x1234), udp(1, 2), b"x")]
    )
    assert found.complaints == ()
    assert found.protocols == ("ipv6", "ipv6.routing", "udp")
    segments = (IPv6Address(SID), IPv6Address(END))
    assert found.srhs == (SegmentRouting(1, 1, 8, 0x1234, segments, 112),)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (packet(OUTER, srh([SID, END], last_entry=9), udp(1, 2)), "Malformed Packet: IPv6 Routing"),
        (packet(OUTER, srh([SID], hdr_ext_len=200), udp(1, 2)), "Malformed Packet: IPv6 Routing"),
        (packet(OUTER, srh([SID, END], left=9), udp(1, 2)), "must not exceed address count"),
        (bytes(packet(OUTER, srh([SID, END]), udp(1, 2)))[:60], "exceeds framing length"),
        (packet(OUTER, srh([SID, END]), udp(1, 2, checksum=1)), "Bad checksum"),
        (packet(OUTER, srh([SID, END]), icmp(128, checksum=1)), "Bad checksum"),
    ],
)
def test_what_is_wrong_is_complained_about(wrong: bytes, complaint: str) -> None:
    good = packet(OUTER, srh([SID, END]), udp(1, 2))
    before, found, after = dissect([good, wrong, good])
    assert any(complaint in c for c in found.complaints)
    assert before.complaints == after.complaints == ()


@pytest.mark.parametrize(
    "tlvs",
    [
        [DM, URO],
        [PadN(bytes(6))],
        [HMAC(1, bytes(32))],
        [Pad1()] * 8,
        [Junk(bytes((7, 200, 0, 0, 0, 0, 0, 0)))],
    ],
)
def test_tlvs_are_not_looked_into_so_ask_decode(tlvs: list[AnyTLV]) -> None:
    data = bytes(packet(OUTER, srh([SID, END], tlvs=tlvs), udp(1, 2)))
    [found] = dissect([data])
    assert found.complaints == ()
    assert found.protocols == ("ipv6", "ipv6.routing", "udp")
    again = decode(data).srh
    assert again is not None
    assert any(isinstance(t, Junk) for t in again.tlvs) == isinstance(tlvs[0], Junk)


addresses = st.integers(1 << 120, (1 << 127) - 1).map(IPv6Address)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(
            addresses,
            st.lists(addresses, min_size=1, max_size=4),
            st.integers(0, 255),
            st.integers(0, 0xFFFF),
            st.booleans(),
            st.binary(max_size=9),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_it_agrees_on_every_field_and_checksum(
    cases: list[tuple[IPv6Address, list[IPv6Address], int, int, bool, bytes]],
) -> None:
    packets = [
        packet(
            ip(src, path[0]),
            srh(path, tlvs=[tlv(7, data)], flags=flags, tag=tag),
            *([ip(path[-1], src)] if tunnel else []),
            udp(40001, 40002),
            data,
        )
        for src, path, flags, tag, tunnel, data in cases
    ]
    for (_, path, flags, tag, _, _), ours, found in zip(
        cases, packets, dissect(packets), strict=True
    ):
        assert found.complaints == ()
        last = len(path) - 1
        assert ours.srh is not None
        assert found.srhs == (SegmentRouting(last, last, flags, tag, tuple(path), len(ours.srh)),)


def test_without_tshark_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(UsageError, match="tshark is not installed"):
        dissect([])


def test_no_packets() -> None:
    assert dissect([]) == []
