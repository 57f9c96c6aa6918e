"""A machine that systemd has booted, in namespaces; machine.sh makes it."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SCRIPT: Final = Path(__file__).with_name("machine.sh")
ROOT: Final = Path(__file__).parents[2]
SYSTEMD: Final = Path("/lib/systemd/systemd")
TOOLS: Final = ("systemctl", "systemd-analyze", "unshare", "nsenter", "setpriv", "pivot_root")
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
UNIT_PATH: Final = "/etc/systemd/system:/run/systemd/system"  # no unit of the distribution's
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_DELEGATED: Final = "trusted.delegate"  # systemd.resource-control(5), Delegate=


def why_not() -> str | None:
    """Why no such machine can be made here, or None."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not SYSTEMD.exists() or missing:
        return f"no {', '.join([*missing, 'systemd'][:1])} here"
    if Path("/run/systemd/system").exists() and not _delegated():
        return (
            "this machine is systemd's, which has not given us cgroups of our own "
            "(systemd-run --scope -p Delegate=yes does)"
        )
    return None


def _delegated() -> bool:
    own = Path("/proc/self/cgroup").read_text()
    ours = next((line[4:].lstrip("/") for line in own.splitlines() if line[:3] == "0::"), "")
    try:
        return os.getxattr(Path("/sys/fs/cgroup") / ours, _DELEGATED) == b"1"
    except OSError:
        return False


def _until_parent_dies() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@contextmanager
def booted(folder: Path, netns: Path) -> Iterator[Machine]:
    """A machine in that network namespace (a file), gone after the block; `folder` is empty."""
    words = [folder, f"nfc-tests-{os.getpid()}", ROOT, sysconfig.get_path("purelib")]
    words += [Path(sys.base_prefix), "{}.{}".format(*sys.version_info[:2])]
    enter = ["nsenter", f"--net={netns}", "unshare", "--mount", "sh", str(SCRIPT), "outside"]
    with (folder / "console").open("wb") as console:
        process = subprocess.Popen(
            [*enter, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            preexec_fn=_until_parent_dies,  # noqa: PLW1509 (one system call)
        )
    machine = Machine(folder, process)
    try:
        machine.wait("systemd", lambda: machine.pid and machine.path("/run/systemd/private"))
        yield machine
    finally:
        process.terminate()
        process.wait(timeout=30)


class Machine:
    """Its files, and what its systemd says."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder, self.process = folder, process

    @property
    def pid(self) -> int:
        """Of its first process, as seen here; 0 as long as there is none."""
        file = self.folder / "pid"
        return int(file.read_text() or 0) if file.exists() else 0

    def path(self, name: str) -> Path | None:
        """A file of the machine, if it is there."""
        found = Path(f"/proc/{self.pid}/root{name}")
        return found if os.path.lexists(found) else None

    def read(self, name: str) -> str:
        """The text of a file of the machine."""
        file = self.path(name)
        assert file is not None, name
        return file.read_text()

    def write(self, name: str, text: str) -> None:
        """Put a file into the machine."""
        file = Path(f"/proc/{self.pid}/root{name}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def wait(self, what: str, true: Callable[[], object], seconds: float = 60.0) -> None:
        """Until that is so."""
        deadline = time.monotonic() + seconds
        while not true():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"no {what}: {(self.folder / 'console').read_text()}")
            time.sleep(0.3)

    def run(self, *command: str, check: bool = True) -> str:
        """What a command in the machine says, on both outputs."""
        names = ("mount", "pid", "net", "ipc", "uts", "cgroup")
        enter = ["nsenter", f"--target={self.pid}", *(f"--{name}" for name in names)]
        done = subprocess.run(
            [*enter, *command],
            env={"PATH": PATH, "SYSTEMD_UNIT_PATH": UNIT_PATH},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}"
        return done.stdout

    def nfc(self, *lines: str) -> None:
        """Commands of nfc in the machine, one after the other in one process: most of the time
        that each takes is to begin."""
        self.run("nfc-commands", *lines)

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit."""
        asked = [f"--property={name}" for name in properties]
        rows = self.run("systemctl", "show", *asked, unit).splitlines()
        return dict(row.split("=", 1) for row in rows if "=" in row)

    def log(self, unit: str) -> str:
        """What a unit has said."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")
