"""Captures: every form, every way to break one, and that other tools read ours."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Literal

import pytest

from nfc.errors import UsageError
from nfc.packet import PacketError, decode, ip, packet, pcap, udp

PACKET = bytes(packet(ip("fd00::1", "fd00::2"), udp(1, 2), b"x"))
FORMS: list[tuple[Literal["<", ">"], bool, str]] = [
    ("<", False, "d4c3b2a1"),
    ("<", True, "4d3cb2a1"),
    (">", False, "a1b2c3d4"),
    (">", True, "a1b23c4d"),
]


def capture(*records: pcap.Record | bytes, linktype: int = pcap.LINKTYPE_RAW) -> bytes:
    stream = io.BytesIO()
    pcap.write(stream, records, linktype=linktype)
    return stream.getvalue()


@pytest.mark.parametrize(("order", "nano", "magic"), FORMS)
def test_all_four_forms(order: Literal["<", ">"], nano: bool, magic: str) -> None:
    stream = io.BytesIO()
    record = pcap.Record(1_700_000_000_123_456_789, PACKET, 1500)
    pcap.write(stream, [record], order=order, nano=nano)
    data = stream.getvalue()
    assert data[:4].hex() == magic
    assert struct.unpack(f"{order}IIII", data[24:40]) == (
        1_700_000_000,
        123_456_789 if nano else 123_456,
        len(PACKET),
        1500,
    )
    [again] = pcap.records(io.BytesIO(data))
    time = 1_700_000_000_123_456_789 if nano else 1_700_000_000_123_456_000
    assert again == pcap.Record(time, PACKET, 1500, 101, 24)


def test_truncated_at_every_byte() -> None:
    data = capture(PACKET, PACKET)
    record = 16 + len(PACKET)
    for length in range(len(data)):
        whole = [24 + n * record for n in range(2)]
        stream = io.BytesIO(data[:length])
        if length in whole:
            assert len(list(pcap.records(stream))) == whole.index(length)
            continue
        with pytest.raises(PacketError, match="ends after") as caught:
            list(pcap.records(stream))
        assert caught.value.offset <= length


@pytest.mark.parametrize(
    ("at", "wrong", "offset", "message"),
    [
        (0, b"\x0a\x0d\x0d\x0a", 0, "magic number"),
        (0, b"\x1f\x8b\x08\x00", 0, "magic number of a pcap or pcapng file, it seems to be compr"),
        (4, b"\x03\x00", 4, "version 3.4"),
        (24 + 8, b"\xff\xff\xff\xff", 32, "over 262144"),
    ],
)
def test_malformed(at: int, wrong: bytes, offset: int, message: str) -> None:
    data = bytearray(capture(PACKET))
    data[at : at + len(wrong)] = wrong
    with pytest.raises(PacketError, match=message) as caught:
        list(pcap.records(io.BytesIO(bytes(data))))
    assert caught.value.offset == offset


def test_a_stream_that_gives_one_byte_at_a_time() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(1 if size else 0)

    assert [r.data for r in pcap.records(Slow(capture(PACKET, PACKET)))] == [PACKET, PACKET]


def test_reading_is_streaming() -> None:
    stream = io.BytesIO(capture(PACKET) + b"not a record")
    reader = pcap.records(stream)
    assert next(reader).data == PACKET
    with pytest.raises(PacketError):
        next(reader)


def test_ethernet_frames_and_vlan_tags() -> None:
    mac = bytes(12)
    frames = [
        (mac + b"\x86\xdd" + PACKET, PACKET),
        (mac + b"\x81\x00\x00\x05\x86\xdd" + PACKET, PACKET),
        (mac + b"\x88\xa8\x00\x01\x81\x00\x00\x05\x86\xdd" + PACKET, PACKET),
        (mac + b"\x08\x00" + PACKET, None),
        (mac + b"\x81\x00", None),
        (b"", None),
    ]
    data = capture(
        *(pcap.Record(0, f, len(f), pcap.LINKTYPE_ETHERNET) for f, _ in frames),
        linktype=pcap.LINKTYPE_ETHERNET,
    )
    assert [r.ipv6() for r in pcap.records(io.BytesIO(data))] == [p for _, p in frames]


def test_raw_captures_hold_ipv6_or_something_else() -> None:
    data = capture(PACKET, b"\x45" + bytes(30), b"")
    assert [r.ipv6() for r in pcap.records(io.BytesIO(data))] == [PACKET, None, None]
    with pytest.raises(PacketError, match="link type 105"):
        pcap.Record(0, PACKET, 41, linktype=105).ipv6()


@pytest.mark.parametrize(
    "record",
    [
        pcap.Record(0, bytes(pcap.MAX_RECORD + 1), 0),
        pcap.Record(-1, b"", 0),
        pcap.Record(2**32 * 10**9, b"", 0),
        pcap.Record(0, b"", 2**32),
        pcap.Record(0, b"", 0, linktype=1),
    ],
)
def test_what_a_file_cannot_hold(record: pcap.Record) -> None:
    with pytest.raises(UsageError):
        capture(record)


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
@pytest.mark.parametrize(("order", "nano", "magic"), FORMS)
def test_tcpdump_reads_and_rewrites_ours(
    tmp_path: Path, order: Literal["<", ">"], nano: bool, magic: str
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    with ours.open("wb") as stream:
        pcap.write(stream, [PACKET, PACKET[:45]], order=order, nano=nano)
    subprocess.run(["tcpdump", "-r", ours, "-w", theirs], check=True, capture_output=True)
    assert [r.ipv6() for r in pcap.read(theirs)] == [PACKET, PACKET[:45]]
    assert decode(next(pcap.read(theirs)).data).payload == b"x"
