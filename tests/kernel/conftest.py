"""Namespaces that a test makes and removes, and a check that it left no descriptor open."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nfc.deploy.deployments import undeploy
from nfc.kernel import pins
from nfc.kernel.netns import run_in
from nfc.lab import Chain, chain

if TYPE_CHECKING:
    from kernel.deployed import Router

_numbers = itertools.count()
GONE = 0.3  # seconds after which what has not come is taken not to come


def sh(command: str) -> str:
    """Run a command line; its output, or an assertion with what it said."""
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
    return done.stdout


@dataclass(frozen=True)
class Line:
    """left (fc00:1::1) - router (fc00:1::2, fc00:2::2) - right (fc00:2::1), by veth.

    The router's devices are `dl` and `dr`, the others' `d0`. All forward and have SRv6 on.
    """

    left: str
    router: str
    right: str

    def at(self, place: str, command: str) -> str:
        """Run `command` in the namespace called `place` here."""
        return sh(f"ip netns exec {getattr(self, place)} {command}")

    def send(self, count: int = 3, gap: float = 0.0, wait: float = 30.0) -> int:
        """How many of `count` UDP packets from the left to the right come in, `gap` seconds
        apart. Waits `wait` seconds for each: `GONE` where none is to come."""

        def udp() -> socket.socket:
            return socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)

        with run_in(self.right, udp) as receiver, run_in(self.left, udp) as sender:
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            receiver.bind(("fc00:2::1", 0))
            sender.connect(receiver.getsockname()[:2])
            for _ in range(count):
                sender.send(b"packet")
                time.sleep(gap)
            receiver.settimeout(wait)
            arrived = 0
            with contextlib.suppress(TimeoutError):
                while arrived < count:
                    receiver.recv(64)
                    arrived += 1
        return arrived


def namespace_name() -> str:
    return f"nfck{os.getpid()}n{next(_numbers)}"


@pytest.fixture
def netns() -> Iterator[str]:
    """An empty namespace with `lo` up and one veth pair, `v0` (fc00:9::1/64) and `v1`."""
    name = namespace_name()
    sh(f"ip netns add {name}")
    try:
        sh(f"ip -n {name} link set lo up")
        sh(f"ip -n {name} link add v0 type veth peer name v1")
        for dev in ("v0", "v1"):
            sh(f"ip netns exec {name} sysctl -qw net.ipv6.conf.{dev}.accept_dad=0")
            sh(f"ip -n {name} link set {dev} up")
        sh(f"ip -n {name} addr add fc00:9::1/64 dev v0 nodad")
        yield name
    finally:
        sh(f"ip netns del {name}")


@pytest.fixture
def line() -> Iterator[Line]:
    """Three namespaces in a row; see `Line`."""
    names = Line(namespace_name(), namespace_name(), namespace_name())
    made = []
    try:
        for name in (names.left, names.router, names.right):
            sh(f"ip netns add {name}")
            made.append(name)
            for conf in ("all", "default"):
                for key in ("forwarding=1", "seg6_enabled=1", "accept_dad=0"):
                    sh(f"ip netns exec {name} sysctl -qw net.ipv6.conf.{conf}.{key}")
            sh(f"ip -n {name} link set lo up")
        for end, dev, net in ((names.left, "dl", "fc00:1"), (names.right, "dr", "fc00:2")):
            sh(f"ip -n {end} link add d0 type veth peer name {dev} netns {names.router}")
            sh(f"ip -n {end} addr add {net}::1/64 dev d0 nodad")
            sh(f"ip -n {names.router} addr add {net}::2/64 dev {dev} nodad")
            sh(f"ip -n {end} link set d0 up")
            sh(f"ip -n {names.router} link set {dev} up")
            sh(f"ip -n {end} -6 route add default via {net}::2")
        # Carrier and neighbours take a moment; only then does a missing packet mean something.
        for _ in range(20):
            if names.send(1, wait=GONE):
                break
        yield names
    finally:
        for name in made:
            sh(f"ip netns del {name}")


@pytest.fixture
def bpffs() -> Iterator[Path]:
    """A directory of the test's own in the BPF file system."""
    pins.ensure_mounted()
    root = pins.BPFFS / namespace_name()
    root.mkdir()
    try:
        yield root
    finally:
        for place, _, files in sorted(os.walk(root), reverse=True):
            for name in files:
                os.unlink(Path(place, name))
            os.rmdir(place)


@pytest.fixture
def no_leak() -> Iterator[None]:
    """Fail when the test leaves more descriptors open than it found."""
    before = open_fds()
    yield
    after = open_fds()
    assert len(after) <= len(before), sorted(set(after.items()) - set(before.items()))


def open_fds() -> dict[int, str]:
    """This process's descriptors and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
    return found


# ---- functions that are deployed -------------------------------------------------------------


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is deployed is written down in a folder of the test's own."""
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def undeployed(records: None) -> Iterator[None]:
    """Whatever the test deploys is gone after it."""
    yield
    undeploy([], None, all_=True)


@pytest.fixture(scope="module")
def net() -> Iterator[Chain]:
    """A router with a host on each side."""
    with chain("h1", "r1", "h2") as built:
        yield built


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """The same, with what a deployment can leave on it."""
    from kernel.deployed import router  # which uses this file

    with router(tmp_path_factory.mktemp("programs")) as built:
        yield built


@pytest.fixture
def place(network: Router, records: None, tmp_path: Path) -> Iterator[Router]:
    """That network for one test, whose routes are what they were after it."""
    from kernel.deployed import fresh

    before = network.ip("-d route show table all")
    yield replace(network, folder=tmp_path)
    fresh(network)
    assert network.ip("-d route show table all") == before
