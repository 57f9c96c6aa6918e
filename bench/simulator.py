"""Packets a second through the simulator, beside the kernel's own nanoseconds.

    make bench, or: python bench/simulator.py

The same packet again and again, as records of a pcap file that lies in memory; reading them is
part of what is measured. Best of several rounds, and the worst, since other work disturbs. As root
there is the kernel's column: nanoseconds inside the same object's program, counting them included
(see bench/functions.py), without what the kernel does around it.
"""

from __future__ import annotations

import os
import struct
import time
from dataclasses import dataclass

from functions import measure

from nfc.bpf.object import Object
from nfc.bpf.reader import read_object
from nfc.compiler import compile_file
from nfc.kernel import programs
from nfc.kernel.loader import load
from nfc.lab import chain
from nfc.packet import Packet as Built
from nfc.packet import ip, packet, srh, udp
from nfc.packet.tlvs import AnyTLV, tlv
from nfc.resources import data_dir
from nfc.vm.batch import Batch
from nfc.vm.simulator import Packet, Simulator

SID, TARGET = "fd00:a::d", "fd00:2::2"
COUNT, ROUNDS, SLOW_COUNT = 30_000, 9, 200
DM = tlv(7, bytes([0, 0, 0x10, 1]) + bytes(2) + bytes([0x33, 0x30, 0, 0]) + bytes(36))
DM_TWO_WAY = tlv(7, bytes([0, 0, 0x10, 0]) + bytes(2) + bytes([0x33, 0x30, 0, 0]) + bytes(36))


@dataclass(frozen=True)
class Row:
    """A function: nanoseconds a packet, best and worst round of native code, best of the others;
    seconds to compile it."""

    name: str
    best: float
    worst: float
    jit: float
    interpreted: float
    kernel: float | None
    compiled: float


CASES = {
    "end": ("end", "end"),
    "tag": ("tag", "tag"),
    "nsh": ("nsh", "nsh"),
    "end_dm, one way": ("end_dm", "delay"),
    "end_dm, two ways": ("end_dm", "delay"),
    "mark_delay": ("mark_delay", "delay"),
}


def sent(name: str) -> Built:
    """The packet for a case: an SRH before UDP, or before another packet."""
    inner = packet(ip("fd00:9::9", TARGET), udp(4000, 5000), bytes(64))
    if name == "mark_delay":
        return inner
    tlvs: list[AnyTLV] = {"end_dm, one way": [DM], "end_dm, two ways": [DM_TWO_WAY]}.get(name, [])
    header = srh([SID, TARGET], left=1, tlvs=tlvs, next_header=41)
    return packet(ip("fd00:1::1", SID), header, bytes(inner))


def built(function: str, file: str) -> tuple[Object, str]:
    """A function's object, and its hook."""
    compilation = compile_file(data_dir("stdlib") / f"{file}.nf", "6.12")
    found = next(f for f in compilation.functions if f.function.name == function)
    return read_object(compilation.object([found])), found.function.hook


def kernel_ns() -> dict[str, float]:
    """Nanoseconds a packet inside the program in the kernel, counting included, by case."""
    if os.geteuid():
        return {}
    found = {}
    with chain("h1", "r1", "h2") as net, programs.enable_stats():
        for name, (function, file) in CASES.items():
            obj, hook = built(function, file)
            if hook != "endpoint":
                continue
            with load(obj, function, hook=hook) as program:
                rounds = [measure(net, program, sent(name)) for _ in range(ROUNDS)]
                found[name] = min(rounds)
    return found


def measured(name: str, kernel: float | None) -> Row:
    """One row of the table."""
    function, file = CASES[name]
    obj, hook = built(function, file)
    data = bytes(sent(name))
    one = struct.pack("<IIII", 1_700_000_000, 5, len(data), len(data)) + data
    chunk = bytearray(one * COUNT)
    begin = time.perf_counter()
    batch = Batch(Simulator(obj, function, hook))
    compiled = time.perf_counter() - begin
    rounds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        done = batch.run(chunk)
        rounds.append((time.perf_counter() - begin) / done.count)
        assert done.fates() == {("sent", ""): COUNT}, done.fates()
    slow = {}
    for engine in ("jit", "interpreter"):
        found = Simulator(obj, function, hook, engine=engine)
        found.warm_up = 0
        found.run(Packet(data))
        turns = []
        for _ in range(3):
            begin = time.perf_counter()
            for _ in range(SLOW_COUNT):
                found.run(Packet(data))
            turns.append((time.perf_counter() - begin) / SLOW_COUNT)
        slow[engine] = min(turns)
    times = (min(rounds), max(rounds), slow["jit"], slow["interpreter"])
    best, worst, jit, interpreted = (1e9 * t for t in times)
    return Row(name, best, worst, jit, interpreted, kernel, compiled)


def main() -> None:
    """The table."""
    kernel = kernel_ns()
    head = ("function", "native: best", "worst", "Mpps", "one by one", "interpreted", "kernel",
            "compiled in")  # fmt: skip
    print("nanoseconds a packet")
    print(f"{head[0]:<18}" + "".join(f"{h:>13}" for h in head[1:]))
    for name in CASES:
        row = measured(name, kernel.get(name))
        inside = f"{row.kernel:.0f}" if row.kernel is not None else "-"
        cells = (
            f"{row.best:.0f}", f"{row.worst:.0f}", f"{1000 / row.best:.2f}", f"{row.jit:.0f}",
            f"{row.interpreted:.0f}", inside, f"{row.compiled:.2f} s",
        )  # fmt: skip
        print(f"{row.name:<18}" + "".join(f"{c:>13}" for c in cells))


if __name__ == "__main__":
    main()
