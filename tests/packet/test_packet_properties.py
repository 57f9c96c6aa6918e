"""What holds for every packet, and for every string of bytes."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_strategies import packets, tlv_areas

from nfc.packet import Packet, PacketError, decode, diff, encode, fields, pcap, show
from nfc.packet.tlvs import decode_tlvs


@given(packets())
def test_decoding_what_was_encoded_gives_the_packet(packet: Packet) -> None:
    again = decode(encode(packet))
    assert again == packet
    assert again.problem == ""


@given(tlv_areas())
def test_tlvs_are_read_as_they_were_written(area: tuple[object, ...]) -> None:
    assert decode_tlvs(b"".join(t.encode() for t in area)) == area  # type: ignore[attr-defined]


@given(st.binary(max_size=300))
def test_every_tlv_area_keeps_its_bytes(area: bytes) -> None:
    assert b"".join(t.encode() for t in decode_tlvs(area)) == area


@given(packets())
def test_truncated_at_every_byte_is_a_packet_or_the_declared_error(packet: Packet) -> None:
    data = encode(packet)
    for length in range(len(data)):
        cut = data[:length]
        assert show(cut)
        if length < 40:
            with pytest.raises(PacketError, match="byte 0"):
                decode(cut)
            continue
        assert encode(decode(cut)) == cut
        inside = len(data) - len(packet.trailer)
        assert bool(decode(cut).problem) >= (length < inside)


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda b: b"\x60" + b)))
def test_every_byte_string_decodes_without_loss_or_is_the_declared_error(data: bytes) -> None:
    assert show(data)
    try:
        packet = decode(data)
    except PacketError as error:
        assert error.offset == 0
        assert len(data) < 40 or data[0] >> 4 != 6
    else:
        assert encode(packet) == data


@given(packets(), st.data())
def test_a_changed_byte_never_loses_bytes_and_always_shows_in_the_diff(
    packet: Packet, more: st.DataObject
) -> None:
    data = encode(packet)
    at = more.draw(st.integers(0, len(data) - 1))
    other = bytearray(data)
    other[at] ^= more.draw(st.integers(1, 255))
    changed = bytes(other)
    assert diff(data, data) == ""
    assert diff(data, changed)
    if at or changed[0] >> 4 == 6:
        assert encode(decode(changed)) == changed
    assert show(changed)


@given(st.binary(max_size=120), st.binary(max_size=120))
def test_a_diff_is_empty_only_for_the_same_bytes(a: bytes, b: bytes) -> None:
    assert (diff(a, b) == "") == (a == b)


@given(packets())
def test_fields_cover_every_byte_in_order(packet: Packet) -> None:
    covered = 0
    for field in fields(packet):
        assert field.offset <= covered
        covered = max(covered, field.offset + field.length)
    assert covered == len(encode(packet))


@given(packets())
def test_field_names_are_unique(packet: Packet) -> None:
    names = [(f.header, f.name) for f in fields(packet)]
    assert len(names) == len(set(names))


@given(
    st.lists(
        st.builds(
            pcap.Record,
            st.integers(0, 2**32 * 10**9 - 1),
            st.binary(max_size=60),
            st.integers(0, 2**32 - 1),
        )
    ),
    st.sampled_from(("<", ">")),
)
def test_a_capture_reads_as_it_was_written(records: list[pcap.Record], order: str) -> None:
    stream = io.BytesIO()
    assert pcap.write(stream, records, order=order) == len(records)  # type: ignore[arg-type]
    again = list(pcap.records(io.BytesIO(stream.getvalue())))
    assert [(r.time_ns, r.data, r.original_length) for r in again] == [
        (r.time_ns, r.data, r.original_length) for r in records
    ]


@given(st.binary(max_size=200), st.sampled_from(("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1")))
@settings(max_examples=200)
def test_every_byte_string_is_a_capture_or_the_declared_error(data: bytes, magic: str) -> None:
    order = "big" if magic[0] == "a" else "little"
    version = b"".join(n.to_bytes(2, order) for n in (2, 4))  # type: ignore[arg-type]
    for content in (data, bytes.fromhex(magic) + version + data):
        try:
            for record in pcap.records(io.BytesIO(content)):
                assert len(record.data) <= len(content)
        except PacketError as error:
            assert 0 <= error.offset <= len(content)
