"""The agent on the far router: each event of `end_dm` becomes a datagram to its collector.

Reports of one size to one collector leave in one system call: the kernel cuts the buffer into
datagrams (UDP_SEGMENT, 4.18; udp(7)). Where it refuses, they are sent one by one.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network
from itertools import groupby
from typing import Final

from nfc.delay.probe import NO_TARGET, Target, decoder
from nfc.errors import NfcError, ObjectError
from nfc.manifest import Manifest

BATCH: Final = 1024  # records that are taken out of the ring at once
WAIT_S: Final = 0.25  # how soon a signal is seen while nothing comes
_UDP_SEGMENT: Final = 103  # linux/udp.h
_SEGMENTS: Final = 64  # UDP_MAX_SEGMENTS before 6.9
_SEND_BUFFER: Final = 4 << 20  # bytes


@dataclass
class Sent:
    """What became of the events: `refused` were not for an allowed collector, or named none;
    `malformed` held no DM TLV; `failed` the kernel would not send."""

    reports: int = 0
    refused: int = 0
    malformed: int = 0
    failed: int = 0
    problem: str = field(default="", compare=False)

    def __str__(self) -> str:
        """One line."""
        rest = [
            f"{count} {name}"
            for name, count in (
                ("refused", self.refused),
                ("malformed", self.malformed),
                (f"not sent ({self.problem})", self.failed),
            )
            if count
        ]
        return ", ".join([f"{self.reports} reports sent", *rest])


class Reporter:
    """Sends reports out of one socket; use `sender` to make that in a namespace."""

    def __init__(
        self,
        out: socket.socket,
        *,
        fallback: Target | None = None,
        only: Target | None = None,
        allowed: tuple[IPv6Network, ...] = (),
    ) -> None:
        """`fallback` is for events without a URO TLV, `only` takes all of them; of the others,
        those go out whose collector is in an `allowed` prefix, if there are any."""
        self.sent = Sent()
        self._out = out
        self._fallback = fallback
        self._only = only
        self._allowed = allowed
        self._known: dict[Target, tuple[str, int] | None] = {}
        self._whole = True  # the kernel cuts for us
        self._manifest: Manifest | None = None
        self._decode: Callable[[bytes], tuple[bytes, Target]] | None = None

    def take(self, manifest: Manifest, records: list[bytes]) -> None:
        """Send the reports of these records. Raises UsageError if the function has none."""
        if self._decode is None or manifest is not self._manifest:
            self._manifest, self._decode = manifest, decoder(manifest)
        decode, found = self._decode, []
        for record in records:
            try:
                found.append(decode(record))
            except ObjectError:
                self.sent.malformed += 1
        for target, group in groupby(found, key=_target):
            address = self._address(target)
            payloads = [payload for payload, _ in group]
            if address is None:
                self.sent.refused += len(payloads)
            else:
                self._send(payloads, address)

    def _address(self, target: Target) -> tuple[str, int] | None:
        """Where reports for this target go, as a socket takes it; None: nowhere."""
        if target not in self._known:
            if len(self._known) >= 4096:  # targets come from the network
                self._known.clear()
            chosen = self._only or (self._fallback if target == NO_TARGET else target)
            address = None
            if chosen is not None and chosen[1]:
                to = IPv6Address(chosen[0])
                trusted = chosen in (self._only, self._fallback) or not self._allowed
                if not to.is_multicast and (trusted or any(to in p for p in self._allowed)):
                    address = (str(to), chosen[1])
            self._known[target] = address
        return self._known[target]

    def _send(self, payloads: list[bytes], address: tuple[str, int]) -> None:
        for size, group in groupby(payloads, key=len):
            same = list(group)
            for begin in range(0, len(same), _SEGMENTS):
                part = same[begin : begin + _SEGMENTS]
                if len(part) == 1 or not self._at_once(part, size, address):
                    self._one_by_one(part, address)

    def _at_once(self, part: list[bytes], size: int, address: tuple[str, int]) -> bool:
        if not self._whole:
            return False
        how = [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", size))]
        try:
            self._out.sendmsg(part, how, 0, address)
        except OSError as error:
            if error.errno in (errno.EIO, errno.EINVAL, errno.ENOPROTOOPT):
                self._whole = False
            return False
        self.sent.reports += len(part)
        return True

    def _one_by_one(self, part: list[bytes], address: tuple[str, int]) -> None:
        for payload in part:
            try:
                self._out.sendto(payload, address)
            except OSError as error:
                self.sent.failed += 1
                self.sent.problem = error.strerror or str(error)
            else:
                self.sent.reports += 1


def _target(found: tuple[bytes, Target]) -> Target:
    return found[1]


def sender(netns: str | None) -> socket.socket:
    """A UDP socket in the namespace (None: this one). Raises KernelError as `run_in` does."""
    from nfc.kernel.netns import run_in

    def make() -> socket.socket:
        out = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        return out

    return make() if netns is None else run_in(netns, make)


def target(text: str) -> Target:
    """`[fd00:c::1]:4739` as a target. Raises NfcError, which says what is wrong."""
    address, colon, port = text.rpartition(":")
    try:
        if not colon or not address.startswith("[") or not address.endswith("]"):
            raise ValueError
        number = int(port)
        if not 0 < number < 1 << 16 or not port.isascii():
            raise ValueError
        return IPv6Address(address[1:-1]).packed, number
    except ValueError:
        raise NfcError(
            f"'{text}' is not an IPv6 address with a port", hint="for example [fd00:c::1]:4739"
        ) from None


def run(
    batches: Iterable[tuple[Manifest, list[bytes]]],
    reporter: Reporter,
    *,
    count: int | None,
    stop: Callable[[], bool],
    ready: Callable[[], object] = lambda: None,
) -> Sent:
    """Report what comes until there were `count` reports, or `stop` says so. `ready` is called
    once, when events are read."""
    first = True
    for manifest, records in batches:
        if first:
            first = False
            ready()
        if records:
            reporter.take(manifest, records)
        if stop() or (count is not None and reporter.sent.reports >= count):
            break
    return reporter.sent
