"""Every function of the standard library on a real route: what comes out, byte for byte.

One router between two hosts; a packet goes in from h1 with a SID of r1 as its active segment,
and h2 (or whoever the function sends it to) captures what r1 sent.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address

import pytest

from nfc.deploy.deployments import Request, deploy
from nfc.deploy.places import events_map
from nfc.deploy.select import find
from nfc.deploy.state import open_store
from nfc.deploy.tables import entries
from nfc.lab import Chain, chain
from nfc.lab.dissect import dissect
from nfc.observe.events import read_events
from nfc.packet import Packet, decode, diff, ip, packet, srh, tlv, udp
from nfc.packet.tlvs import TLV, AnyTLV, Junk
from nfc.resources import data_dir
from nfc.sema.declare import declare
from nfc.syntax.diagnostics import Diagnostics
from nfc.syntax.parser import parse
from nfc.syntax.source import Source

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("undeployed")]

STDLIB = data_dir("stdlib")
H1, H2 = "fd00:1::1", "fd00:2::2"
SID = "fd00:a::d"
PAYLOAD = b"what the user sent"
DM_TYPE, URO_TYPE = 7, 131
TAI = getattr(time, "CLOCK_TAI", 11)


@pytest.fixture(scope="module")
def net() -> Iterator[Chain]:
    with chain("h1", "r1", "h2") as built:
        # A second way to h2's network, for what End.X and End.T choose.
        built.lab.route("r1", "fd00:2::/64", via=H2, table=100)
        yield built


def put(net: Chain, function: str, file: str | None = None, **settings: str) -> None:
    deploy(
        Request(
            STDLIB / f"{file or function}.nf",
            SID,
            "eth0",
            function=function,
            netns=net.lab.name("r1"),
            settings=settings,
        )
    )


GONE = 0.3  # seconds after which what has not come is taken not to come
LATE = 30.0  # seconds that what must come may take on a busy machine


def through(net: Chain, sent: Packet, wait: float = LATE) -> bytes | None:
    """What h2 gets of a packet that h1 sends; None if nothing came."""
    with net.lab.capture("h2", "eth0") as capture:
        net.lab.send("h1", "eth0", sent)
        got = capture.packets(1, timeout=wait)
    return got[0] if got else None


def query(tlvs: list[AnyTLV], *, tag: int = 0, flags: int = 0, pad: bool = True) -> Packet:
    """A packet on its way over the SID to h2."""
    return packet(
        ip(H1, SID),
        srh([SID, H2], left=1, tag=tag, flags=flags, tlvs=tlvs, pad=pad),
        udp(4000, 5000),
        PAYLOAD,
    )


def answer(tlvs: list[AnyTLV], *, tag: int = 0, flags: int = 0, pad: bool = True) -> bytes:
    """The same packet after r1: advanced, one hop on, with these TLVs."""
    return bytes(
        packet(
            ip(H1, H2, hop_limit=63),
            srh([SID, H2], left=0, tag=tag, flags=flags, tlvs=tlvs, pad=pad),
            udp(4000, 5000),
            PAYLOAD,
        )
    )


def check(got: bytes | None, expected: bytes) -> None:
    assert got is not None, "nothing came out"
    assert got == expected, diff(expected, got)
    well_formed(got)


def well_formed(got: bytes) -> None:
    """No part is malformed: by tshark, and for the TLVs, into which tshark does not look, by us."""
    header = decode(got).srh
    if header is not None:
        assert not any(isinstance(t, Junk) for t in header.tlvs)
        (seen,) = dissect([got])
        assert len(seen.srhs) == 1
        assert seen.complaints == ()


@dataclass(frozen=True)
class Case:
    function: str
    sent: Packet
    expected: bytes
    settings: dict[str, str] = field(default_factory=dict)


NSH = tlv(6, bytes([0, 1, 2, 3, 4, 5]))
INGRESS = tlv(1, bytes(2) + bytes.fromhex("fd00000a000000000000000000000001"))
EGRESS = tlv(2, INGRESS.encode()[2:])
SIGNED = tlv(5, bytes(38))
OTHER = tlv(200, b"abc")  # five bytes, so that there is padding behind it

CASES = {
    "end": Case("end", query([]), answer([])),
    "end keeps TLVs": Case("end", query([OTHER, NSH]), answer([OTHER, NSH])),
    "tag": Case("tag", query([], tag=41), answer([], tag=42)),
    "tag wraps": Case("tag", query([], tag=0xFFFF, flags=0x20), answer([], tag=0, flags=0x20)),
    "nsh": Case("nsh", query([]), answer([NSH])),
    "nsh behind another": Case("nsh", query([OTHER]), answer([OTHER, NSH])),
    "nsh twice": Case("nsh", query([NSH]), answer([NSH, NSH])),
    "ingress": Case("ingress", query([]), answer([INGRESS])),
    "ingress in place of padding": Case("ingress", query([OTHER]), answer([OTHER, INGRESS])),
    "ingress fills padding": Case(
        "ingress", query([tlv(200, bytes(10))]), answer([tlv(200, bytes(10)), INGRESS])
    ),
    "ingress leaves a gap of one": Case(
        "ingress", query([tlv(200, b"x")]), answer([tlv(200, b"x"), INGRESS])
    ),
    "ingress shrinks long padding": Case(
        "ingress",
        query([tlv(200, bytes(6)), tlv(4, bytes(38))], pad=False),
        answer([tlv(200, bytes(6)), INGRESS]),
    ),
    "egress": Case("egress", query([OTHER]), answer([OTHER, EGRESS])),
    "egress in place of another": Case(
        "egress", query([tlv(2, bytes(18)), NSH, tlv(2, bytes(5))]), answer([NSH, EGRESS])
    ),
    # The kernel has no key and looks for none where the HMAC is not the last TLV.
    "egress takes an HMAC away": Case(
        "egress", query([SIGNED, NSH], flags=0x28), answer([NSH, EGRESS], flags=0x20)
    ),
    "x": Case("x", query([NSH]), answer([NSH]), {"nexthop": H2}),
    "t": Case("t", query([NSH]), answer([NSH])),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_packet_through(net: Chain, case: Case) -> None:
    put(net, case.function, **case.settings)
    check(through(net, case.sent), case.expected)


def test_x_ignores_the_routing_table(net: Chain) -> None:
    """End.X goes to its neighbour even for a destination that nothing routes there."""
    put(net, "x", nexthop=H2)
    sent = packet(ip(H1, SID), srh([SID, "fd00:77::1"], left=1), udp(4000, 5000), PAYLOAD)
    expected = packet(
        ip(H1, "fd00:77::1", hop_limit=63),
        srh([SID, "fd00:77::1"], left=0),
        udp(4000, 5000),
        PAYLOAD,
    )
    check(through(net, sent), bytes(expected))


def test_t_uses_its_table_only(net: Chain) -> None:
    """Without a route in table 100 the packet goes nowhere, though main has one."""
    put(net, "t")
    sent = packet(ip(H1, SID), srh([SID, "fd00:1::1"], left=1), udp(4000, 5000), PAYLOAD)
    with net.lab.capture("h1", "eth0") as capture:
        net.lab.send("h1", "eth0", sent)
        back = [decode(p) for p in capture.packets(1, timeout=GONE)]
    assert not any(p.srh is not None and p.payload == PAYLOAD for p in back)


def inner() -> Packet:
    return packet(ip("fd00:9::9", H2, hop_limit=7), udp(4000, 5000), PAYLOAD)


def outer(tlvs: list[AnyTLV]) -> Packet:
    """The inner packet in another, with an SRH whose active segment is the SID."""
    return packet(ip(H1, SID), srh([SID, H2], left=1, tlvs=tlvs, next_header=41), bytes(inner()))


def test_dt6(net: Chain) -> None:
    put(net, "dt6")
    expected = packet(ip("fd00:9::9", H2, hop_limit=6), udp(4000, 5000), PAYLOAD)
    check(through(net, outer([NSH])), bytes(expected))


# ---- delay monitoring -----------------------------------------------------------------------


def dm(
    control: int,
    *,
    session: int = 0x010203,
    sent: bytes = bytes(8),
    response: int = 0,
    version: int = 1,
    response_format: int = 0,
    received: bytes = bytes(8),
) -> AnyTLV:
    """The DM TLV as RFC 6374 lays it out, by hand."""
    value = bytes(2)
    value += bytes([version << 4 | response << 3, control]) + bytes(2)
    value += bytes([3 << 4 | response_format, 0, 0, 0])
    value += session.to_bytes(3, "big") + bytes(1)
    value += sent + received + received + bytes(8)
    return tlv(DM_TYPE, value)


def uro(port: int, address: str) -> AnyTLV:
    return tlv(URO_TYPE, port.to_bytes(2, "big") + IPv6Address(address).packed)


def ptp(nanoseconds: int) -> bytes:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return seconds.to_bytes(4, "big") + rest.to_bytes(4, "big")


def from_ptp(data: bytes) -> int:
    return int.from_bytes(data[:4], "big") * 1_000_000_000 + int.from_bytes(data[4:], "big")


def events(net: Chain, name: str, count: int) -> list[dict[str, object]]:
    with open_store(shared=True) as store:
        record = find(store, name, net.lab.name("r1"))
    assert record is not None
    with events_map(record) as ring:
        return [
            dict(e.fields) for e in read_events(ring, record.manifest, count=count, timeout=LATE)
        ]


def test_end_dm_one_way(net: Chain) -> None:
    """An event with both times; the packet goes on without its outer header."""
    put(net, "end_dm", "delay")
    sent = 1_700_000_000_123_456_789
    before = time.clock_gettime_ns(TAI)
    got = through(net, outer([dm(1, sent=ptp(sent)), uro(4739, "fd00:c::1")]))
    after = time.clock_gettime_ns(TAI)
    check(got, bytes(packet(ip("fd00:9::9", H2, hop_limit=6), udp(4000, 5000), PAYLOAD)))
    (event,) = events(net, "end_dm", 1)
    assert event["session"] == 0x010203
    assert event["sent"] == sent
    received = event["received"]
    assert isinstance(received, int)
    assert before <= received <= after


def test_end_dm_finds_its_tlv_behind_others(net: Chain) -> None:
    put(net, "end_dm", "delay")
    short = tlv(DM_TYPE, bytes(10))  # of its type, but too short to be one
    assert through(net, outer([NSH, short, OTHER, dm(1), OTHER])) is not None
    assert len(events(net, "end_dm", 1)) == 1


def test_end_dm_two_way(net: Chain) -> None:
    """The answer is in the TLV; all that is not the answer's stays as it was."""
    put(net, "end_dm", "delay")
    sent = ptp(1_700_000_000_000_000_001)
    before = time.clock_gettime_ns(TAI)
    got = through(net, query([OTHER, dm(0, sent=sent)], tag=3))
    after = time.clock_gettime_ns(TAI)
    assert got is not None
    header = decode(got).srh
    assert header is not None
    answered = bytes(
        next(t for t in header.tlvs if isinstance(t, TLV) and t.type == DM_TYPE).encode()
    )
    received = answered[24:32]
    assert before <= from_ptp(received) <= after
    expected = dm(1, sent=sent, response=1, response_format=3, received=received)
    check(got, answer([OTHER, expected], tag=3))


@pytest.mark.parametrize(
    "tlvs",
    [[], [NSH], [dm(2)], [dm(2, version=2)], [dm(0, response=1)], [dm(0x12, response=1)]],
    ids=["none", "another", "no answer", "no answer of version 2", "an answer", "an error"],
)
def test_end_dm_lets_every_other_packet_go_on(net: Chain, tlvs: list[AnyTLV]) -> None:
    put(net, "end_dm", "delay")
    check(through(net, query(tlvs)), answer(tlvs))


@pytest.mark.parametrize(
    ("control", "version", "reason"),
    [(0, 2, 0x11), (0, 0, 0x11), (3, 2, 0x11), (3, 1, 0x12), (0xFF, 1, 0x12), (0x10, 1, 0x12)],
)
def test_end_dm_says_what_it_does_not_know(
    net: Chain, control: int, version: int, reason: int
) -> None:
    """Unsupported version or control code; nothing else of the query changes."""
    put(net, "end_dm", "delay")
    sent = ptp(1_700_000_000_000_000_001)
    got = through(net, query([NSH, dm(control, version=version, sent=sent), OTHER]))
    check(got, answer([NSH, dm(reason, version=version, sent=sent, response=1), OTHER]))


def test_mark_delay(net: Chain) -> None:
    """An outer header with an SRH that carries DM and URO, padded; the inner packet untouched."""
    far_end = "fd00:2::f"
    deploy(
        Request(
            STDLIB / "delay.nf",
            "fd00:2::/64",
            "eth1",
            function="mark_delay",
            netns=net.lab.name("r1"),
            settings={
                "far_end": far_end,
                "collector": "fd00:c::2",
                "port": "77",
                "session": "0xabcdef",
                "one_in": "1",
            },
        )
    )
    net.lab.address("h2", "eth0", f"{far_end}/64")
    sent = packet(ip("fd00:1::1", H2, hop_limit=9), udp(4000, 5000), PAYLOAD)
    before = time.clock_gettime_ns(TAI)
    got = through(net, sent)
    after = time.clock_gettime_ns(TAI)
    assert got is not None
    whole = decode(got)
    assert whole.srh is not None
    stamped = bytes(whole.srh.tlvs[0].encode())[16:24]
    assert before <= from_ptp(stamped) <= after
    expected = packet(
        ip(str(whole.ip.src), far_end, hop_limit=whole.ip.hop_limit),
        srh(
            [far_end, H2],
            left=1,
            next_header=41,
            tlvs=[dm(1, session=0xABCDEF, sent=stamped), uro(77, "fd00:c::2")],
        ),
        bytes(sent),
    )
    check(got, bytes(expected))


def test_mark_delay_marks_none_at_zero(net: Chain) -> None:
    deploy(
        Request(
            STDLIB / "delay.nf",
            "fd00:2::/64",
            "eth1",
            function="mark_delay",
            netns=net.lab.name("r1"),
            settings={"one_in": "0"},
        )
    )
    sent = packet(ip(H1, H2), udp(4000, 5000), PAYLOAD)
    expected = packet(ip(H1, H2, hop_limit=63), udp(4000, 5000), PAYLOAD)
    check(through(net, sent), bytes(expected))


# ---- IOAM and path tracing ------------------------------------------------------------------


def begin(net: Chain, file: str, function: str, far: str, **settings: str) -> None:
    """Put a function on the route to h2, for packets whose first segment is of h2's network."""
    r1 = net.lab.name("r1")
    path, prefix = STDLIB / f"{file}.nf", "fd00:2::/64"
    deploy(Request(path, prefix, "eth1", function=function, netns=r1, settings=settings))
    net.lab.address("h2", "eth0", f"{far}/64")


def tlvs_of(got: bytes | None) -> list[bytes]:
    assert got is not None
    header = decode(got).srh
    assert header is not None
    well_formed(got)
    return [bytes(t.encode()) for t in header.tlvs]


def test_ioam_begin(net: Chain) -> None:
    """Packets of one CPU are numbered from 0, and stamped."""
    sink = "fd00:2::a"
    begin(net, "ioam", "ioam_begin", sink, domain_end=sink, namespace="7")
    numbers = []
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        for _ in range(3):
            before = time.clock_gettime_ns(TAI)
            data = tlvs_of(through(net, packet(ip(H1, H2), udp(1, 2), PAYLOAD)))[0]
            assert data[:8] == bytes([252, 22, 3, 0, 0, 7, 0xB0, 0])
            numbers.append(int.from_bytes(data[8:16], "big"))
            assert before <= from_ptp(data[16:24]) <= time.clock_gettime_ns(TAI)
    finally:
        os.sched_setaffinity(0, allowed)
    assert numbers == [0, 1, 2]


def ioam(sequence: int, namespace: int = 1) -> AnyTLV:
    head = bytes([3, 0]) + namespace.to_bytes(2, "big") + bytes([0xB0, 0])
    return tlv(252, head + sequence.to_bytes(8, "big") + ptp(time.clock_gettime_ns(TAI)))


def test_ioam_end(net: Chain) -> None:
    """Lost packets are counted; those of another domain go on as they are."""
    put(net, "ioam_end", "ioam")
    begin = time.clock_gettime_ns(TAI)
    for sequence in (0, 1, 4, 5):
        got = through(net, outer([ioam(sequence)]))
        check(got, bytes(packet(ip("fd00:9::9", H2, hop_limit=6), udp(4000, 5000), PAYLOAD)))
    seen = events(net, "ioam_end", 4)
    assert [e["sequence"] for e in seen] == [0, 1, 4, 5]
    most = time.clock_gettime_ns(TAI) - begin
    assert all(isinstance(e["delay"], int) and 0 < e["delay"] < most for e in seen)
    _, (state,) = entries("ioam_end", "state", None)
    assert state.rows == ({"expected": 6, "lost": 2},)
    other = ioam(9, namespace=2)
    check(through(net, query([other])), answer([other]))


def test_path_tracing(net: Chain) -> None:
    sink = "fd00:2::b"
    begin(net, "path_tracing", "path_source", sink, sink=sink, session="9", interface="0xabc")
    got = through(net, packet(ip(H1, H2), udp(1, 2), PAYLOAD))
    data = tlvs_of(got)[0]
    assert data[:4] == bytes([253, 14, 0xAB, 0xC0])
    assert data[12:14] == bytes([0, 9])


def test_path_sink(net: Chain) -> None:
    """The collector gets the probe as it is, and nobody else."""
    put(net, "path_sink", "path_tracing")
    stamp = ptp(1_700_000_000_000_000_001)
    probe = tlv(253, bytes([0xAB, 0xC0]) + stamp + bytes([0, 9, 0, 3]))
    sent = query([probe])
    assert through(net, sent, wait=GONE) is None
    with open_store(shared=True) as store:
        record = find(store, "path_sink", net.lab.name("r1"))
    assert record is not None
    with events_map(record) as ring:
        (event,) = read_events(ring, record.manifest, count=1, timeout=LATE)
    assert event.fields["session"] == 9
    assert event.fields["sequence"] == 3
    assert event.fields["sent"] == 1_700_000_000_000_000_001
    assert event.length == len(bytes(sent))
    advanced = decode(event.packet).srh  # the kernel has advanced it before
    assert advanced is not None
    assert advanced.segments_left == 0
    assert event.packet[-len(PAYLOAD) :] == PAYLOAD
    check(through(net, query([OTHER])), answer([OTHER]))


def test_declared_tlvs_are_of_the_sizes_that_their_documents_say() -> None:
    sizes = {"DM": 48, "URO": 20}
    text = (STDLIB / "tlvs.nf").read_text()
    for name, size in re.findall(r"tlv (\w+) = \d+ {.*?(\d+) bytes\n", text):
        sizes[name] = int(size)
    assert len(sizes) == 7
    for module, names in {"tlvs": "INGRESS EGRESS OPAQUE HMAC NSH", "dm": "DM URO"}.items():
        for name in names.split():
            assert declared(module)[name] == sizes[name]


def declared(module: str) -> dict[str, int]:
    """The sizes of a library file's TLVs, with type and length."""
    diagnostics = Diagnostics()
    path = STDLIB / f"{module}.nf"
    file = parse(Source.read(path), diagnostics)
    scope = declare([file], diagnostics)
    diagnostics.check()
    return {tlv.name: tlv.size for tlv in scope.tlvs.values()}
