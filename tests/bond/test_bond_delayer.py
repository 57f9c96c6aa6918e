"""The delayer alone, between two routers: what it sends when, and what it counts as lost."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from nfc.bond.delayer import Delayer, Lost
from nfc.lab import Chain, chain

pytestmark = pytest.mark.kernel
SID = "fd00:2::2"  # r2's own address will do
MS = 10**6


@pytest.fixture(scope="module")
def net() -> Iterator[Chain]:
    with chain("h1", "r1", "r2") as built:
        yield built


def send(count: int) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as out:
        for _ in range(count):
            out.sendto(b"", (SID, 9))


def until(delayer: Delayer, packets: int) -> Lost:
    """Wait until so many came to it; what of them was lost."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        lost = delayer.lost()
        if delayer.carried + lost.full == packets:
            return lost
        time.sleep(0.01)
    raise AssertionError(f"{delayer.carried} packets, {delayer.lost()}")


def test_what_is_held_goes_out_when_it_is_closed(net: Chain) -> None:
    """In its time, and all of it."""

    def times() -> tuple[float, float]:
        with Delayer("bond-x", SID, "eth1") as delayer:
            delayer.hold(300 * MS)
            begin = time.monotonic()
            send(200)
        return begin, time.monotonic()

    with net.lab.socket("r2") as into:
        into.bind((SID, 9))
        begin, end = net.lab.run("r1", times)
        for _ in range(200):
            into.recv(16)
    assert end - begin > 0.3


def test_ten_thousand_wait_and_no_more(net: Chain) -> None:
    def lost() -> tuple[Lost, Lost]:
        with Delayer("bond-x", SID, "eth1") as delayer:
            delayer.hold(60_000 * MS)
            send(10_030)
            found = until(delayer, 10_030)
        return found, delayer.lost()

    found, after = net.lab.run("r1", lost)
    assert (found.device, found.full) == (0, 30)
    assert after.full == 30


def test_what_the_interface_refuses_is_counted(net: Chain) -> None:
    def lost() -> Lost:
        with Delayer("bond-x", SID, "eth1") as delayer:
            delayer.hold(100 * MS)
            send(20)
            subprocess.run(["ip", "link", "set", "eth1", "down"], check=True)
        return delayer.lost()

    assert net.lab.run("r1", lost) == Lost(0, 0, 20)
