"""The bar that `nfc run` shows on a terminal while a capture takes long, and only then."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from nfc.packet import ip, packet, pcap, srh
from nfc.resources import data_dir

SID, H2 = "fd00:b::d", "fd00:3::2"
DATA = bytes(packet(ip("fd00::1", SID), srh([SID, H2]), b"x"))
COMMAND = [sys.executable, "-m", "nfc", "run", str(data_dir("stdlib") / "tag.nf"), "--pcap"]
PATIENCE_S = 120  # for a machine that has much else to do


def capture(path: Path, count: int) -> bytes:
    with path.open("wb") as stream:
        pcap.write(stream, [DATA] * count)
    return path.read_bytes()


def shown(terminal: int, seconds: float) -> bytes:
    """What a terminal has got since the last time, waiting for it so long."""
    if select.select([terminal], [], [], seconds)[0]:
        with suppress(OSError):  # the other side is closed
            return os.read(terminal, 1 << 16)
    return b""


def test_a_bar_while_packets_come_and_none_after(tmp_path: Path) -> None:
    """Packets go on coming until it is there; when they end it is wiped away, and what is said of
    them on standard output is as ever."""
    content = capture(tmp_path / "in.pcap", 10)
    environment = {**os.environ, "TERM": "xterm"}
    main, terminal = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=terminal,
        env=environment,
    ) as process:
        os.close(terminal)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(content)
        until, said, sent = time.monotonic() + PATIENCE_S, b"", 10
        while b"packets" not in said:
            assert time.monotonic() < until, said
            process.stdin.write(content[24:])
            process.stdin.flush()
            sent += 10
            said += shown(main, 0.1)
        process.stdin.close()
        out = process.stdout.read().decode()
        assert process.wait() == 0
        while more := shown(main, 0.1):
            said += more
    os.close(main)
    assert out.splitlines()[0] == f"tag (endpoint) on -: {sent} packets"
    assert b"\x1b[2K" in said[said.rindex(b"packets") :]  # the line is wiped


def test_no_bar_where_it_is_over_soon(tmp_path: Path) -> None:
    capture(tmp_path / "in.pcap", 10)
    main, terminal = pty.openpty()
    command = [*COMMAND, str(tmp_path / "in.pcap")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, check=True)
    os.close(terminal)
    assert shown(main, 0) == b""
    os.close(main)
    assert b"10 packets" in done.stdout
