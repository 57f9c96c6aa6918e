"""The smallest programs on which `make fuzz` has found a difference, each by what was wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from compare_with_kernel import Reached, check
from generated_router import Place, router
from generated_sources import Generated

pytestmark = pytest.mark.kernel

PACKETS = range(64)
T = "tlv A0 = 200 { f0: u8 } tlv A1 = 201 { f0: u8 } tlv A2 = 202 { f0: timestamp } "
SHAPES = ((200, 3), (201, 3), (202, 10))
CASES = {
    "what a header that is not there does under not": (
        "in",
        "transit f at in { when not (udp.dst_port == 53 or tcp.dst_port == 53) { drop }"
        " when not (udp.dst_port == 53 and ip.hop_limit == 255) { drop } otherwise forward }",
    ),
    "known arguments of a definition wrap": (
        "endpoint",
        "event e { e1: u8 } define d0(a0: u8): u8 = (a0 + 0x8)"
        " endpoint f { otherwise { emit e { e1 = d0(0xff) } forward } }",
    ),
    "two reasons to drop a packet": (
        "endpoint",
        T + "endpoint f { otherwise { add A0 { f0 = 255 & udp.src_port } forward } }",
    ),
    "a verdict that reads, behind an edit that fails": (
        "endpoint",
        T + "endpoint f { when srh has A0 as a { remove all A0 encap segments"
        " [fd20::1, srh.segment_list[3]] with A2 {} } otherwise { set srh.tag = 7 drop } }",
    ),
    "the eighth TLV of a type": (
        "endpoint",
        T + "endpoint f { when srh has A0[7] as a { set a.f0 = 1 forward }"
        " when srh has A0[3] as a and srh has A1[2] as b { set b.f0 = a.f0 forward }"
        " otherwise forward }",
    ),
    "an offset that LLVM has in memory between its check and its use": (
        "in",
        T + "state s0: u64 param p1: bool = false transit f at in {"
        " when (p1 or p1) and ip.traffic_class == (ip.traffic_class + udp.src_port) { forward }"
        " when 0 == udp.src_port { forward } when 0 == ip.traffic_class { forward }"
        " when srh has A0[1] as a0 and srh has A1[2] as a1 { forward } otherwise forward }",
    ),
    "TLVs that do not fit behind the 32nd": (
        "in",
        T + "transit f at in { when srh has A0 as a { set packet.mark = a.f0 drop }"
        " otherwise forward }",
    ),
    "a put that fails beside a removal that cannot be read": (
        "in",
        "table t: hash[1] { k0: u8, k1: duration } to { v0: u8 } transit f at in { otherwise {"
        " put t[ip.traffic_class, 5ns] { v0 = 1 } remove t[udp.src_port & 0xff, 5ns] forward } }",
    ),
    "bits beside those that are set in ip": (
        "xmit",
        "transit f at xmit { otherwise { set ip.flow_label = ip.flow_label ^ 0xf0000 forward } }",
    ),
    "an outer header of a packet whose own is set": (
        "xmit",
        "transit f at xmit { otherwise { set ip.traffic_class = udp.dst_port & 0xff"
        " set ip.flow_label = ip.flow_label | 0xf0000 set srh.protected = 0"
        " encap segments [fd20::1, ip.dst] from ip.src } }",
    ),
    "an HMAC behind another extension header": (
        "endpoint",
        "endpoint f { when srh.hmac == 1 { remove hmac forward } otherwise forward }",
    ),
}


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with router() as built:
        yield built


@pytest.mark.parametrize(("hook", "source"), CASES.values(), ids=CASES)
def test_the_kernel_does_what_the_oracle_says(
    place: Place, tmp_path: Path, hook: str, source: str
) -> None:
    reached = Reached()
    check(place, tmp_path, Generated(source, hook, SHAPES, {}, {}), PACKETS, reached, native=True)
    assert reached.packets == len(PACKETS)
