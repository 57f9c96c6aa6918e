"""examples/bond/bond.nf on real routes: shares are exact, on one CPU and on all of them at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfc.deploy.settings import set_params
from nfc.deploy.status import read_status
from nfc.lab import standing
from nfc.lab.file import parse

pytestmark = pytest.mark.kernel

BOND = Path(__file__).parents[2] / "examples" / "bond"
TOPOLOGY = """
name = "NAME"
[node.h]
forwarding = false
[node.cpe]
[node.agg]
[[link]]
ends = ["h", "cpe:lan"]
addresses = ["fd00:10::2/64", "fd00:10::1/64"]
[[link]]
ends = ["cpe:a", "agg:a"]
addresses = ["fd00:1a::1/64", "fd00:1a::2/64"]
mtu = 1600
[[link]]
ends = ["cpe:b", "agg:b"]
addresses = ["fd00:1b::1/64", "fd00:1b::2/64"]
mtu = 1600
[[route]]
node = "h"
to = "default"
via = "fd00:10::1"
[[route]]
node = "cpe"
to = "fd00:ba::/48"
via = "fd00:1a::2"
[[route]]
node = "cpe"
to = "fd00:bb::/48"
via = "fd00:1b::2"
[[function]]
node = "cpe"
file = "bond.nf"
function = "wrr"
name = "wrr"
route = "fd00:21::/64"
dev = "a"
via = "fd00:1a::2"
[[function]]
node = "cpe"
file = "bond.nf"
function = "dwrr"
name = "dwrr"
route = "fd00:22::/64"
dev = "a"
via = "fd00:1a::2"
"""
TARGET = {"wrr": "fd00:21::1", "dwrr": "fd00:22::1"}
# A process that stays on one CPU: what it sends is forwarded on that CPU too, within the call.
SENDER = """
import os, socket, sys
cpu, target, count, sizes = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4].split(",")
os.sched_setaffinity(0, {int(cpu)})
out = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sys.stdin.readline()
for n in range(count):
    out.sendto(bytes(int(sizes[n % len(sizes)]) - 48), (target, 9))
"""
CPUS = sorted(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    name = f"bondtest-{os.getpid()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NFC_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        standing.up(parse(TOPOLOGY.replace("NAME", name), BOND / "test.toml"), lambda _: None)
        try:
            yield name
        finally:
            standing.down(name)


def weigh(lab: str, function: str, a: int, b: int) -> None:
    weights = {"weight_a": str(a), "weight_b": str(b)}
    set_params(function, standing.namespace(lab, "cpe"), weights)


def senders(
    lab: str, function: str, counts: dict[int, int], sizes: str
) -> list[subprocess.Popen[bytes]]:
    """One a CPU, which send together once `go` says so."""
    return [
        standing.inside(
            lab, "h", subprocess.Popen,
            [sys.executable, "-c", SENDER, str(cpu), TARGET[function], str(count), sizes],
            stdin=subprocess.PIPE,
        )
        for cpu, count in counts.items()
    ]  # fmt: skip


def go(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()


def send(lab: str, function: str, counts: dict[int, int], sizes: str = "100") -> None:
    """So many packets from each CPU, all at once."""
    processes = senders(lab, function, counts, sizes)
    go(processes)
    assert [process.wait(60) for process in processes] == [0] * len(processes)


Sent = tuple[int, int, int, dict[str, int]]


def sent(lab: str, function: str) -> Sent:
    """Packets so far over a, over b, dropped; and bytes."""
    [status] = read_status([function], standing.namespace(lab, "cpe"))
    assert status.counters is not None
    assert not any(status.counters.errors.values())
    drop, *over_a, over_b = (rule.packets for rule in status.counters.rules)
    return sum(over_a), over_b, drop, status.counters.named


def since(lab: str, function: str, before: Sent, packets: int) -> Sent:
    """What there is more, once it is so many packets: on a machine that stood still some may be
    forwarded after whoever sent them has ended."""
    deadline = time.monotonic() + 30
    while True:
        after = sent(lab, function)
        a, b, dropped = (y - x for x, y in zip(before[:3], after[:3], strict=True))
        if a + b + dropped >= packets or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    named = sent(lab, function)[3]  # a packet is counted before its bytes are
    return a, b, dropped, {key: named[key] - value for key, value in before[3].items()}


@pytest.mark.parametrize(("a", "b"), [(1, 1), (3, 2), (1, 10), (7, 0), (0, 7), (65_535, 1)])
def test_packets_on_one_cpu_are_shared_to_within_one(lab: str, a: int, b: int) -> None:
    """Also right after the weights were others."""
    weigh(lab, "wrr", a, b)
    before = sent(lab, "wrr")
    send(lab, "wrr", {CPUS[0]: 500})
    over_a, over_b, dropped, _ = since(lab, "wrr", before, 500)
    assert (over_a + over_b, dropped) == (500, 0)
    # A purse that is left over from other weights may hold one packet more.
    assert abs(over_a - 500 * a / (a + b)) <= 2


@pytest.mark.parametrize(("a", "b"), [(1, 1), (5, 3)])
def test_packets_on_all_cpus_are_shared_to_within_one_a_cpu(lab: str, a: int, b: int) -> None:
    weigh(lab, "wrr", a, b)
    before = sent(lab, "wrr")
    counts = {cpu: 3000 + n for n, cpu in enumerate(CPUS)}
    send(lab, "wrr", counts)
    total = sum(counts.values())
    over_a, over_b, dropped, _ = since(lab, "wrr", before, total)
    assert (over_a + over_b, dropped) == (total, 0)
    assert abs(over_a - total * a / (a + b)) <= 2 * len(CPUS)


@pytest.mark.parametrize(("a", "b"), [(1, 1), (5, 3), (2, 9)])
def test_bytes_on_all_cpus_are_shared_to_within_a_packet_a_cpu(lab: str, a: int, b: int) -> None:
    weigh(lab, "dwrr", a, b)
    before = sent(lab, "dwrr")
    counts = {cpu: 1999 + n for n, cpu in enumerate(CPUS)}
    send(lab, "dwrr", counts, "100,1400,60,700")
    over_a, over_b, _, named = since(lab, "dwrr", before, sum(counts.values()))
    assert over_a + over_b == sum(counts.values())
    in_all = named["bytes_a"] + named["bytes_b"]
    expected = sum(((100, 1400, 60, 700) * 1000)[n] for c in counts.values() for n in range(c))
    assert in_all == expected
    most = 1400 * max(a, b) / (a + b)  # the lead's bound, as bytes of link a's share
    assert abs(named["bytes_a"] - in_all * a / (a + b)) <= 2 * most * len(CPUS)


def test_by_packet_mixed_sizes_are_not_shared_by_bytes(lab: str) -> None:
    """Why there are two: large and small in turn, 1 to 1."""
    for function in ("wrr", "dwrr"):
        weigh(lab, function, 1, 1)
    with_packets = [sent(lab, name) for name in ("wrr", "dwrr")]
    for name in ("wrr", "dwrr"):
        send(lab, name, {CPUS[0]: 400}, "1400,100")
    by_packet, by_byte = (
        since(lab, name, before, 400)
        for before, name in zip(with_packets, ("wrr", "dwrr"), strict=True)
    )
    assert abs(by_packet[0] - by_packet[1]) <= 2  # so one link has all the large ones
    assert abs(by_byte[3]["bytes_a"] - by_byte[3]["bytes_b"]) <= 2 * 1400


@pytest.mark.parametrize("function", ["wrr", "dwrr"])
def test_weights_change_while_all_cpus_send(lab: str, function: str) -> None:
    """No packet is lost to a change, and once it is done a link that is out gets none."""
    weigh(lab, function, 1, 1)
    before = sent(lab, function)
    packets = changes = 0
    while changes < 3:  # at once, where this process gets to run beside those that send
        processes = senders(lab, function, dict.fromkeys(CPUS, 20_000), "100")
        go(processes)
        while any(process.poll() is None for process in processes):
            weigh(lab, function, *((9, 1), (0, 1), (1, 1), (1, 0))[changes % 4])
            changes += 1
        assert [process.wait(60) for process in processes] == [0] * len(CPUS)
        packets += 20_000 * len(CPUS)
    over_a, over_b, dropped, _ = since(lab, function, before, packets)
    assert (over_a + over_b, dropped) == (packets, 0)
    weigh(lab, function, 0, 1)
    before = sent(lab, function)
    send(lab, function, dict.fromkeys(CPUS, 200))
    assert since(lab, function, before, 200 * len(CPUS))[:3] == (0, 200 * len(CPUS), 0)


@pytest.mark.parametrize("function", ["wrr", "dwrr"])
def test_without_a_link_packets_are_dropped_and_counted(lab: str, function: str) -> None:
    weigh(lab, function, 0, 0)
    before = sent(lab, function)
    send(lab, function, {CPUS[0]: 50})
    assert since(lab, function, before, 50)[:3] == (0, 0, 50)
