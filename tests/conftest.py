"""The `kernel` marker, and a summary that counts what was skipped and says why.

Tests marked `kernel` are skipped where the kernel or this user cannot run them, which
`kernel_probe.py` finds out by trying. Where NFC_REQUIRE_KERNEL=1, or CI is set and
NFC_REQUIRE_KERNEL is not 0, they fail instead: a run that is meant to prove something about the
kernel must not pass without it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
from hypothesis import settings

# The same commit gives the same result; --hypothesis-profile=explore looks for new examples.
# No deadlines: how long one example takes says more about the machine than about the code.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile("repeatable")

PROBE = Path(__file__).with_name("kernel_probe.py")
PROBE_TIMEOUT_S = 60
NO = ("", "0", "false")


# A run in the background of a shell, or under nohup, has signals ignored, and all that it starts
# inherits that; tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@cache
def why_no_kernel() -> str | None:
    """What stops kernel tests here, or None. Runs the probe at the first call."""
    command = [sys.executable, str(PROBE)]
    probe = subprocess.run(
        command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
    )
    if probe.returncode == 0:
        return None
    said = probe.stderr.strip().splitlines() or [f"{PROBE.name} ended with {probe.returncode}"]
    return said[-1]


def kernel_is_required() -> bool:
    """Whether a kernel test that cannot run is a failure."""
    ci = os.environ.get("CI", "")
    return os.environ.get("NFC_REQUIRE_KERNEL", ci).lower() not in NO


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a kernel test, or fail it, before its fixtures touch anything."""
    if item.get_closest_marker("kernel") is None:
        return
    reason = why_no_kernel()
    if reason is None:
        return
    if kernel_is_required():
        pytest.fail(f"kernel tests are required here (NFC_REQUIRE_KERNEL, CI): {reason}", False)
    pytest.skip(f"kernel tests cannot run here: {reason}")


@pytest.fixture
def nfc(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `nfc` with these arguments in this process; its exit status and what it wrote to
    standard output and standard error. Anything that it would show as a traceback is raised."""

    def run(*arguments: object) -> tuple[int, str, str]:
        from nfc.cli import main

        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
            patch.setattr(sys, "argv", ["nfc", *map(str, arguments)])
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


@pytest.fixture
def as_nobody() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `nfc` with these arguments in a process without privileges, in the folder /."""
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", sys.executable]
    environment = {k: v for k, v in os.environ.items() if k != "NFC_STATE_DIR"}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*drop, *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd="/", env=environment
        )

    if shutil.which("setpriv") is None or run("-c", "import nfc").returncode != 0:
        pytest.skip("no setpriv, or nobody cannot run this Python")
    return partial(run, "-m", "nfc")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each reason to skip, with the number of tests."""
    reasons = Counter[str]()
    for report in terminalreporter.stats.get("skipped", []):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[text.removeprefix("Skipped: ")] += 1
    for reason, count in reasons.most_common():
        tests = "test" if count == 1 else "tests"
        terminalreporter.write_line(f"{count} {tests} skipped: {reason}", yellow=True)
