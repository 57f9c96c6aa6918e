"""A socket that is told when routes, rules, neighbours, links or next hops change: when to look
again, and which routes a look may have missed.

The kernel does not say when a dump of IPv6 routes was overtaken by a change (no NLM_F_DUMP_INTR),
and then goes on from where it was by counting (net/ipv6/ip6_fib.c, fib6_dump_table), so that
routes which nobody has touched may be missing.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from nfc.kernel import rtattr
from nfc.kernel.netns import run_in
from nfc.kernel.route import HEADER

Place = tuple[int, int, bytes]  # table, length in bits, 16 bytes

# RTNLGRP_LINK, NEIGH, IPV6_ROUTE, IPV6_RULE, IPV6_NETCONF (which says whether routes over links
# that are down count), NEXTHOP (linux/rtnetlink.h)
_GROUPS: Final = sum(1 << number - 1 for number in (1, 3, 11, 19, 25, 32))
_MESSAGE: Final = struct.Struct("=IHHII")
_NEW, _GONE = 24, 25  # RTM_NEWROUTE, RTM_DELROUTE
_BUFFER: Final = 1 << 20


@dataclass
class Heard:
    """What came in: of each place whether its last event was that a route has gone; `lost` says
    that some events were not kept."""

    gone: dict[Place, bool] = field(default_factory=dict)
    lost: bool = False

    def __bool__(self) -> bool:
        """Whether any route has changed."""
        return bool(self.gone) or self.lost

    def then(self, later: Heard) -> Heard:
        """Both, one after the other."""
        return Heard(self.gone | later.gone, self.lost or later.lost)


class Bell:
    """The open socket, in a namespace."""

    def __init__(self, sock: socket.socket) -> None:
        """Take it over; see `opened`."""
        self._socket = sock

    def fileno(self) -> int:
        """For poll."""
        return self._socket.fileno()

    def heard(self) -> Heard:
        """All that has come since the last time."""
        found = Heard()
        while True:
            try:
                part = self._socket.recv(1 << 16)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found.lost = True
                continue
            at = 0
            while at + _MESSAGE.size <= len(part):
                length, kind, *_ = _MESSAGE.unpack_from(part, at)
                if length < _MESSAGE.size:
                    break
                if kind in (_NEW, _GONE):
                    place = _place(part[at + _MESSAGE.size : at + length])
                    if place is not None:
                        found.gone[place] = kind == _GONE
                at += (length + 3) & ~3


def _place(body: bytes) -> Place | None:
    if len(body) < HEADER.size:
        return None
    _, bits, _, _, table, *_ = HEADER.unpack_from(body)
    attributes = tuple(rtattr.unpack(body[HEADER.size :]))
    number = rtattr.find_u32(attributes, rtattr.TABLE) or table
    return number, bits, rtattr.find(attributes, rtattr.DST) or bytes(16)


@contextmanager
def opened(netns: str | None) -> Iterator[Bell]:
    """Within the block it listens. Raises KernelError."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        made.bind((0, _GROUPS))
        made.setblocking(False)
        return made

    made = run_in(netns, make)
    try:
        yield Bell(made)
    finally:
        made.close()
