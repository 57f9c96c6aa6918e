"""What services tell their manager, on a socket as systemd gives them one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfc.notify import Heartbeat, notify


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@nfc-tests-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(name.replace("@", "\0"))
        made.settimeout(60)
        yield made


def test_a_service_says_that_it_serves_lives_and_ends(manager: socket.socket) -> None:
    command = [sys.executable, "-m", "nfc", "delay", "collect", "--listen", "[::1]:0"]
    environment = {**os.environ, "WATCHDOG_USEC": "400000"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as service:
        assert manager.recv(1000).startswith(b"READY=1\nSTATUS=collecting on [::1]:")
        assert [manager.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        service.terminate()
        while (said := manager.recv(1000)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1"
        assert service.wait(60) == 0


@pytest.mark.parametrize("name", ["", "/nowhere/notify", "@nobody", "vsock:2:1", "/" + "x" * 200])
def test_nobody_who_listens_is_no_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    assert not notify("READY=1")


@pytest.mark.parametrize(
    ("asked", "whom", "beats"),
    [
        ("30000000", "", True),
        ("30000000", "own", True),
        ("30000000", "1", False),  # inherited: meant for another process
        ("", "", False),
        ("often", "", False),
        ("²", "", False),
    ],
)
def test_who_is_to_beat(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, asked: str, whom: str, beats: bool
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", asked)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if whom == "own" else whom)
    heart = Heartbeat()
    for _ in range(3):
        heart.beat()  # only the first is due
    manager.settimeout(0 if not beats else 60)
    if beats:
        assert manager.recv(1000) == b"WATCHDOG=1"
        manager.settimeout(0)
    with pytest.raises(BlockingIOError):
        manager.recv(1000)
