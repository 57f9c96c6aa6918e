"""`nfc run` on captures that are whole or not, through pipes, and with nobody to take what it
says."""

from __future__ import annotations

import io
import json
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from run_packets import H1, H2, STDLIB, TIME, Nfc, read, sid, summary, write

from nfc.packet import capture, icmp, ip, links, packet, pcap
from nfc.run.tally import Tally


def test_a_capture_that_ends_too_early(nfc: Nfc, tmp_path: Path) -> None:
    """What was read is counted, and the error says where it ends."""
    path = write(tmp_path / "in.pcap", [sid(), sid(), sid()])
    path.write_bytes(path.read_bytes()[:-9])
    code, said, err = nfc("run", STDLIB / "tag.nf", "--pcap", path)
    assert code == 1
    assert "2 packets" in said.splitlines()[0]
    assert "  sent                 2  by out" in said
    assert "a record ends after 124 of 133 bytes" in err
    assert "byte 338" in err


@pytest.mark.parametrize("engine", ["jit", "interpreter"])
def test_a_record_longer_than_any(nfc: Nfc, tmp_path: Path, engine: str) -> None:
    """What is before it counts, in every way to run it."""
    path = write(tmp_path / "in.pcap", [sid(), sid()])
    end = len(path.read_bytes())
    long = struct.pack("<IIII", 1, 1, pcap.MAX_RECORD + 1, pcap.MAX_RECORD + 1)
    path.write_bytes(path.read_bytes() + long + bytes(pcap.MAX_RECORD + 1))
    code, said, err = nfc("run", STDLIB / "tag.nf", "--pcap", path, "--json", "--engine", engine)
    found = [json.loads(line) for line in said.splitlines()]
    assert (code, err) == (1, "")
    assert (found[0]["summary"]["packets"], found[0]["summary"]["sent"]) == (2, {"out": 2})
    assert found[1]["error"] == f"{path}: byte {end + 8}: a record of 262145 bytes is over 262144"


@pytest.mark.parametrize("engine", ["jit", "interpreter"])
def test_times_that_a_pcap_file_has_no_room_for(nfc: Nfc, tmp_path: Path, engine: str) -> None:
    """From 2106 on: written to pcapng, and an error with its place where it would be pcap."""
    data, late = bytes(sid()), 2**32 * 1_000_000_000 + 5
    times = (TIME, late)
    path = write(tmp_path / "in.pcapng", [pcap.Record(t, data, len(data)) for t in times])
    given = ("run", STDLIB / "tag.nf", "--pcap", path, "--engine", engine, "--out")
    assert nfc(*given, tmp_path / "out.pcapng")[0] == 0
    assert [record.time_ns for record in read(tmp_path / "out.pcapng")] == [*times]
    code, said, err = nfc(*given, tmp_path / "out.pcap")
    assert code == 1
    assert "  sent                 1  by out" in said
    late_one = (
        rf"error: {re.escape(str(path))}: byte \d+: the time of this packet, 4294967296 s since"
    )
    assert re.match(late_one, err)
    assert [record.time_ns for record in read(tmp_path / "out.pcap")] == [TIME]


@pytest.mark.parametrize("content", [b"", b"not a capture at all", b"\x0a\x0d\x0d\x0a" * 9])
def test_no_capture(nfc: Nfc, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(content)
    code, said, err = nfc("run", STDLIB / "tag.nf", "--pcap", path)
    assert (code, said) == (1, "")
    assert err.startswith(f"error: {path}: byte ")


def test_frames_of_a_link_that_is_not_known(nfc: Nfc, tmp_path: Path) -> None:
    path = tmp_path / "in.pcap"
    with path.open("wb") as stream:
        pcap.write(stream, [pcap.Record(0, bytes(50), 50, 105)], linktype=105)
    code, _, err = nfc("run", STDLIB / "tag.nf", "--pcap", path)
    assert code == 1
    assert "link type 105 is none of" in err


def test_ethernet_frames_go_out_as_packets(nfc: Nfc, tmp_path: Path) -> None:
    path, out = tmp_path / "in.pcap", tmp_path / "out.pcap"
    frame = bytes(12) + b"\x86\xdd" + bytes(sid())
    with path.open("wb") as stream:
        pcap.write(
            stream, [pcap.Record(0, frame, len(frame), links.ETHERNET)], linktype=links.ETHERNET
        )
    assert nfc("run", STDLIB / "tag.nf", "--pcap", path, "--out", out)[0] == 0
    ((record,)) = read(out)
    assert (record.linktype, len(record.data)) == (links.RAW, len(bytes(sid())))


def test_pipes(tmp_path: Path) -> None:
    path = write(tmp_path / "in.pcapng", [sid(), sid()])
    command = [sys.executable, "-m", "nfc", "run", str(STDLIB / "tag.nf"), "--pcap", "-"]
    done = subprocess.run(
        [*command, "--out", "-"], input=path.read_bytes(), capture_output=True, check=True
    )
    assert len(list(capture.records(io.BytesIO(done.stdout)))) == 2
    assert b"2 packets written to -" in done.stderr


@pytest.mark.parametrize(
    ("end", "code", "message"),
    [
        ("--packets | head -1; exit ${PIPESTATUS[0]}", 1, b""),
        ("--out - | true; exit ${PIPESTATUS[0]}", 1, b""),
        ("--out /dev/full", 1, b"error: cannot write /dev/full: No space left on device\n"),
        ("> /dev/full", 1, b"error: cannot write: No space left on device\n"),
    ],
)
def test_nobody_takes_what_it_says(tmp_path: Path, end: str, code: int, message: bytes) -> None:
    """A reader that goes away, a disk that is full: no traceback."""
    path = write(tmp_path / "in.pcap", [sid()] * 3000)
    line = f"{sys.executable} -m nfc run {STDLIB / 'tag.nf'} --pcap {path} {end}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (code, message)


def test_an_interrupt(tmp_path: Path) -> None:
    """Ctrl-C while it waits for packets."""
    command = [sys.executable, "-m", "nfc", "run", str(STDLIB / "tag.nf"), "--pcap", "-"]
    out = tmp_path / "out.pcap"
    with subprocess.Popen(
        [*command, "--packets", "--out", str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(write(tmp_path / "in.pcap", [sid()] * 300).read_bytes())
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.strip() == b""
    assert read(out)  # a whole capture of what had left


def test_packets_longer_than_any(nfc: Nfc, tmp_path: Path) -> None:
    long = bytes(packet(ip(H1, H2), icmp(128), bytes(65_531)))
    path = write(tmp_path / "in.pcap", [long, long + bytes(9)])
    for engine in ("jit", "interpreter"):
        code, said, _ = nfc("run", STDLIB / "dt6.nf", "--pcap", path, "--json", "--engine", engine)
        assert code == 0
        assert sum(summary(said)["passed_over"].values()) == 2


def test_reasons_of_as_many_packets_are_in_the_order_of_lines() -> None:
    tally = Tally()
    for line in (15, 9, 100):
        tally.dropped[f"by the rule at line {line}"] = 3
    tally.dropped["hop limit"] = 4
    said = [line for line in tally.lines() if "dropped" in line or "line" in line]
    assert [line.split()[-1] for line in said] == ["limit", "9", "15", "100"]
