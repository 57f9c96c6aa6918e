"""How many flows have to be seen behind a router before it has no further next hop, but for a
stated risk.

The rule of the multipath detection algorithm (Augustin, Friedman, Teixeira, "Multipath tracing
with Paris traceroute", 2007; Veitch, Augustin, Teixeira, Friedman, "Failure control in multipath
route tracing", 2009): who has found k next hops stops after n(k) flows without another. The
numbers are such that of any number of next hops, which get equally many flows, one is missed with
at most that risk. At 5 %: 6, 11, 16, 21, 27, 33, as in the papers.
"""

from __future__ import annotations

from functools import cache
from typing import Final

MOST: Final = 128  # next hops that are looked for behind one router


@cache
def _table(risk: float) -> list[int]:
    return [1]  # grown by `flows`


def flows(found: int, risk: float) -> int:
    """How many flows, of which the last has shown the same `found` next hops (one or more) as
    those before; `risk` is above 0 and below 1."""
    table = _table(risk)
    while len(table) <= min(found, MOST):
        table.append(_next(table, risk))
    return table[min(found, MOST)]


def _next(stops: list[int], risk: float) -> int:
    """n(k) after n(1) to n(k-1): with k + 1 next hops the chance to stop at any of these, or at
    n(k) with k seen, is at most `risk`. What is followed is the chance of having seen so many."""
    hops = len(stops) + 1
    chance = [0.0, 1.0, *[0.0] * (hops - 1)]  # after one flow
    missed, count = 0.0, 1
    while True:
        for seen in range(1, hops - 1):
            if stops[seen] == count:
                missed += chance[seen]
                chance[seen] = 0.0
        if count > stops[-1] and missed + chance[hops - 1] <= risk:
            return count
        count += 1
        chance = [0.0] + [
            chance[seen] * seen / hops + chance[seen - 1] * (hops - seen + 1) / hops
            for seen in range(1, hops + 1)
        ]
