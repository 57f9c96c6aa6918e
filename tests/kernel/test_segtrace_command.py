"""`nfc segtrace` as a command, over one router: what it ends with, and how it is ended."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfc.lab import Chain, chain

pytestmark = pytest.mark.kernel

H2 = "fd00:2::2"


@pytest.fixture(scope="module")
def net() -> Iterator[Chain]:
    with chain("h1", "r1", "h2") as built:
        yield built


def command(net: Chain, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "nfc", "segtrace", *arguments, "--netns", net.lab.name("h1")]


def run(net: Chain, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(net, *arguments), capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    return done


def test_a_path_is_found(net: Chain) -> None:
    """Though the router sends one error a second, after six."""
    net.lab.sysctl("r1", "net.ipv6.icmp.ratelimit", 1000)
    try:
        done = run(net, H2, "--json", "--confidence", "99")
    finally:
        net.lab.sysctl("r1", "net.ipv6.icmp.ratelimit", 0)
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["confidence"]) == (0, True, 99)
    assert found["paths"] == [["fd00:1::2", H2]]
    assert found["nodes"]["fd00:1::2"] == {"how": "probed", "next": [H2], "notes": []}


def test_no_path_is_there(net: Chain) -> None:
    done = run(net, "fd00:77::1")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "to fd00:77::1: 0 paths",
        "└─ fd00:1::2  (silent; no route to the destination)",
    ]


def test_who_is_asked_does_not_answer(net: Chain, tmp_path: object) -> None:
    """There is no function at the SID, so the router is probed, and that is said."""
    file = f"{tmp_path}/routers.toml"
    with open(file, "w") as out:
        out.write("[[router]]\nname = 'r1'\naddresses = ['fd00:1::2']\nsid = 'fd00:a::f'\n")
    done = run(net, H2, "--routers", file)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1] == "└─ r1  (probed; does not answer)"
    net.lab.sysctl("h1", "net.ipv6.conf.eth0.seg6_enabled", 0)
    try:
        done = run(net, H2, "--routers", file)
    finally:
        net.lab.sysctl("h1", "net.ipv6.conf.eth0.seg6_enabled", 1)
    assert done.stdout.splitlines()[1].startswith("└─ r1  (probed; its answer has an SRH, and this")


def errors(net: Chain) -> int:
    """How often r1 has said that a hop limit was exceeded."""

    def read() -> str:
        return Path("/proc/thread-self/net/snmp6").read_text()

    return int(re.findall(r"Icmp6OutTimeExcds\s+(\d+)", net.lab.run("r1", read))[0])


def test_an_interrupted_one_shows_what_it_has(net: Chain) -> None:
    net.lab.sysctl("r1", "net.ipv6.icmp.ratelimit", 1000)
    before = errors(net)
    process = subprocess.Popen(
        command(net, H2, "--confidence", "99.99999"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60  # six errors at once, and then one a second
        while errors(net) < before + 8:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        net.lab.sysctl("r1", "net.ipv6.icmp.ratelimit", 0)
    assert process.returncode == 128 + signal.SIGINT
    assert "fd00:1::2" in out
    assert err.strip() == "warning: interrupted: this is what was found so far"
