"""Keeps the table of a deployed `end_oamp` as the kernel's routes are.

Events of rtnetlink ring: what is true is read by a dump, compared with what the table has, and the
differences are written. So no order of events, lost event or replaced next hop can leave the table
wrong for longer than it takes to look again. And events say what a dump may have missed (`bell`).
Most of what is told of neighbours changes no answer; then nothing is read.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from nfc.deploy.places import generation, table_pin
from nfc.deploy.select import select_one
from nfc.deploy.state import Record, Store, open_store, state_dir
from nfc.discovery.ask import MOST_COUNTED
from nfc.discovery.bell import Bell, Heard, opened
from nfc.discovery.mirror import MOST_HOPS, Globals, Hops, changes, doubts, wanted
from nfc.discovery.rib import Lookout, Prefix
from nfc.errors import KernelError, NfcError, UsageError
from nfc.kernel.maps import Map
from nfc.kernel.pins import open_pinned
from nfc.manifest import Table
from nfc.observe.tables import Entries

TABLE: Final = "routes"
FIELDS: Final = ("hops", *(f"hop{n}" for n in range(MOST_HOPS)))
SETTLE_S: Final = 0.02  # events that come together are looked at together
PAUSE_S: Final = 0.1  # after some that change nothing: there may be many of them
LOOK_AGAIN_S: Final = 30.0  # without any event
_MOST_LOOKS: Final = 50  # for routes to stand still before the table is written at first
UNSURE: Final = (
    "routes changed under every look so far: some that did not change may be missing until all "
    "stand still for one"
)
_CHECK_S: Final = 0.5  # how soon a signal, or another program, is seen


@dataclass
class Counts:
    """What the agent has done."""

    dumps: int = 0
    put: int = 0
    removed: int = 0
    entries: int = 0

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.entries} entries; looked {self.dumps} times, {self.put} put, "
            f"{self.removed} removed"
        )


class Mirror:
    """The table of one deployed function; a context manager that closes the map."""

    def __init__(
        self, record: Record, only: int | None = None, lookout: Lookout | None = None
    ) -> None:
        """Open the table; `only` is the one routing table to look up, without any rule; a
        `lookout` with a bell is needed where routes may change under a look. Raises UsageError
        where the function has no such table, KernelError."""
        self.record = record
        self.only = only
        self.doubts: tuple[str, ...] = ()
        self.look_again = LOOK_AGAIN_S
        self.table = _table(record)
        self._map = Map.of(open_pinned(generation(record) / table_pin(self.table)))
        self._entries = Entries(self._map, self.table)
        self.counts = Counts()
        self._lookout = lookout or Lookout(record.namespace)
        self._known = Globals({})
        self._has: dict[Prefix, tuple[int, ...]] = {
            (key[0], key[1].to_bytes(16, "big")): rows[0] for key, rows in self._entries.items()
        }

    def sync(self) -> Counts:
        """Look at what the kernel routes by, and write what is different. Raises KernelError,
        NfcError where the table is too small."""
        self.write(self.look())
        return self.counts

    def look(self) -> Mapping[Prefix, Hops]:
        """What the table should have, by what the kernel routes by. Raises KernelError."""
        self.look_again = 0.0  # also when it fails
        rib = self._lookout.look()
        self._known = Globals(self._lookout.neighbours)
        self.counts.dumps += 1
        self.doubts = tuple(doubts(rib)) if self.only is None else ()
        if not self.sure:
            self.doubts += (UNSURE,)
        found = wanted(rib, self._known, self.only)
        if not self._lookout.overtaken and not self._concern(self._lookout.news):
            self.look_again = min(LOOK_AGAIN_S, (rib.expires or LOOK_AGAIN_S) + SETTLE_S)
        return found

    def rung(self) -> bool:
        """Whether anything has been heard since the last look that may change an answer."""
        return self._concern(self._lookout.listen())

    def _concern(self, heard: Heard) -> bool:
        return heard.overtaken or heard.other or self._known.concern(heard.hosts)

    @property
    def sure(self) -> bool:
        """Whether what was seen last has every route that stays."""
        return self._lookout.sure

    def write(self, found: Mapping[Prefix, Hops]) -> None:
        """Make the table so, in an order in which no destination has a third answer meanwhile;
        where the old and the new have no room together, what is gone goes first. Raises NfcError
        where the new has none, and then the table is as it was."""
        room = self.table.entries
        if len(found) > room:
            raise NfcError(
                f"the routes have {len(found)} prefixes, and the table of {self.record.name} has "
                f"room for {room}",
                hint="give 'routes' more entries in a copy of stdlib/oamp.nf, and deploy that",
            )
        rows = _rows(found)
        order = list(changes(self._has, rows))
        if len(rows.keys() | self._has.keys()) > room:
            order.sort(key=lambda prefix: prefix in rows)
        for prefix in order:
            key = (prefix[0], int.from_bytes(prefix[1], "big"))
            if prefix in rows:
                self._entries.put(key, rows[prefix])
                self._has[prefix] = rows[prefix]
                self.counts.put += 1
            else:
                self._entries.remove(key)
                del self._has[prefix]
                self.counts.removed += 1
        self.counts.entries = len(self._has)

    def differs(self, found: Mapping[Prefix, Hops]) -> bool:
        """Whether the table is another than that."""
        return self._has != _rows(found)

    def __enter__(self) -> Mirror:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the map."""
        self._map.close()


def run(
    name: str,
    netns: str | None,
    stop: Callable[[], bool],
    ready: Callable[[Counts], None],
    again: Callable[[], bool] = lambda: False,
    *,
    only: int | None = None,
    doubt: Callable[[str], None] = lambda text: None,
) -> Counts:
    """Keep the table of the function, and of those that replace it, until `stop` says so; `ready`
    is called when it is right for the first time, and each time that `again` has said to read it
    and the routes anew; `doubt` with each thing that the table cannot hold, once while that stays
    so. `only`: as for Mirror. Raises UsageError, NfcError."""
    with open_store(shared=True) as store:
        record = select_one(store, name, netns)
    told: set[str] = set()

    def tell(mirror: Mirror) -> None:
        for text in mirror.doubts:
            if text not in told:
                doubt(text)
        told.clear()
        told.update(mirror.doubts)

    with opened(record.namespace) as bell:
        lookout = Lookout(record.namespace, bell)
        while True:
            with Mirror(record, only, lookout) as mirror:
                if not settle(mirror, stop):
                    return mirror.counts
                ready(mirror.counts)
                tell(mirror)
                current = _serve(mirror, bell, stop, again, tell)
                if current is None:
                    return mirror.counts
                record = current


def settle(mirror: Mirror, stop: Callable[[], bool]) -> bool:
    """Write the table once a look has every route that stays; if routes change under fifty, what
    these have seen together, which is then among the doubts. Until then the table is left as it
    is: what others have written or an agent before this one may be right. False when it was told
    to stop first. Raises KernelError, NfcError."""
    looks = 0
    while not stop():
        looks += 1
        with _unless_they_change():
            found = mirror.look()
            if mirror.sure or looks >= _MOST_LOOKS:
                mirror.write(found)
                return True
    return False


@contextmanager
def _unless_they_change() -> Iterator[None]:
    try:
        yield
    except KernelError as error:
        if error.errno:  # else the routes did not stand still
            raise


def _serve(
    mirror: Mirror,
    bell: Bell,
    stop: Callable[[], bool],
    again: Callable[[], bool],
    tell: Callable[[Mirror], None],
) -> Record | None:
    """Until told to stop (None), or to begin anew: another program is in force, or `again` says
    so (its record)."""
    poll = select.poll()
    poll.register(bell, select.POLLIN)
    store, record, stamp = Store(state_dir()), mirror.record, None
    looked = checked = time.monotonic()
    while not stop():
        due = looked + mirror.look_again
        wait = max(0.0, min(due, checked + _CHECK_S) - time.monotonic())
        rang = bool(poll.poll(wait * 1000))
        if time.monotonic() >= checked + _CHECK_S:
            checked = time.monotonic()
            now = store.stamp(record.netns, record.name)
            anew = again()
            if now != stamp or anew:
                stamp = now
                current = store.read(record.netns, record.name)
                if current is None:
                    raise NfcError(f"{record.name} is not deployed any more")
                if current.generation != record.generation or anew:
                    return current
        if time.monotonic() < due:
            if not rang:
                continue
            if not mirror.rung():
                time.sleep(PAUSE_S)
                continue
        time.sleep(SETTLE_S)
        looked = time.monotonic()
        with _unless_they_change():
            mirror.sync()
        tell(mirror)
    return None


def _table(record: Record) -> Table:
    for table in record.manifest.tables:
        names = tuple(field.name for field in table.fields)
        if table.name == TABLE and table.kind == "prefix" and names == FIELDS:
            return table
    raise UsageError(
        f"{record.name} has no prefix table '{TABLE}' with {FIELDS[0]} and {FIELDS[1]} to "
        f"{FIELDS[-1]}",
        hint="end_oamp of stdlib/oamp.nf has one",
    )


def _rows(found: Mapping[Prefix, Hops]) -> dict[Prefix, tuple[int, ...]]:
    return {prefix: _row(hops) for prefix, hops in found.items()}


def _row(hops: Hops) -> tuple[int, ...]:
    told = [int.from_bytes(hop, "big") for hop in hops[:MOST_HOPS]]
    return (min(len(hops), MOST_COUNTED), *told, *[0] * (MOST_HOPS - len(told)))
