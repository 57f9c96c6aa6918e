"""Probes as packets: UDP with a flow label and a source port of its own for each flow, and a hop
limit. The ICMPv6 errors that come back quote what was sent, so each is of a certain probe however
late it comes (RFC 4443, sections 3.1 and 3.3); what quotes no probe of ours is left alone.

An ordinary socket does it, with IPV6_RECVERR and without any capability.
"""

from __future__ import annotations

import errno
import secrets
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv6Address
from typing import Final, Self

from nfc.discovery.explore import Probe, Seen
from nfc.errors import KernelError
from nfc.kernel.netns import run_in

PORT: Final = 33434
_FLOWINFO_SEND, _RECVERR, _HOPS = 33, 25, 16  # linux/in6.h
_ERROR: Final = struct.Struct("@IBBBBII")  # struct sock_extended_err
_TIME_EXCEEDED, _UNREACHABLE, _FROM_ICMP6 = 3, 1, 3  # ICMPv6 types; SO_EE_ORIGIN_ICMP6
_PORT_UNREACHABLE: Final = 4
_CODES: Final = {  # RFC 4443, section 3.1
    0: "no route to the destination",
    1: "prohibited",
    2: "beyond the scope of the source",
    3: "address unreachable",
    5: "source address refused",
    6: "route rejected",
}
_PAYLOAD: Final = struct.Struct("!12s8sIB")  # who we are, this run, flow, hop limit
_NAME: Final = b"nfc segtrace"
_LABELS: Final = 0x80000  # those above it are for such as keep no state of them (RFC 6437)
_AT_ONCE: Final = 16  # sockets made together
# An ICMPv6 error for an earlier probe is told once, by whatever is called next.
_TOLD_LATE: Final = 4


class Probes:
    """The sockets; a context manager that closes them."""

    def __init__(self, destination: IPv6Address, netns: str | None = None) -> None:
        """None is open yet."""
        self._destination, self._netns = destination, netns
        self._token = secrets.token_bytes(8)
        self._sockets: list[socket.socket] = []
        self._labels: list[int] = []
        self._flows: dict[int, int] = {}  # by descriptor
        self._poll = select.poll()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all."""
        for sock in self._sockets:
            sock.close()

    def send(self, probe: Probe) -> None:
        """Raises KernelError where packets cannot be sent to the destination at all."""
        flow, hops = probe
        while flow >= len(self._sockets):
            self._open()
        sock = self._sockets[flow]
        sock.setsockopt(socket.IPPROTO_IPV6, _HOPS, hops)
        payload = _PAYLOAD.pack(_NAME, self._token, flow, hops)
        for left in reversed(range(_TOLD_LATE)):
            to = (str(self._destination), PORT, self._labels[flow], 0)
            try:
                sock.sendto(payload, to)
                return
            except OSError as error:
                if error.errno == errno.EINVAL and self._labels[flow]:
                    self._labels[flow] = 0  # labels are leased here; the port still differs
                elif error.errno in (errno.ENOBUFS, errno.EAGAIN):
                    return  # as if it were lost on the way
                elif left == 0:
                    raise KernelError(
                        f"cannot send to {self._destination}: {error.strerror}",
                        errno=error.errno or 0,
                    ) from None

    def receive(self, wait: float) -> Iterator[tuple[Probe, Seen]]:
        """What has come, or comes within so many seconds."""
        for descriptor, _ in self._poll.poll(max(0.0, wait) * 1000):
            sock = self._sockets[self._flows[descriptor]]
            with suppress(OSError):
                while True:
                    data, notes, _, _ = sock.recvmsg(64, 512, socket.MSG_ERRQUEUE)
                    probe = self._probe(data, descriptor)
                    for level, kind, said in notes:
                        if probe and (level, kind) == (socket.IPPROTO_IPV6, _RECVERR):
                            seen = self._seen(said)
                            if seen is not None:
                                yield probe, seen
            with suppress(OSError):
                while True:  # somebody listens at that port, and echoes
                    data, source = sock.recvfrom(64)
                    probe = self._probe(data, descriptor)
                    if probe and IPv6Address(source[0].partition("%")[0]) == self._destination:
                        yield probe, Seen(self._destination, end=True)

    def _probe(self, data: bytes, descriptor: int) -> Probe | None:
        if len(data) != _PAYLOAD.size:
            return None
        name, token, flow, hops = _PAYLOAD.unpack(data)
        if (name, token, flow) != (_NAME, self._token, self._flows[descriptor]):
            return None
        return flow, hops

    def _seen(self, said: bytes) -> Seen | None:
        """Out of a struct sock_extended_err, behind which stands a struct sockaddr_in6."""
        if len(said) < _ERROR.size + 24:
            return None
        _, origin, kind, code, *_ = _ERROR.unpack_from(said)
        if origin != _FROM_ICMP6:
            return None
        address = IPv6Address(said[_ERROR.size + 8 : _ERROR.size + 24])
        if address.is_multicast or address.is_unspecified:
            return None
        if kind == _TIME_EXCEEDED and code == 0:
            return Seen(address)
        if kind != _UNREACHABLE:
            return None
        if code == _PORT_UNREACHABLE or address == self._destination:
            return Seen(self._destination, end=True)
        return Seen(address, end=True, mark=_CODES.get(code, f"unreachable, code {code}"))

    def _open(self) -> None:
        def make() -> list[socket.socket]:
            return [_socket() for _ in range(_AT_ONCE)]

        try:
            made = run_in(self._netns, make)
        except OSError as error:
            raise KernelError(
                f"cannot open a socket for flow {len(self._sockets)}: {error.strerror}",
                errno=error.errno or 0,
                hint="fewer flows (--flows), or more files (ulimit -n)"
                if error.errno == errno.EMFILE
                else None,
            ) from None
        for sock in made:
            self._flows[sock.fileno()] = len(self._sockets)
            self._poll.register(sock, select.POLLIN)
            self._sockets.append(sock)
            self._labels.append(_LABELS | secrets.randbelow(_LABELS))


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IPV6, _RECVERR, 1)
    made.setsockopt(socket.IPPROTO_IPV6, _FLOWINFO_SEND, 1)
    made.setblocking(False)
    return made
