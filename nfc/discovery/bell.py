"""A socket that is told when routes, rules, neighbours, links or next hops change: when to look
again, and which routes a look may have missed.

Not all that it is told is a change. The kernel tells each time that a neighbour was found to be
reachable, or has not been asked for long (net/core/neighbour.c, neigh_update and
neigh_timer_handler), of neighbours of IPv4 and of bridges too, and of a link when only its
statistics or its name change. So of a neighbour only its link-layer address is kept, and of a link
its flags.

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
Host = tuple[int, bytes]  # ifindex, 16 bytes of IPv6 address

# RTNLGRP_LINK, NEIGH, IPV6_ROUTE, IPV6_RULE, IPV6_NETCONF (which says whether routes over links
# that are down count), NEXTHOP (linux/rtnetlink.h)
_GROUPS: Final = sum(1 << number - 1 for number in (1, 3, 11, 19, 25, 32))
_AF_INET6: Final = 10
NEIGHBOUR: Final = struct.Struct("=BBHiHBB")  # family, -, -, ifindex, state, flags, type
_ADDRESS, _LLADDR = 1, 2  # NDA_DST; NDA_LLADDR, which is there only while it is valid
_MESSAGE: Final = struct.Struct("=IHHII")
_NEW, _GONE = 24, 25  # RTM_NEWROUTE, RTM_DELROUTE
_LINK, _LINK_GONE = 16, 17  # RTM_NEWLINK, RTM_DELLINK
_NEIGHBOUR, _NEIGHBOUR_GONE = 28, 29  # RTM_NEWNEIGH, RTM_DELNEIGH
_LINK_HEADER: Final = struct.Struct("=BBHiII")  # family, -, type, ifindex, flags, change
_BUFFER: Final = 1 << 20


@dataclass
class Heard:
    """What came in: of each place whether its last event was that a route has gone; of each
    neighbour the link-layer address that it has now, if any; `other` that a rule, a link, a next
    hop object or a setting is another; `lost` that some events were not kept."""

    gone: dict[Place, bool] = field(default_factory=dict)
    hosts: dict[Host, bytes | None] = field(default_factory=dict)
    other: bool = False
    lost: bool = False

    @property
    def overtaken(self) -> bool:
        """Whether any route has changed."""
        return bool(self.gone) or self.lost

    def then(self, later: Heard) -> Heard:
        """Both, one after the other."""
        return Heard(
            self.gone | later.gone,
            self.hosts | later.hosts,
            self.other or later.other,
            self.lost or later.lost,
        )


class Bell:
    """The open socket, in a namespace."""

    def __init__(self, sock: socket.socket) -> None:
        """Take it over; see `opened`."""
        self._socket = sock
        self._links: dict[int, int] = {}  # flags, as told last

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
                self._links.clear()
                continue
            at = 0
            while at + _MESSAGE.size <= len(part):
                length, kind, *_ = _MESSAGE.unpack_from(part, at)
                if length < _MESSAGE.size:
                    break
                self._take(found, kind, part[at + _MESSAGE.size : at + length])
                at += (length + 3) & ~3

    def _take(self, found: Heard, kind: int, body: bytes) -> None:
        if kind in (_NEW, _GONE):
            place = _place(body)
            if place is not None:
                found.gone[place] = kind == _GONE
        elif kind in (_NEIGHBOUR, _NEIGHBOUR_GONE):
            one = neighbour(body)
            if one is not None:
                host, lladdr = one
                found.hosts[host] = None if kind == _NEIGHBOUR_GONE else lladdr
        elif kind in (_LINK, _LINK_GONE) and len(body) >= _LINK_HEADER.size:
            family, _, _, index, flags, _ = _LINK_HEADER.unpack_from(body)
            if family:
                return  # a port of a bridge, told once more as such
            if kind == _LINK_GONE or self._links.get(index) != flags:
                found.other = True
            self._links[index] = flags if kind == _LINK else 0
        else:
            found.other = True


def neighbour(body: bytes) -> tuple[Host, bytes | None] | None:
    """An IPv6 neighbour out of its message, and its link-layer address while one is known; None for
    what is none of IPv6."""
    if len(body) < NEIGHBOUR.size or body[0] != _AF_INET6:
        return None
    found = dict(rtattr.unpack(body[NEIGHBOUR.size :]))
    address = found.get(_ADDRESS, b"")
    if len(address) != 16:
        return None
    return (NEIGHBOUR.unpack_from(body)[3], address), found.get(_LLADDR) or None


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
