"""Datagrams from home to server while something happens to the bond, and what counted a loss."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator

from nfc.lab import load, standing

SERVER = "fd00:20::2"
_HEAD = struct.Struct("!Q")


class Flow:
    """So many datagrams a second for as long as the block lasts: `sent` has when each was (seconds
    since 1970), `lost` the numbers of those that did not come `grace` seconds after the last, which
    is as long as a busy machine may take."""

    def __init__(self, lab: str, rate: int = 500, size: int = 400, grace: float = 10.0) -> None:
        self._rate, self._size, self._grace = rate, size, grace
        self._out = standing.inside(lab, "h", socket.socket, socket.AF_INET6, socket.SOCK_DGRAM)
        self._into = standing.inside(lab, "s", load.datagram_socket, SERVER, 5201)
        self._enough, self._done = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=f) for f in (self._send, self._receive)]
        self._came: set[int] = set()
        self.sent: list[float] = []

    @property
    def lost(self) -> list[int]:
        return [number for number in range(len(self.sent)) if number not in self._came]

    def __enter__(self) -> Flow:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._threads[0].join()
        deadline = time.monotonic() + self._grace
        while len(self._came) < len(self.sent) and time.monotonic() < deadline:
            time.sleep(0.01)
        self._done.set()
        self._threads[1].join()
        self._out.close()
        self._into.close()

    def _send(self) -> None:
        due = time.monotonic()
        while not self._enough.is_set():
            time.sleep(max(due - time.monotonic(), 0))
            # What was not sent in time is not sent at all: a burst would be too much for a link.
            due = max(due + 1 / self._rate, time.monotonic())
            head = _HEAD.pack(len(self.sent))
            self.sent.append(time.time())
            self._out.sendto(head + bytes(self._size - len(head)), (SERVER, 5201))

    def _receive(self) -> None:
        while not self._done.is_set():
            if select.select([self._into], [], [], 0.05)[0]:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        data = self._into.recv(2048, socket.MSG_DONTWAIT)
                        self._came.add(_HEAD.unpack_from(data)[0])


def drops(lab: str) -> dict[str, int]:
    """Everything on the way that counts lost packets: the nodes' IPv6 and interfaces, the wires,
    and the queues of this machine's CPUs (net/core/dev.c, netdev_max_backlog), which all share."""
    found = {}
    for node in ("h", "cpe", "agg", "s"):
        for name, count in standing.inside(lab, node, lambda: dict(_counters())).items():
            found[f"{node} {name}"] = count
    for link, ways in standing.status(lab)["links"].items():
        for way in ("there", "back"):
            for name in ("lost", "overflowed", "missed", "refused"):
                found[f"wire {link} {way} {name}"] = ways[way][name]
    with open("/proc/net/softnet_stat") as file:
        for cpu, line in enumerate(file):
            found[f"cpu {cpu} backlog"] = int(line.split()[1], 16)
    return found


def _counters() -> Iterator[tuple[str, int]]:
    with open("/proc/thread-self/net/snmp6") as file:
        for line in file:
            name, count = line.split()[:2]
            if any(word in name for word in ("Discards", "NoRoutes", "Errors")):
                yield name, int(count)
    with open("/proc/thread-self/net/dev") as file:
        for line in file.readlines()[2:]:
            name, _, rest = line.partition(":")
            numbers = rest.split()
            yield f"{name.strip()} received", int(numbers[3])
            yield f"{name.strip()} sent", int(numbers[11])


def since(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What has been counted in between."""
    return {k: n - before.get(k, 0) for k, n in after.items() if n != before.get(k, 0)}
