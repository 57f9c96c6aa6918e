"""A function's counters, summed over CPUs and named."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nfc.manifest import Manifest

if TYPE_CHECKING:
    from nfc.kernel.anymap import AnyMap


@dataclass(frozen=True)
class RuleCount:
    """Packets that took one rule; `line` is its place in the source."""

    line: int
    packets: int
    drops: bool


@dataclass(frozen=True)
class Counters:
    """What became of a function's packets.

    `packets` is the sum of the rules'; `dropped` counts rules that drop and errors; `errors` is
    by reason, each packet of which was dropped; `events_lost` and `counts_lost` packets went on;
    `named` are the counters that the source declares without keys.
    """

    rules: tuple[RuleCount, ...]
    errors: dict[str, int]
    events_lost: int
    named: dict[str, int]
    counts_lost: int = 0

    @property
    def packets(self) -> int:
        """All packets that the function has seen."""
        return sum(rule.packets for rule in self.rules)

    @property
    def dropped(self) -> int:
        """Packets dropped, by rule or by error."""
        return sum(r.packets for r in self.rules if r.drops) + sum(self.errors.values())


def read_counters(stats: AnyMap, manifest: Manifest) -> Counters:
    """Read and sum the per-CPU counters (unsigned 64 bits, machine byte order)."""
    slots = stats.lookup_percpu(struct.pack("=I", 0)) or ()
    count = len(manifest.counters)
    totals = [0] * count
    for slot in slots:
        values = struct.unpack_from(f"={min(count, len(slot) // 8)}Q", slot)
        for i, value in enumerate(values):
            totals[i] += value
    named = list(zip(manifest.counters, totals, strict=True))
    return Counters(
        tuple(RuleCount(c.line, n, c.drops) for c, n in named if c.kind == "rule"),
        {c.name: n for c, n in named if c.kind == "error"},
        sum(n for c, n in named if c.name == "events_lost" and c.kind == "lost"),
        {c.name: n for c, n in named if c.kind == "named"},
        sum(n for c, n in named if c.name == "counts_lost" and c.kind == "lost"),
    )
