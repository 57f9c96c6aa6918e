"""`nfc run` on captures of a million packets, in packets a second.

    python bench/run_captures.py [PACKETS]

What is timed is all that the command does with a capture: reading the file, running every packet,
counting, and writing what leaves where that is asked for; several rounds in one process. Seconds
are of CPU time, so that it does not matter who else is busy. `start` is what comes before the
first packet, as a command of its own on a capture of one packet: Python, the compiler, native
code.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nfc.packet import Packet, capture, ip, packet, pcap, srh, tlv, udp
from nfc.run import fast
from nfc.run.replay import Options
from nfc.run.session import Session
from nfc.run.subject import load
from nfc.run.tally import Tally

PACKETS = 1_000_000
ROUNDS = 5
BLOCK = 1000  # different packets in a capture
SID, H2 = "fd00:b::d", "fd00:3::2"
INNER = (ip("fd00:1::1", H2), udp(1000, 2000), bytes(22))  # 70 bytes
STDLIB = Path(__file__).parents[1] / "stdlib"


def plain(number: int) -> Packet:
    return packet(ip("fd00::1", SID), srh([SID, H2], tag=number), *INNER)


def measured(number: int) -> Packet:
    """With a DM TLV: version 1, out of band, session 3."""
    value = bytearray(46)
    value[2:4] = 0x10, 1
    value[8] = 3
    header = srh([SID, H2], tag=number, tlvs=[tlv(7, bytes(value))])
    return packet(ip("fd00::1", SID), header, *INNER)


@dataclass(frozen=True)
class Case:
    """A function on a capture of such packets, of that form; `out`: what leaves is written."""

    name: str
    file: str
    function: str
    make: Callable[[int], Packet]
    form: str = "pcap"
    out: bool = False


CASES: Sequence[Case] = (
    Case("tag", "tag.nf", "tag", plain),
    Case("tag, written out", "tag.nf", "tag", plain, out=True),
    Case("tag, pcapng", "tag.nf", "tag", plain, form="pcapng"),
    Case("end_dm", "delay.nf", "end_dm", measured),
    Case("end_dm, written out", "delay.nf", "end_dm", measured, out=True),
)


def write(path: Path, make: Callable[[int], Packet], packets: int) -> None:
    """A capture, a microsecond between packets."""
    block = [bytes(make(n)) for n in range(min(BLOCK, packets))]
    with path.open("wb", buffering=1 << 20) as stream:
        writer = capture.writer(stream, path.name)
        for number in range(packets):
            data = block[number % len(block)]
            writer.write(pcap.Record(1_750_000_000 * 10**9 + number * 1000, data, len(data)))


def start(case: Case, path: Path) -> float:
    """Seconds of CPU time of the whole command, on a capture of one packet."""
    command = [sys.executable, "-m", "nfc", "run", str(STDLIB / case.file)]
    command += ["--function", case.function, "--pcap", str(path)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rounds(case: Case, path: Path, packets: int) -> list[float]:
    """Seconds of CPU time of each round; the first, which compiles, is left out."""
    subject = load(STDLIB / case.file, case.function, None, "6.1")
    session = Session(subject, params={}, fib=None, engine="jit", seed=0)
    taken = []
    for _ in range(ROUNDS + 1):
        tally = Tally()
        begin = time.process_time()
        with path.open("rb", buffering=1 << 20) as stream, open(os.devnull, "wb") as out:
            written = (out, "out.pcap") if case.out else None
            fast.run(session, stream, Options(), tally, written, None, lambda: None)
        taken.append(time.process_time() - begin)
        assert tally.sent["out"] == packets
    return taken[1:]


def main() -> None:
    packets = int(sys.argv[1]) if len(sys.argv) > 1 else PACKETS
    print(f"{packets} packets, {ROUNDS} rounds\n")
    print(f"{'':22} {'start':>7} {'best':>7} {'median':>7} {'worst':>7} {'packets/s':>11}")
    with tempfile.TemporaryDirectory(prefix="nfc-bench-") as name:
        for case in CASES:
            path, one = Path(name, f"in.{case.form}"), Path(name, f"one.{case.form}")
            write(path, case.make, packets)
            write(one, case.make, 1)
            taken = rounds(case, path, packets)
            best, median = min(taken), statistics.median(taken)
            print(
                f"{case.name:22} {start(case, one):>6.2f}s {best:>6.2f}s {median:>6.2f}s "
                f"{max(taken):>6.2f}s {packets / median:>11,.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
