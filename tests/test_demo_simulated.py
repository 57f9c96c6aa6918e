"""The demo without root: the delays that end_dm reports are those of the capture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nfc.compiler import compile_file
from nfc.demo.run import SOURCE
from nfc.demo.simulated import CAPTURE, measure
from nfc.packet import capture

SCRIPT = Path(__file__).parents[1] / "scripts" / "demo_capture.py"


def test_delays_are_those_of_the_capture() -> None:
    with CAPTURE.open("rb") as stream:
        records = list(capture.records(stream))
    sent = {r.data: r.time_ns for r in records if r.interface == 0}
    received = {r.data: r.time_ns for r in records if r.interface == 1}
    assert len(sent) == 500
    said: list[str] = []
    for packets in (500, 30):
        measured = measure(said.append, compile_file(SOURCE), packets)
        expected = [received[data] - time for data, time in sent.items()][:packets]
        assert measured.sent == packets
        assert sorted(measured.delays) == sorted(expected)
        assert [rule.packets for rule in measured.mark.rules] == [packets, 0]
        assert measured.end.rules[0].packets == measured.end.packets == packets
    assert any("end_dm (endpoint): 500 packets" in line for line in said)
    assert min(expected) > 200_000  # the wire
    assert max(expected) > 2 * min(expected)  # the queue


def test_the_script_writes_the_same_capture(tmp_path: Path) -> None:
    again = tmp_path / "again.pcapng"
    subprocess.run([sys.executable, str(SCRIPT), str(again)], check=True)
    assert again.read_bytes() == CAPTURE.read_bytes()
