"""end_oamp and its agent: what a router answers is what its routes are, also while they change.

h1 - r1 (end_oamp, agent) - h2, and three more next hops on r1's right link.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from nfc.deploy.deployments import Request, deploy, undeploy
from nfc.deploy.select import select_one
from nfc.deploy.state import open_store
from nfc.discovery.agent import Mirror, neighbours
from nfc.discovery.ask import DROPS as NONE
from nfc.discovery.ask import SILENT, Told, ask
from nfc.discovery.mirror import Globals, wanted
from nfc.kernel.routes import all_routes
from nfc.lab import Chain, chain
from nfc.resources import data_dir

pytestmark = pytest.mark.kernel

SID = IPv6Address("fd00:a::f")
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
        _, err = agent.communicate(timeout=5)
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
    told = ask(SID, IPv6Address(target), netns=net.lab.name("h1"))
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
    time.sleep(0.5)
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
    time.sleep(0.5)
    assert set(asked(net, "fd00:70:1::1").hops) == set(HOPS)
    assert asked(net, "fd00:70:3::1") == hops(HOPS[0])


CHURN_S = float(os.environ.get("NFC_CHURN_S", "2"))  # 60 for what the page says
A_SECOND, PREFIXES = 1000, 200


def test_on_sighup_it_puts_right_what_somebody_else_has_written(
    net: Chain, r1: str, agent: subprocess.Popen[str]
) -> None:
    before = asked(net, "fd00:2::1")
    assert before != NONE
    with open_store(shared=True) as store:
        record = select_one(store, "end_oamp", r1)
    with Mirror(record) as mirror:
        mirror.write({})
    assert asked(net, "fd00:2::1") == NONE
    agent.send_signal(signal.SIGHUP)
    assert agent.stderr is not None
    assert "entries" in agent.stderr.readline()
    assert asked(net, "fd00:2::1") == before


def test_it_stays_right_while_routes_change(net: Chain, r1: str) -> None:
    """A thousand changes a second: each answer is what the route was at some time, what does not
    change is always right, and in the end the table is what the kernel has."""
    ip(r1, f"route add fd00:71::/32 via {HOPS[0]} dev eth1")
    time.sleep(0.5)
    shapes = [
        f"via {HOPS[1]} dev eth1",
        f"nexthop via {HOPS[1]} dev eth1 nexthop via {HOPS[2]} dev eth1",
        None,
    ]
    possible = [hops(HOPS[0]), hops(HOPS[1]), hops(HOPS[1], HOPS[2]), hops(HOPS[2], HOPS[1])]
    churn = subprocess.Popen(
        ["ip", "-n", r1, "-6", "-force", "-batch", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert churn.stdin is not None
    begin, number, answers = time.monotonic(), 0, 0
    try:
        while (now := time.monotonic() - begin) < CHURN_S:
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
        churn.wait(timeout=30)
        took = time.monotonic() - begin
        print(f"{number / took:.0f} changes a second for {took:.1f} s, {answers} answers")
    assert number > CHURN_S * A_SECOND * 0.9
    assert answers > 20
    time.sleep(1.0)
    with open_store(shared=True) as store:
        record = select_one(store, "end_oamp", r1)
    with Mirror(record) as mirror:
        known = Globals(neighbours(r1))
        mirror.write(wanted(all_routes("local", r1), all_routes("main", r1), known))
        assert (mirror.counts.put, mirror.counts.removed) == (0, 0)
        assert mirror.counts.entries >= PREFIXES


def test_the_agent_needs_no_capability(
    net: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a service has it: in its own namespace, as root, whose the pins are (Linux 6.5)."""
    if shutil.which("setpriv") is None or shutil.which("nsenter") is None:
        pytest.skip("no setpriv or nsenter here")
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))
    enter = ["nsenter", f"--net={net.lab.path('r1')}"]
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    nfc = [sys.executable, "-m", "nfc"]
    program = str(data_dir("stdlib") / "oamp.nf")
    deployed = [*nfc, "deploy", program, "--route", str(SID), "--dev", "eth0"]
    subprocess.run([*enter, *deployed], check=True, capture_output=True)
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
        subprocess.run([*enter, *nfc, "undeploy", "--all"], check=True, capture_output=True)
