"""What signals tell a service."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

from nfc.errors import NfcError, UsageError
from nfc.service import Reload, stopping


def test_a_signal_to_read_again_is_told_once() -> None:
    used: list[int] = []
    said: list[str] = []
    with stopping(reloads=True) as told:
        reload = Reload(told, lambda: 1)
        reload(used.append, said.append)
        os.kill(os.getpid(), signal.SIGHUP)
        reload(used.append, said.append)
        reload(used.append, said.append)
        assert (used, said, told()) == ([1], [], False)


def test_what_is_wrong_is_said_and_changes_nothing() -> None:
    said: list[str] = []

    def wrong() -> int:
        raise UsageError("c.toml: steps: there is no such key", hint="step")

    def refuse(_: int) -> None:
        raise NfcError("cannot listen there")

    with stopping(reloads=True) as told:
        for reload, use in ((Reload(told, wrong), refuse), (Reload(told, lambda: 1), refuse)):
            os.kill(os.getpid(), signal.SIGHUP)
            reload(use, said.append)
    assert said == [
        "the configuration stays as it was: c.toml: steps: there is no such key (step)",
        "the configuration stays as it was: cannot listen there",
    ]


def test_it_ends_when_it_is_told_and_signals_mean_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    with stopping() as told:
        assert signal.getsignal(signal.SIGHUP) == before[1]
        assert not told()
        os.kill(os.getpid(), signal.SIGTERM)
        assert told()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)) == before


HUNG_UP = """
import fcntl, sys, termios, time
from nfc.service import stopping
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
with stopping(reloads=True) as told:
    print("ready", file=sys.stderr, flush=True)
    while not told.reload():
        time.sleep(0.01)
    sys.exit(7 if told() else 0)
"""


def test_a_terminal_that_is_gone_ends_it() -> None:
    for closed, status in ((False, 0), (True, 7)):
        ours, its = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-c", HUNG_UP],
            stdin=its,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            os.close(its)
            assert process.stderr is not None
            assert process.stderr.readline() == b"ready\n"
            if closed:
                os.close(ours)
            else:
                process.send_signal(signal.SIGHUP)
            assert process.wait(60) == status
            if not closed:
                os.close(ours)
