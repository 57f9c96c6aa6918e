"""What goes into the oracle and what comes out, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Rows = Mapping[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Memory:
    """What lasts from packet to packet, as the CPU sees it that the packet comes to.

    `counted` is what each every(N) has counted, by its place in the function; places that are
    left out have counted nothing. `tables` hold entries by key, a tuple of values each; state is
    a table with one entry at (0,), a prefix's key is (length, address). Entries of arrays that
    are left out are zero.
    """

    counted: Mapping[int, int] = field(default_factory=dict)
    tables: Mapping[str, Rows] = field(default_factory=dict)


@dataclass(frozen=True)
class Arrival:
    """A packet that reaches the router, and all that its function can know besides.

    `packet` starts at the IPv6 header, as on the wire: before the kernel advances the SRH.
    `now` is TAI in nanoseconds. `draws` are the outcomes of sample(1 in N), N > 1, in the order
    in which they are asked for.
    """

    packet: bytes
    params: Mapping[str, int] = field(default_factory=dict)
    now: int = 0
    draws: tuple[bool, ...] = ()
    memory: Memory = field(default_factory=Memory)
    mark: int = 0
    priority: int = 0
    ingress: int = 0
    hash: int = 0
    cpu: int = 0


@dataclass(frozen=True)
class Result:
    """What becomes of a packet.

    `fate`: `sent`; `dropped` by the function, `error` for one of the reasons in `errors`;
    `refused` by the kernel before the function runs; `lost` in the kernel after it (no route, hop
    limit). `beyond` where the kernel reads behind the packet's end for its next hop: then all of
    this is what comes of it if there is one, with the fate `unsure` for sent or lost; if there is
    none, it is the error `action_failed` instead, and nothing else happens.

    `packet` is what leaves through `link`, after the hop limit went down. `rule` counts from 0.
    `events` are the ring buffer's records, `counts` what named counters went up by. `errors` are
    reasons of which any may be counted, when several hold. `lost` are counts with keys that
    found no room. `memory` is as in `Arrival`, after. `evicted` are LRU tables that were half full
    or more when an entry came: the kernel may take out others, nobody can tell which.
    """

    fate: str
    verdict: str = ""
    rule: int | None = None
    errors: frozenset[str] = frozenset()
    link: str = ""
    packet: bytes | None = None
    events: tuple[bytes, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()
    lost: int = 0
    memory: Memory = field(default_factory=Memory)
    mark: int = 0
    priority: int = 0
    beyond: bool = False
    evicted: frozenset[str] = frozenset()
