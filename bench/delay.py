"""What delay monitoring costs, and how much of it one core carries.

    make bench-delay           (root)

h1 - r1 (mark_delay) - r2 (end_dm, agent) - h2 (collector), by veth, on one machine. Each figure
is the median of several rounds, taken in turn, with its spread:

- CPU time a packet of a flood from h1 to h2, through both routers: by a route without a function
  (100 %), by one with mark_delay that measures none, and one packet in 10,000, 1,000 and 100,
  while end_dm, the agent and the collector run.
- nanoseconds a packet inside mark_delay, as the kernel counts them (kernel.bpf_stats_enabled).
- reports that the agent sends, and the collector takes, in a second of CPU time. The paper's
  daemon sent 7,350 a second with one core full.
"""

from __future__ import annotations

import ctypes
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nfc.delay.wire import OUT_OF_BAND, Message, Report
from nfc.deploy.deployments import Request, deploy, undeploy
from nfc.deploy.places import generation, stats_map
from nfc.deploy.settings import set_params
from nfc.deploy.state import open_store
from nfc.kernel import programs
from nfc.kernel.pins import open_pinned
from nfc.lab import Chain, chain
from nfc.observe.counters import read_counters
from nfc.packet import ip, packet, srh, tlv, udp
from nfc.resources import data_dir

DELAY = data_dir("stdlib") / "delay.nf"
SID, H2, PORT = "fd00:b::d", "fd00:3::2", 4739
PLAIN = "fd00:33::2"  # h2 by another route
NFC = [sys.executable, "-m", "nfc"]
TICK = os.sysconf("SC_CLK_TCK")
BATCH = 512  # packets in one system call
RATES = {"no function": None, "measures none": 0, "1:10000": 10_000, "1:1000": 1000, "1:100": 100}


class _Iov(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _Msg(ctypes.Structure):  # struct mmsghdr
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.POINTER(_Iov)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )


class Flood:
    """Sends one packet over and over, out of a link, as fast as it goes (sendmmsg(2))."""

    def __init__(self, net: Chain, node: str, interface: str, sent: bytes) -> None:
        end = net.lab.end(node, interface)
        frame = end.peer_mac + end.mac + b"\x86\xdd" + sent

        def make() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            made.bind((interface, 0))
            made.setsockopt(263, 20, 1)  # SOL_PACKET, PACKET_QDISC_BYPASS
            return made

        self._socket = net.lab.run(node, make)
        self._frame = ctypes.create_string_buffer(frame, len(frame))
        self._iov = _Iov(ctypes.addressof(self._frame), len(frame))
        self._messages = (_Msg * BATCH)()
        for message in self._messages:
            message.iov = ctypes.pointer(self._iov)
            message.iovlen = 1
        self._libc = ctypes.CDLL(None, use_errno=True)

    def run(self, seconds: float, rate: float = 0) -> int:
        """Send for so long, at so many a second (0: as fast as it goes); how many."""
        count, begin = 0, time.monotonic()
        batch = BATCH if not rate else max(1, min(BATCH, int(rate / 1000)))
        while (now := time.monotonic()) < begin + seconds:
            if rate and count > (now - begin) * rate:
                time.sleep(0.0005)
                continue
            count += max(0, self._libc.sendmmsg(self._socket.fileno(), self._messages, batch, 0))
        return count

    def close(self) -> None:
        self._socket.close()


@contextmanager
def service(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command of nfc, while the block runs."""
    process = subprocess.Popen(
        [*NFC, "delay", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(1.5)
        yield process
    finally:
        process.terminate()
        process.wait()


def cpu(pid: int) -> float:
    """Seconds of CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def snmp(net: Chain, node: str, key: str) -> int:
    """A counter of a node's /proc/net/snmp6."""
    text = net.lab.run(node, lambda: Path("/proc/thread-self/net/snmp6").read_text())
    return int(dict(line.split() for line in text.splitlines())[key])


def received(net: Chain, node: str, interface: str) -> int:
    """Packets that an interface has taken in."""
    text = net.lab.run(node, lambda: Path("/proc/thread-self/net/dev").read_text())
    line = next(one for one in text.splitlines() if one.strip().startswith(interface + ":"))
    return int(line.partition(":")[2].split()[1])


@dataclass
class Series:
    """Figures of rounds."""

    values: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        return f"{statistics.median(self.values):,.0f} ({low:,.0f} to {high:,.0f})"


def put(net: Chain, node: str, prefix: str, dev: str, function: str, **settings: str) -> None:
    deploy(
        Request(
            *(DELAY, prefix, dev), function=function, netns=net.lab.name(node), settings=settings
        )
    )


def mark(net: Chain, one_in: int) -> None:
    put(net, "r1", "fd00:3::/64", "eth1", "mark_delay", **dict(MARK, one_in=str(one_in)))


MARK = {"far_end": SID, "collector": H2}


def forwarding(net: Chain, rounds: int, seconds: float) -> None:
    """CPU time a packet from h1 to h2, by the route with mark_delay and by one without, in turn,
    in many short rounds. The kernel forwards in the context of who sends, so that is the CPU time
    of the flood; unlike packets a second it does not see who else is busy on the machine, though
    it still sees what they do to caches."""
    mark(net, 0)
    payload = udp(4000, 9), bytes(64)
    floods = {
        to: Flood(net, "h1", "eth0", bytes(packet(ip("fd00:1::1", to), *payload)))
        for to in (PLAIN, H2)
    }
    found: dict[str, list[float]] = {name: [] for name in RATES}
    rates: dict[str, list[float]] = {name: [] for name in RATES}
    for _ in range(rounds):
        for name, one_in in RATES.items():
            if one_in is not None:
                set_params("mark_delay", net.lab.name("r1"), {"one_in": str(one_in)})
            flood = floods[PLAIN if one_in is None else H2]
            before, begin = received(net, "h2", "eth0"), time.monotonic()
            used = time.process_time_ns()
            flood.run(seconds)
            used = time.process_time_ns() - used
            got = received(net, "h2", "eth0") - before
            found[name].append(used / got)
            rates[name].append(got / (time.monotonic() - begin))
    for flood in floods.values():
        flood.close()
    undeploy(["mark_delay"], net.lab.name("r1"))
    print(f"\nforwarding, {rounds} rounds of {seconds} s: median (quartiles)")
    print(f"  {'':14} {'CPU ns a packet':>24} {'of no function':>26} {'best packets a second':>26}")
    base = found["no function"]
    for name, values in found.items():
        low, middle, high = statistics.quantiles(values, n=4)
        shares = [100 * one / plain for one, plain in zip(values, base, strict=True)]
        first, second, third = statistics.quantiles(shares, n=4)
        print(
            f"  {name:14} {f'{middle:,.0f} ({low:,.0f} to {high:,.0f})':>24}"
            f" {f'{second:.1f} % ({first:.1f} to {third:.1f})':>26} {max(rates[name]):>26,.0f}"
        )


def inside(net: Chain, rounds: int, seconds: float) -> None:
    """Nanoseconds a packet inside mark_delay."""
    user = bytes(packet(ip("fd00:1::1", H2), udp(4000, 9), bytes(64)))
    flood = Flood(net, "h1", "eth0", user)
    found: dict[int, Series] = {n: Series() for n in RATES.values() if n is not None}
    mark(net, 0)
    with open_store(shared=True) as store:
        record = store.read(net.lab.name("r1"), "mark_delay")
    assert record is not None
    with open_pinned(generation(record) / "program") as program, programs.enable_stats():
        for _ in range(rounds):
            for one_in, series in found.items():
                set_params("mark_delay", net.lab.name("r1"), {"one_in": str(one_in)})
                before = programs.info(program)
                flood.run(seconds)
                after = programs.info(program)
                runs = after.run_count - before.run_count
                series.values.append((after.run_time_ns - before.run_time_ns) / runs)
    flood.close()
    undeploy(["mark_delay"], net.lab.name("r1"))
    print("\nnanoseconds a packet inside mark_delay, the counting included")
    for one_in, series in found.items():
        print(f"  {f'1:{one_in}' if one_in else 'measures none':14} {series!s:>32}")


def probe() -> bytes:
    """What mark_delay makes of a packet, sent now."""
    now = time.clock_gettime_ns(time.CLOCK_TAI)
    message = Message(1, now, control=OUT_OF_BAND)
    uro = tlv(131, PORT.to_bytes(2, "big") + socket.inet_pton(socket.AF_INET6, H2))
    header = srh([SID, H2], left=1, tlvs=[tlv(7, message.encode()[2:]), uro], next_header=41)
    inner = bytes(packet(ip("fd00:1::1", H2), udp(4000, 9), bytes(64)))
    return bytes(packet(ip("fd00:2::1", SID), header, inner))


def busy(
    process: subprocess.Popen[bytes],
    flood: Callable[[], object],
    count: Callable[[], int],
    rounds: int,
) -> tuple[Series, Series]:
    """Things a second, and a second of a process's CPU time, while it is flooded."""
    wall, of_cpu = Series(), Series()
    flood()
    for _ in range(rounds):
        begin, done, used = time.monotonic(), count(), cpu(process.pid)
        flood()
        did, spent = count() - done, cpu(process.pid) - used
        wall.values.append(did / (time.monotonic() - begin))
        of_cpu.values.append(did / max(spent, 1 / TICK))
    return wall, of_cpu


def agent(net: Chain, rounds: int, seconds: float) -> None:
    """Reports that the agent sends while there are more than it can send: all events that were
    not lost."""
    flood = Flood(net, "r1", "eth1", probe())
    with open_store(shared=True) as store:
        record = store.read(net.lab.name("r2"), "end_dm")
    assert record is not None
    with stats_map(record) as stats:

        def taken() -> int:
            found = read_counters(stats, record.manifest)
            return found.rules[0].packets - found.events_lost

        with service("report", "end_dm", "--netns", net.lab.name("r2")) as process:
            wall, of_cpu = busy(process, lambda: flood.run(seconds), taken, rounds)
        lost = read_counters(stats, record.manifest).events_lost
    flood.close()
    print("\nreports that the agent sends (the paper: 7,350 a second, one core full)")
    print(f"  a second               {wall!s:>32}")
    print(f"  a second of CPU time   {of_cpu!s:>32}")
    print(f"  events beyond that, lost: {lost:,}")


def collector(net: Chain, rounds: int, seconds: float) -> None:
    """Reports that the collector takes while there are more than it can take."""
    now = time.clock_gettime_ns(time.CLOCK_TAI)
    message = Message(1, now - 1_000_000, now, control=1, response=True, response_format=3)
    source = ip("fd00:2::1", SID).src
    data = Report(message, source, source).encode()
    whole = packet(ip("fd00:2::2", H2), udp(4000, PORT), data)
    flood = Flood(net, "r2", "eth1", bytes(whole))
    listen = ("--listen", f"[{H2}]:{PORT}", "--netns", net.lab.name("h2"))
    with service("collect", *listen) as process:
        wall, of_cpu = busy(
            process,
            lambda: flood.run(seconds),
            lambda: snmp(net, "h2", "Udp6InDatagrams"),
            rounds,
        )
    flood.close()
    print("\nreports that the collector takes")
    print(f"  a second               {wall!s:>32}")
    print(f"  a second of CPU time   {of_cpu!s:>32}")


def main() -> None:
    """Print all figures."""
    rounds, seconds = (int(sys.argv[1]) if len(sys.argv) > 1 else 9), 1.0
    with tempfile.TemporaryDirectory() as state:
        os.environ["NFC_STATE_DIR"] = state
        with chain("h1", "r1", "r2", "h2") as net:
            try:
                put(net, "r2", SID, "eth0", "end_dm")
                net.lab.address("h2", "eth0", f"{PLAIN}/64")
                net.lab.route("r1", "fd00:33::/64", via="fd00:2::2")
                net.lab.route("r2", "fd00:33::/64", via=H2)
                inside(net, rounds, seconds / 2)
                listen = ("--listen", f"[{H2}]:{PORT}", "--netns", net.lab.name("h2"))
                with (
                    service("collect", *listen),
                    service("report", "end_dm", "--netns", net.lab.name("r2")),
                ):
                    forwarding(net, 8 * rounds, seconds / 8)
                agent(net, rounds, seconds)
                collector(net, rounds, seconds)
            finally:
                undeploy([], None, all_=True)


if __name__ == "__main__":
    main()
