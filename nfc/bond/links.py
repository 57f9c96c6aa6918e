"""What the daemon believes of its links, and what follows from it. No socket and no clock in here:
times are nanoseconds, and come from the caller."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final

from nfc.bond.config import Config, LinkConfig

_ENOUGH: Final = 3  # samples, before a link's delay is believed


@dataclass
class Link:
    """One link: whether it carries packets, and its one-way delays of late.

    A delay is the far clock's time of arrival less the near clock's of sending, so it is wrong by
    the difference of the clocks; but by the same for all links, and only differences are used.
    """

    config: LinkConfig
    heard: int  # when the last answer came
    unanswered: int = 0  # queries since then
    up: bool = True
    in_a_row: int = 0  # answers since it failed
    delays: deque[tuple[int, int]] = field(default_factory=deque)  # when, one-way delay
    two_way: int = 0  # of the last answer
    held: int = 0  # how long its packets are held back now


class Links:
    """All links of a bond."""

    def __init__(self, config: Config, now: int) -> None:
        """All are taken for good until they fail."""
        self.config = config
        self.all = [Link(link, now) for link in config.links]

    def adopt(self, config: Config, now: int) -> Links:
        """The links of another configuration; what is known of those that are in both stays."""
        made = Links(config, now)
        old = {link.config.name: link for link in self.all}
        for number, link in enumerate(config.links):
            known = old.get(link.name)
            if known is not None and known.config.way == link.way:
                made.all[number] = replace(known, config=link)
        return made

    def asked(self) -> None:
        """A query was sent over each link, or could not be."""
        for link in self.all:
            link.unanswered += 1

    def answered(self, link: Link, now: int, one_way: int, two_way: int) -> bool:
        """An answer came; whether the link is back with it."""
        link.heard, link.unanswered, link.two_way = now, 0, two_way
        link.in_a_row += 1
        link.delays.append((now, one_way))
        if link.up or link.in_a_row < self.config.back_after:
            return False
        link.up = True
        return True

    def silent(self, now: int) -> list[Link]:
        """The links that have failed by now, since the last time this was asked. A link that was
        asked less than half as often as it should have been is not to blame for its silence: this
        process did not run."""
        failed = []
        least = self.config.dead_after // (2 * self.config.interval)
        for link in self.all:
            while link.delays and link.delays[0][0] < now - self.config.window:
                link.delays.popleft()
            if now - link.heard > self.config.dead_after and link.unanswered >= least:
                link.in_a_row = 0
                link.delays.clear()
                if link.up:
                    link.up = False
                    failed.append(link)
        return failed

    def weights(self) -> dict[str, int]:
        """What each param of the function should be. Where no link answers, all are in: it is
        more likely that nobody answers than that no link works, and there is nothing to lose."""
        any_up = any(link.up for link in self.all)
        return {
            link.config.param: link.config.weight if link.up or not any_up else 0
            for link in self.all
        }

    def hold(self) -> dict[str, int]:
        """For how long each link's packets should be held back, so that all arrive as late as by
        the slowest. What is not known yet stays as it is."""
        live = [link for link in self.all if link.up]
        if not self.config.equalise or len(live) < 2:
            return {link.config.name: 0 for link in self.all}
        if any(len(link.delays) < _ENOUGH for link in live):
            return {link.config.name: link.held for link in self.all}
        medians = {
            link.config.name: statistics.median_low([delay for _, delay in link.delays])
            for link in live
        }
        slowest = max(medians.values())
        held = {}
        for link in self.all:
            wanted = slowest - medians.get(link.config.name, slowest)
            least = self.config.least if link.held == 0 else self.config.least // 2
            held[link.config.name] = min(wanted, self.config.most) if wanted >= least else 0
        return held
