"""Asking a router's end_oamp: the query goes over its SID and comes back to the asker.

As in `nfc.delay.query`, an ordinary UDP socket does it, with IPV6_RTHDR and IPV6_RECVRTHDR and
without any capability.
"""

from __future__ import annotations

import secrets
import select
import socket
import struct
import time
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from nfc.errors import KernelError
from nfc.kernel.netns import run_in
from nfc.kernel.seg6 import accepts_srh

OAMP_TYPE: Final = 254
SIZE: Final = 148  # stdlib/oamp.nf
QUERY, FOUND, NO_ROUTE = 0, 1, 2
MOST_HOPS: Final = 8
MOST_COUNTED: Final = 255  # the count of that many next hops, or more
_RECVRTHDR, _RTHDR = 56, 57  # linux/in6.h
_PADDING: Final = bytes((4, 2, 0, 0))  # PadN: 148 + 4 is a multiple of 8
_TRIES: Final = 3


@dataclass(frozen=True)
class Told:
    """What a router told: the next hops of its route to the target, at most eight of `count`
    (255: that many or more). `found` is False where it has none, or drops such packets, or has
    not told; `problem` says so in words."""

    found: bool
    hops: tuple[IPv6Address, ...]
    count: int
    problem: str = ""

    @staticmethod
    def nothing(problem: str) -> Told:
        """No next hops, and why."""
        return Told(False, (), 0, problem)

    @property
    def whole(self) -> bool:
        """Whether these are all next hops."""
        return self.found and 0 < self.count == len(self.hops)


SILENT: Final = Told.nothing("does not answer")
DEAF: Final = Told.nothing("its answer has an SRH, and this host takes none: seg6_enabled is 0")
DROPS: Final = Told.nothing("has no route")
UNREADABLE: Final = Told.nothing("its answer cannot be read")
UNANSWERED: Final = Told.nothing("no end_oamp at its SID")


def ask(
    sid: IPv6Address,
    target: IPv6Address,
    *,
    netns: str | None = None,
    timeout: float = 0.5,
) -> Told:
    """Ask the router at `sid`, up to three times; what it did not tell is said in `problem`.
    Raises KernelError where there is no route to it."""

    accepts = True

    def make() -> socket.socket:
        nonlocal accepts
        made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asked:
            asked.connect((str(sid), 9))
            made.bind((asked.getsockname()[0], 0))
        accepts = accepts_srh(made.getsockname()[0])
        made.setsockopt(socket.IPPROTO_IPV6, _RECVRTHDR, 1)
        made.setsockopt(socket.IPPROTO_IPV6, _RTHDR, header(sid, target))
        made.setblocking(False)
        return made

    try:
        with run_in(netns, make) as sock:
            for _ in range(_TRIES):
                nonce = secrets.token_bytes(16)
                sock.sendto(nonce, sock.getsockname())
                told = _answer(sock, nonce, target, timeout)
                if told is not None:
                    return told
    except OSError as error:
        raise KernelError(f"cannot ask {sid}: {error.strerror}", errno=error.errno or 0) from None
    return SILENT if accepts else DEAF


def header(sid: IPv6Address, target: IPv6Address) -> bytes:
    """The SRH of a query: the kernel puts the destination of the socket call, which is the asker
    itself, in the place of the zeros."""
    tlv = bytes((OAMP_TYPE, SIZE - 2, QUERY, 0)) + target.packed + bytes(16 * MOST_HOPS)
    segments = bytes(16) + sid.packed
    size = len(segments) + len(tlv) + len(_PADDING)
    return struct.pack("!BBBBBBH", 0, size // 8, 4, 1, 1, 0, 0) + segments + tlv + _PADDING


def read(data: bytes, target: IPv6Address) -> Told:
    """The answer in an SRH."""
    if len(data) < 8 or data[2] != 4 or len(data) < 8 * (data[1] + 1):
        return UNREADABLE
    data = data[: 8 * (data[1] + 1)]
    at = 8 + 16 * (data[4] + 1)
    while at + 2 <= len(data):
        if data[at] == OAMP_TYPE:
            return _read(data[at : at + 2 + data[at + 1]], target)
        at += 1 if data[at] == 0 else 2 + data[at + 1]
    return UNREADABLE


def _read(tlv: bytes, target: IPv6Address) -> Told:
    if len(tlv) != SIZE or tlv[4:20] != target.packed:
        return UNREADABLE
    answer, count = tlv[2], tlv[3]
    if answer == QUERY:
        return UNANSWERED
    if answer == NO_ROUTE:
        return DROPS
    if answer != FOUND or count == 0:
        return UNREADABLE
    hops = (IPv6Address(tlv[20 + 16 * n : 36 + 16 * n]) for n in range(min(count, MOST_HOPS)))
    return Told(True, tuple(hops), count)


def _answer(sock: socket.socket, nonce: bytes, target: IPv6Address, timeout: float) -> Told | None:
    """None where none came in time. What is not the query come back, from this socket to itself,
    is left alone."""
    own = sock.getsockname()
    deadline = time.monotonic() + timeout
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        poll.poll(left * 1000)
        try:
            data, notes, _, source = sock.recvmsg(64, 4096)
        except BlockingIOError:
            continue
        except OSError:  # what ICMP said of a query
            continue
        if data == nonce and source[:2] == own[:2]:
            srh = next((d for level, kind, d in notes if (level, kind) == (41, _RTHDR)), b"")
            return read(srh, target)
    return None
