"""The kernel's own SRv6 and nfc's packets agree, byte for byte."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from nfc.lab import Chain, chain
from nfc.lab.dissect import dissect
from nfc.packet import UDP, AnyTLV, Junk, Pad1, PadN, decode, diff, ip, packet, srh, tlv, udp

pytestmark = pytest.mark.kernel
H1, H2 = "fd00:1::1", "fd00:3::2"
MIDDLE, LAST = "fd00:b::1", "fd00:b::d"


@pytest.fixture(scope="module")
def net() -> Iterator[Chain]:
    with chain() as made:
        sid = f"{made['r1'].sid(0xE)}/128"
        end = {"type": "seg6local", "action": "End"}
        made.lab.route("r1", sid, interface="eth1", encap=end)
        yield made


@pytest.mark.parametrize(("mode", "target"), [("encap", "fd00:3::e"), ("inline", "fd00:3::f")])
def test_the_kernels_encapsulation_lists_segments_as_srh_does(
    net: Chain, mode: str, target: str
) -> None:
    # pyroute2 (0.9) passes segments on in the order of the wire, unlike `ip route ... segs`.
    segments = {"type": "seg6", "mode": mode, "segs": f"{LAST},{MIDDLE}"}
    net.lab.route("r1", f"{target}/128", interface="eth1", encap=segments)
    with net.lab.capture("r2", "eth0") as arriving:
        net.lab.send("h1", "eth0", packet(ip(H1, target), udp(1, 2), b"x"))
        [got] = arriving.packets(1)
    if mode == "encap":
        expected = packet(
            # The flow label is a hash. The outer header pays the hop, not the inner one.
            ip("fd00:2::1", MIDDLE, hop_limit=63, flow_label=decode(got).ip.flow_label),
            srh([MIDDLE, LAST]),
            ip(H1, target),
            udp(1, 2),
            b"x",
        )
    else:
        expected = packet(
            ip(H1, MIDDLE, hop_limit=63), srh([MIDDLE, LAST, target]), udp(1, 2), b"x"
        )
    assert diff(bytes(expected), got) == ""
    if shutil.which("tshark"):
        assert [d.complaints for d in dissect([got])] == [()]


def test_end_dt6_gives_back_the_inner_packet(net: Chain) -> None:
    net.lab.route(
        "r2",
        f"{LAST}/128",
        interface="eth1",
        encap={"type": "seg6local", "action": "End.DT6", "table": 254},
    )
    inner = (udp(1, 2), b"x")
    with net.lab.capture("h2", "eth0") as arriving:
        net.lab.send(
            "h1", "eth0", packet(ip(H1, LAST), srh([MIDDLE, LAST], left=0), ip(H1, H2), *inner)
        )
        [got] = arriving.packets(1)
    assert diff(bytes(packet(ip(H1, H2, hop_limit=63), *inner)), got) == ""


@pytest.mark.parametrize(
    ("segments_left", "tlvs", "forwarded"),
    [
        (1, [], True),
        (1, [tlv(7, bytes(6))], True),
        (1, [PadN(bytes(6))], True),
        (3, [], False),  # beyond the list
        (0, [], False),  # End is not for the last segment
        (1, [Junk(bytes((7, 200, 0, 0, 0, 0, 0, 0)))], False),
        (1, [Pad1()] * 8, True),  # read as four TLVs of type 0 and length 0
        (1, [Pad1(), tlv(7, bytes(5))], False),  # read as type 0 and length 7: one byte over
    ],
)
def test_what_the_kernels_end_forwards(
    net: Chain, segments_left: int, tlvs: list[AnyTLV], forwarded: bool
) -> None:
    sid = net["r1"].sid(0xE)
    header = srh([sid, H2], left=segments_left, tlvs=tlvs)
    with net.lab.capture("r2", "eth0") as arriving:
        net.lab.send("h1", "eth0", packet(ip(H1, sid), header, udp(1, 2)))
        net.lab.send("h1", "eth0", packet(ip(H1, sid), srh([sid, H2]), udp(3, 4)))
        found = [decode(p) for p in arriving.packets(1 + forwarded)]
    ports = [h.src_port for p in found for h in p.headers if isinstance(h, UDP)]
    assert ports == ([1, 3] if forwarded else [3])
