"""For every packet: what a pattern takes, and what changes leave as it was."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from nfc.nft import changes
from nfc.nft.pattern import Free, Pattern, settled
from nfc.packet import SRH, IPv6, Packet, decode
from nfc.packet.base import AUTO

sys.path.insert(0, str(Path(__file__).parents[1] / "packet"))
from packet_strategies import packets

few = settings(max_examples=60)


@given(packets())
@few
def test_settled_packets_are_the_same_bytes(packet: Packet) -> None:
    """With what follows from the rest left out, and worked out again."""
    data = packet.encode()
    found = settled(data)
    assert found is not None
    headers, payload, trailer = found
    assert Packet(tuple(headers), payload, trailer).encode() == data


@given(st.binary(max_size=120))
@few
def test_any_bytes_are_advanced_or_left(data: bytes) -> None:
    for change in (changes.advanced, changes.forwarded):
        assert len(change(data)) == len(data)
    inner = changes.decapsulated(data)
    assert inner is None or len(inner) < len(data)


@given(packets())
@few
def test_advancing_changes_two_fields(packet: Packet) -> None:
    """The destination and segments_left of one SRH (RFC 8754, section 4.3.1.1)."""
    before = decode(packet.encode())
    after = decode(changes.advanced(packet.encode()))
    undone = [
        replace(new, segments_left=old.segments_left)
        if isinstance(new, SRH) and isinstance(old, SRH)
        else new
        for new, old in zip(after.headers, before.headers, strict=True)
    ]
    assert isinstance(undone[0], IPv6)
    undone[0] = replace(undone[0], dst=before.ip.dst)
    assert tuple(undone) == before.headers
    left = [
        old.segments_left - new.segments_left
        for new, old in zip(after.headers, before.headers, strict=True)
        if isinstance(new, SRH) and isinstance(old, SRH)
    ]
    assert sum(left) == (packet.encode() != changes.advanced(packet.encode()))


@given(packets(), packets())
@few
def test_an_exact_pattern_takes_one_packet(one: Packet, other: Packet) -> None:
    expected, outside = Pattern(one.headers, one.payload, one.trailer).beside(other.encode())
    assert (expected, outside) == (one.encode(), [])


@given(packets(), st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**128 - 1))
@few
def test_a_field_that_is_open_takes_all_values_in_its_range(
    packet: Packet, low: int, hop_limit: int, source: int
) -> None:
    """And no other field: the packet with another hop limit fits, and with another class does
    not."""
    loose = settled(packet.encode())
    assert loose is not None
    headers, payload, trailer = loose
    free = (Free(0, "hop_limit", 8, low, 255), Free(0, "src", 128, 0, 2**128 - 1))
    pattern = Pattern(tuple(headers), payload, trailer, free)
    outer = headers[0]
    assert isinstance(outer, IPv6)
    changed = replace(outer, hop_limit=hop_limit, src=type(outer.src)(source))
    got = Packet((changed, *headers[1:]), payload, trailer).encode()
    expected, outside = pattern.beside(got)
    assert expected == got
    assert bool(outside) == (hop_limit < low)
    wrong = replace(changed, traffic_class=changed.traffic_class ^ 1)
    other = Packet((wrong, *headers[1:]), payload, trailer).encode()
    assert pattern.beside(other)[0] != other


@given(packets(), st.integers(1, 3))
@few
def test_the_rest_may_be_anything(packet: Packet, count: int) -> None:
    """A pattern of the first headers takes the packet, whatever follows them."""
    headers = list(packet.headers[:count])
    last = headers[-1]
    if hasattr(last, "next_header") and not hasattr(last, "protocol"):
        headers[-1] = replace(last, next_header=AUTO)  # type: ignore[arg-type]
    pattern = Pattern(tuple(headers), rest=True)
    expected, outside = pattern.beside(packet.encode())
    assert (expected, outside) == (packet.encode(), [])


@given(packets(), packets())
@few
def test_more_tlvs_may_follow(packet: Packet, other: Packet) -> None:
    """An SRH whose TLVs may go on after some of them takes the packet that has all."""
    at = next((i for i, h in enumerate(packet.headers) if isinstance(h, SRH)), None)
    if at is None:
        return
    header = packet.headers[at]
    assert isinstance(header, SRH)
    count = len(header.tlvs) // 2
    pattern = Pattern(packet.headers, packet.payload, packet.trailer, more=((at, count),))
    assert pattern.beside(packet.encode())[0] == packet.encode()
    assert pattern.beside(other.encode())[0]
