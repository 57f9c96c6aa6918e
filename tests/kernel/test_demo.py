"""`nfc demo` measures real delays, and leaves the machine as it found it however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nfc.kernel import netns, pins

pytestmark = pytest.mark.kernel

NFC = [sys.executable, "-m", "nfc"]


@dataclass(frozen=True)
class Left:
    """The machine's own: what the demo must not touch."""

    bpffs: bool
    state: tuple[str, ...]
    links: str
    routes: str


def look() -> Left:
    def shown(command: str) -> str:
        return subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout

    return Left(
        pins.mounted(),
        tuple(sorted(map(str, Path("/run/nfc").rglob("*")))),
        shown("ip -br link"),
        shown("ip -6 route show table all"),
    )


def nothing_left(pid: int, temporary: Path) -> None:
    """Nothing of this demo's is there: other labs may be, for all we know."""
    assert [name for name in netns.names() if f"nfc-{pid}-" in name] == []
    assert [p for p in (pins.BPFFS / "nfc").glob("*") if f"nfc-{pid}-" in p.name] == []
    assert list(temporary.iterdir()) == []
    with pytest.raises(ProcessLookupError):  # the last process of its group is gone
        os.killpg(pid, 0)


def start(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*NFC, "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(temporary)},
    )


def test_measures_and_leaves_nothing(tmp_path: Path) -> None:
    pins.ensure_mounted()
    before = look()
    begin = time.monotonic()
    process = start(tmp_path, "--packets", "1500")
    out, err = process.communicate(timeout=120)
    assert time.monotonic() - begin < 120
    assert (process.returncode, err) == (0, "")
    found = re.search(r"One-way delay, .* of (\d+) packets out of 1500", out)
    assert found is not None, out
    assert int(found[1]) >= 1000
    for figure in ("minimum", "median", "p99", "maximum"):
        assert re.search(rf"{figure} +\d+\.\d+ (µs|ms)$", out, re.M)
    assert out.count("accepted") == 2
    assert "encap bpf in nfc:mark_delay:" in out
    assert "End.BPF endpoint nfc:end_dm:" in out
    assert out.count("errors   none") == 2
    assert look() == before
    nothing_left(process.pid, tmp_path)


MOMENTS = {
    "as it starts": "nfc ",
    "building": "$ nfc build",
    "checking": "$ nfc check",
    "with namespaces": "host1 ──",
    "deploying": "$ nfc deploy",
    "deployed": "end_dm now runs",
    "sending": "Sending ",
    "done": "$ nfc status",
    "cleaning up": "Cleaned up",
}


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Each moment with one signal, and the longest with all of them.
CASES = [(text, SIGNALS[i % 3]) for i, text in enumerate(MOMENTS.values())]
CASES += [("Sending ", number) for number in SIGNALS if ("Sending ", number) not in CASES]


@pytest.mark.parametrize(("moment", "number"), CASES)
def test_a_signal_leaves_nothing(tmp_path: Path, moment: str, number: signal.Signals) -> None:
    pins.ensure_mounted()
    before = look()
    process = start(tmp_path, "--packets", "4000" if moment == "Sending " else "50")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(moment):
            break
    else:
        pytest.fail(f"it never came to {moment!r}")
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    ended = (128 + number, -number)  # -: killed before there was anything to clean up
    over = moment == "Cleaned up" or "Cleaned up" in out  # on a busy machine it comes too late
    assert process.returncode in (*ended, *((0,) if over else ()))
    assert "Traceback" not in err + out
    assert look() == before
    nothing_left(process.pid, tmp_path)


def test_two_signals_leave_nothing(tmp_path: Path) -> None:
    """An impatient operator presses Ctrl-C again, while it cleans up."""
    before = look()
    process = start(tmp_path, "--packets", "4000")
    assert process.stdout is not None
    next(line for line in process.stdout if line.startswith("Sending "))
    for pause in (0, 0.005, 0.05, 0.05):
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert look() == before
    nothing_left(process.pid, tmp_path)


_WITHOUT_BPFFS = """
mount --make-rprivate / && while umount {bpffs} 2>/dev/null; do :; done
mount -t tmpfs tmpfs /mnt || exit # else its records are those of others, and so are their pins
export TMPDIR=/mnt
"$@" || exit
if grep -q ' {bpffs} bpf ' /proc/mounts; then echo STILL MOUNTED; fi
"""


def test_the_bpf_file_system_that_it_mounts_it_unmounts() -> None:
    """In a mount namespace of its own, where none is mounted."""
    script = _WITHOUT_BPFFS.format(bpffs=pins.BPFFS)
    command = ["unshare", "-m", "sh", "-c", script, "sh", *NFC, "demo", "--packets", "50"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "50 packets out of 50" in done.stdout
    assert "STILL MOUNTED" not in done.stdout


def test_it_does_not_touch_what_is_deployed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its functions do not show up in `nfc status`, and a folder of pins stays."""
    from kernel.deployed import router, tagging
    from nfc.deploy.deployments import undeploy
    from nfc.deploy.status import read_status

    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))
    with router(tmp_path) as place:
        place.deploy(tagging(1))
        found = place.snapshot()
        done = subprocess.run(
            [*NFC, "demo", "--packets", "20"], capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0
        assert place.snapshot() == found
        (status,) = read_status([], None)
        assert status.running
        undeploy(["f"], None)


def test_as_nobody_it_says_why_and_simulates(
    as_nobody: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    before = look()
    done = as_nobody("demo", "--packets", "200")
    assert (done.returncode, done.stderr) == (0, "")
    why = [line for line in done.stdout.splitlines() if "needs root" in line]
    assert len(why) == 1
    assert "CAP_NET_ADMIN" in why[0]
    assert "simulator" in why[0]
    assert "$ nfc build delay.nf" in done.stdout
    assert done.stdout.count("ok for kernel 6.1 and later") == 2
    assert "One-way delay, router1 to router2, of 200 packets out of 200" in done.stdout
    assert look() == before
