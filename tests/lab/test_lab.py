"""Labs on the real kernel: packets cross them, and nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import AF_INET6, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET

import pytest

from nfc.errors import KernelError, UsageError
from nfc.lab import Chain, Lab, chain, clean, noise, owner
from nfc.lab.netns import DIRECTORY
from nfc.packet import decode, diff, icmp, ip, packet, srh, tlv, udp

pytestmark = pytest.mark.kernel
H1, H2 = "fd00:1::1", "fd00:3::2"
SURE_S = 60  # for what is sure to come, however busy the machine is


@pytest.fixture(scope="module")
def net() -> Iterator[Chain]:
    with chain() as made:
        yield made


def mine(pid: int | None = None) -> list[str]:
    """The namespaces of labs of a process."""
    if not DIRECTORY.exists():
        return []
    return [n for n in os.listdir(DIRECTORY) if n.startswith(f"nfc-{pid or os.getpid()}-")]


def until(true: Callable[[], object]) -> None:
    """Wait until that is so."""
    deadline = time.monotonic() + SURE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Traffic


def test_the_first_datagram_arrives_through_the_chain(net: Chain) -> None:
    # A lab of its own: this is about the very first packet, before any neighbour is known.
    with chain() as fresh:
        there = fresh.lab.socket("h2")
        there.bind((H2, 5000))
        there.settimeout(SURE_S)
        fresh.lab.socket("h1").sendto(b"hello", (H2, 5000))
        data, source = there.recvfrom(100)
    assert (data, source[0]) == (b"hello", H1)


def test_an_echo_comes_back(net: Chain) -> None:
    with net.lab.capture("h1", "eth0") as back:
        net.lab.send("h1", "eth0", packet(ip(H1, H2), icmp(128), b"\0\1\0\2ping"))
        [got] = back.packets(1)
    sent_back = decode(got)
    expected = packet(
        ip(H2, H1, hop_limit=62, flow_label=sent_back.ip.flow_label), icmp(129), b"\0\1\0\2ping"
    )
    assert diff(bytes(expected), got) == ""


def test_a_packet_sent_raw_arrives_as_the_same_bytes_two_hops_on(net: Chain) -> None:
    with net.lab.capture("h2", "eth0") as arriving:
        net.lab.send("h1", "eth0", packet(ip(H1, H2, hop_limit=9), udp(1, 2), b"payload"))
        [got] = arriving.packets(1)
    assert diff(bytes(packet(ip(H1, H2, hop_limit=7), udp(1, 2), b"payload")), got) == ""


def test_the_kernels_own_end_takes_one_segment_and_nothing_else(net: Chain) -> None:
    sid = net["r1"].sid(0xE)
    net.lab.route(
        "r1", f"{sid}/128", interface="eth1", encap={"type": "seg6local", "action": "End"}
    )
    tlvs = [tlv(7, bytes(range(46))), tlv(131, bytes(18))]
    with net.lab.capture("h2", "eth0") as arriving:
        net.lab.send(
            "h1", "eth0", packet(ip(H1, sid), srh([sid, H2], tlvs=tlvs, tag=5), udp(1, 2), b"x")
        )
        [got] = arriving.packets(1)
    expected = packet(
        ip(H1, H2, hop_limit=62), srh([sid, H2], left=0, tlvs=tlvs, tag=5), udp(1, 2), b"x"
    )
    assert diff(bytes(expected), got) == ""


def test_packets_to_a_locator_reach_its_router(net: Chain) -> None:
    sid = net["r2"].sid(0xD)
    assert str(sid) == "fd00:b::d"
    with net.lab.capture("r2", "eth0") as arriving:
        net.lab.send("h1", "eth0", packet(ip(H1, net["r1"].sid(1)), udp(1, 2)))
        net.lab.send("h1", "eth0", packet(ip(H1, sid), udp(1, 2)))
        got = arriving.packets(1) + arriving.packets(1, timeout=0.1)
    assert [decode(g).ip.dst for g in got] == [sid]


def test_what_a_local_socket_sends_is_captured_with_its_whole_checksum(net: Chain) -> None:
    with net.lab.capture("h2", "eth0") as arriving:
        here = net.lab.socket("h1")
        here.sendto(b"data", (H2, 5001))
        [got] = arriving.packets(1)
    found = decode(got)
    again = packet(
        ip(H1, H2, hop_limit=62, flow_label=found.ip.flow_label),
        udp(here.getsockname()[1], 5001),
        b"data",
    )
    assert diff(bytes(again), got) == ""


def test_stream_sockets_work_too(net: Chain) -> None:
    server = net.lab.socket("h2", AF_INET6, SOCK_STREAM)
    server.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    server.bind((H2, 80))
    server.listen()
    client = net.lab.socket("h1", AF_INET6, SOCK_STREAM)
    client.settimeout(SURE_S)
    client.connect((H2, 80))
    accepted, _ = server.accept()
    with accepted, client, server:
        client.sendall(b"GET")
        assert accepted.recv(10) == b"GET"


@pytest.mark.alone
def test_a_capture_waits_no_longer_than_it_must(net: Chain) -> None:
    """In the best of some rounds: a machine may stand still at any time."""
    for_nothing, for_all = [], []
    for _ in range(5):
        with net.lab.capture("h2", "eth0") as arriving:
            begin = time.monotonic()
            assert arriving.packets(1, timeout=0.05) == []
            for_nothing.append(time.monotonic() - begin)
            net.lab.send("h1", "eth0", *[packet(ip(H1, H2), udp(1, n)) for n in range(1, 6)])
            begin = time.monotonic()
            first, rest = arriving.packets(2, timeout=50), arriving.packets(3, timeout=50)
            for_all.append(time.monotonic() - begin)
        assert [decode(p).headers[1].dst_port for p in first + rest] == [1, 2, 3, 4, 5]  # type: ignore[union-attr]
    assert 0.04 < min(for_nothing) < 0.5
    assert min(for_all) < 1


def test_a_capture_hears_its_own_interface_only(net: Chain) -> None:
    with net.lab.capture("r1", "eth1") as right, net.lab.capture("r1", "eth0") as left:
        net.lab.send("h1", "eth0", packet(ip(H1, H2), b"next header none: never answered"))
        assert len(left.packets(1)) == 1
        assert right.packets(1, timeout=0.05) == []


def test_every_icmp_error_is_sent_however_many(net: Chain) -> None:
    with net.lab.capture("h1", "eth0") as back:
        for _ in range(20):
            net.lab.send("h1", "eth0", packet(ip(H1, H2), udp(1, 2)))
        got = [decode(p) for p in back.packets(20)]
    assert [p.payload[-8:-4] for p in got] == [b"\0\1\0\2"] * 20


def test_a_burst_keeps_its_rate_and_loses_nothing(net: Chain) -> None:
    with net.lab.capture("h2", "eth0") as arriving:
        done = net.lab.burst("h1", H2, 5002, count=500, size=20, rate=5000)
        got = arriving.packets(500)
        assert arriving.dropped() == 0
    assert [int.from_bytes(decode(p).payload[:8], "big") for p in got] == list(range(500))
    assert done.sent == 500
    assert {len(decode(p).payload) for p in got} == {20}
    assert done.seconds >= 0.0998  # 499 gaps of 0.2 ms, never faster


def test_a_full_capture_counts_what_it_dropped(net: Chain) -> None:
    with net.lab.capture("h2", "eth0") as arriving:
        arriving._socket.setsockopt(SOL_SOCKET, 8, 4096)  # SO_RCVBUF
        net.lab.burst("h1", H2, 5003, count=200)
        got, dropped = arriving.packets(200, timeout=0.05), arriving.dropped()
        deadline = time.monotonic() + SURE_S
        while len(got) + dropped < 200 and time.monotonic() < deadline:
            got += arriving.packets(200, timeout=0.05)
            dropped += arriving.dropped()
    assert dropped > 0
    assert len(got) + dropped == 200


def test_too_long_a_packet_is_an_error(net: Chain) -> None:
    with pytest.raises(KernelError, match="cannot send 1501 bytes out of eth0: Message too long"):
        net.lab.send("h1", "eth0", packet(ip(H1, H2), bytes(1461)))


@pytest.mark.parametrize("kind", [133, 134, 135, 136, 137, 130, 131, 132, 143])
def test_discovery_is_noise(kind: int) -> None:
    assert noise(bytes(packet(ip(H1, "ff02::1"), icmp(kind), bytes(20))))


def test_a_listener_report_behind_its_router_alert_is_noise() -> None:
    alert = bytes((58, 0, 5, 2, 0, 0, 1, 0))
    report = packet(ip("::", "ff02::16", next_header=0), alert + bytes((143, 0, 0, 0)))
    assert noise(bytes(report))


@pytest.mark.parametrize(
    "wanted",
    [
        packet(ip(H1, H2), icmp(128)),
        packet(ip(H1, H2), udp(135, 135), bytes((135,) * 20)),
        packet(ip(H1, H2), srh([H2]), icmp(129)),
        packet(ip(H1, H2)),
        packet(ip(H1, H2, next_header=0), bytes((58, 200, 135, 135, 0, 0, 0, 0, 135, 135))),
    ],
)
def test_nothing_else_is_noise(wanted: object) -> None:
    assert not noise(bytes(wanted))  # type: ignore[call-overload]


def test_the_kernels_noise_is_there_and_is_left_out() -> None:
    with Lab() as lab:
        lab.namespace("a")
        lab.namespace("b")
        lab.link("a", "b", "fd00:1::1/64", "fd00:1::2/64")
        with lab.capture("b", "eth0") as quiet, lab.capture("b", "eth0", lambda _: False) as all_:
            lab.socket("a").sendto(b"x", ("fd00:1::99", 1))  # nobody's: neighbour solicitation
            assert len(all_.packets(1)) == 1
            assert quiet.packets(1, timeout=0.05) == []


def test_an_address_added_later_is_found_by_neighbour_discovery(net: Chain) -> None:
    net.lab.address("h2", "eth0", "fd00:3::99/64")
    there = net.lab.socket("h2")
    there.bind(("fd00:3::99", 5004))
    there.settimeout(SURE_S)
    net.lab.socket("h1").sendto(b"hello", ("fd00:3::99", 5004))
    assert there.recv(100) == b"hello"


# Making


def test_the_longest_chain_carries_packets() -> None:
    names = [f"n{i}" for i in range(10)]
    with chain(*names) as net:
        far = str(net["n9"].address)
        with net.lab.capture("n9", "eth0") as arriving:
            net.lab.send("n0", "eth0", packet(ip(H1, far), udp(1, 2)))
            [got] = arriving.packets(1)
        assert decode(got).ip.hop_limit == 56
        assert [str(n.locator) for n in net.nodes.values()][1:3] == ["fd00:a::/48", "fd00:b::/48"]


def test_two_labs_at_once_do_not_meet() -> None:
    with chain() as one, chain() as two:
        assert len(mine()) >= 8
        with one.lab.capture("h2", "eth0") as there, two.lab.capture("h2", "eth0") as elsewhere:
            one.lab.send("h1", "eth0", packet(ip(H1, H2), udp(1, 2)))
            assert len(there.packets(1)) == 1
            assert elsewhere.packets(1, timeout=0.05) == []


def test_the_callers_namespace_is_not_touched() -> None:
    def state() -> tuple[str, str, list[str]]:
        return (
            os.readlink("/proc/thread-self/ns/net"),
            Path("/proc/net/ipv6_route").read_text(),
            sorted(os.listdir("/sys/class/net")),
        )

    before = state()
    with chain() as net:
        net.lab.run("h1", lambda: None)
        assert state()[::2] == before[::2]
    assert [line[:32] for line in state()[1].splitlines()] == [
        line[:32] for line in before[1].splitlines()
    ]


def test_code_and_commands_run_inside_a_node(net: Chain) -> None:
    inode = net.lab.path("r1").stat().st_ino
    assert net.lab.run("r1", os.stat, "/proc/thread-self/ns/net").st_ino == inode
    inside = net.lab.execute("r1", ["stat", "-Lc", "%i", "/proc/self/ns/net"])
    assert int(inside.stdout) == inode
    with pytest.raises(ZeroDivisionError):
        net.lab.run("r1", lambda: 1 // 0)
    with pytest.raises(KernelError, match=r"`ls /nowhere` failed in r1: ls: cannot access"):
        net.lab.execute("r1", ["ls", "/nowhere"])
    with pytest.raises(KernelError, match="cannot run no-such-program"):
        net.lab.execute("r1", ["no-such-program"])
    with pytest.raises(KernelError, match=r"sleep took over 0\.05 s in r1"):
        net.lab.execute("r1", ["sleep", "9"], timeout=0.05)


def test_wrong_names_and_values_are_errors_in_words(net: Chain) -> None:
    lab = net.lab
    with pytest.raises(UsageError, match="no node 'h3'; there are: h1, r1, r2, h2"):
        lab.send("h3", "eth0", b"")
    with pytest.raises(UsageError, match="r1 has no interface 'eth9'; it has: eth0, eth1"):
        lab.send("r1", "eth9", b"")
    with pytest.raises(UsageError, match="already"):
        lab.namespace("h1")
    for name in ("", "a/b", "..", "a b", "x" * 33, "\N{LATIN SMALL LETTER E WITH ACUTE}"):
        with pytest.raises(UsageError, match="name of a node"):
            lab.namespace(name)
    with pytest.raises(UsageError, match="not an IPv6 address"):
        lab.address("h1", "lo", "10.0.0.1/8")
    with pytest.raises(UsageError, match="no interface 'eth7'; there are: lo, eth0"):
        lab.address("h1", "eth7", "fd00::1/128")
    with pytest.raises(KernelError, match="cannot capture on eth7: No such device"):
        lab.capture("h1", "eth7")
    with pytest.raises(KernelError, match="cannot add the route to fd00:99::/64"):
        lab.route("h1", "fd00:99::/64", via="fd00:77::1")
    with pytest.raises(KernelError, match=r"cannot set net\.ipv6\.nothing to 1"):
        lab.sysctl("h1", "net.ipv6.nothing", 1)
    with pytest.raises(UsageError, match="not a sysctl of a network namespace"):
        lab.sysctl("h1", "kernel.bpf_stats_enabled", 1)
    with pytest.raises(UsageError, match="h1 is a host"):
        net["h1"].sid(1)
    with pytest.raises(UsageError, match="inside its with block"):
        Lab().namespace("h1")
    with pytest.raises(UsageError, match="2 to 10 nodes"), chain("alone"):
        pass


# Removing


def test_nothing_is_left_after_the_end_or_an_exception() -> None:
    before = mine()
    with chain() as net:
        assert len(mine()) == len(before) + 4
        process = net.lab.popen("h1", ["sleep", "99"])
        descriptors = len(os.listdir("/proc/self/fd"))
    assert mine() == before
    assert process.returncode is not None
    with pytest.raises(RuntimeError, match="on purpose"), chain() as net:
        net.lab.capture("h1", "eth0")
        raise RuntimeError("on purpose")
    assert mine() == before
    assert len(os.listdir("/proc/self/fd")) < descriptors


def test_labs_made_and_removed_leak_no_descriptor_and_no_thread() -> None:
    def count() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    with chain():
        pass
    before = count()
    for _ in range(3):
        with chain() as net:
            net.lab.socket("h1")
            net.lab.send("h1", "eth0", packet(ip(H1, H2), udp(1, 2)))
    # What another test has left may end meanwhile; and a thread is there for a moment after `join`.
    until(lambda: all(now <= then for now, then in zip(count(), before, strict=True)))


SCRIPT = """
import os, sys, time
from nfc.lab import chain
with chain() as net:
    child = net.lab.popen("h1", ["sleep", "99"])
    # A process that nobody waits for, in a session of its own.
    net.lab.execute("r1", ["sh", "-c", "setsid sleep 99 >/dev/null 2>&1 & echo"])
    print("ready", child.pid, flush=True)
    time.sleep(60)
"""


def in_namespaces(inodes: set[int]) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}/ns/net").st_ino in inodes:
                found.append(pid)
        except OSError:
            continue
    return found


def start() -> tuple[subprocess.Popen[str], set[int]]:
    """A process with a lab that stands; and the inodes of its namespaces."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready")
    names = mine(process.pid)
    assert len(names) == 4
    inodes = {(DIRECTORY / n).stat().st_ino for n in names}
    assert len(in_namespaces(inodes)) == 2
    return process, inodes


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_nothing_is_left_after_a_signal(number: int, status: int) -> None:
    process, inodes = start()
    process.send_signal(number)
    assert process.wait(SURE_S) == status
    assert mine(process.pid) == []
    assert in_namespaces(inodes) == []


def test_a_signal_at_any_moment_of_making_leaves_nothing() -> None:
    for delay in (0.0, 0.01, 0.02, 0.03, 0.045, 0.06):
        code = "print(flush=True)\n" + SCRIPT.replace("import os", "import nfc.lab.config, os")
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        while not mine(process.pid) and process.poll() is None:
            pass
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SURE_S) == 143
        assert mine(process.pid) == []


def test_the_next_lab_removes_what_a_killed_process_left() -> None:
    process, inodes = start()
    process.kill()
    process.wait()
    assert len(mine(process.pid)) == 4
    with Lab():
        assert mine(process.pid) == []
    assert in_namespaces(inodes) == []


def test_clean_leaves_the_living_and_strangers_alone() -> None:
    stranger = DIRECTORY / f"other-{os.getpid()}"
    with chain() as net:
        stranger.touch()
        # Our own PID, but another start: a PID that was given out again.
        again = DIRECTORY / f"nfc-{os.getpid()}-1-abc-h1"
        again.touch()
        try:
            assert again.name in owner.stale()
            assert again.name in clean()
            assert not again.exists()
            assert stranger.exists()
            assert net.lab.path("h1").exists()
            assert again.name not in clean()
        finally:
            stranger.unlink()


def test_a_forked_child_does_not_remove_its_parents_lab() -> None:
    with Lab() as lab:
        lab.namespace("a")
        pid = os.fork()
        if pid == 0:
            lab.__exit__(None, None, None)
            os._exit(0)
        os.waitpid(pid, 0)
        assert lab.path("a").exists()


def test_the_programs_own_handlers_come_back() -> None:
    code = """if True:
        import signal
        from nfc.lab import Lab
        def own(*_): pass
        def handlers(): return signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
        signal.signal(signal.SIGHUP, own)
        with Lab(), Lab():
            assert handlers()[0] is not signal.SIG_DFL
            assert handlers()[1] is own
        assert handlers() == (signal.SIG_DFL, own)
    """
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("drop", "doing", "message"),
    [
        ("os.setresuid(65534, 65534, 65534)", "lab.namespace('a')", "CAP_SYS_ADMIN"),
        ("lab.namespace('a'); drop(12)", "lab.route('a', 'default')", "CAP_NET_ADMIN"),
    ],
)
def test_without_the_capability_it_names_it(drop: str, doing: str, message: str) -> None:
    code = f"""if True:
        import os, ctypes, struct
        import nfc.lab.config, pyroute2
        from nfc.errors import PrivilegeError
        from nfc.lab import Lab
        def drop(number):  # capset(2), version 3
            libc, data = ctypes.CDLL(None), (ctypes.c_uint32 * 6)()
            header = (ctypes.c_uint32 * 2)(0x20080522, 0)
            assert libc.capget(header, data) == 0
            data[0] &= ~(1 << number)
            assert libc.capset(header, data) == 0
        with Lab() as lab:
            {drop}
            try:
                {doing}
            except PrivilegeError as error:
                assert {message!r} in error.message, error.message
            else:
                raise SystemExit("no error")
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_loads_no_pyroute2() -> None:
    code = "import sys, nfc.lab, nfc.packet; sys.exit('pyroute2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
