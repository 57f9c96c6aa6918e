"""Nanoseconds a packet inside compiled functions, against C by hand, on a real route.

    make bench                 (root; needs clang)

Both run on the same route of the same namespace, in turn, several rounds; the kernel counts
their runs and nanoseconds (kernel.bpf_stats_enabled). Counting itself costs some fifty
nanoseconds, which the C function that does nothing shows and the last column leaves out.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from nfc.bpf.object import Object
from nfc.bpf.reader import read_object
from nfc.compiler import compile_file
from nfc.kernel import programs, routes
from nfc.kernel.encap import RouteProgram
from nfc.kernel.loader import LoadedProgram, load
from nfc.lab import Chain, chain
from nfc.packet import Packet, ip, packet, srh, udp
from nfc.resources import data_dir

SID, TARGET = "fd00:a::d", "fd00:2::2"
FUNCTIONS = ("end", "tag", "nsh", "ingress", "dt6")
PACKETS, ROUNDS = 4000, 9
TWINS = Path(__file__).parent / "twins" / "twins.c"


@dataclass(frozen=True)
class Row:
    """One function: nanoseconds a packet in each round, compiled from nf and from C."""

    name: str
    nf: list[float]
    c: list[float]


def traffic(name: str) -> Packet:
    """What the function gets: an SRH without TLVs, before UDP or (dt6) another packet."""
    if name == "dt6":
        inner = bytes(packet(ip("fd00:9::9", TARGET), udp(4000, 5000), bytes(64)))
        return packet(ip("fd00:1::1", SID), srh([SID, TARGET], left=1, next_header=41), inner)
    return packet(ip("fd00:1::1", SID), srh([SID, TARGET], left=1), udp(4000, 5000), bytes(64))


def twins() -> Object:
    """The C functions, compiled."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "twins.o"
        command = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-c", str(TWINS)]
        subprocess.run([*command, "-o", str(out)], check=True)
        return read_object(out.read_bytes())


def compiled(name: str) -> Object:
    """The function of the standard library, compiled."""
    compilation = compile_file(data_dir("stdlib") / f"{name}.nf")
    return read_object(compilation.object([compilation.function(name)]))


def measure(net: Chain, program: LoadedProgram, sent: Packet) -> float:
    """Nanoseconds a packet over one round."""
    namespace = net.lab.name("r1")
    routes.replace_route(
        SID, [RouteProgram("endpoint", program.fd, "bench")], netns=namespace, dev="eth0"
    )
    before = programs.info(program.fd)
    net.lab.send("h1", "eth0", *[sent] * PACKETS)
    deadline = time.monotonic() + 2
    after = programs.info(program.fd)
    while after.run_count - before.run_count < PACKETS and time.monotonic() < deadline:
        time.sleep(0.01)
        after = programs.info(program.fd)
    count = after.run_count - before.run_count
    if count < PACKETS * 0.99:
        raise SystemExit(f"only {count} of {PACKETS} packets reached {program.name}")
    return (after.run_time_ns - before.run_time_ns) / count


def run() -> list[Row]:
    """Measure every function, nf and C in turn."""
    rows = []
    by_hand = twins()
    with chain("h1", "r1", "h2") as net, programs.enable_stats():
        for name in FUNCTIONS:
            sent = traffic(name)
            row = Row(name, [], [])
            with (
                load(compiled(name), name, hook="endpoint") as nf,
                load(by_hand, name, hook="endpoint") as c,
            ):
                for _ in range(ROUNDS):
                    row.nf.append(measure(net, nf, sent))
                    row.c.append(measure(net, c, sent))
            rows.append(row)
            print(f"  {name} measured", file=sys.stderr)
    return rows


def show(values: list[float]) -> str:
    """Median, and lowest to highest."""
    return f"{statistics.median(values):6.0f} ({min(values):.0f}-{max(values):.0f})"


def main() -> None:
    """Print the table."""
    if shutil.which("clang") is None:
        raise SystemExit("the C twins need clang")
    rows = run()
    empty = statistics.median(next(r for r in rows if r.name == "end").c)
    print(f"ns a packet, median (lowest-highest) of {ROUNDS} rounds of {PACKETS} packets")
    print(f"{'function':10} {'nf':>18} {'C':>18} {'nf / C':>8} {'nf - C':>8} {'work, nf / C':>14}")
    for row in rows:
        nf, c = statistics.median(row.nf), statistics.median(row.c)
        work = f"{(nf - empty) / (c - empty):.2f}" if c - empty > 5 else "-"
        both = f"{show(row.nf):>18} {show(row.c):>18}"
        print(f"{row.name:10} {both} {nf / c:8.2f} {nf - c:8.0f} {work:>14}")


if __name__ == "__main__":
    main()
