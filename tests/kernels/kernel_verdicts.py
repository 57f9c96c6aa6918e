"""What another kernel says to any number of programs, in one boot.

The host describes programs, the guest loads each with nfc's own loader and says what came of it.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import BinaryIO

from nfc.bpf.object import MapDef, Object
from nfc.errors import NfcError
from nfc.kernel.loader import load
from nfc.kernel.maps import Map
from nfc.kernel.verifier_log import parse

# Log levels, linux/bpf_verifier.h: only how much the verifier had to do (5.2); its steps too.
LOG_STATISTICS, LOG_STEPS = 4, 1
_JOBS = "/jobs"


@dataclass(frozen=True)
class Job:
    """A program to load: `program` of `object` for `hook` (a name, or an enum bpf_prog_type)."""

    object: Object
    program: str
    hook: str | int


@dataclass(frozen=True)
class Verdict:
    """What the kernel said: `message` and the last of the verifier's `log` when it refused.

    `processed` counts the instructions that the verifier looked at, 0 if it did not say.
    """

    accepted: bool
    processed: int
    message: str = ""
    log: str = ""

    @property
    def reason(self) -> str:
        """The verifier's own last words before its statistics; else the message."""
        lines = [line for line in self.log.splitlines() if not line.startswith("processed ")]
        return lines[-1] if lines else self.message


def ask(
    version: str, jobs: Iterable[Job], *, log_bytes: int = 400, timeout: float = 600
) -> list[Verdict]:
    """The verdict of kernel `version` on each job, in order; at most `log_bytes` of each log.

    With `log_bytes` 0 the verifier writes no log, which is quicker where it refuses. Raises
    UnavailableError, GuestError (see `guest.run_on`).
    """
    from guest import GuestError, run_on

    ran = run_on(
        version,
        ["python", str(Path(__file__)), str(log_bytes)],
        files={_JOBS: pickle.dumps([(job.object, job.program, job.hook) for job in jobs])},
        variables={"PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=timeout,
    )
    if ran.status != 0:
        raise GuestError(f"kernel {version}: the loads ended with {ran.status}\n{ran.console}")
    return [Verdict(*fields) for fields in pickle.loads(ran.report)]


def judge(job: Job, log_bytes: int, maps: dict[MapDef, Map]) -> Verdict:
    """Load it on this kernel, and let go of it. `maps` keeps maps for the jobs that follow."""
    first = _judge(job, LOG_STATISTICS, maps)
    if first.accepted or not log_bytes:
        return first
    # Its steps, which take time to write, only now that they are of interest.
    again = _judge(job, LOG_STEPS, maps)
    return replace(again, log=again.log[-log_bytes:])


def _judge(job: Job, level: int, maps: dict[MapDef, Map]) -> Verdict:
    try:
        reused = _reused(job.object, maps)
        with load(job.object, job.program, hook=job.hook, reuse_maps=reused, log=level) as loaded:
            stats = parse(loaded.log).stats
            return Verdict(True, stats.processed if stats else 0)
    except NfcError as error:
        log = getattr(error, "log", "")
        stats = parse(log).stats
        return Verdict(False, stats.processed if stats else 0, error.message, log)


def _reused(obj: Object, maps: dict[MapDef, Map]) -> Mapping[str, Map]:
    """The object's maps (not its data), made at the first object that defines them so."""
    for definition in obj.maps:
        if definition not in maps:
            maps[definition] = Map.create(definition)
    return {definition.name: maps[definition] for definition in obj.maps}


def main(log_bytes: int, jobs: BinaryIO, report: BinaryIO) -> None:
    """In the guest: judge every job."""
    maps: dict[MapDef, Map] = {}
    verdicts = [judge(Job(*fields), log_bytes, maps) for fields in pickle.load(jobs)]
    pickle.dump([astuple(verdict) for verdict in verdicts], report)


if __name__ == "__main__":
    with open(_JOBS, "rb") as jobs_in, open(os.environ["NFC_REPORT"], "wb") as report_out:
        main(int(sys.argv[1]), jobs_in, report_out)
