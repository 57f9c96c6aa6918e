"""Every path that packets to a destination may take, asked of routers that have End.OAMP and
probed where one has not.

Addresses of a router's incoming interface are what both ways tell, so they meet. Here probes are
sent, again and again where none answers: routers limit how many ICMPv6 errors they send (RFC 4443,
section 2.4), so that silence only counts when nothing has been heard from anybody for a while.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final, Protocol

from nfc.discovery.ask import Told, ask
from nfc.discovery.explore import CONFIDENCE, FLOWS, MOST_HOPS, Explorer, Probe, Router, Seen
from nfc.discovery.graph import Graph
from nfc.discovery.probes import Probes
from nfc.errors import KernelError

FIRST_WAIT_S: Final = 0.3
WAIT_S: Final = 1.0  # for the second answer on; what Linux and others allow is one a second
TRIES: Final = 3  # before silence counts where nobody has answered at that hop
TRIES_BESIDE: Final = 8  # and where somebody has: who is it that may not say more just now?
QUIET_S: Final = 2.6  # so long must nothing new have come from anywhere before silence counts
MOST_A_SECOND, LEAST_A_SECOND = 256, 8  # probes for one hop
_APART_S: Final = 0.002  # between two probes
_TICK_S: Final = 0.02

Progress = Callable[[str], None]


class Wire(Protocol):
    """Where probes go, and what comes back."""

    def send(self, probe: Probe) -> None:
        """Send one."""

    def receive(self, wait: float) -> Iterator[tuple[Probe, Seen]]:
        """What has come, or comes within so many seconds."""


@dataclass
class _Waiting:
    """A probe that is to be answered yet: how often it was sent, when it is due again."""

    due: float
    tries: int = 0


@dataclass
class _Hop:
    """What is known of the routers at a hop: whether one has answered, whether it was given up as
    silent, and how many probes for it are sent within a second: fewer while most are lost."""

    heard: bool = False
    silent: bool = False
    window: int = MOST_A_SECOND
    begin: float = 0.0
    sent: int = 0
    answered: int = 0

    def may_send(self, now: float) -> bool:
        """Whether one more fits into this second."""
        if now - self.begin >= WAIT_S:
            if self.answered * 4 < self.sent:
                self.window = max(LEAST_A_SECOND, self.window // 2)
            elif self.answered * 2 > self.sent:
                self.window = min(MOST_A_SECOND, self.window * 2)
            self.begin, self.sent, self.answered = now, 0, 0
        return self.sent < self.window


class Tracer:
    """Sends what the explorer wants, until it wants no more."""

    def __init__(
        self,
        explorer: Explorer,
        wire: Wire,
        *,
        clock: Callable[[], float] = time.monotonic,
        progress: Progress = lambda text: None,
    ) -> None:
        """Nothing is sent yet."""
        self.explorer, self.wire, self.clock, self.progress = explorer, wire, clock, progress
        self.sent = 0
        self._waiting: dict[Probe, _Waiting] = {}
        self._hops = [_Hop() for _ in range(MOST_HOPS + 2)]
        self._news = clock()  # when somebody last answered a probe for the first time

    def run(self) -> None:
        """Raises KernelError where packets cannot be sent."""
        while True:
            wanted = self.explorer.wanted()
            now = self.clock()
            self._waiting = {
                probe: self._waiting.get(probe) or _Waiting(now) for probe in sorted(wanted)
            }
            if not self._waiting:
                return
            self._show()
            while not self._turn():
                pass

    def _turn(self) -> bool:
        """Send what is due, and listen for a while; whether something is known that was not."""
        news = False
        for probe in [one for one, state in self._waiting.items() if state.due <= self.clock()]:
            state = self._waiting[probe]
            if self._is_silent(probe, state):
                self.explorer.note(probe, Seen(None))
                del self._waiting[probe]
                news = True
                continue
            hop = self._hops[probe[1]]
            if not hop.may_send(self.clock()):
                state.due = hop.begin + WAIT_S * random.uniform(1, 2)
                continue
            self.wire.send(probe)
            hop.sent += 1
            self.sent += 1
            state.tries += 1
            # Again at any time within a second, so that who answers at a steady rate finds at each
            # time few to choose from.
            pause = FIRST_WAIT_S if state.tries == 1 else WAIT_S * random.uniform(0.6, 1.4)
            state.due = self.clock() + pause
            news = self._listen(_APART_S) or news
        if not news and self._waiting:
            due = min(state.due for state in self._waiting.values())
            news = self._listen(max(0.0, due - self.clock()))
        until = self.clock() + _TICK_S  # answers that come together are looked at together
        while self._waiting and (left := until - self.clock()) > 0:
            news = self._listen(left) or news
        return news or not self._waiting

    def _is_silent(self, probe: Probe, state: _Waiting) -> bool:
        """Whether nobody answers it, as far as can be told."""
        hop = self._hops[probe[1]]
        if hop.silent and not hop.heard:
            return state.tries > 0
        silent = (
            state.tries >= (TRIES_BESIDE if hop.heard else TRIES)
            and self.clock() - self._news > QUIET_S
        )
        hop.silent = hop.silent or silent
        return silent

    def _listen(self, wait: float) -> bool:
        news = False
        for probe, seen in self.wire.receive(wait):
            if not 0 < probe[1] <= MOST_HOPS:
                continue
            if probe in self._waiting or self._was_silent(probe):
                self._waiting.pop(probe, None)
                hop = self._hops[probe[1]]
                hop.heard = True
                hop.answered += 1
                self._news = self.clock()
                news = True
            self.explorer.note(probe, seen)
        return news

    def _was_silent(self, probe: Probe) -> bool:
        seen = self.explorer.seen[probe[1]].get(probe[0])
        return seen is not None and seen.address is None

    def _show(self) -> None:
        hop = max(probe[1] for probe in self._waiting)
        count = len(self._waiting)
        self.progress(f"hop {hop}: {self.sent} probes sent, {count} to be answered")


def trace(
    destination: IPv6Address,
    routers: Sequence[Router] = (),
    *,
    netns: str | None = None,
    confidence: float = CONFIDENCE,
    flows: int = FLOWS,
    progress: Progress = lambda text: None,
    partly: Callable[[Graph], None] = lambda graph: None,
) -> Graph:
    """Find all paths. `partly` gets what was found when it is interrupted. Raises KernelError
    where packets cannot be sent to the destination."""

    def asked(sid: IPv6Address) -> Told:
        progress(f"asking {sid}")
        try:
            return ask(sid, destination, netns=netns)
        except KernelError as error:
            return Told.nothing(error.message)

    explorer = Explorer(destination, routers, asked, confidence=confidence, most_flows=flows)
    try:
        with Probes(destination, netns) as probes:
            Tracer(explorer, probes, progress=progress).run()
    except KeyboardInterrupt:
        graph = explorer.graph()
        graph.warnings.append("interrupted: this is what was found so far")
        partly(graph)
        raise
    return explorer.graph()


def heard(graph: Graph) -> bool:
    """Whether anybody answered at all."""
    return any(not name.startswith("*") for name in graph.first)
