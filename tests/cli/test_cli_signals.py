"""A signal that comes at a bad moment ends the process all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# A handler runs in a finalizer, where what it raises goes nowhere.
PROGRAM = """
import os, signal, sys, time
from nfc.signals import never_lost, unwinding

{before}

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), {number})
        for _ in range(100):
            pass

never_lost()
try:
    with unwinding():
        Finalized()
        time.sleep(20)
except {error}:
    sys.exit(3)
"""


@pytest.mark.parametrize(
    ("number", "error", "before"),
    [
        (2, "KeyboardInterrupt", ""),
        (15, "SystemExit", ""),
        (1, "SystemExit", ""),
        # SIGTERM that interrupts, started in a shell's background: SIGINT is ignored there.
        (
            15,
            "KeyboardInterrupt",
            "signal.signal(2, signal.SIG_IGN); signal.signal(15, signal.default_int_handler)",
        ),
    ],
)
def test_a_signal_within_a_finalizer_is_not_lost(number: int, error: str, before: str) -> None:
    program = PROGRAM.format(number=number, error=error, before=before)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=15, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")


def test_it_is_not_sent_again_before_the_report_is_over() -> None:
    """What is raised in there is lost as well: so was every second signal with Python 3.13."""
    slow = """
import _thread
begin = _thread.start_new_thread

def start(*arguments):
    begin(*arguments)
    time.sleep(0.1)

_thread.start_new_thread = start
"""
    program = PROGRAM.format(number=15, error="SystemExit", before=slow)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=15, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")


def test_other_errors_of_finalizers_are_reported() -> None:
    program = """
from nfc.signals import never_lost
class Finalized:
    def __del__(self):
        raise ValueError("of a finalizer")
never_lost()
Finalized()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=15, check=False
    )
    assert done.returncode == 0
    assert "ValueError: of a finalizer" in done.stderr


def test_an_interrupt_while_it_imports_is_no_traceback(tmp_path: Path) -> None:
    """As Ctrl-C in the first tenths of a second."""
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-c", "import nfc.__main__; nfc.__main__.main()"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
