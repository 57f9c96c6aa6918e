"""`nfc run` on a capture of any size: packets a second, and the memory that it takes at most.

    python bench/long_capture.py [SIZE]         # of the capture, such as 300M or 10G

The capture goes through a pipe, so that it needs no disk: the same thousand packets again and
again, each with a time of its own, as pcap and as pcapng. Every packet has to be counted as sent.
Memory is the command's largest resident set, Python and the compiler included.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass

from run_captures import BLOCK, STDLIB, plain

from nfc.packet import capture, pcap

UNITS = {"K": 10**3, "M": 10**6, "G": 10**9}
TIMES = 50  # that the packets stand in what is written at once
BEGIN = 1_750_000_000 * 10**9


@dataclass(frozen=True)
class Run:
    """One run of the command: seconds, seconds of CPU time, bytes."""

    size: int
    packets: int
    wall: float
    cpu: float
    memory: int


def piece(form: str) -> tuple[bytes, bytes, int]:
    """What a file of a form begins with, what can follow again and again, and its packets."""
    stream = io.BytesIO()
    writer = capture.writer(stream, f"x.{form}")
    begun = stream.tell()
    packets = [bytes(plain(n)) for n in range(BLOCK)]
    for number in range(TIMES * BLOCK):
        data = packets[number % BLOCK]
        writer.write(pcap.Record(BEGIN + number * 1000, data, len(data)))
    written = stream.getvalue()
    return written[:begun], written[begun:], TIMES * BLOCK


def run(form: str, size: int) -> Run:
    """Send a capture of at least so many bytes through the command."""
    head, body, packets = piece(form)
    count = -(-size // len(body))
    command = [sys.executable, "-m", "nfc", "run", str(STDLIB / "tag.nf"), "--pcap", "-", "--json"]
    begin = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(head)
        for _ in range(count):
            process.stdin.write(body)
        process.stdin.close()
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - begin
    summary = json.loads(said.splitlines()[-1])["summary"]
    assert summary["sent"] == {"out": count * packets}, summary
    cpu = usage.ru_utime + usage.ru_stime
    size = len(head) + count * len(body)
    return Run(size, count * packets, wall, cpu, usage.ru_maxrss * 1024)


def main() -> None:
    """Both forms."""
    text = sys.argv[1].upper() if len(sys.argv) > 1 else "300M"
    size = int(float(text.rstrip("KMG")) * UNITS.get(text[-1], 1))
    for form in ("pcap", "pcapng"):
        done = run(form, size)
        print(
            f"{form:<7} {done.size / 1e9:.2f} GB, {done.packets:,} packets: {done.wall:.1f} s, "
            f"{done.cpu:.1f} s of CPU time, {done.packets / done.cpu:,.0f} packets per CPU second, "
            f"at most {done.memory / 1e6:.0f} MB of memory",
            flush=True,
        )


if __name__ == "__main__":
    main()
