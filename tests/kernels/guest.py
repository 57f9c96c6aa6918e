"""Runs a command on another kernel: boots it under qemu, and returns what the command reports.

Two serial lines lead out of the guest. The first is its console: what the kernel and the command
print. The second carries bytes that the command writes to the file named by NFC_REPORT.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from debian_kernels import Kernel, UnavailableError, find_kernel
from guest_image import BUSYBOX, REPOSITORY, write_base, write_files, write_modules

QEMU = "qemu-system-x86_64"
TIMEOUT_S = 120.0
START_TIMEOUT_S = 120.0  # 3 to 6 s on an idle machine
_BEGIN = b"--- the command begins\n"
_END = b"\n--- the command ended with "

# Step by step: the kernel's file systems, its modules, the command, power off.
_INIT = """#!{busybox} sh
{busybox} --install -s /busybox
export PATH={path}:/busybox
mkdir -p /proc /sys /dev /tmp /run
[ -e /bin/sh ] || ln -s {busybox} /bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t tmpfs run /run; mount -t bpf bpf /sys/fs/bpf; mkdir -p /dev/shm
for module in /modules/*.ko; do insmod $module; done
stty -F /dev/ttyS1 raw -echo
ip link set lo up
printf '{begin}' >/dev/ttyS1
export HOME=/tmp TERM=dumb PYTHONDONTWRITEBYTECODE=1 NFC_REPORT=/dev/ttyS1 {variables}
cd {folder}
{command} </dev/null
printf '{end}%d\\n' $? >/dev/ttyS1
poweroff -f
"""


@dataclass(frozen=True)
class Ran:
    """What came out of a guest: the command's exit status, what it reported, the console."""

    status: int
    report: bytes
    console: str


class GuestError(Exception):
    """The guest did not get to the end of the command; the text has the console's last lines."""


class NeverBeganError(GuestError):
    """The guest did not get as far as the command."""


def run_on(
    version: str,
    command: Sequence[str],
    *,
    files: Mapping[str, bytes] | None = None,
    variables: Mapping[str, str] | None = None,
    compiler: bool = False,
    timeout: float = TIMEOUT_S,
) -> Ran:
    """Boot kernel `version` and run `command` there as root, in this checkout's folder.

    `files` are put at their paths first. This machine's Python and its packages are there,
    LLVM only with `compiler`. Raises UnavailableError, or GuestError when the command did not
    end: a panic, or more than `timeout` seconds. A guest that never began is tried once more.
    """
    if shutil.which(QEMU) is None:
        raise UnavailableError(f"no {QEMU} to run other kernels with (package qemu-system-x86)")
    kernel = find_kernel(version)
    with tempfile.TemporaryDirectory(prefix="nfc-guest-") as name:
        work = Path(name)
        init = _INIT.format(
            busybox=BUSYBOX,
            path=f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            variables=" ".join(f"{k}={shlex.quote(v)}" for k, v in (variables or {}).items()),
            folder=shlex.quote(str(REPOSITORY)),
            command=shlex.join(command),
            begin=_BEGIN.decode().replace("\n", "\\n"),
            end=_END.decode().replace("\n", "\\n"),
        )
        with (work / "initramfs").open("wb") as out:
            out.write(base_image(compiler).read_bytes())
            write_modules(out, kernel)
            write_files(out, {"/init": init.encode(), **(files or {})})
        try:
            return _boot(kernel, work, timeout)
        except NeverBeganError:
            # Emulated, a kernel panics or hangs while it starts now and then, mostly where it
            # patches its own code (6.12 in one of some fifty boots with qemu 7.2).
            return _boot(kernel, work, timeout)


_one_at_a_time = threading.Lock()  # `cache` alone lets two threads make the same thing


def base_image(compiler: bool) -> Path:
    """The part of the initramfs that is the same for every kernel; it ends with this process."""
    with _one_at_a_time:
        return _base_image(compiler)


@cache
def _base_image(compiler: bool) -> Path:
    folder = Path(_session().name)
    path = folder / f"base-{compiler}"
    with path.open("wb") as out:
        write_base(out, compiler=compiler)
    return path


@cache
def _session() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="nfc-guests-")


def _boot(kernel: Kernel, work: Path, timeout: float) -> Ran:
    # Files may fill half of the memory that is there beside the archive, and take more than in it.
    memory = 512 + 4 * (work / "initramfs").stat().st_size // (1 << 20)
    command = [
        *(QEMU, "-accel", "tcg", "-cpu", "Nehalem", "-smp", "1", "-m", str(memory)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-kernel", str(kernel.image), "-initrd", "initramfs"),
        # A panic ends the guest at once.
        *("-append", "console=ttyS0 quiet loglevel=3 panic=-1 net.ifnames=0"),
        *("-serial", "file:console", "-serial", "file:report"),
    ]
    with subprocess.Popen(command, cwd=work, stderr=subprocess.PIPE, text=True) as qemu:
        why = _wait(qemu, work / "report", timeout)
    console = _text(work / "console")
    _, began, said = _content(work / "report").partition(_BEGIN)
    report, ended, status = said.rpartition(_END)
    if not ended:
        last = "\n".join(console.splitlines()[-20:])
        error = GuestError if began else NeverBeganError
        raise error(f"kernel {kernel.release}: {why}\n{last}")
    return Ran(int(status), report, console)


def _wait(qemu: subprocess.Popen[str], report: Path, timeout: float) -> str:
    """Wait for the guest's end, and bring it about when time is over; how it ended."""
    started = time.monotonic()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            qemu.wait(min(START_TIMEOUT_S, timeout))
        if qemu.poll() is None and not _content(report):
            return f"the command has not begun after {START_TIMEOUT_S:g} s"
        _, said = qemu.communicate(timeout=max(0.1, timeout - (time.monotonic() - started)))
        return f"qemu ended with {qemu.returncode} {said.strip()}"
    except subprocess.TimeoutExpired:
        return f"not done after {timeout:g} s"
    finally:
        qemu.kill()


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _text(path: Path) -> str:
    return _content(path).decode(errors="replace").replace("\r\n", "\n")


if __name__ == "__main__":  # e.g. python tests/kernels/guest.py 5.10 bpftool feature
    ran = run_on(sys.argv[1], sys.argv[2:], compiler=bool(os.environ.get("COMPILER")))
    sys.stdout.write(ran.console)
    sys.stdout.flush()
    sys.stdout.buffer.write(ran.report)
    sys.exit(ran.status)
