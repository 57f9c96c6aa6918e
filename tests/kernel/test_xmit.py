"""What only transmit can do: fields of any header set in place, frames sent out of any link."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from nfc.deploy.deployments import Request, deploy
from nfc.lab import Chain
from nfc.packet import Packet, ip, packet, srh, udp

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("undeployed")]

H1, H2 = "fd00:1::1", "fd00:2::2"
FAR = "fd20::1"
ETH_P_IPV6 = 0x86DD


def put(net: Chain, folder: Path, program: str, **settings: str) -> None:
    """Deploy function f onto the route to `FAR`, out of eth1 to h2."""
    path = folder / "program.nf"
    path.write_text(program)
    request = Request(
        path, FAR, "eth1", via=H2, name="f", netns=net.lab.name("r1"), settings=settings
    )
    deploy(request)


def passing(hop_limit: int = 64, flags: int = 0, tag: int = 0) -> Packet:
    return packet(
        ip(H1, FAR, hop_limit=hop_limit),
        srh([FAR, "fd20::2"], left=1, flags=flags, tag=tag),
        udp(4000, 5000),
        b"x",
    )


def frames(net: Chain, node: str, sent: Packet) -> list[bytes]:
    """The IPv6 frames about `FAR` that come to a node's eth0 after a packet is sent."""
    heard = net.lab.run(
        node,
        lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IPV6)),
    )
    with heard:
        net.lab.send("h1", "eth0", sent)
        heard.settimeout(30)
        while True:
            frame, (_, _, kind, *_) = heard.recvfrom(9000)
            if kind != socket.PACKET_OUTGOING and socket.inet_pton(socket.AF_INET6, FAR) in frame:
                return [frame]


def test_fields_of_both_headers(net: Chain, tmp_path: Path) -> None:
    put(
        net,
        tmp_path,
        "transit f at xmit { otherwise { set ip.traffic_class = 0xb8 set ip.hop_limit = 9"
        " set srh.tag = srh.tag + 1 set srh.oam = 1 forward } }",
    )
    (frame,) = frames(net, "h2", passing(tag=41))
    expected = bytes(passing(hop_limit=9, tag=42, flags=0x20))
    assert frame[14:] == b"\x6b\x80" + expected[2:]


def test_a_frame_out_of_a_link(net: Chain, tmp_path: Path) -> None:
    """The packet goes back to where it came from, past the route, to a MAC address of nobody."""
    put(
        net,
        tmp_path,
        "param peer: bytes6 = 0x020000000001 transit f at xmit { otherwise {"
        " forward to packet.ingress via peer from 0x02aabbccddee } }",
        peer="0x02112233445f",
    )
    (frame,) = frames(net, "h1", passing())
    assert frame[:14].hex() == "02112233445f02aabbccddee86dd"
    assert frame[14:] == bytes(passing(hop_limit=63))
