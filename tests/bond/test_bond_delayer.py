"""The delayer alone, between two routers: what it sends when, and what it counts as lost."""

from __future__ import annotations

import fcntl
import socket
import struct
import subprocess
import time
from collections.abc import Iterator

import pytest

from nfc.bond.delayer import Delayer, Lost
from nfc.errors import KernelError
from nfc.lab import Chain, chain

pytestmark = pytest.mark.kernel
SID = "fd00:2::2"  # r2's own address will do
MS = 10**6


@pytest.fixture(scope="module")
def net() -> Iterator[Chain]:
    with chain("h1", "r1", "r2") as built:
        yield built


def send(count: int, to: str = SID, size: int = 0) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as out:
        for _ in range(count):
            out.sendto(bytes(size), (to, 9))


def until(delayer: Delayer, packets: int) -> Lost:
    """Wait until so many came to it; what of them was lost."""
    deadline = time.monotonic() + 60
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


def test_what_the_queue_of_the_interface_drops_is_counted(net: Chain) -> None:
    """As the queue itself counts it."""
    # So slow that it makes no room, however long it takes to send.
    slow = ["sh", "-c", "tc qdisc add dev eth0 root tbf rate 8kbit burst 2k limit 5000"]

    def lost() -> tuple[Lost, str] | None:
        if subprocess.run(slow, capture_output=True, check=False).returncode:
            return None
        with Delayer("bond-x", "fd00:1::1", "eth0") as delayer:
            delayer.hold(20 * MS)
            send(100, "fd00:1::1", 500)
        show = ["tc", "-s", "qdisc", "show", "dev", "eth0"]
        said = subprocess.run(show, capture_output=True, text=True, check=True).stdout
        subprocess.run(["tc", "qdisc", "del", "dev", "eth0", "root"], check=True)
        return delayer.lost(), said

    for _ in range(5):  # the kernel may have something of its own to send meanwhile
        found = net.lab.run("r1", lost)
        if found is None:
            pytest.skip("no tc, or a kernel without tbf")
        assert found[0].refused > 50
        if f"dropped {found[0].refused}," in found[1]:
            break
    else:
        pytest.fail(f"{found}")


def test_an_interface_that_is_made_anew_is_used(net: Chain) -> None:
    """As a modem's is when it dials again; and with its MTU."""
    make = (
        "ip link add dial type veth peer name far && ip link set far up && ip link set dial up && "
        "ip addr add fd00:9::1/64 dev dial nodad && "
        "ip neigh add fd00:9::5 lladdr 02:00:00:00:00:09 dev dial"
    )

    def mtu(name: str) -> int:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asked:
            request = struct.pack("@16sI20x", name.encode(), 0)
            return int(struct.unpack_from("@I", fcntl.ioctl(asked, 0x8921, request), 16)[0])

    def tried() -> tuple[str, int, Lost]:
        subprocess.run(make, shell=True, check=True)
        with Delayer("bond-x", "fd00:9::5", "dial") as delayer:
            delayer.hold(20 * MS)
            subprocess.run(["ip", "link", "del", "dial"], check=True)
            with pytest.raises(KernelError) as caught:
                delayer.hold(20 * MS)
            subprocess.run(f"{make} && ip link set dial mtu 1400", shell=True, check=True)
            delayer.hold(20 * MS)
            found = mtu("bond-x")
            send(10, "fd00:9::5")
        subprocess.run(["ip", "link", "del", "dial"], check=True)
        return caught.value.message, found, delayer.lost()

    assert net.lab.run("r1", tried) == ("cannot send out of dial: No such device", 1400, Lost())


def test_a_second_one_says_who_may_have_the_device(net: Chain) -> None:
    def tried() -> str | None:
        with Delayer("bond-x", SID, "eth1"), pytest.raises(KernelError) as caught:
            Delayer("bond-x", SID, "eth1")
        assert "cannot make the device bond-x" in caught.value.message
        return caught.value.hint

    assert "another 'nfc bond run'" in (net.lab.run("r1", tried) or "")


def test_what_the_interface_refuses_is_counted(net: Chain) -> None:
    """The interface is down when the packets are due; no clock says whether it is down in time."""

    def lost() -> Lost:
        with Delayer("bond-x", SID, "eth1") as delayer:
            delayer.hold(20 * MS)
            subprocess.run(["ip", "link", "set", "eth1", "down"], check=True)
            send(20)
        return delayer.lost()

    assert net.lab.run("r1", lost) == Lost(0, 0, 20)
