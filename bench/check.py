"""How long `nfc check` takes, against the kernel's own verification of the same object.

    make bench                 (root)

The kernel says how long it verified (log level 4: "verification time"); the check is timed in one
process, reading the object and putting it together included, and once as a command with its
start-up. Each in turn, several rounds. Both are processor time, as far as that can be had: the
kernel's is what passed, so its least is the one to compare with.
"""

from __future__ import annotations

import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from nfc.bpf.reader import read_object
from nfc.bpf.version import KernelVersion
from nfc.compiler import compile_file
from nfc.kernel.loader import load
from nfc.resources import data_dir
from nfc.verify.checks import check_object

ROUNDS = 9
LOG_STATISTICS = 4  # BPF_LOG_STATS, linux/bpf_verifier.h
_TIME = re.compile(r"verification time (\d+) usec")
_PROCESSED = re.compile(r"processed (\d+) insns")


@dataclass(frozen=True)
class Row:
    """One function: instructions that both followed, milliseconds in each round."""

    name: str
    kernel_insns: int
    check_insns: int
    kernel: list[float]
    check: list[float]

    @property
    def ratio(self) -> float:
        """Of the least of each, check to kernel: what others on the machine took is not in it."""
        return min(self.check) / min(self.kernel)


def measure(name: str, data: bytes, function: str, hook: str) -> Row:
    """Both, in turn."""
    version = str(KernelVersion.running())
    kernel, check = [], []
    for _ in range(ROUNDS):
        with load(read_object(data), function, hook=hook, log=LOG_STATISTICS) as loaded:
            told, processed = _TIME.search(loaded.log), _PROCESSED.search(loaded.log)
        assert told is not None
        kernel.append(int(told[1]) / 1000)
        start = time.process_time()
        report = check_object(read_object(data), function, hook, version)
        check.append((time.process_time() - start) * 1000)
        assert report.ok, report
    assert processed is not None
    return Row(name, int(processed[1]), report.processed, kernel, check)


def spent() -> float:
    """Seconds of processor time of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def as_command(data: bytes, function: str) -> list[float]:
    """Milliseconds of processor time of `nfc check` on an object, with its start-up; bytecode is
    there, as after any first run."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    nfc = Path(sys.executable).with_name("nfc")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "object.o")
        path.write_bytes(data)
        found = []
        for _ in range(ROUNDS + 1):
            before = spent()
            command = [str(nfc), "check", "--no-load", "--function", function, str(path)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
            found.append((spent() - before) * 1000)
    return found[1:]


def spread(figures: list[float]) -> str:
    """Median, and the least and the most."""
    return f"{statistics.median(figures):7.2f} ({min(figures):.2f} to {max(figures):.2f})"


def main() -> None:
    """The table."""
    rows, end_dm = [], b""
    for source in sorted(data_dir("stdlib").glob("*.nf")):
        compilation = compile_file(source)
        for compiled in compilation.functions:
            manifest = compiled.manifest
            data = compilation.object([compiled])
            if manifest.function == "end_dm":
                end_dm = data
            rows.append(measure(manifest.function, data, manifest.function, manifest.hook))
    print("milliseconds: median (least to most) of", ROUNDS, "rounds")
    print(f"{'function':16} {'insns':>6} {'check':>6}  {'kernel':26} {'check':26} ratio")
    for row in rows:
        print(
            f"{row.name:16} {row.kernel_insns:6} {row.check_insns:6}  {spread(row.kernel):26} "
            f"{spread(row.check):26} {row.ratio:5.1f}"
        )
    print(f"ratios: median {statistics.median(r.ratio for r in rows):.1f}, "
          f"most {max(r.ratio for r in rows):.1f}")  # fmt: skip
    print(f"nfc check of end_dm as a command: {spread(as_command(end_dm, 'end_dm'))} ms")


if __name__ == "__main__":
    main()
