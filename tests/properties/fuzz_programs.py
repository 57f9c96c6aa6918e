"""Compare generated programs with the oracle for as long as told: `make fuzz SECONDS=600`.

    python tests/properties/fuzz_programs.py SECONDS [SEED]

Prints what was reached, and each failure in its smallest form with the packet and what differs.
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from pathlib import Path

from compare_with_kernel import MismatchError, Reached, check
from generated_router import Place, router
from generated_sources import Generated, programs
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

ROUND = 200  # programs of one seed
PACKETS = 500  # at most, for one program, whose making costs as much as 200 packets
SHRINKS_S = 30
MAX_FAILURES = 5


class OverError(BaseException):
    """The time is over; not an Exception, so that hypothesis lets it through."""


def one_round(place: Place, folder: Path, number: int, until: float, reached: Reached) -> str:
    """Programs of one seed; the text of the smallest failure, "" if there is none."""
    failed: list[tuple[int, str]] = []
    stop, most = [until], [PACKETS]

    @seed(number)
    @given(
        programs(),
        st.integers(0, (1 << 32) - 1),
        st.one_of(st.integers(1, PACKETS), st.just(PACKETS)),
    )
    @settings(
        max_examples=ROUND,
        database=None,
        derandomize=False,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    def compare(program: Generated, first: int, count: int) -> None:
        if time.monotonic() > stop[0]:
            if failed:
                return  # nothing fails any more, so that shrinking ends
            raise OverError
        try:
            count = min(count, most[0])
            seeds = range(first, first + count)
            counts = reached if not failed else Reached()
            check(place, folder, program, seeds, counts, native=True)
        except Exception as error:
            if not failed:
                stop[0] = time.monotonic() + SHRINKS_S
            if isinstance(error, MismatchError) and error.packets:
                most[0] = min(most[0], error.packets)  # a smaller form is found sooner
            text = f"{program.source}\n{traceback.format_exc(limit=-3)}"
            failed.append((len(program.source) + 10 * count, text))
            raise

    try:
        compare()
    except (OverError, Exception):
        if not failed:
            if time.monotonic() < until:
                raise
            return ""
    return min(failed)[1] if failed else ""


def main() -> int:
    """Rounds until the time is over; 1 if anything failed."""
    seconds = float(sys.argv[1])
    number = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    until = time.monotonic() + seconds
    reached = Reached()
    failures = 0
    with router() as place, tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < until and failures < MAX_FAILURES:
            text = one_round(place, Path(folder), number, until, reached)
            if text:
                failures += 1
                print(f"---- failure {failures}, seed {number}\n{text}\n", flush=True)
            left = max(0, round(until - time.monotonic()))
            so_far = f"{reached.programs} programs, {reached.packets} packets"
            print(f"{so_far}, {failures} failures; {left} s left", file=sys.stderr, flush=True)
            number += 1
    print(reached.table())
    print(f"{failures} failures")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
