"""Packets into and out of an interface, past the kernel's own IPv6 stack (packet(7)), and
bursts of UDP through it."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nfc.closing import Closing
from nfc.errors import KernelError

ETH_P_IPV6: Final = 0x86DD
_RECEIVE_BUFFER: Final = 8 << 20  # bytes; holds some ten thousand small packets
_MAX_PACKET: Final = 65_575  # header and the longest payload

# ICMPv6 types: 130-132 and 143 are multicast listener discovery (RFC 3810), 133-137 neighbour
# discovery (RFC 4861).
_NOISE_TYPES: Final = frozenset((*range(130, 138), 143))


def noise(packet: bytes) -> bool:
    """Whether the kernel sends such packets on its own: neighbour and listener discovery.

    Looks behind one hop-by-hop header, where listener reports carry their router alert.
    """
    if len(packet) < 41:
        return False
    number, at = packet[6], 40
    if number == 0 and len(packet) > 49:
        number, at = packet[40], 48 + 8 * packet[41]
    return (
        number == socket.IPPROTO_ICMPV6
        and packet[at : at + 1] != b""
        and (packet[at] in _NOISE_TYPES)
    )


class Capture(Closing):
    """The IPv6 packets that arrive at one interface, from when it was made until `close`.

    Only packets for which `unwanted` is false are seen. Raises KernelError if the socket cannot
    be opened. The packets are those that came in, not those that the namespace sent.
    """

    def __init__(self, interface: str, unwanted: Callable[[bytes], bool] = noise) -> None:
        """Begin to capture; must be called inside the namespace (see `netns.run`)."""
        self._unwanted = unwanted
        try:
            # Protocol 0 until bound: a socket that is not yet bound hears every interface.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            self._socket.setsockopt(
                socket.SOL_SOCKET,
                33,  # SO_RCVBUFFORCE
                _RECEIVE_BUFFER,
            )
            self._socket.bind((interface, ETH_P_IPV6))
        except OSError as error:
            raise KernelError(
                f"cannot capture on {interface}: {error.strerror}", errno=error.errno or 0
            ) from error

    def packets(self, count: int, timeout: float = 30.0) -> list[bytes]:
        """The next `count` packets, fewer if `timeout` seconds pass first.

        Returns as soon as there are `count`; packets after that wait for the next call. Each
        starts at its IPv6 header. To see that nothing comes, ask for one and expect [].
        """
        found: list[bytes] = []
        deadline = time.monotonic() + timeout
        while len(found) < count:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.0))
            try:
                packet = self._socket.recv(_MAX_PACKET)
            except (TimeoutError, BlockingIOError):
                break
            if not self._unwanted(packet):
                found.append(packet)
        return found

    def dropped(self) -> int:
        """Packets the kernel dropped for want of room since the last call (PACKET_STATISTICS)."""
        raw = self._socket.getsockopt(263, 6, 8)  # SOL_PACKET, PACKET_STATISTICS
        return int.from_bytes(raw[4:8], "little" if _LITTLE else "big")

    def close(self) -> None:
        """Stop capturing; doing it twice is harmless."""
        self._socket.close()


_LITTLE: Final = socket.htons(1) != 1


def sender() -> socket.socket:
    """A socket for `send`; must be called inside the namespace (see `netns.run`)."""
    return socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)


def send(out: socket.socket, interface: str, mac: bytes, packet: bytes) -> None:
    """Send bytes as they are, from the IPv6 header on, out of the interface to a 6-byte MAC.

    No route is looked up and nothing is filled in. Raises KernelError, e.g. for a packet over
    the interface's MTU (EMSGSIZE).
    """
    try:
        out.sendto(packet, (interface, ETH_P_IPV6, 0, 0, mac))
    except OSError as error:
        raise KernelError(
            f"cannot send {len(packet)} bytes out of {interface}: {error.strerror}",
            errno=error.errno or 0,
        ) from error


@dataclass(frozen=True)
class Burst:
    """What a burst did: packets the socket took, and how long that took in seconds."""

    sent: int
    seconds: float


def burst(
    out: socket.socket, address: str, port: int, *, count: int, size: int = 64, rate: float = 0.0
) -> Burst:
    """Send `count` UDP datagrams of `size` payload bytes through a datagram socket.

    `rate` is packets a second, 0 as fast as it goes; the sender never runs ahead of it, and
    catches up where it fell behind. A payload begins with its number, 8 bytes in network order
    (as many of them as fit). Raises KernelError if the kernel refuses one.
    """
    target = (address, port)  # not connected: "port unreachable" is then no error of ours
    tail = bytes(max(size - 8, 0))
    begin = time.monotonic()
    for number in range(count):
        if rate:
            _wait_until(begin + number / rate)
        payload = (number.to_bytes(8, "big") + tail)[:size]
        while True:
            try:
                out.sendto(payload, target)
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError(
                        f"cannot send datagram {number} to {address}: {error.strerror}",
                        errno=error.errno or 0,
                    ) from error
                time.sleep(0.0001)
    return Burst(count, time.monotonic() - begin)


def _wait_until(due: float) -> None:
    """Sleep, and for the last bit spin: a sleep of its own takes some 60 microseconds more."""
    while (ahead := due - time.monotonic()) > 0:
        if ahead > 0.0002:
            time.sleep(ahead - 0.0001)


def receive_all(sock: socket.socket, count: int, timeout: float = 1.0) -> list[bytes]:
    """Up to `count` datagrams from a socket, fewer if `timeout` seconds pass first."""
    found: list[bytes] = []
    deadline = time.monotonic() + timeout
    with contextlib.suppress(TimeoutError, BlockingIOError):
        while len(found) < count:
            sock.settimeout(max(deadline - time.monotonic(), 0.0))
            found.append(sock.recv(_MAX_PACKET))
    return found
