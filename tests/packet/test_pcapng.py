"""pcapng captures: every kind of block, every way to break one, and other tools' files."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfc.errors import UsageError
from nfc.packet import PacketError, capture, ip, links, packet, pcap, pcapng, udp

PACKET = bytes(packet(ip("fd00::1", "fd00::2"), udp(1, 2), b"x"))  # 49 bytes
TIME = 1_700_000_000_123_456_789
MEMORY = 160 << 20  # bytes of address space that are enough for any capture
PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<", version: tuple[int, int] = (1, 0)) -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, *version, -1), order)


def option(number: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", number, len(value)) + value + bytes(-len(value) % 4)


def interface(
    options: bytes = b"", order: str = "<", link: int = links.RAW, snaplen: int = 0
) -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snaplen) + options, order)


def enhanced(
    units: int, data: bytes = PACKET, order: str = "<", index: int = 0, original: int = 1500
) -> bytes:
    head = struct.pack(
        order + "IIIII", index, units >> 32, units & 0xFFFF_FFFF, len(data), original
    )
    return block(6, head + data + bytes(-len(data) % 4) + option(1, b"a comment", order), order)


def simple(data: bytes, original: int, order: str = "<") -> bytes:
    return block(3, struct.pack(order + "I", original) + data, order)


def obsolete(units: int, index: int, order: str = "<") -> bytes:
    numbers = (index, 7, units >> 32, units & 0xFFFF_FFFF, len(PACKET), 1500)
    return block(2, struct.pack(order + "HHIIII", *numbers) + PACKET, order)


def read(data: bytes) -> list[pcap.Record]:
    return list(capture.records(io.BytesIO(data)))


# ---- what a file may hold ------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("resolution", "units", "time"),
    [
        (None, TIME // 1000, TIME // 1000 * 1000),
        (9, TIME, TIME),
        (3, TIME // 10**6, TIME // 10**6 * 10**6),
        (0, TIME // 10**9, TIME // 10**9 * 10**9),
        (10, TIME * 10 + 7, TIME),
        (0x80 | 0, 1_700_000_000, 1_700_000_000 * 10**9),
        (0x80 | 20, (1_700_000_000 << 20) + (1 << 19), 1_700_000_000_500_000_000),
        (127, 5, 0),
    ],
)
def test_resolutions(order: str, resolution: int | None, units: int, time: int) -> None:
    options = b"" if resolution is None else option(9, bytes([resolution]), order)
    data = section(order) + interface(options, order) + enhanced(units, order=order)
    assert read(data) == [pcap.Record(time, PACKET, 1500, links.RAW, 28 + 20 + len(options))]


def test_a_shift_of_all_times() -> None:
    options = option(14, struct.pack("<q", -1_000_000_000)) + option(0, b"")
    [record] = read(section() + interface(options) + enhanced(TIME // 1000))
    assert record.time_ns == TIME // 1000 * 1000 - 10**18


@pytest.mark.parametrize("order", ["<", ">"])
def test_all_packet_blocks_interfaces_and_unknown_blocks(order: str) -> None:
    data = (
        section(order)
        + block(10, b"secrets", order)
        + interface(option(2, b"eth0", order), order, snaplen=60)
        + interface(option(9, b"\x09", order), order, link=links.IPV6)
        + simple(PACKET, 49, order)
        + enhanced(TIME, order=order, index=1)
        + block(5, bytes(12), order)
        + simple(PACKET + bytes(11), 1500, order)  # cut to the snap length of interface 0
        + obsolete(TIME, 1, order)
    )
    first, second, third, fourth = read(data)
    assert [r.data for r in (first, second, fourth)] == [PACKET] * 3
    assert (first.time_ns, second.time_ns, third.time_ns) == (0, TIME, TIME)
    assert (third.data, third.original_length) == (PACKET + bytes(11), 1500)
    assert [r.linktype for r in read(data)] == [101, 229, 101, 229]
    assert [r.interface for r in read(data)] == [0, 1, 0, 1]


def test_sections_of_either_order_follow_each_other() -> None:
    data = section("<") + interface() + enhanced(1) + section(">") + interface(order=">")
    data += enhanced(2, order=">")
    assert [r.time_ns for r in read(data)] == [1000, 2000]
    with pytest.raises(PacketError, match="interface 0 is not described"):
        read(section() + interface() + section() + enhanced(1))


def test_captures_are_told_apart() -> None:
    stream = io.BytesIO()
    pcap.write(stream, [PACKET])
    assert [r.data for r in read(stream.getvalue())] == [PACKET]
    with pytest.raises(PacketError, match="magic number"):
        read(b"GIF89a" + bytes(40))
    with pytest.raises(PacketError, match="ends after 0 of 4"):
        read(b"")


# ---- what no file may hold -----------------------------------------------------------------------


def test_truncated_at_every_byte() -> None:
    data = section() + interface() + enhanced(1) + simple(PACKET, 49)
    sizes = [28, 20, len(enhanced(1)), len(simple(PACKET, 49))]
    whole = [sum(sizes[: n + 1]) for n in range(4)]
    for length in range(len(data)):
        if length in whole:
            assert len(read(data[:length])) == max(0, whole.index(length) - 1)
            continue
        with pytest.raises(PacketError, match="ends after") as caught:
            read(data[:length])
        assert caught.value.offset <= length


@pytest.mark.parametrize(
    ("data", "offset", "message"),
    [
        (block(0x0A0D0D0A, bytes(16)), 8, "byte-order magic"),
        (section(version=(2, 0)), 12, "pcapng version 2.0"),
        (section()[:4] + struct.pack("<I", 8) + section()[8:], 4, "8 bytes long"),
        (section() + struct.pack("<II", 5, 13), 32, "13 bytes long"),
        (section() + enhanced(1), 36, "interface 0 is not described"),
        (section() + interface() + enhanced(1, index=9), 56, "interface 9 is not described"),
        (section() + interface()[:-4] + bytes(4), 44, "block of 20 bytes ends as one of 0"),
        (section() + interface() + block(6, bytes(16)), 56, "takes 20 bytes, its block has 16"),
        (
            section() + interface() + block(6, struct.pack("<IIIII", 0, 0, 0, 99, 99) + bytes(8)),
            76,
            "a packet takes 99 bytes, its block has 8",
        ),
        (
            section() + interface() + block(6, struct.pack("<IIIII", 0, 0, 0, 2**32 - 1, 9)),
            48,
            "over 262144",
        ),
        (section() + interface(struct.pack("<HH", 2, 99)), 48, "an option takes 100 bytes"),
        (section() + interface(option(9, b"\x00")) + enhanced(2**63), 56, "64 bits of nanosec"),
        (section() + interface() * (pcapng.MAX_INTERFACES + 1), 28 + 65536 * 20, "more than 65536"),
    ],
)
def test_malformed(data: bytes, offset: int, message: str) -> None:
    with pytest.raises(PacketError, match=message) as caught:
        read(data)
    assert caught.value.offset == offset


def sensible(data: bytes) -> None:
    """Records, or an error with its place."""
    try:
        for record in capture.records(io.BytesIO(data)):
            assert len(record.data) <= len(data)
            assert 0 <= record.offset < len(data)
            assert 0 <= record.time_ns < 1 << 64
            try:
                inside = record.ipv6()
            except PacketError as error:
                assert record.linktype not in links.FORMS
                assert "link type" in error.message
                continue
            assert inside is None or record.data.endswith(inside)
    except PacketError as error:
        assert 0 <= error.offset <= len(data) + 8


@given(
    st.binary(max_size=300), st.sampled_from([b"", section(), section(">"), b"\xa1\xb2\x3c\x4d"])
)
def test_any_bytes(tail: bytes, head: bytes) -> None:
    sensible(head + tail)


WHOLE = {
    order: section(order)
    + interface(option(9, b"\x09", order) + option(14, bytes(8), order), order)
    + enhanced(TIME, order=order)
    + interface(order=order, link=links.LINUX_SLL2)
    + obsolete(1, 1, order)
    + simple(PACKET, 49, order)
    for order in ("<", ">")
}


@given(st.data())
def test_any_bytes_changed_in_a_capture(data: st.DataObject) -> None:
    changed = bytearray(WHOLE[data.draw(st.sampled_from("<>"))])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.sampled_from([0, 1, 4, 8, 127, 128, 255]))
    sensible(bytes(changed))


# ---- memory --------------------------------------------------------------------------------------

COUNT = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
from nfc.packet import capture
print(sum(1 for _ in capture.records(sys.stdin.buffer)))
"""


def test_a_block_larger_than_memory_is_passed_over(tmp_path: Path) -> None:
    length = 3 * MEMORY
    path = tmp_path / "sparse.pcapng"
    with path.open("wb") as file:
        file.write(section() + interface() + struct.pack("<II", 77, length))
        file.seek(length - 12, 1)
        file.write(struct.pack("<I", length) + enhanced(1))
    with path.open("rb") as file:
        done = subprocess.run([sys.executable, "-c", COUNT], stdin=file, check=True, **PIPES)
    assert (done.stdout, done.stderr) == (b"1\n", b"")


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_a_pipe_of_more_than_memory(form: str) -> None:
    stream = io.BytesIO()
    writer = capture.writer(stream, f"x.{form}")
    head = len(stream.getvalue())
    for _ in range(100):
        writer.write(pcap.Record(TIME, bytes(8000), 8000))
    data = stream.getvalue()
    process = subprocess.Popen([sys.executable, "-c", COUNT], stdin=subprocess.PIPE, **PIPES)
    assert process.stdin is not None
    process.stdin.write(data[:head])
    for _ in range(500):
        process.stdin.write(data[head:])
    assert len(data) * 500 > 2 * MEMORY
    assert process.communicate() == (b"50000\n", b"")


# ---- link types ----------------------------------------------------------------------------------

_MAC = bytes(12)


@pytest.mark.parametrize(
    ("link", "frame", "there"),
    [
        (links.IPV6, PACKET, True),
        (links.DLT_RAW, PACKET, True),
        (links.DLT_RAW_OPENBSD, b"\x45" + PACKET, False),
        (links.IPV6, b"\x45" + PACKET, False),
        (links.NULL, b"\0\0\0\x0a" + PACKET, True),
        (links.NULL, b"\x1e\0\0\0" + PACKET, True),
        (links.NULL, b"\x02\0\0\0" + PACKET, False),
        (links.LOOP, b"\0\0\0\x18" + PACKET, True),
        (links.LOOP, b"\x18\0\0\0" + PACKET, False),
        (links.LINUX_SLL, bytes(14) + b"\x86\xdd" + PACKET, True),
        (links.LINUX_SLL, bytes(14) + b"\x81\x00\0\x05\x86\xdd" + PACKET, True),
        (links.LINUX_SLL, bytes(14) + b"\x08\x00" + PACKET, False),
        (links.LINUX_SLL2, b"\x86\xdd" + bytes(18) + PACKET, True),
        (links.LINUX_SLL2, b"\x88\xa8" + bytes(18) + b"\0\x05\x86\xdd" + PACKET, True),
        (links.LINUX_SLL2, bytes(20) + PACKET, False),
        (links.ETHERNET, _MAC + b"\x86\xdd" + PACKET, True),
        *((link, b"", False) for link in links.FORMS),
    ],
)
def test_link_types(link: int, frame: bytes, there: bool) -> None:
    assert pcap.Record(0, frame, len(frame), link).ipv6() == (PACKET if there else None)


# ---- with other tools ----------------------------------------------------------------------------

needs_wireshark = pytest.mark.skipif(
    shutil.which("tshark") is None or shutil.which("editcap") is None, reason="no tshark here"
)


def records() -> list[pcap.Record]:
    return [pcap.Record(TIME + n * 1_001, PACKET + bytes(n), 49 + n) for n in range(9)]


def test_several_interfaces_of_ours() -> None:
    stream = io.BytesIO()
    writer = pcapng.Writer(stream, interfaces=("east", "west"))
    for number in (1, 0):
        writer.write(pcap.Record(TIME, PACKET, 49, interface=number))
    assert [r.interface for r in read(stream.getvalue())] == [1, 0]
    assert b"west" in stream.getvalue()
    with pytest.raises(UsageError, match="interface 2 of 2"):
        writer.write(pcap.Record(TIME, PACKET, 49, interface=2))


@needs_wireshark
def test_tshark_reads_ours(tmp_path: Path) -> None:
    path = tmp_path / "ours.pcapng"
    with path.open("wb") as stream:
        assert pcapng.write(stream, records()) == 9
    fields = ("frame.time_epoch", "frame.len", "ipv6.dst")
    command = ["tshark", "-r", str(path), "-T", "fields"]
    command += [word for field in fields for word in ("-e", field)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == [
        f"{r.time_ns // 10**9}.{r.time_ns % 10**9:09d}\t{len(r.data)}\tfd00::2" for r in records()
    ]


@needs_wireshark
@pytest.mark.parametrize("form", ["pcap", "nsecpcap", "pcapng"])
@pytest.mark.parametrize("ours", ["pcap", "pcapng"])
def test_we_read_what_editcap_writes(tmp_path: Path, ours: str, form: str) -> None:
    first, second = tmp_path / f"ours.{ours}", tmp_path / "theirs"
    with first.open("wb") as stream:
        writer = capture.writer(stream, first.name)
        for record in records():
            writer.write(record)
    subprocess.run(["editcap", "-F", form, first, second], check=True, capture_output=True)
    with second.open("rb") as stream:
        found = list(capture.records(stream))
    unit = 1000 if form == "pcap" else 1
    assert [(r.data, r.original_length, r.linktype) for r in found] == [
        (r.data, r.original_length, links.RAW) for r in records()
    ]
    assert [r.time_ns for r in found] == [r.time_ns // unit * unit for r in records()]


@needs_wireshark
def test_we_read_what_mergecap_writes(tmp_path: Path) -> None:
    """Two files of different links become one with two interfaces, in order of time."""
    if shutil.which("mergecap") is None:
        pytest.skip("no mergecap here")
    raw, ether, merged = (tmp_path / name for name in ("raw", "ether", "merged"))
    frames = [
        pcap.Record(r.time_ns + 500, _MAC + b"\x86\xdd" + r.data, len(r.data) + 14, links.ETHERNET)
        for r in records()
    ]
    with raw.open("wb") as stream:
        pcap.write(stream, records())
    with ether.open("wb") as stream:
        pcap.write(stream, frames, linktype=links.ETHERNET)
    subprocess.run(["mergecap", "-w", merged, raw, ether], check=True, capture_output=True)
    with merged.open("rb") as stream:
        found = list(capture.records(stream))
    assert [r.ipv6() for r in found] == [r.data for r in records() for _ in range(2)]
    assert {(r.interface, r.linktype) for r in found} == {(0, links.RAW), (1, links.ETHERNET)}
    assert all(a.time_ns < b.time_ns for a, b in pairwise(found))


@pytest.mark.parametrize(
    "record",
    [
        pcap.Record(0, bytes(pcap.MAX_RECORD + 1), 0),
        pcap.Record(-1, b"", 0),
        pcap.Record(1 << 64, b"", 0),
        pcap.Record(0, b"", 2**32),
        pcap.Record(0, b"", 0, linktype=1),
    ],
)
def test_what_a_file_cannot_hold(record: pcap.Record) -> None:
    with pytest.raises(UsageError):
        pcapng.write(io.BytesIO(), [record])
