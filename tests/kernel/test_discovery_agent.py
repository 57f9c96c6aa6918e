"""end_oamp and its agent: what a router answers is what its routes are, also while they change.

h1 - r1 (end_oamp, agent) - h2, and three more next hops on r1's right link.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from nfc.deploy.deployments import Request, deploy, undeploy
from nfc.deploy.select import select_one
from nfc.deploy.state import Record, open_store
from nfc.discovery.agent import UNSURE, Mirror, run, settle
from nfc.discovery.ask import DROPS as NONE
from nfc.discovery.ask import SILENT, Told, ask
from nfc.discovery.bell import opened
from nfc.discovery.rib import Lookout, look
from nfc.errors import NfcError
from nfc.lab import Chain, chain
from nfc.resources import data_dir

pytestmark = pytest.mark.kernel

SID = IPv6Address("fd00:a::f")
PATIENCE_S = 60  # with a machine that has much else to do
HOPS = [IPv6Address(f"fd00:2::{n:x}") for n in (0xA1, 0xA2, 0xA3)]


@pytest.fixture(scope="module")
def net() -> Iterator[Chain]:
    with chain("h1", "r1", "h2") as built:
        yield built


@pytest.fixture
def agent(
    net: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[subprocess.Popen[str]]:
    """Running on r1."""
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))
    name = net.lab.name("r1")
    deploy(Request(data_dir("stdlib") / "oamp.nf", str(SID), "eth0", netns=name))
    agent = subprocess.Popen(
        [sys.executable, "-m", "nfc", "discovery", "agent", "end_oamp", "--netns", name],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert agent.stderr is not None
    try:
        assert "entries" in agent.stderr.readline()
        yield agent
        agent.send_signal(signal.SIGTERM)
        _, err = agent.communicate(timeout=PATIENCE_S)
        assert agent.returncode == 0, err
        assert "Traceback" not in err
    finally:
        agent.kill()
        agent.communicate()
        undeploy([], None, all_=True)


@pytest.fixture
def r1(net: Chain, agent: subprocess.Popen[str]) -> str:
    """r1's namespace, with the agent running."""
    return net.lab.name("r1")


def ip(netns: str, *lines: str) -> None:
    """Carry out lines of `ip -6 -batch`."""
    command = ["ip", "-n", netns, "-6", "-batch", "-"]
    text = "\n".join(lines) + "\n"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def asked(net: Chain, target: str) -> Told:
    told = ask(SID, IPv6Address(target), netns=net.lab.name("h1"), timeout=20)
    assert told != SILENT
    return told


def hops(*addresses: IPv6Address) -> Told:
    return Told(True, addresses, len(addresses))


def test_it_answers_what_the_routes_are(net: Chain, r1: str) -> None:
    via = " ".join(f"nexthop via {hop} dev eth1" for hop in HOPS)
    mac = "02:00:00:00:00:77"
    ip(
        r1,
        f"route add fd00:70::/32 {via}",
        f"route add fd00:70:1::/48 via {HOPS[0]} dev eth1",
        "route add blackhole fd00:70:2::/48",
        f"route add fd00:70:3::/48 via {HOPS[1]} dev eth1 metric 10",
        f"route add fd00:70:3::/48 via {HOPS[2]} dev eth1 metric 5",
        "route add fd00:70:4::/48 via fe80::77 dev eth1",
        "route add fd00:70:5::/48 via fe80::78 dev eth1",
        f"neigh add fe80::77 lladdr {mac} dev eth1",
        f"neigh add fd00:2::77 lladdr {mac} dev eth1",
    )
    until_right(recorded(r1))
    here = IPv6Address(0)
    assert set(asked(net, "fd00:70:9::1").hops) == set(HOPS)
    assert asked(net, "fd00:70:9::1").count == 3
    assert asked(net, "fd00:70:1::1") == hops(HOPS[0])
    assert asked(net, "fd00:70:2::1") == NONE
    assert asked(net, "fd00:70:3::1") == hops(HOPS[2])  # the lower metric
    assert asked(net, "fd00:70:4::1") == hops(IPv6Address("fd00:2::77"))  # the same neighbour
    assert asked(net, "fd00:70:5::1") == hops(IPv6Address("fe80::78"))  # nobody knows more
    assert asked(net, "fd00:2::5") == hops(here)  # on the link
    assert asked(net, "fd00:1::2") == hops(here)  # its own
    assert asked(net, "fd00:dead::1") == NONE
    ip(r1, "route del fd00:70:1::/48", f"route replace fd00:70:3::/48 via {HOPS[0]} metric 5")
    until_right(recorded(r1))
    assert asked(net, "fd00:70:3::1") == hops(HOPS[0])
    assert set(asked(net, "fd00:70:1::1").hops) == set(HOPS)


def until(net: Chain, target: str, wanted: Told) -> None:
    """Wait until that is the answer."""
    deadline = time.monotonic() + PATIENCE_S
    while (told := asked(net, target)) != wanted:
        assert time.monotonic() < deadline, told
        time.sleep(0.05)


def recorded(netns: str) -> Record:
    """What is on record of the function there."""
    with open_store(shared=True) as store:
        return select_one(store, "end_oamp", netns)


def until_right(record: Record) -> None:
    """Wait until the table is what the kernel routes by."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with Mirror(record) as mirror:
            if not mirror.differs(mirror.look()):
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_rules_objects_and_links_are_seen_to_change(
    net: Chain, r1: str, agent: subprocess.Popen[str]
) -> None:
    """Each change alone, so that nothing else rings the bell."""
    net.lab.sysctl("r1", "net.ipv4.nexthop_compat_mode", 0)
    ip(
        r1,
        f"route add fd00:72::/32 via {HOPS[0]} dev eth1",
        f"route add fd00:72::/32 via {HOPS[1]} dev eth1 table 77",
        "rule add pref 50 to fd00:72:1::/48 lookup 77",
        f"nexthop add id 5 via {HOPS[1]} dev eth1",
        "route add fd00:73::/32 nhid 5",
        f"route add fd00:f::/64 via {HOPS[2]} dev eth1",
        "route add fd00:75::/32 encap seg6 mode encap segs fd00:f::1,fd00:f:9::1 dev eth1",
    )
    until_right(recorded(r1))
    assert asked(net, "fd00:72:1::1") == hops(HOPS[1])
    assert asked(net, "fd00:72:2::1") == hops(HOPS[0])
    assert asked(net, "fd00:73::1") == hops(HOPS[1])
    assert asked(net, "fd00:75::1") == hops(HOPS[2])  # where the first segment is
    ip(r1, "rule del pref 50")
    until(net, "fd00:72:1::1", hops(HOPS[0]))
    ip(r1, f"nexthop replace id 5 via {HOPS[2]} dev eth1")
    until(net, "fd00:73::1", hops(HOPS[2]))
    try:
        ip(net.lab.name("h2"), "link set eth0 down")
        until(net, "fd00:72:1::1", hops(HOPS[0]))
        net.lab.sysctl("r1", "net.ipv6.conf.eth1.ignore_routes_with_linkdown", 1)
        until(net, "fd00:72:1::1", NONE)
    finally:
        ip(net.lab.name("h2"), "link set eth0 up")
        net.lab.sysctl("r1", "net.ipv6.conf.eth1.ignore_routes_with_linkdown", 0)
        net.lab.sysctl("r1", "net.ipv4.nexthop_compat_mode", 1)
    until(net, "fd00:72:1::1", hops(HOPS[0]))
    ip(r1, "rule add pref 60 from fd00:5::/64 lookup 77")
    assert agent.stderr is not None
    assert agent.stderr.readline().startswith("warning: rule 60 (from) looks at more than")
    ip(r1, "rule del pref 60", "route del fd00:72::/32")


@pytest.mark.alone
def test_a_route_that_expires_is_left_out_at_once(net: Chain, r1: str) -> None:
    """The kernel removes it up to 30 seconds later."""
    begin = time.monotonic()
    ip(r1, f"route add fd00:74::/32 via {HOPS[0]} dev eth1 expires 3")
    until(net, "fd00:74::1", hops(HOPS[0]))
    time.sleep(max(0.0, begin + 3.5 - time.monotonic()))
    assert asked(net, "fd00:74::1") == NONE


def neighbour(address: str, last: int, state: str = "reachable") -> str:
    return f"neigh replace {address} lladdr 02:00:00:00:00:{last:02x} dev eth1 nud {state}"


def test_a_global_address_is_learnt_at_once_and_forgotten(net: Chain, r1: str) -> None:
    """Each change of neighbours alone, so that nothing else rings the bell."""
    ip(r1, "route add fd00:79::/32 via fe80::99 dev eth1", neighbour("fe80::99", 0x99))
    local, known = (hops(IPv6Address(a)) for a in ("fe80::99", "fd00:2::99"))
    until(net, "fd00:79::1", local)
    ip(r1, neighbour("fd00:2::99", 0x99))
    until(net, "fd00:79::1", known)
    ip(r1, neighbour("fd00:2::99", 0x98))  # another host has the address now
    until(net, "fd00:79::1", local)
    ip(r1, neighbour("fe80::99", 0x98))
    until(net, "fd00:79::1", known)
    ip(r1, "neigh del fd00:2::99 dev eth1")
    until(net, "fd00:79::1", local)
    ip(r1, "route del fd00:79::/32")


def test_what_changes_no_answer_is_not_looked_at(
    net: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neighbours that were found to be there, or not asked for long; those of IPv4 and of bridges;
    those at whose link-layer address no next hop is; a link's name for people."""
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))
    name = net.lab.name("r1")
    hosts = [(f"fd00:2::5{n:x}", 0x50 + n) for n in range(10)]
    usual = [neighbour(*host) for host in [*hosts, ("fe80::55", 0x55)]]
    ip(name, *usual, "route add fd00:79::/32 via fe80::55 dev eth1")
    deploy(Request(data_dir("stdlib") / "oamp.nf", str(SID), "eth0", netns=name))
    try:
        with (
            open_store(shared=True) as store,
            opened(name) as bell,
            Mirror(select_one(store, "end_oamp", name), None, Lookout(name, bell)) as mirror,
        ):
            ip(name, "link set eth1 alias before")  # so that its flags are known
            while mirror.rung() or not mirror.counts.dumps:
                mirror.sync()
            for state in ("stale", "delay", "probe", "reachable"):
                ip(name, *(neighbour(*host, state) for host in [*hosts, ("fe80::55", 0x55)]))
            ip(name, neighbour("fd00:2::60", 0x60), neighbour("fd00:2::60", 0x61))
            ip(name, "neigh del fd00:2::60 dev eth1")
            ip(name, "link set eth1 alias after")
            for words in (
                f"ip -n {name} {neighbour('10.9.9.9', 0x55)}",
                f"bridge -n {name} fdb append 02:00:00:00:00:55 dev eth1 self",
            ):
                subprocess.run(words.split(), check=True)
            assert select.select([bell], [], [], 10)[0]  # it was told of all that
            assert not mirror.rung()
            for change in (
                neighbour("fd00:2::54", 0x55),
                "neigh del fe80::55 dev eth1",
                "link add other type veth peer name another",
                "link set other up",
                "link set other down",
                "link del other",
                "rule add pref 70 to fd00:9::/64 lookup 70",
                "rule del pref 70",
                "nexthop add id 9 blackhole",
                "nexthop del id 9",
            ):
                ip(name, change)
                assert mirror.rung(), change
                while mirror.rung():
                    mirror.sync()
    finally:
        undeploy([], None, all_=True)
        ip(
            name,
            "link set eth1 mtu 1500 alias ''",
            "route flush fd00:79::/32",
            "neigh flush dev eth1",
        )


def test_more_next_hops_than_fit(net: Chain, r1: str) -> None:
    many = [IPv6Address(f"fd00:2::{n:x}") for n in range(0xB0, 0xBB)]
    ip(r1, "route add fd00:76::/32 " + " ".join(f"nexthop via {hop} dev eth1" for hop in many))
    deadline = time.monotonic() + PATIENCE_S
    while (told := asked(net, "fd00:76::1")).count != len(many):
        assert time.monotonic() < deadline, told
    assert len(told.hops) == 8
    assert set(told.hops) < set(many)
    assert not told.whole
    ip(r1, "route del fd00:76::/32")


def test_one_table_and_a_small_one(
    net: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `--table` has it; and what happens where the routes do not fit."""
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))
    text = (data_dir("stdlib") / "oamp.nf").read_text()
    (tmp_path / "small.nf").write_text(text.replace("prefix[65536]", "prefix[3]"))
    name = net.lab.name("r1")
    ip(name, f"route add fd00:77::/32 via {HOPS[0]} dev eth1 table 78")
    deploy(Request(tmp_path / "small.nf", str(SID), "eth0", netns=name))
    try:
        record = recorded(name)
        with Mirror(record, 78) as mirror:
            assert mirror.sync().entries == 2
            assert asked(net, "fd00:77::1") == hops(HOPS[0])
            assert asked(net, "fd00:2::5") == NONE  # of another table
            # The other two have room only after these have gone.
            key = [(128, bytes(16)), (127, bytes(16)), (1, bytes(16))]
            mirror.write(dict.fromkeys(key, ()))
            mirror.sync()
            assert asked(net, "fd00:77::1") == hops(HOPS[0])
        with Mirror(record) as mirror:
            with pytest.raises(
                NfcError, match="prefixes, and the table of end_oamp has room for 3"
            ):
                mirror.sync()
            assert asked(net, "fd00:77::1") == hops(HOPS[0])
    finally:
        undeploy([], None, all_=True)
        ip(name, "route flush table 78")


CHURN_S = float(os.environ.get("NFC_CHURN_S", "2"))  # 60 for what the page says
A_SECOND, PREFIXES = 1000, 200


def test_on_sighup_it_puts_right_what_somebody_else_has_written(
    net: Chain, r1: str, agent: subprocess.Popen[str]
) -> None:
    before = asked(net, "fd00:2::1")
    assert before != NONE
    record = recorded(r1)
    with Mirror(record) as mirror:
        mirror.write({})
    assert asked(net, "fd00:2::1") == NONE
    agent.send_signal(signal.SIGHUP)
    assert agent.stderr is not None
    assert "entries" in agent.stderr.readline()
    assert asked(net, "fd00:2::1") == before


def churned(
    net: Chain, r1: str, record: Record, shapes: list[str | None], possible: list[Told]
) -> float:
    """Change routes for a while, and ask meanwhile; how many seconds after the last change the
    table was right."""
    churn = subprocess.Popen(
        ["ip", "-n", r1, "-6", "-force", "-batch", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert churn.stdin is not None
    begin, number, answers = time.monotonic(), 0, 0
    try:
        while (now := time.monotonic() - begin) < CHURN_S or answers <= 20:
            while number < now * A_SECOND:
                prefix = f"fd00:71:{number % PREFIXES:x}::/48"
                shape = shapes[number // PREFIXES % len(shapes)]
                churn.stdin.write(
                    f"route replace {prefix} {shape}\n" if shape else f"route del {prefix}\n"
                )
                number += 1
            churn.stdin.flush()
            assert asked(net, f"fd00:71:{number % PREFIXES:x}::1") in possible
            assert asked(net, "fd00:71:ffff::1") == hops(HOPS[0])
            answers += 2
        for last in range(PREFIXES):
            churn.stdin.write(f"route replace fd00:71:{last:x}::/48 {shapes[1]}\n")
    finally:
        churn.stdin.close()
        churn.wait(timeout=PATIENCE_S)
        took = time.monotonic() - begin
        print(f"{number / took:.0f} changes a second for {took:.1f} s, {answers} answers")
    end = time.monotonic()
    assert number > CHURN_S * A_SECOND * 0.9
    until_right(record)
    late = time.monotonic() - end
    print(f"right {late:.1f} s after the last")
    return late


@pytest.mark.alone
def test_it_stays_right_while_routes_change(net: Chain, r1: str) -> None:
    """A thousand changes a second: each answer is what the route was at some time, what does not
    change is always right, and in the end the table is what the kernel has."""
    ip(r1, f"route add fd00:71::/32 via {HOPS[0]} dev eth1")
    until(net, "fd00:71::1", hops(HOPS[0]))
    record = recorded(r1)
    shapes = [
        f"via {HOPS[1]} dev eth1",
        f"nexthop via {HOPS[1]} dev eth1 nexthop via {HOPS[2]} dev eth1",
        None,
    ]
    possible = [hops(HOPS[0]), hops(HOPS[1]), hops(HOPS[1], HOPS[2]), hops(HOPS[2], HOPS[1])]
    late = [churned(net, r1, record, shapes, possible)]
    while late[-1] >= 1.0 and len(late) < 3:  # until one in which the machine stands not still
        late.append(churned(net, r1, record, shapes, possible))
    assert late[-1] < 1.0, late
    with Mirror(record) as mirror:
        mirror.sync()
        assert (mirror.counts.put, mirror.counts.removed) == (0, 0)
        assert mirror.counts.entries >= PREFIXES
    assert asked(net, "fd00:71:5::1") == hops(HOPS[1], HOPS[2])


STAY = [f"fd78:{number >> 8:x}:{number & 255:x}::/48" for number in range(3000)]
OTHERS = 200  # routes that come and go, before the others in the order of the kernel's walk


@contextlib.contextmanager
def staying(name: str) -> Iterator[None]:
    """With 3,000 routes that nobody touches."""
    ip(name, *(f"route add {prefix} via {HOPS[0]} dev eth1" for prefix in STAY))
    try:
        yield
    finally:
        ip(name, *(f"route del {prefix}" for prefix in STAY))


class Churn:
    """A shell that tells `ip` what to change."""

    def __init__(self, tells: subprocess.Popen[bytes], does: subprocess.Popen[bytes]) -> None:
        self._tells, self._does = tells, does

    def again(self) -> None:
        """A line for the shell to read."""
        assert self._tells.stdin is not None
        self._tells.stdin.write(b"\n")
        self._tells.stdin.flush()

    def end(self) -> None:
        """From now on nothing changes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._tells.pid, signal.SIGKILL)
        self._does.kill()
        for process in (self._tells, self._does):
            process.wait()


@contextlib.contextmanager
def churning(name: str, rest: str = ":") -> Iterator[Churn]:
    """While 200 routes come and go as fast as they can, again and again; `rest` is a command of
    the shell after each time."""
    change = (
        f"while :; do for n in $(seq {OTHERS}); do "
        f"echo route replace fd10:$n::/48 via {HOPS[1]} dev eth1; done; "
        f"for n in $(seq {OTHERS}); do echo route del fd10:$n::/48; done; {rest}; done"
    )
    tells = subprocess.Popen(
        ["sh", "-c", change],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert tells.stdin is not None
    assert tells.stdout is not None
    does = subprocess.Popen(
        ["ip", "-n", name, "-6", "-force", "-batch", "-"],
        stdin=tells.stdout,
        stderr=subprocess.DEVNULL,
    )
    tells.stdout.close()
    churn = Churn(tells, does)
    try:
        yield churn
    finally:
        churn.end()
        tells.stdin.close()
        ip(name, "route flush root fd10::/16")


def test_a_route_that_stays_is_never_missed(net: Chain) -> None:
    """While others change under each look. The kernel's dump alone misses some now and then."""
    name = net.lab.name("r1")
    looks, overtaken = 0, 0
    with staying(name), opened(name) as bell:
        lookout = Lookout(name, bell)
        while not lookout.sure:  # nothing changes yet
            lookout.look()
        with churning(name) as churn:
            end = time.monotonic() + CHURN_S
            while time.monotonic() < end or (not overtaken and looks < 1000):
                found = lookout.look()
                looks += 1
                overtaken += lookout.overtaken
                seen = sum(prefix[1][:2] == b"\xfd\x78" for prefix in found.tables[254])
                assert seen == len(STAY), f"{looks} looks, {overtaken} overtaken"
            churn.end()
            while True:
                found = lookout.look()
                if not lookout.overtaken:
                    break
            assert found == look(name)
    print(f"{looks} looks, {overtaken} overtaken by changes")
    assert overtaken


def paused(agent: Mirror, file: Path) -> bool:
    """Have the changes end once it has looked; never to be stopped."""
    if agent.counts.dumps:
        file.touch()
    return False


def test_an_agent_that_begins_while_routes_change_removes_none_that_stays(
    net: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first looks may miss some, and nothing says which: it writes when one was not overtaken,
    and each entry that differs once."""
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))
    name = net.lab.name("r1")
    deploy(Request(data_dir("stdlib") / "oamp.nf", str(SID), "eth0", netns=name))
    try:
        record = recorded(name)
        with staying(name), Mirror(record) as mirror:
            mirror.sync()
            agents, looks = 0, 0
            pause = tmp_path / "pause"
            with churning(name, f"if [ -e {pause} ]; then read again; fi") as churn:
                while looks < agents + 2 and agents < 30:
                    agents += 1
                    pause.unlink(missing_ok=True)
                    with (
                        opened(name) as bell,
                        Mirror(record, None, Lookout(name, bell)) as late,
                    ):
                        bell.heard()
                        churn.again()
                        assert select.select([bell], [], [], 60)[0]  # they change now
                        assert settle(late, partial(paused, late, pause))
                        assert late.counts.put + late.counts.removed <= OTHERS
                        assert late.counts.entries >= len(STAY)
                        assert late.sure
                        assert UNSURE not in late.doubts
                        looks += late.counts.dumps
            print(f"{looks} looks of {agents} agents")
            assert looks > agents
    finally:
        undeploy([], None, all_=True)


def test_an_agent_that_begins_where_routes_never_stand_still_says_so(
    net: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It serves what its looks have seen together, until one has seen all."""
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr("nfc.discovery.agent._MOST_LOOKS", 5)
    name = net.lab.name("r1")
    deploy(Request(data_dir("stdlib") / "oamp.nf", str(SID), "eth0", netns=name))
    record = recorded(name)
    told: list[str] = []
    served: list[int] = []

    def stop() -> bool:
        """Once it is served: at once where a look had luck, else when the table is right."""
        if not served:
            return False
        if UNSURE not in told:
            return True
        churn.end()
        with Mirror(record) as mirror:
            return not mirror.differs(mirror.look())

    try:
        with staying(name):
            for _ in range(20):
                served.clear()
                with churning(name) as churn:
                    run(
                        *("end_oamp", name, stop),
                        ready=lambda counts: served.append(counts.entries),
                        doubt=told.append,
                    )
                if told:
                    break
            assert told == [UNSURE]
            assert served[0] > len(STAY) * 0.9  # of each look Linux leaves out some at most
    finally:
        undeploy([], None, all_=True)


def test_the_agent_needs_no_capability(
    net: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a service has it: in its own namespace, as root, whose the pins are (Linux 6.5). The
    function was deployed from outside."""
    if shutil.which("setpriv") is None or shutil.which("nsenter") is None:
        pytest.skip("no setpriv or nsenter here")
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))
    enter = ["nsenter", f"--net={net.lab.path('r1')}"]
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    nfc = [sys.executable, "-m", "nfc"]
    program = data_dir("stdlib") / "oamp.nf"
    deploy(Request(program, str(SID), "eth0", netns=net.lab.name("r1")))
    agent = subprocess.Popen(
        [*enter, *bare, *nfc, "discovery", "agent", "end_oamp"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert agent.stderr is not None
        assert "entries" in agent.stderr.readline()
        status = Path(f"/proc/{agent.pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert asked(net, "fd00:2::5") == hops(IPv6Address(0))
    finally:
        agent.kill()
        agent.communicate()
        undeploy([], None, all_=True)
