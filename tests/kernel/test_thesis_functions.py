"""The functions of the thesis's test programs, said in nf, on the packets of the thesis's tests.

Facts from seg6-bpf-tests of github.com/Zashas/Thesis-SRv6-BPF: what each function of tests_bpf.c
and tlv_bpf.c does, and the packets of tests.seg and tests_tlv.seg, with the thesis's addresses.
The router between the two hosts has the thesis's SIDs; h1 sends, and h2 stands for `dum1`, and
for `dum0` too where the thesis does not tell the two apart.

The thesis says nothing about hop limits. One hop is paid by the outermost header here, none by
what lies inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nfc.deploy.deployments import Request, deploy, undeploy
from nfc.lab import Chain, chain
from nfc.packet import Packet, diff, ip, packet, srh, tlv, udp
from nfc.packet.tlvs import AnyTLV

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("undeployed")]

THESIS = Path(__file__).parents[1] / "thesis"
H1, H2 = "fd00:1::1", "fd00:2::2"
TEXT = b"a not too short payload ..."
HTTPS = b"This is a HTTPS payload"
NO_NEXT_HEADER = 59


@pytest.fixture(scope="module")
def net() -> Iterator[Chain]:
    with chain("h1", "r1", "h2") as built:
        # End.T's choice: table main leads back to h1, table 42 to h2.
        built.lab.route("r1", "fc00::/16", via=H2)
        built.lab.route("r1", "fc42::1", via=H2)
        built.lab.route("r1", "dead::1", via=H1)
        built.lab.route("r1", "dead::1", via=H2, table=42)
        built.lab.address("h2", "eth0", "fd00::20/128")
        built.lab.execute("r1", ["ip", "sr", "tunsrc", "set", "fd00::41"])
        yield built


def put(net: Chain, file: str, function: str, sid: str, dev: str = "eth0") -> None:
    deploy(Request(THESIS / file, f"{sid}/128", dev, function=function, netns=net.lab.name("r1")))


def through(net: Chain, sent: Packet, to: str = "h2", wait: float = 30.0) -> bytes | None:
    with net.lab.capture(to, "eth0") as capture:
        net.lab.send("h1", "eth0", sent)
        got = capture.packets(1, timeout=wait)
    return got[0] if got else None


def check(got: bytes | None, expected: Packet | None) -> None:
    if expected is None:
        assert got is None
    else:
        assert got is not None, "nothing came out"
        assert got == bytes(expected), diff(bytes(expected), got)


def tcp(payload: bytes = b"") -> bytes:
    """TCP(42, 42) with that payload; nobody looks at its checksum."""
    return (42).to_bytes(2, "big") * 2 + bytes(8) + bytes([0x50, 2]) + bytes(6) + payload


# ---- tests.seg: actions ---------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    function: str
    sid: str
    sent: Packet
    expected: Packet | None
    out: str = "eth0"  # the device of the route


def over(
    sid: str, *, tag: int = 0, source: str = "fc00::2", payload: bytes = b"", last: str = "fc00::14"
) -> Packet:
    """[last, +sid]: at the SID, one segment left."""
    return packet(
        ip(source, sid),
        srh([sid, last], left=1, tag=tag, next_header=6 if payload else NO_NEXT_HEADER),
        payload,
    )


def after(
    sid: str,
    *,
    tag: int = 0,
    flags: int = 0,
    source: str = "fc00::2",
    payload: bytes = b"",
    last: str = "fc00::14",
    hop_limit: int = 63,
) -> Packet:
    """[+last, sid]: past the SID."""
    return packet(
        ip(source, last, hop_limit=hop_limit),
        srh(
            [sid, last], left=0, tag=tag, flags=flags, next_header=6 if payload else NO_NEXT_HEADER
        ),
        payload,
    )


def inside(segments: list[str], inner: Packet) -> Packet:
    """A packet in an outer header with these segments, in the order of travel."""
    return packet(
        ip("fd00::41", segments[0], hop_limit=63), srh(segments, next_header=41), bytes(inner)
    )


def inserted(segments: list[str], inner: Packet, next_header: int) -> Packet:
    """A packet with one more SRH behind its IPv6 header."""
    return packet(
        ip("fc00::21", segments[0], hop_limit=63),
        srh(segments, next_header=next_header),
        bytes(inner)[40:],
    )


FIVE = ["fc00::5", "fc00::4", "fc00::3", "fc00::2", "fc00::1"]
FROM_21 = "fc00::21"


def plain(destination: str, next_header: int, payload: bytes = b"", hop_limit: int = 64) -> Packet:
    return packet(ip(FROM_21, destination, next_header=next_header, hop_limit=hop_limit), payload)


def datagram(hop_limit: int = 64) -> Packet:
    return packet(ip(FROM_21, "fd00::20", hop_limit=hop_limit), udp(10, 10), b"")


ACTIONS = {
    "no SRH": Case("pass", "fd00::1", packet(ip("fc00::1", "fd00::1", next_header=59)), None),
    "pass": Case("pass", "fd00::1", over("fd00::1", tag=71), after("fd00::1", tag=71)),
    "drop": Case("discard", "fd00::2", over("fd00::2", tag=71), None),
    "inc_tag": Case("inc_tag", "fd00::3", over("fd00::3", tag=12), after("fd00::3", tag=13)),
    "inc_tag from 0": Case("inc_tag", "fd00::3", over("fd00::3"), after("fd00::3", tag=1)),
    "inc_tag wraps": Case("inc_tag", "fd00::3", over("fd00::3", tag=65535), after("fd00::3")),
    "alert": Case("alert", "fd00::4", over("fd00::4"), after("fd00::4", flags=0x10)),
    # The thesis's C function fills both entries; the kernel writes the packet's own next segment
    # over the first (seg6_do_srh_inline), and here nobody has to say it.
    "end_b6": Case(
        "end_b6",
        "fd00::6",
        over("fd00::6", source=FROM_21),
        inserted(["fc00::2", "fc00::14"], after("fd00::6"), 43),
    ),
    "b6_encap": Case(
        "b6_encap",
        "fd00::9",
        over("fd00::9", source=FROM_21),
        inside(["fc00::2", "fc00::1"], after("fd00::9", source=FROM_21, hop_limit=64)),
    ),
    "long_b6_encap": Case(
        "long_b6_encap",
        "fd00::10",
        over("fd00::10", source=FROM_21, payload=tcp(TEXT)),
        inside(FIVE, after("fd00::10", source=FROM_21, payload=tcp(TEXT), hop_limit=64)),
    ),
    "long_b6": Case(
        "long_b6",
        "fd00::12",
        over("fd00::12", source=FROM_21, payload=tcp(TEXT)),
        inserted([*FIVE[:4], "fc00::14"], after("fd00::12", payload=tcp(TEXT)), 43),
    ),
    # No packet of tests.seg goes to push_encap; this is long_encap_push's.
    "push_encap": Case(
        "push_encap",
        "fd00::11",
        plain("fd00::11", NO_NEXT_HEADER),
        inside(["fc00::2", "fc00::1"], plain("fd00::11", NO_NEXT_HEADER)),
        out="eth1",
    ),
    "long_encap_inline": Case(
        "long_encap_inline",
        "fd00::13",
        over("fd00::13", source=FROM_21, payload=tcp(TEXT)),
        inserted([*FIVE[:4], "fd00::13"], over("fd00::13", payload=tcp(TEXT)), 43),
        out="eth1",
    ),
    "encap_inline_3seg": Case(
        "encap_inline_3seg",
        "fd00::14",
        plain("fd00::14", 6, tcp(HTTPS)),
        inserted(["fc00::3", "fc00::2", "fd00::14"], plain("fd00::14", 6, tcp(HTTPS)), 6),
        out="eth1",
    ),
    "long_encap_push": Case(
        "long_encap_push",
        "fd00::15",
        plain("fd00::15", NO_NEXT_HEADER),
        inside(FIVE, plain("fd00::15", NO_NEXT_HEADER)),
        out="eth1",
    ),
    # At `in` instead of at `xmit`, where mainline kernels push no SRH; the packets are the same.
    "push_encap_udp: TCP": Case(
        "push_encap_udp",
        "fd00::20",
        plain("fd00::20", 6, tcp()),
        plain("fd00::20", 6, tcp(), hop_limit=63),
        out="eth1",
    ),
    "push_encap_udp: UDP": Case(
        "push_encap_udp",
        "fd00::20",
        datagram(),
        # At xmit the packet has its new hop limit already.
        inside(["fc00::2", "fc00::1"], datagram(hop_limit=63)),
        out="eth1",
    ),
    # The thesis sends it with no segment left. Kernels since then drop such a packet before any
    # function of End.BPF (seg6_local.c, get_and_validate_srh): so with one segment left as well.
    "end_dt6, none left": Case(
        "end_dt6",
        "fd00::21",
        packet(
            ip("fc00::2", "fd00::21"),
            srh(["fd00::1", "fd00::21"], left=0, next_header=41),
            bytes(packet(ip("fab1::2", "fc00::1", next_header=59))),
        ),
        None,
    ),
    "end_dt6, one left": Case(
        "end_dt6",
        "fd00::21",
        packet(
            ip("fc00::2", "fd00::21"),
            srh(["fd00::21", "fd00::1"], left=1, next_header=41),
            bytes(packet(ip("fab1::2", "fc00::1", next_header=59))),
        ),
        packet(ip("fab1::2", "fc00::1", next_header=59, hop_limit=63)),
    ),
}


@pytest.mark.parametrize("case", ACTIONS.values(), ids=ACTIONS.keys())
def test_action(net: Chain, case: Case) -> None:
    put(net, "actions.nf", case.function, case.sid, case.out)
    check(through(net, case.sent, wait=0.5 if case.expected is None else 30), case.expected)


def test_end_x(net: Chain) -> None:
    """End.X goes to fc42::1, though the routing table has the destination elsewhere."""
    put(net, "actions.nf", "end_x", "fd00::5")
    route = ["fc00::14/128", "via", H1]
    net.lab.execute("r1", ["ip", "-6", "route", "add", *route])
    try:
        check(through(net, over("fd00::5")), after("fd00::5"))
        undeploy([], None, all_=True)
        put(net, "actions.nf", "pass", "fd00::5")
        check(through(net, over("fd00::5"), to="h1"), after("fd00::5"))
    finally:
        net.lab.execute("r1", ["ip", "-6", "route", "del", *route])


@pytest.mark.parametrize(
    ("function", "sid", "to"), [("end_t", "fd00::7", "h2"), ("pass", "fd00::1", "h1")]
)
def test_end_t(net: Chain, function: str, sid: str, to: str) -> None:
    """[fc00::89, dead::1, +sid]: table 42 leads to h2, table main back to h1."""
    put(net, "actions.nf", function, sid)
    sent = packet(
        ip("fc00::2", sid), srh([sid, "dead::1", "fc00::89"], left=2, next_header=59), b""
    )
    expected = packet(
        ip("fc00::2", "dead::1", hop_limit=63),
        srh([sid, "dead::1", "fc00::89"], left=1, next_header=59),
        b"",
    )
    check(through(net, sent, to=to), expected)


# ---- tests_tlv.seg: TLVs --------------------------------------------------------------------


def ingress(last: str) -> AnyTLV:
    return tlv(1, bytes.fromhex("0000fc00" + "00" * 12 + last))


def egress(last: str = "dead") -> AnyTLV:
    return tlv(2, bytes.fromhex("0000fc00" + "00" * 12 + last))


HMAC = tlv(5, bytes(38))
OPAQUE = tlv(3, bytes(17) + b"\x42")
INGRESS, INGRESS_2, BEEF, EGRESS = ingress("0001"), ingress("0002"), ingress("beef"), egress()


def nsh(value: str) -> AnyTLV:
    return tlv(6, b"\0" + bytes.fromhex(value))


def pad(size: int) -> AnyTLV:
    """The thesis's {Pad: size}: a PadN of `size` bytes behind type and length."""
    return tlv(4, bytes(size))


@dataclass(frozen=True)
class TlvCase:
    function: str
    sent: list[AnyTLV]
    expected: list[AnyTLV]
    segments: tuple[str, ...] = ("fc00::14",)  # behind the SID, in the order of travel
    flags: int = 0  # of the packet that is sent; none leave


TLVS = {
    "add_ingr": TlvCase("add_ingr", [], [INGRESS, pad(2)]),
    "add_ingr, three segments": TlvCase(
        "add_ingr", [], [INGRESS, pad(2)], ("fc00::14", "dead::beef")
    ),
    "add_ingr_mid": TlvCase("add_ingr_mid", [OPAQUE, EGRESS], [OPAQUE, BEEF, EGRESS, pad(2)]),
    "add_8": TlvCase("add_8", [], [nsh("0102030405")]),
    # The thesis writes {Pad: 1}, with which the SRH would end 1 byte behind a multiple of 8; what
    # its C function makes, and its comment says, is a PadN of 2 bytes.
    "add_6": TlvCase("add_6", [], [nsh("010203"), pad(0)]),
    "add_opaq_begin": TlvCase("add_opaq_begin", [], [OPAQUE, pad(2)]),
    "add_opaq_begin takes padding": TlvCase("add_opaq_begin", [EGRESS, pad(2)], [OPAQUE, EGRESS]),
    "add_opaq_begin before two": TlvCase(
        "add_opaq_begin", [OPAQUE, EGRESS], [OPAQUE, OPAQUE, EGRESS, pad(2)]
    ),
    "del_first with padding": TlvCase("del_first", [INGRESS_2, pad(2)], []),
    "del_first of two": TlvCase("del_first", [INGRESS_2, EGRESS], [EGRESS, pad(2)]),
    "del_first of 8 bytes": TlvCase("del_first", [nsh("0102030405")], []),
    "del_first of 5 bytes": TlvCase("del_first", [nsh("0102"), pad(1)], []),
    "del_20": TlvCase("del_20", [INGRESS_2, EGRESS], [INGRESS_2, pad(2)]),
    "del_20 in the middle": TlvCase(
        "del_20", [INGRESS_2, EGRESS, OPAQUE, pad(2)], [INGRESS_2, OPAQUE]
    ),
    "del_20 of two alike": TlvCase(
        "del_20",
        [INGRESS_2, nsh("01020304050607"), nsh("08090a0b0c0d0e"), OPAQUE, pad(2)],
        [INGRESS_2, nsh("08090a0b0c0d0e"), OPAQUE, pad(4)],
    ),
    # The thesis has no packets for these two.
    "del_24": TlvCase(
        "del_24", [INGRESS_2, pad(2), nsh("0102030405"), OPAQUE, pad(2)], [INGRESS_2, OPAQUE]
    ),
    "del_24_hmac": TlvCase(
        "del_24_hmac",
        [INGRESS_2, pad(2), HMAC, nsh("0102030405")],
        [INGRESS_2, nsh("0102030405"), pad(2)],
        flags=8,
    ),
}


@pytest.mark.parametrize("case", TLVS.values(), ids=TLVS.keys())
def test_tlv(net: Chain, case: TlvCase) -> None:
    sid = "fd00::2"
    segments = [sid, *case.segments]
    left = len(segments) - 1
    put(net, "tlvs.nf", case.function, sid)
    sent = packet(
        ip("fc00::2", sid),
        srh(segments, left=left, tlvs=case.sent, pad=False, flags=case.flags),
        udp(1234, 1234),
        b"",
    )
    expected = packet(
        ip("fc00::2", segments[1], hop_limit=63),
        srh(segments, left=left - 1, tlvs=case.expected, pad=False),
        udp(1234, 1234),
        b"",
    )
    check(through(net, sent), expected)
