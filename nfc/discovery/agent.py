"""Keeps the table of a deployed `end_oamp` as the kernel's routes are.

Events of rtnetlink only ring: what is true is read by a dump, compared with what the table has,
and the differences are written. So no order of events, lost event or replaced next hop can leave
the table wrong for longer than it takes to look again.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from nfc.deploy.places import generation, table_pin
from nfc.deploy.select import select_one
from nfc.deploy.state import Record, Store, open_store, state_dir
from nfc.discovery.mirror import MOST_HOPS, Globals, Hops, Neighbour, Prefix, wanted
from nfc.errors import KernelError, NfcError, UsageError
from nfc.kernel.maps import Map
from nfc.kernel.netns import run_in
from nfc.kernel.pins import open_pinned
from nfc.kernel.routes import all_routes
from nfc.manifest import Table
from nfc.observe.tables import Entries

TABLE: Final = "routes"
FIELDS: Final = ("hops", *(f"hop{n}" for n in range(MOST_HOPS)))
SETTLE_S: Final = 0.02  # events that come together are looked at together
LOOK_AGAIN_S: Final = 30.0  # without any event
_CHECK_S: Final = 0.5  # how soon a signal, or another program, is seen
_GROUPS: Final = 0x400 | 0x4 | 0x1  # RTMGRP_IPV6_ROUTE, _NEIGH, _LINK (linux/rtnetlink.h)


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

    def __init__(self, record: Record) -> None:
        """Open the table. Raises UsageError where the function has none such, KernelError."""
        self.record = record
        self.table = _table(record)
        self._map = Map.of(open_pinned(generation(record) / table_pin(self.table)))
        self._entries = Entries(self._map, self.table)
        self.counts = Counts()
        self._has: dict[Prefix, tuple[int, ...]] = {
            (key[0], key[1].to_bytes(16, "big")): rows[0] for key, rows in self._entries.items()
        }

    def sync(self) -> Counts:
        """Look at the kernel's routes, and write what is different. Raises KernelError."""
        netns = self.record.namespace
        known = Globals(neighbours(netns))
        found = wanted(all_routes("local", netns), all_routes("main", netns), known)
        self.counts.dumps += 1
        self.write(found)
        return self.counts

    def write(self, found: Mapping[Prefix, Hops]) -> None:
        """Make the table so: first what is new or other, then what is gone."""
        rows = {prefix: _row(hops) for prefix, hops in found.items()}
        for prefix, row in rows.items():
            if self._has.get(prefix) != row:
                self._entries.put((prefix[0], int.from_bytes(prefix[1], "big")), row)
                self._has[prefix] = row
                self.counts.put += 1
        for prefix in [prefix for prefix in self._has if prefix not in rows]:
            self._entries.remove((prefix[0], int.from_bytes(prefix[1], "big")))
            del self._has[prefix]
            self.counts.removed += 1
        self.counts.entries = len(self._has)

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
) -> Counts:
    """Keep the table of the function, and of those that replace it, until `stop` says so; `ready`
    is called when it is right for the first time, and each time that `again` has said to read it
    and the routes anew. Raises UsageError, NfcError."""
    with open_store(shared=True) as store:
        record = select_one(store, name, netns)
    with _bell(record.namespace) as bell:
        while True:
            with Mirror(record) as mirror:
                ready(mirror.sync())
                current = _serve(mirror, bell, stop, again)
                if current is None:
                    return mirror.counts
                record = current


def _serve(
    mirror: Mirror, bell: socket.socket, stop: Callable[[], bool], again: Callable[[], bool]
) -> Record | None:
    """Until told to stop (None), or to begin anew: another program is in force, or `again` says
    so (its record)."""
    poll = select.poll()
    poll.register(bell, select.POLLIN)
    looked = time.monotonic()
    while not stop():
        rang = bool(poll.poll(_CHECK_S * 1000))
        current = Store(state_dir()).read(mirror.record.netns, mirror.record.name)
        if current is None:
            raise NfcError(f"{mirror.record.name} is not deployed any more")
        if current.generation != mirror.record.generation or again():
            return current
        if not rang and time.monotonic() - looked < LOOK_AGAIN_S:
            continue
        time.sleep(SETTLE_S)
        _drain(bell)
        try:
            mirror.sync()
        except KernelError as error:
            if error.errno:  # else the routes did not stand still: look again
                raise
        looked = time.monotonic()
    return None


@contextmanager
def _bell(netns: str | None) -> Iterator[socket.socket]:
    """A socket that is readable when routes, neighbours or links have changed."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        made.bind((0, _GROUPS))
        made.setblocking(False)
        return made

    made = run_in(netns, make)
    try:
        yield made
    finally:
        made.close()


def _drain(bell: socket.socket) -> None:
    while True:
        try:
            bell.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # some were lost: no matter
                raise


def neighbours(netns: str | None) -> list[Neighbour]:
    """The IPv6 neighbour table. Raises KernelError."""

    def look() -> list[Neighbour]:
        from pyroute2 import IPRoute

        with IPRoute() as route:
            found = []
            for one in route.get_neighbours(family=socket.AF_INET6):
                address, lladdr = one.get("dst"), one.get("lladdr")
                if address and lladdr:
                    packed = socket.inet_pton(socket.AF_INET6, address)
                    mac = bytes.fromhex(lladdr.replace(":", ""))
                    found.append(Neighbour(one["ifindex"], packed, mac))
            return found

    return run_in(netns, look)


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


def _row(hops: Hops) -> tuple[int, ...]:
    told = [int.from_bytes(hop, "big") for hop in hops[:MOST_HOPS]]
    return (min(len(hops), 255), *told, *[0] * (MOST_HOPS - len(told)))
