"""What a link does to packets: when each one comes out, or that it does not. No clock in here.

A packet waits behind those before it (`queue`), leaves at the link's rate, and is then under way
for the delay. `rate` counts the whole Ethernet frame without its checksum.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any, Final

NS: Final = 10**9


@dataclass(frozen=True)
class Shape:
    """One direction of a link: `rate` in bits a second (0: as fast as it goes), `burst` in bytes
    that may go at once after a pause, `queue` in bytes that may wait, `delay` and `jitter` in
    nanoseconds (evenly within delay ± jitter), `loss` a share of 1. With `reorder` a packet with
    less jitter may overtake one with more. `down`: nothing comes out."""

    rate: int = 0
    burst: int = 0
    queue: int = 256_000
    delay: int = 0
    jitter: int = 0
    reorder: bool = False
    loss: float = 0.0
    seed: int = 0
    down: bool = False

    def to_json(self) -> dict[str, Any]:
        """As JSON has it; `Shape(**…)` reads it."""
        return asdict(self)

    def __str__(self) -> str:
        """In the words of a lab's file."""
        parts = []
        if self.down:
            parts.append("down")
        if self.rate:
            parts.append(f"{self.rate / 1e6:g} Mbit/s")
        if self.delay or self.jitter:
            jitter = f" ± {self.jitter / 1e6:g}" if self.jitter else ""
            parts.append(f"{self.delay / 1e6:g}{jitter} ms")
        if self.loss:
            parts.append(f"{self.loss:.3g} lost" if self.loss < 1e-4 else f"{self.loss:.2%} lost")
        return ", ".join(parts)


class Shaper:
    """Says of each packet of one direction when it comes out; times in nanoseconds of one clock."""

    def __init__(self, shape: Shape) -> None:
        """A link that nothing has crossed yet."""
        self.shape = shape
        self._random = random.Random(shape.seed)
        self.left = 0  # when the last packet that is not lost leaves the queue
        self._free = 0  # when the link is free for another
        self._last = 0  # when the last packet comes out
        self.lost = 0
        self.overflowed = 0

    def change(self, shape: Shape) -> None:
        """From now on like that; packets under way, and the random numbers, stay. What waits for
        the rate does so as before: `requeue` is for another rate."""
        self.shape = shape

    def requeue(
        self, now: int, rate: int, last: int, queue: list[tuple[int, int, int]]
    ) -> list[tuple[int, int]]:
        """When the packets that wait for the rate, which was `rate`, leave the queue and come out
        by that of now. Else those that come next would find a queue that empties as slowly as
        before. Of each, in their order, `queue` has when it would have left and come out, and its
        size; it is under way for as long as it would have been. `last` is when the last one comes
        out that has left the queue (0: none is under way)."""
        found = []
        free = before = now
        for left, due, size in queue:
            bits = min(size * 8, (left - before) * rate // NS)  # a part of the first may be gone
            before = left
            free += bits * NS // self.shape.rate if self.shape.rate else 0
            out = free + due - left
            if not self.shape.reorder:
                out = max(out, last)
            last = max(out, last)
            found.append((free, out))
        self.left = self._free = free
        self._last = last
        return found

    def out(self, arrived: int, size: int) -> int | None:
        """When a packet of `size` bytes that came in at `arrived` comes out; None: it is lost.
        Packets are given in the order in which they came in."""
        shape = self.shape
        if shape.down or (shape.loss and self._random.random() < shape.loss):
            self.lost += 1
            return None
        leaves = arrived
        if shape.rate:
            # The bucket: after a pause the link may have `burst` bytes of sending time behind.
            start = max(self._free, arrived - shape.burst * 8 * NS // shape.rate)
            if (start - arrived) * shape.rate > shape.queue * 8 * NS:
                self.overflowed += 1
                return None
            self._free = start + size * 8 * NS // shape.rate
            leaves = max(arrived, self._free)
        self.left = leaves
        due = leaves + shape.delay
        if shape.jitter:
            due += round(self._random.uniform(-shape.jitter, shape.jitter))
            due = max(due, leaves)
        if not shape.reorder:
            due = max(due, self._last)
        self._last = due
        return due
