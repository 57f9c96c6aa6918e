"""The DM TLV and reports: what is written is read again, and nothing that comes breaks it."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfc.delay.probe import NO_TARGET, report
from nfc.delay.wire import Message, Report
from nfc.errors import ObjectError, UsageError
from nfc.packet import ip, packet, srh, tlv, udp

TIMES = st.integers(0, (1 << 32) * 10**9 - 1)
ADDRESSES = st.integers(0, (1 << 128) - 1).map(IPv6Address)
MESSAGES = st.builds(
    Message,
    session=st.integers(0, (1 << 24) - 1),
    sent=TIMES,
    received=TIMES,
    reply_sent=TIMES,
    reply_received=TIMES,
    control=st.integers(0, 255),
    response=st.booleans(),
    version=st.integers(0, 15),
    class_set=st.booleans(),
    traffic_class=st.integers(0, 255),
    query_format=st.integers(0, 15),
    response_format=st.integers(0, 15),
    preferred_format=st.integers(0, 15),
    more=st.binary(max_size=100),
)

# By hand, after RFC 6374: session 0xabcdef, sent at 1 s + 2 ns, received at 3 s + 4 ns.
BY_HAND = bytes.fromhex(
    "072e 0000 1801 0000 33000000 abcdef 00 00000001 00000002 00000003 00000004"
    "00000000 00000000 00000000 00000000"
)


def test_a_report_by_hand() -> None:
    message = Report.decode(BY_HAND).message
    assert message == Message(
        0xABCDEF, 1_000_000_002, 3_000_000_004, control=1, response=True, response_format=3
    )
    assert message.encode() == BY_HAND


@given(MESSAGES)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    assert Message.decode(message.encode()) == message


@given(MESSAGES, st.none() | ADDRESSES, st.none() | ADDRESSES)
def test_a_report_is_read_as_it_was_written_or_refused(
    message: Message, source: IPv6Address | None, destination: IPv6Address | None
) -> None:
    sent = Report(message, source, destination)
    formats = (message.query_format, message.response_format) == (3, 3)
    whole = formats and message.sent > 0 and message.received > 0
    if message.response and (whole or message.control != 1):
        assert Report.decode(sent.encode()) == sent
    else:
        with pytest.raises(ObjectError):
            Report.decode(sent.encode())


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda end: BY_HAND + end))
def test_any_bytes_are_a_report_or_an_error(data: bytes) -> None:
    try:
        Report.decode(data)
    except ObjectError as error:
        assert error.where


@given(st.data())
def test_a_damaged_report_is_a_report_or_an_error(data: st.DataObject) -> None:
    damaged = bytearray(Report(Message.decode(BY_HAND), IPv6Address(1), IPv6Address(2)).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = Report.decode(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    except ObjectError:
        return
    assert found.message.session < 1 << 24


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 8), (1, 45), (4, 0x10), (8, 0x32), (8, 0x23), (20, 0x3B), (20, 0xFF)],
    ids=["type", "length", "query", "answer in NTP", "query in NTP", "a whole second", "more"],
)
def test_what_is_no_report(at: int, value: int) -> None:
    damaged = bytearray(BY_HAND)
    damaged[at] = value
    if at == 20:
        damaged[at + 1 : at + 4] = bytes.fromhex("9aca00")  # 10**9 with 0x3b before it
    with pytest.raises(ObjectError):
        Report.decode(bytes(damaged))


def test_tlvs_behind_the_message() -> None:
    assert Report.decode(BY_HAND + bytes((200, 1, 5)) + bytes((0, 0))).source is None
    for rest in (bytes((1, 0)), bytes((200,)), bytes((200, 9, 0)), bytes((130, 2, 0, 1))):
        with pytest.raises(ObjectError):
            Report.decode(BY_HAND + rest)


def test_what_does_not_fit() -> None:
    for wrong in (Message(1 << 24), Message(0, version=16), Message(0, sent=1 << 70)):
        with pytest.raises(UsageError):
            wrong.encode()


def probe(tail: bytes = b"", segments: int = 2) -> bytes:
    dm = tlv(7, BY_HAND[2:])
    uro = tlv(131, bytes((1, 2)) + IPv6Address("fd00:c::1").packed)
    path = ["fd00:b::d", *(f"fd00:3::{n + 2:x}" for n in range(segments - 1))]
    header = srh(path, left=segments - 2, tlvs=[tlv(200, b"x"), dm, uro])
    return bytes(packet(ip("fd00:2::1", path[1]), header, udp(1, 2), tail))


@pytest.mark.parametrize("segments", [2, 3, 7])
def test_the_report_on_a_probe(segments: int) -> None:
    payload, target = report(probe(segments=segments), 5_000_000_006)
    assert target == (IPv6Address("fd00:c::1").packed, 0x0102)
    found = Report.decode(payload)
    assert (str(found.source), str(found.destination)) == ("fd00:2::1", "fd00:b::d")
    assert found.message.received == 5_000_000_006
    assert found.message.sent == 1_000_000_002


def test_without_uro() -> None:
    header = srh(["fd00:b::d", "fd00:3::2"], left=0, tlvs=[tlv(7, BY_HAND[2:])])
    plain = bytes(packet(ip("fd00:2::1", "fd00:3::2"), header, udp(1, 2), b""))
    assert report(plain, 1)[1] == NO_TARGET


@given(st.data())
def test_any_packet_is_reported_or_an_error(data: st.DataObject) -> None:
    """Cut off anywhere, with any bytes changed, behind any options."""
    whole = bytearray(probe(b"tail"))
    for _ in range(data.draw(st.integers(0, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        payload, target = report(cut, data.draw(TIMES))
    except ObjectError:
        return
    assert len(payload) >= 88
    assert len(target[0]) == 16
