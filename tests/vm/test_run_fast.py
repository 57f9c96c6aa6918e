"""nfc run at full speed and packet by packet say the same, of every kind of capture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import pytest
from machines import H1, H2, SID, STDLIB, query

from nfc.observe.events import Decoded
from nfc.packet import capture, icmp, ip, links, packet, pcap, pcapng, srh, tlv, udp
from nfc.packet.base import PacketError
from nfc.run import fast, replay
from nfc.run.replay import Options
from nfc.run.session import Session
from nfc.run.subject import load
from nfc.run.tally import Tally

TIME = 1_700_000_000_123_456_789
DM = bytearray(46)
DM[2:4] = 0x10, 1
BROKEN = bytes(query([tlv(9, bytes(6))])).replace(b"\x09\x06", b"\x09\xc8")  # a TLV too long
PACKETS = [
    bytes(query([], tag=1)),
    bytes(packet(ip(H1, H2), udp(1, 2), b"x")),
    b"\x45" + bytes(30),
    bytes(query([tlv(7, bytes(DM))])),
    bytes(query([tlv(7, bytes(DM))]))[:-9],
    bytes(packet(ip(H1, SID), srh([SID, H2], left=0), b"done")),
    bytes(packet(ip(H1, SID, hop_limit=1), srh([SID, H2]), b"late")),
    BROKEN,
    bytes(packet(ip(H1, H2), icmp(128), bytes(65_531))),
    b"",
]
FUNCTIONS = [
    ("tag", "tag"), ("delay", "end_dm"), ("delay", "mark_delay"), ("dt6", ""),
    ("ioam", "ioam_begin"),
]  # fmt: skip


def records(link: int) -> list[pcap.Record]:
    head = bytes(12) + b"\x86\xdd" if link == links.ETHERNET else b""
    found = []
    for number, data in enumerate(PACKETS * 3):
        length = int.from_bytes(data[4:6], "big") + 40 if number % 10 == 4 else len(data)
        frame = (head + data)[: pcap.MAX_RECORD]
        found.append(pcap.Record(TIME + number * 1000, frame, len(head) + length, link))
    return found


def written(form: str, link: int) -> bytes:
    stream = io.BytesIO()
    writer: capture.Writer
    if form == "pcapng":
        writer = pcapng.Writer(stream, link)
    else:
        order: Literal["<", ">"] = ">" if form == "big" else "<"
        writer = pcap.Writer(stream, link, order=order, nano=form != "microseconds")
    for record in records(link):
        writer.write(record)
    return stream.getvalue()


def both(
    data: bytes, file: str, function: str, options: Options, engine: str, name: str = "x.pcap"
) -> tuple[object, ...]:
    """Counts, packets that left, events, counters, and the error if there is one."""
    path = STDLIB / f"{file}.nf"
    subject = load(path, function or None, None, "6.1")
    params = {"one_in": "1"} if function == "mark_delay" else {}
    session = Session(subject, params=params, fib=None, engine="jit", seed=1)
    tally, out = Tally(), io.BytesIO()
    events: list[tuple[int, str]] = []
    error = ""

    def event(number: int, decoded: Decoded) -> None:
        events.append((number, str(decoded)))

    try:
        if engine == "fast":
            fast.run(session, io.BytesIO(data), options, tally, (out, name), event, lambda: None)
        else:
            for result in replay.replay(session, io.BytesIO(data), options, tally, (out, name)):
                for decoded in result.ran.events if result.ran else ():
                    event(result.number, decoded)
    except PacketError as problem:
        error = problem.message
    left = [(r.time_ns, r.data) for r in capture.records(io.BytesIO(out.getvalue()))]
    return tally.to_json(), left, events, session.counters(), error


@pytest.mark.parametrize(("file", "function"), FUNCTIONS)
@pytest.mark.parametrize("form", ["pcap", "microseconds", "big", "pcapng"])
def test_the_same_comes_of_every_packet(file: str, function: str, form: str) -> None:
    for link in (links.RAW, links.ETHERNET):
        data = written(form, link)
        name = "x.pcapng" if form == "big" else "x.pcap"
        said = [both(data, file, function, Options(), e, name) for e in ("fast", "slow")]
        assert said[0] == said[1]
        assert said[0][4] == ""


@pytest.mark.parametrize(
    "options",
    [Options(now=5), Options(tai_offset=37), Options(count=4), Options(prefix=None, count=30)],
)
def test_options(options: Options) -> None:
    data = written("pcap", links.RAW)
    assert both(data, "delay", "end_dm", options, "fast") == both(
        data, "delay", "end_dm", options, "slow"
    )


def test_captures_that_are_cut_off() -> None:
    for form in ("pcap", "pcapng"):
        data = written(form, links.RAW)
        for less in (1, 9, 60):
            said = [both(data[:-less], "tag", "tag", Options(), e) for e in ("fast", "slow")]
            assert said[0] == said[1]
            assert "ends after" in str(said[0][4])


def test_more_than_one_chunk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = written("pcap", links.RAW)
    whole = both(data, "delay", "end_dm", Options(), "slow")
    for size in (7, 1000, 100_000):
        monkeypatch.setattr(fast, "_CHUNK", size)
        assert both(data, "delay", "end_dm", Options(), "fast") == whole
