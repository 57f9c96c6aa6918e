"""What a demo measures, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nfc.observe.counters import Counters
from nfc.observe.histogram import histogram, microseconds, summarize

Say = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """What the demo saw: delays in nanoseconds, and both functions' counters."""

    sent: int
    delays: list[int]
    mark: Counters
    end: Counters


def show(say: Say, result: Measured) -> None:
    """The delays as a table and a histogram."""
    say(
        f"\nOne-way delay, router1 to router2, of {len(result.delays)} packets out of {result.sent}"
    )
    if not result.delays:
        say("  nothing was measured")
        return
    summary = summarize(result.delays)
    say(f"  minimum {microseconds(summary.minimum):>10}")
    say(f"  median  {microseconds(summary.median):>10}")
    say(f"  p99     {microseconds(summary.p99):>10}")
    say(f"  maximum {microseconds(summary.maximum):>10}")
    say("")
    for line in histogram(result.delays):
        say(f"  {line}")
