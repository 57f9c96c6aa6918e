"""What the language can say, construct by construct, on a real route.

Each case is a program, a packet that goes in over the SID, and the packet that must come out
(None: dropped).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nfc.deploy.deployments import Request, deploy
from nfc.deploy.places import events_map
from nfc.deploy.select import find
from nfc.deploy.state import open_store
from nfc.deploy.status import Status, read_status
from nfc.lab import Chain, chain
from nfc.observe.events import read_events
from nfc.packet import Packet, decode, diff, ip, packet, srh, tlv, udp
from nfc.packet.tlvs import AnyTLV

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("undeployed")]

H1, H2 = "fd00:1::1", "fd00:2::2"
SID = "fd00:a::d"
PAYLOAD = b"what the user sent"


@pytest.fixture(scope="module")
def net() -> Iterator[Chain]:
    with chain("h1", "r1", "h2") as built:
        # Room for the largest SRH.
        for node, device in (("h1", "eth0"), ("r1", "eth0"), ("r1", "eth1"), ("h2", "eth0")):
            built.lab.execute(node, ["ip", "link", "set", device, "mtu", "4000"])
        yield built


def put(net: Chain, folder: Path, program: str, **settings: str) -> None:
    """Deploy the one function of a program, which must be called f, onto the SID."""
    path = folder / "program.nf"
    path.write_text(program)
    deploy(Request(path, SID, "eth0", name="f", netns=net.lab.name("r1"), settings=settings))


GONE = 0.3  # seconds after which what has not come is taken not to come
LATE = 30.0  # seconds that a packet which must come may take on a busy machine


def through(net: Chain, *sent: Packet, wait: float = LATE) -> list[bytes]:
    with net.lab.capture("h2", "eth0") as capture:
        net.lab.send("h1", "eth0", *sent)
        return capture.packets(len(sent), timeout=wait)


def query(
    tlvs: list[AnyTLV] | None = None, *, tag: int = 0, flags: int = 0, pad: bool = True
) -> Packet:
    return packet(
        ip(H1, SID),
        srh([SID, H2], left=1, tag=tag, flags=flags, tlvs=tlvs or [], pad=pad),
        udp(4000, 5000),
        PAYLOAD,
    )


def answer(
    tlvs: list[AnyTLV] | None = None, *, tag: int = 0, flags: int = 0, pad: bool = True
) -> bytes:
    return bytes(
        packet(
            ip(H1, H2, hop_limit=63),
            srh([SID, H2], left=0, tag=tag, flags=flags, tlvs=tlvs or [], pad=pad),
            udp(4000, 5000),
            PAYLOAD,
        )
    )


def status() -> Status:
    (found,) = read_status(["f"], None)
    return found


def events(net: Chain, count: int) -> list[dict[str, object]]:
    with open_store(shared=True) as store:
        record = find(store, "f", net.lab.name("r1"))
    assert record is not None
    with events_map(record) as ring:
        return [
            dict(e.fields) for e in read_events(ring, record.manifest, count=count, timeout=LATE)
        ]


@dataclass(frozen=True)
class Case:
    program: str
    sent: Packet
    expected: bytes | None
    settings: dict[str, str] = field(default_factory=dict)


def when(condition: str) -> str:
    """A function that drops what does not meet a condition."""
    return f"endpoint f {{ when {condition} {{ forward }} otherwise drop }}"


def does(edits: str) -> str:
    return f"endpoint f {{ otherwise {{ {edits} forward }} }}"


HMAC_FLAG = 0x08

CASES = {
    # conditions
    "flag bits": Case(
        when("srh.oam == 1 and srh.alert == 0"), query(flags=0x20), answer(flags=0x20)
    ),
    "hmac flag": Case(when("srh.hmac == 0"), query(flags=0x20), answer(flags=0x20)),
    "last segment": Case(when(f"srh.segment_list[0] == {H2}"), query(), answer()),
    "first segment": Case(when("srh.segment_list[1] in fd00:a::/64"), query(), answer()),
    "no such segment": Case(when(f"srh.segment_list[2] != {H2}"), query(), None),
    "ingress": Case(when("packet.ingress != 0"), query(), answer()),
    "length": Case(when(f"packet.length == {40 + 40 + 8 + len(PAYLOAD)}"), query(), answer()),
    "hash": Case(when("packet.hash == packet.hash"), query(), answer()),
    "cpu": Case(when("packet.cpu < 4096"), query(), answer()),
    "mark is none": Case(when("packet.mark == 0"), query(), answer()),
    "arithmetic wraps": Case(when("srh.tag + 0xffff == 4"), query(tag=5), answer(tag=5)),
    "division by zero": Case(
        when("srh.tag / srh.flags == 0 and srh.tag % srh.flags == 5"), query(tag=5), answer(tag=5)
    ),
    "shifts": Case(
        when("srh.tag << 12 == 0x5000 and srh.tag >> 16 == 0"), query(tag=5), answer(tag=5)
    ),
    "or and not": Case(when("srh.tag == 1 or not srh.tag == 6"), query(tag=5), answer(tag=5)),
    "definitions": Case(
        "define low(x: u16): u8 = x & 0xff define both(a: u8, b: u8): bool = a == 5 and b == 6 "
        + when("both(low(srh.tag), low(srh.tag >> 8))"),
        query(tag=0x0605),
        answer(tag=0x0605),
    ),
    # edits
    "set flag bit": Case(does("set srh.oam = 1"), query(flags=0x40), answer(flags=0x60)),
    "set flags and tag": Case(
        does("set srh.flags = srh.tag & 0xf7 set srh.tag = srh.flags"),
        query(flags=0x20, tag=0x1243),
        answer(flags=0x43, tag=0x20),
    ),
    "the H bit stays clear": Case(
        does("set srh.flags = srh.tag & 0xff"), query(tag=0x00FF), answer(flags=0xF7, tag=0x00FF)
    ),
    "set mark and priority": Case(
        does("set packet.mark = 5 set packet.priority = packet.mark + 1"), query(), answer()
    ),
    "TLV by bits": Case(
        "tlv T = 200 { a: u3, b: u7, c: u14, d: u64, e: u4, f: u4 }"
        "endpoint f { when srh has T as t and t.b == 0x55 and t.d == 0x0123456789abcdef {"
        " set t.a = (t.e + 1) & 7 set t.c = 0x3fff set t.f = t.a forward } otherwise drop }",
        # a=101 b=1010101 c=00000000000001
        query([tlv(200, bytes.fromhex("b54001 0123456789abcdef 21".replace(" ", "")))]),
        answer([tlv(200, bytes.fromhex("757fff 0123456789abcdef 25".replace(" ", "")))]),
    ),
    "add two TLVs": Case(
        "tlv A = 200 { x: u8 = 7 } tlv B = 201 { y: u16 }"
        + does("add A {} add B { y = srh.tag + 1 }"),
        query(tag=1),
        answer([tlv(200, b"\x07"), tlv(201, b"\x00\x02")], tag=1),
    ),
}


TLVS = "tlv A = 200 { x: u8 = 7 } tlv B = 201 { y: u16 } tlv C = 202 { z: ipv6 }"


def a(x: int) -> AnyTLV:
    return tlv(200, bytes([x]))


def b(y: int) -> AnyTLV:
    return tlv(201, y.to_bytes(2, "big"))


def c(last: int) -> AnyTLV:
    return tlv(202, bytes(15) + bytes([last]))


def edits(guard: str, edit: str) -> str:
    return f"{TLVS} endpoint f {{ when {guard} {{ {edit} forward }} otherwise drop }}"


PAD = tlv(4, bytes(1))  # three bytes of padding

CASES |= {
    "add first": Case(edits("srh has B", "add A {} first"), query([b(1)]), answer([a(7), b(1)])),
    "add first to none": Case(TLVS + does("add A {} first"), query(), answer([a(7)])),
    "add first and last": Case(
        TLVS + does("add C { z = ::5 } add A { x = 1 } first add A { x = 2 } first"),
        query([b(1)]),
        answer([a(1), a(2), b(1), c(5)]),
    ),
    "add before": Case(
        edits("srh has B as b", "add A {} before b"),
        query([c(1), b(1), c(2)]),
        answer([c(1), a(7), b(1), c(2)]),
    ),
    "add after": Case(
        edits("srh has B as b", "add A {} after b"),
        query([c(1), b(1), c(2)]),
        answer([c(1), b(1), a(7), c(2)]),
    ),
    "add around": Case(
        edits(
            "srh has B as b", "add A { x = 1 } after b add A { x = 2 } before b set b.y = b.y + 1"
        ),
        query([b(1)]),
        answer([a(2), b(2), a(1)]),
    ),
    "add after the last": Case(
        edits("srh has B as b", "add A {} after b add C { z = ::1 }"),
        query([b(1)]),
        answer([b(1), a(7), c(1)]),
    ),
    "remove": Case(
        edits("srh has B as b", "remove b"), query([a(1), b(1), c(1)]), answer([a(1), c(1)])
    ),
    "remove the first of two": Case(
        edits("srh has B as b", "remove b"), query([b(1), a(1), b(2)]), answer([a(1), b(2)])
    ),
    "remove the only one": Case(edits("srh has B as b", "remove b"), query([b(1)]), answer()),
    "remove all": Case(
        TLVS + does("remove all B"),
        query([b(1), a(1), b(2), b(3), c(1), b(4)]),
        answer([a(1), c(1)]),
    ),
    "remove all of none": Case(TLVS + does("remove all B"), query([a(1)]), answer([a(1)])),
    "replace by a longer one": Case(
        edits("srh has A as a", "replace a with C { z = ::9 }"),
        query([b(1), a(1), b(2)]),
        answer([b(1), c(9), b(2)]),
    ),
    "replace by a shorter one": Case(
        edits("srh has C as c", "replace c with A { x = 9 }"),
        query([b(1), c(1), b(2)]),
        answer([b(1), a(9), b(2)]),
    ),
    "replace and put around": Case(
        edits(
            "srh has C as c",
            "replace c with A { x = 2 } add A { x = 1 } before c add A { x = 3 } after c",
        ),
        query([b(1), c(1), b(2)]),
        answer([b(1), a(1), a(2), a(3), b(2)]),
    ),
    "a TLV's value moves to another": Case(
        edits("srh has B as b and srh has A as a", "remove b replace a with B { y = b.y + a.x }"),
        query([b(5), a(3)]),
        answer([b(8)]),
    ),
    "padding between goes": Case(
        TLVS + does("add A {}"), query([b(1), PAD, b(2), PAD]), answer([b(1), b(2), a(7)])
    ),
    "padding first goes": Case(TLVS + does("add A {}"), query([PAD, b(1)]), answer([b(1), a(7)])),
    "only padding": Case(
        TLVS + does("add B { y = 3 }"), query([tlv(4, bytes(14))]), answer([b(3)])
    ),
    "thirty-one TLVs": Case(
        TLVS + does("remove all B add A {} first"),
        query([b(1), c(1)] * 15),
        answer([a(7), *[c(1)] * 15]),
    ),
    "too many TLVs": Case(TLVS + does("remove all B"), query([b(1)] * 40), None),
    "no room for more": Case(
        TLVS + does("add C { z = ::1 }"),
        query([*[tlv(9, bytes(246))] * 8, tlv(9, bytes(14))]),
        None,
    ),
    "room for just that": Case(
        TLVS + does("add C { z = ::1 }"),
        query([tlv(9, bytes(246))] * 8, pad=False),
        answer([*[tlv(9, bytes(246))] * 8, c(1)]),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_packet_through(net: Chain, case: Case, tmp_path: Path) -> None:
    put(net, tmp_path, case.program, **case.settings)
    got = through(net, case.sent, wait=GONE if case.expected is None else LATE)
    if case.expected is None:
        assert got == []
    else:
        assert len(got) == 1
        assert got[0] == case.expected, diff(case.expected, got[0])


def test_every(net: Chain, tmp_path: Path) -> None:
    """Of seven packets on one CPU every third is taken, and none when n is 0."""
    put(net, tmp_path, "param n: u32 = 3 endpoint f { when every(n) { drop } otherwise forward }")
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with net.lab.capture("h2", "eth0") as capture:
            net.lab.send("h1", "eth0", *[query()] * 7)
            assert len(capture.packets(5, timeout=LATE)) == 5
            assert capture.packets(1, timeout=GONE) == []
    finally:
        os.sched_setaffinity(0, allowed)
    counters = status().counters
    assert counters is not None
    assert [rule.packets for rule in counters.rules] == [2, 5]


def test_flags_of_a_packet_with_an_hmac_are_not_touched(net: Chain, tmp_path: Path) -> None:
    """An HMAC covers the flags (RFC 8754, section 2.1.2.1), so writing them is an error."""
    put(net, tmp_path, does("set srh.oam = 1"))
    hmac = tlv(5, bytes(6 + 32))
    assert through(net, query([hmac], flags=HMAC_FLAG), wait=GONE) == []
    counters = status().counters
    assert counters is not None
    if counters.packets:  # the kernel may refuse the HMAC itself, before the program
        assert counters.errors["hmac_protected"] == 1


def test_metadata_in_an_event(net: Chain, tmp_path: Path) -> None:
    put(
        net,
        tmp_path,
        "event e { ingress: u32, length: u32, cpu: u32, last: ipv6 }"
        + does(
            "emit e { ingress = packet.ingress, length = packet.length, cpu = packet.cpu,"
            " last = srh.segment_list[0] }"
        ),
    )
    assert len(through(net, query())) == 1
    (event,) = events(net, 1)
    assert event["length"] == len(bytes(query()))
    assert event["last"] == H2
    index = net.lab.run("r1", socket.if_nametoindex, "eth0")
    assert event["ingress"] == index


# ---- what lies behind the SRH ---------------------------------------------------------------


def around(next_header: int, inside: bytes) -> Packet:
    """A packet over the SID to h2 with these bytes behind the SRH."""
    return packet(ip(H1, SID), srh([SID, H2], left=1, next_header=next_header), inside)


def tcp(flags: int) -> bytes:
    """A TCP header: ports 4000 and 5000, sequence 7, these flags."""
    ports = (4000).to_bytes(2, "big") + (5000).to_bytes(2, "big")
    return ports + (7).to_bytes(4, "big") + bytes(4) + bytes([0x50, flags]) + bytes(6)


def ipv4(protocol: int, payload: bytes, *, fragment: int = 0, options: bytes = b"") -> bytes:
    """An IPv4 header from 10.0.0.1 to 10.0.0.2, without its checksum."""
    words = 5 + len(options) // 4
    head = bytes([0x40 | words, 0x28]) + (words * 4 + len(payload)).to_bytes(2, "big")
    head += bytes(2) + fragment.to_bytes(2, "big") + bytes([9, protocol]) + bytes(2)
    return head + bytes([10, 0, 0, 1, 10, 0, 0, 2]) + options + payload


UDP_IN_6 = bytes(packet(ip("fd00:9::9", H2, flow_label=0xABCDE), udp(4000, 5000), PAYLOAD))
UDP_ALONE = bytes(packet(ip("fd00:9::9", H2), udp(4000, 5000), PAYLOAD))[40:]
HOP_BY_HOP = bytes([17, 0, 1, 4, 0, 0, 0, 0])  # options before UDP
FIRST_FRAGMENT = bytes([17, 0, 0, 1, 0, 0, 0, 1])
LATER_FRAGMENT = bytes([17, 0, 0, 9, 0, 0, 0, 1])

BEHIND = {
    "udp": ("udp.src_port == 4000 and udp.dst_port == 5000", 17, UDP_ALONE, True),
    "udp in IPv6": ("udp.dst_port == 5000", 41, UDP_IN_6, True),
    "inner fields": (
        f"inner.src == fd00:9::9 and inner.dst == {H2} and inner.flow_label == 0xabcde"
        " and inner.hop_limit == 64 and inner.next_header == 17",
        41,
        UDP_IN_6,
        True,
    ),
    "no inner": ("inner.hop_limit >= 0", 17, UDP_ALONE, False),
    "no udp": ("udp.dst_port >= 0", 6, tcp(2), False),
    "cut short": ("udp.dst_port >= 0", 17, UDP_ALONE[:7], False),
    "syn": ("tcp.syn == 1 and tcp.ack == 0 and tcp.sequence == 7", 6, tcp(0x02), True),
    "syn and ack": ("tcp.syn == 1 and tcp.ack == 0", 6, tcp(0x12), False),
    "icmp": (
        "icmp6.type == 128 and icmp6.sequence == 5",
        58,
        bytes([128, 0, 0, 0, 0, 1, 0, 5]),
        True,
    ),
    "ipv4": (
        "ipv4.src == 10.0.0.1 and ipv4.dst == 10.0.0.2 and ipv4.ttl == 9 and ipv4.dscp == 10",
        4,
        ipv4(17, UDP_ALONE),
        True,
    ),
    "udp in IPv4": ("udp.dst_port == 5000", 4, ipv4(17, UDP_ALONE), True),
    "udp behind IPv4 options": (
        "udp.dst_port == 5000",
        4,
        ipv4(17, UDP_ALONE, options=bytes(8)),
        True,
    ),
    "a later IPv4 fragment": ("udp.dst_port >= 0", 4, ipv4(17, UDP_ALONE, fragment=5), False),
    "options between": ("udp.dst_port == 5000", 60, HOP_BY_HOP + UDP_ALONE, True),
    "the first fragment": ("udp.dst_port == 5000", 44, FIRST_FRAGMENT + UDP_ALONE, True),
    "a later fragment": ("udp.dst_port >= 0", 44, LATER_FRAGMENT + UDP_ALONE, False),
}


@pytest.mark.parametrize("case", BEHIND.values(), ids=BEHIND.keys())
def test_match_behind_the_srh(
    net: Chain, case: tuple[str, int, bytes, bool], tmp_path: Path
) -> None:
    condition, next_header, inside, holds = case
    put(net, tmp_path, f"endpoint f {{ when {condition} {{ forward }} otherwise drop }}")
    got = through(net, around(next_header, inside), wait=LATE if holds else GONE)
    assert len(got) == holds


def two_headers(tag: int, tlvs: list[AnyTLV], left: int) -> bytes:
    """An SRH whose segments are all done, and behind it the one that counts."""
    dst, hop = (SID, 64) if left else (H2, 63)
    behind = packet(
        ip(H1, dst), srh([SID, H2], left=left, tag=tag, tlvs=tlvs), udp(4000, 5000), PAYLOAD
    )
    done = srh(["fd00:7::7", SID], left=0, tag=99, next_header=43)
    checked = bytes(behind)[40:]
    return bytes(packet(ip(H1, dst, hop_limit=hop), done, checked))


def test_the_srh_behind_one_that_is_done(net: Chain, tmp_path: Path) -> None:
    """It is the one that the kernel has advanced: match it, and set its tag."""
    put(
        net,
        tmp_path,
        when("srh.tag == 5 and srh.last_entry == 1").replace(
            "{ forward }", "{ set srh.tag = 6 forward }"
        ),
    )
    with net.lab.capture("h2", "eth0") as capture:
        net.lab.send("h1", "eth0", two_headers(5, [], 1))
        (got,) = capture.packets(1, timeout=LATE)
    assert got == two_headers(6, [], 0), diff(two_headers(6, [], 0), got)


def test_tlvs_behind_another_srh_are_not_changed(net: Chain, tmp_path: Path) -> None:
    """The kernel would write the length into the first routing header."""
    put(net, tmp_path, edits("srh has B as b", "set b.y = 4"))
    with net.lab.capture("h2", "eth0") as capture:
        net.lab.send("h1", "eth0", two_headers(5, [b(3)], 1))
        assert capture.packets(1, timeout=GONE) == []
    counters = status().counters
    assert counters is not None
    assert counters.errors["not_first_srh"] == 1


def test_match_in_transit(net: Chain, tmp_path: Path) -> None:
    path = tmp_path / "program.nf"
    path.write_text("transit f at in { when udp.dst_port == 5000 { drop } otherwise forward }")
    deploy(Request(path, "fd00:2::/64", "eth1", netns=net.lab.name("r1")))
    kept = packet(ip(H1, H2), udp(4000, 5001), PAYLOAD)
    lost = packet(ip(H1, H2), udp(4000, 5000), PAYLOAD)
    with net.lab.capture("h2", "eth0") as capture:
        net.lab.send("h1", "eth0", lost, kept)
        (got,) = capture.packets(1, timeout=LATE)
        assert capture.packets(1, timeout=GONE) == []
    assert got[40:] == bytes(kept)[40:]


# ---- new headers ----------------------------------------------------------------------------


def test_insert_at_an_endpoint(net: Chain, tmp_path: Path) -> None:
    """End.B6: another SRH before the one that is there, which ends with the packet's own next
    segment."""
    put(
        net,
        tmp_path,
        TLVS + "endpoint f { otherwise insert segments [fd00:2::2, fd00:2::3] with A {} }",
    )
    sent = query([b(1)], tag=7)
    (got,) = through(net, sent)
    original = answer([b(1)], tag=7)
    expected = packet(
        ip(H1, H2, hop_limit=63),
        srh([H2, "fd00:2::3", H2], left=2, tlvs=[a(7)], next_header=43),
        original[40:],
    )
    assert got == bytes(expected), diff(bytes(expected), got)


def test_encap_at_an_endpoint(net: Chain, tmp_path: Path) -> None:
    """End.B6.Encaps: a new outer header."""
    put(
        net,
        tmp_path,
        TLVS + "endpoint f { otherwise encap segments [fd00:2::2, fd00:2::3] with C {} }",
    )
    (got,) = through(net, query([b(1)], tag=7))
    outer = decode(got)
    assert outer.srh is not None
    inside = bytearray(answer([b(1)], tag=7))
    inside[7] = got[-len(inside) + 7]  # who pays the hop is the kernel's choice
    expected = packet(
        ip(str(outer.ip.src), H2, hop_limit=outer.ip.hop_limit),
        srh([H2, "fd00:2::3"], left=1, tlvs=[c(0)], next_header=41),
        bytes(inside),
    )
    assert got == bytes(expected), diff(bytes(expected), got)


def test_insert_in_transit(net: Chain, tmp_path: Path) -> None:
    """H.Insert: the packet gets an SRH of its own."""
    path = tmp_path / "program.nf"
    path.write_text(
        TLVS + "transit f at in { when packet.mark == 0 { insert segments [fd00:2::3] with A {} }"
        " otherwise forward }"
    )
    deploy(Request(path, "fd00:2::/64", "eth1", netns=net.lab.name("r1")))
    net.lab.address("h2", "eth0", "fd00:2::3/64")
    sent = packet(ip(H1, H2), udp(4000, 5000), PAYLOAD)
    (got,) = through(net, sent)
    expected = packet(
        ip(H1, "fd00:2::3", hop_limit=decode(got).ip.hop_limit),
        srh(["fd00:2::3", H2], left=1, tlvs=[a(7)], next_header=17),
        bytes(sent)[40:],
    )
    assert got == bytes(expected), diff(bytes(expected), got)


def test_named_counters(net: Chain, tmp_path: Path) -> None:
    put(
        net,
        tmp_path,
        "counter seen counter bytes endpoint f {"
        " when srh.tag == 1 { count seen count bytes by packet.length forward }"
        " otherwise { count bytes by 1 forward } }",
    )
    assert len(through(net, query(tag=1), query(tag=2), query(tag=1))) == 3
    counters = status().counters
    assert counters is not None
    assert counters.named == {"seen": 2, "bytes": 2 * len(bytes(query(tag=1))) + 1}
    assert counters.packets == 3
