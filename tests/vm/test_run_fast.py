"""nfc run at full speed and packet by packet say the same, of every kind of capture."""

from __future__ import annotations

import io
import struct
from ipaddress import IPv6Network
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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


# ---- captures of every kind ----------------------------------------------------------------------

SESSIONS: dict[str, Session] = {}


def session(engine: str) -> Session:
    """One for all captures: what it has counted is not looked at."""
    if engine not in SESSIONS:
        subject = load(STDLIB / "tag.nf", None, None, "6.1")
        SESSIONS[engine] = Session(subject, params={}, fib=None, engine=engine, seed=1)
    return SESSIONS[engine]


def said(data: bytes, options: Options, engine: str, name: str) -> tuple[object, ...]:
    """What is said of a capture: counts, what is written, the error with its place."""
    tally, out, error = Tally(), io.BytesIO(), ("", 0)
    given = (session(engine), io.BytesIO(data), options, tally, (out, name) if name else None)
    try:
        if engine == "jit":
            fast.run(*given, None, lambda: None)
        else:
            for _ in replay.replay(*given):
                pass
    except PacketError as problem:
        error = problem.message, problem.offset
    found = tally.to_json()
    found["dropped"] = sum(tally.dropped.values())  # fast has the reason for all at once
    return found, out.getvalue(), error


HEADS = {
    links.RAW: b"",
    links.IPV6: b"",
    links.ETHERNET: bytes(12) + b"\x86\xdd",
    links.LINUX_SLL: bytes(14) + b"\x86\xdd",
    links.LINUX_SLL2: b"\x86\xdd" + bytes(18),
    links.NULL: b"\x1e\0\0\0",
    links.LOOP: b"\0\0\0\x18",
    105: b"",
}
TAGS = (b"\x81\0\0\5", b"\x88\xa8\0\x07")
NUMBERS = st.sampled_from((0, 1, 30, 60, 127, 1500, 65_575, 65_576, 262_144, 262_145, 2**32 - 1))
SECONDS = st.sampled_from((0, 1, 1_700_000_000, 4_294_967_295, 4_294_967_296, 2**34, -(2**33)))


@st.composite
def frames(draw: st.DrawFn, link: int) -> bytes:
    """A frame of a link type, which may have VLAN tags, and be cut short."""
    inside = draw(st.sampled_from(PACKETS[:6]))
    head = HEADS[link]
    if b"\x86\xdd" in head and draw(st.booleans()):
        at = head.index(b"\x86\xdd")
        tags = b"".join(draw(st.lists(st.sampled_from(TAGS), min_size=1, max_size=3)))
        first, tags = tags[:2], tags[2:] + b"\x86\xdd"
        head = head[:at] + first + head[at + 2 :] + tags
    frame = head + inside
    return frame[: draw(st.integers(0, len(frame)))] if draw(st.integers(0, 5)) == 5 else frame


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + length + body + length


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """A pcapng file: sections, interfaces, and packets in every kind of block."""
    found, order = b"", "<"
    known: list[int] = []
    for number in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from((6, 6, 6, 6, 3, 2, 1, 0, 5))) if number > 1 else number
        if kind == 0:
            order, known = draw(st.sampled_from("<>")), []
            found += block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
        elif kind == 1:
            known.append(draw(st.sampled_from(sorted(HEADS))))
            body = struct.pack(order + "HHI", known[-1], 0, draw(NUMBERS))
            if draw(st.booleans()):
                power = draw(st.sampled_from((0, 3, 6, 9, 12, 28, 29, 127, 128, 158, 192, 255)))
                body += struct.pack(order + "HHBxxx", 9, 1, power)
            if draw(st.booleans()):
                body += struct.pack(order + "HHq", 14, 8, draw(SECONDS))
            found += block(order, 1, body)
        elif kind == 5:
            found += block(order, 5, bytes(draw(st.sampled_from((0, 4, 400_000)))))
        else:
            index = draw(st.integers(0, len(known) - 1)) if known else 0
            frame = draw(frames(known[0 if kind == 3 else index] if known else links.RAW))
            units = draw(st.sampled_from((TIME, TIME // 1000, 5, 1 << 60, (1 << 64) - 1)))
            original = len(frame) + draw(st.sampled_from((0, 0, 0, 9, 700, 70_000)))
            more = bytes(draw(st.sampled_from((0, 0, 8, 400_000))))
            body = struct.pack(order + "I", original) if kind == 3 else b""
            numbers = (units >> 32, units & 0xFFFF_FFFF, len(frame), original)
            if kind == 6:
                body = struct.pack(order + "IIIII", index, *numbers)
            elif kind == 2:
                body = struct.pack(order + "HHIIII", index, 0, *numbers)
            found += block(order, kind, body + frame + bytes(-len(frame) % 4) + more)
    return found


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A capture of either form; often with some bytes changed, or its end missing."""
    if draw(st.integers(0, 2)):
        data = draw(blocks())
    else:
        link, order = draw(st.sampled_from(sorted(HEADS))), draw(st.sampled_from("<>"))
        magic = draw(st.sampled_from((0xA1B2C3D4, 0xA1B23C4D)))
        data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 1 << 18, link)
        for frame in draw(st.lists(frames(link), max_size=8)):
            original = len(frame) + draw(st.sampled_from((0, 0, 9, 700, 70_000)))
            data += struct.pack(order + "IIII", 1_700_000_000, 5, len(frame), original) + frame
    changed = bytearray(data)
    for _ in range(draw(st.sampled_from((0, 0, 1, 3)))):
        if changed:
            at = draw(st.integers(0, len(changed) - 1))
            changed[at] = draw(st.sampled_from((0, 1, 4, 8, 60, 127, 128, 255)))
    if draw(st.integers(0, 3)) == 3:
        del changed[draw(st.integers(0, len(changed))) :]
    return bytes(changed)


@given(
    files(),
    st.sampled_from(("", "x.pcap", "x.pcapng")),
    st.sampled_from(
        (Options(), Options(count=2), Options(prefix=IPv6Network("fd00:a::/64"), tai_offset=37))
    ),
)
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
def test_any_capture(data: bytes, name: str, options: Options) -> None:
    """The same counts, the same file of what leaves, the same error at the same place."""
    assert said(data, options, "jit", name) == said(data, options, "interpreter", name)


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
