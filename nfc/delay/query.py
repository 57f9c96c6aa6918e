"""The querier on the near router: DM queries through a far one and back, and what they tell.

A query is a UDP datagram to the querier itself, with an SRH that leads over the SID of `end_dm`;
the answer is the same datagram with the far router's times in its DM TLV. An ordinary socket does
all of it, without any capability: IPV6_RTHDR puts the SRH into what is sent
(net/ipv6/exthdrs.c, ipv6_push_rthdr4: the last segment is the destination of the socket call),
IPV6_RECVRTHDR gives that of what comes. Both ends of the way are timed by the kernel
(SO_TIMESTAMPING), not when this process gets to it.
"""

from __future__ import annotations

import secrets
import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from nfc.closing import Closing
from nfc.delay.clock import estimate
from nfc.delay.wire import DM_TYPE, NS, SUCCESS, VERSION, Message, reason
from nfc.errors import KernelError, ObjectError, UsageError
from nfc.kernel.seg6 import accepts_srh

TAI: Final = getattr(time, "CLOCK_TAI", 11)
MAX_SEGMENTS: Final = 16
_MOST_PENDING: Final = 1024
_RECVRTHDR, _RTHDR, _RECVERR = 56, 57, 25  # linux/in6.h
_TIMESTAMPING: Final = 37  # SO_TIMESTAMPING, asm-generic/socket.h; also the type of its message
# linux/net_tstamp.h: software times of what is sent and received; a number with the former, and
# no copy of the packet.
_STAMPS: Final = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 7 | 1 << 11
_PAYLOAD = struct.Struct("!8sQ")  # a number that nobody can guess, and the query's own
_SPEC = struct.Struct("@qq")
_ERROR = struct.Struct("@IBBBBII")  # struct sock_extended_err; the fifth byte pads


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: four times in nanoseconds of TAI, the first and last by the near clock."""

    sequence: int
    sent: int
    received: int
    reply_sent: int
    reply_received: int
    control: int

    @property
    def problem(self) -> str | None:
        """Why it tells no delay: the far router's error, or times that cannot be. None if it
        does."""
        if self.control != SUCCESS:
            return reason(self.control)
        return "impossible times" if self.delay < 0 else None

    @property
    def delay(self) -> int:
        """The time on the way there and back, without that at the far router."""
        return (self.reply_received - self.sent) - (self.reply_sent - self.received)

    @property
    def offset(self) -> int:
        """How far the far clock is ahead, if both ways take as long."""
        return estimate(self.sent, self.received, self.reply_sent, self.reply_received)[0]

    @property
    def bound(self) -> int:
        """How far that may be off."""
        return estimate(self.sent, self.received, self.reply_sent, self.reply_received)[1]


class Querier(Closing):
    """Sends queries and receives their answers; a context manager that closes the socket."""

    def __init__(
        self,
        sid: str,
        *,
        there: Sequence[str] = (),
        back: Sequence[str] = (),
        source: str | None = None,
        netns: str | None = None,
        session: int = 1,
        version: int = VERSION,
        control: int = 0,
    ) -> None:
        """Queries over the segments `there`, then `sid`, then those `back`, to `source` (the
        address that the kernel would choose if left out).

        Raises UsageError for what is no address, KernelError where there is no route.
        """
        path = [_address(segment) for segment in (*there, sid, *back)]
        if len(path) >= MAX_SEGMENTS:
            raise UsageError(f"a query takes at most {MAX_SEGMENTS - 1} segments")
        self._first = path[0]
        self._source = _address(source) if source else None
        self._path = path
        self._session, self._version, self._control = session, version, control
        self._nonce = secrets.token_bytes(8)
        self._pending: dict[int, tuple[int, int]] = {}  # time in the TLV, time that counts
        self._stamped = 0  # the number of the next time of something sent
        self._numbers: dict[int, int] = {}  # from the kernel's number to ours
        self._next = 0
        if netns is None:
            self._open()
        else:
            from nfc.kernel.netns import run_in

            run_in(netns, self._open)

    def _open(self) -> None:
        found = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            if self._source is None:
                with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asked:
                    asked.connect((str(self._first), 9))
                    self._source = IPv6Address(asked.getsockname()[0])
            found.bind((str(self._source), 0))
            found.setsockopt(socket.IPPROTO_IPV6, _RECVRTHDR, 1)
            found.setsockopt(socket.SOL_SOCKET, _TIMESTAMPING, _STAMPS)
            found.setblocking(False)
            self.accepts = accepts_srh(str(self._source))
        except OSError as error:
            found.close()
            raise KernelError(
                f"cannot query {self._path[-1]}: {error.strerror}", errno=error.errno or 0
            ) from None
        self._socket = found

    @property
    def source(self) -> str:
        """The address that answers come to."""
        return str(self._source)

    def fileno(self) -> int:
        """The socket's, which is readable when an answer may have come."""
        return self._socket.fileno()

    def send(self) -> int:
        """Send a query; its number. Raises KernelError where the kernel will not."""
        sequence, self._next = self._next, self._next + 1
        now = time.clock_gettime_ns(TAI)
        message = Message(self._session, now, version=self._version, control=self._control)
        try:
            self._socket.setsockopt(socket.IPPROTO_IPV6, _RTHDR, self._srh(message.encode()))
            payload = _PAYLOAD.pack(self._nonce, sequence)
            self._socket.sendto(payload, self._socket.getsockname())
        except OSError as error:
            raise KernelError(
                f"cannot send a query to {self._first}: {error.strerror}",
                errno=error.errno or 0,
            ) from None
        for held in (self._pending, self._numbers):  # those that are never answered
            while len(held) >= _MOST_PENDING:
                del held[next(iter(held))]
        self._pending[sequence] = (now, now)
        self._numbers[self._stamped] = sequence
        self._stamped += 1
        self._take_stamps()
        return sequence

    def receive(self, timeout: float) -> Answer | None:
        """The next answer, None if none comes for `timeout` seconds."""
        deadline = time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while True:
            answer = self._read()
            if answer is not None:
                return answer
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            poll.poll(left * 1000)
            self._take_stamps()  # else poll would return at once for them

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _srh(self, tlvs: bytes) -> bytes:
        """Segments in the order of the header: the last one, which the kernel fills in, first."""
        segments = bytes(16) + b"".join(segment.packed for segment in reversed(self._path))
        size = len(segments) + len(tlvs)
        last = len(self._path)
        head = struct.pack("!BBBBBBH", 0, size // 8, 4, last, last, 0, 0)
        return head + segments + tlvs

    def _read(self) -> Answer | None:
        """What waits in the socket, until there is an answer to a query of ours."""
        while True:
            try:
                data, notes, _, _ = self._socket.recvmsg(64, 4096)
            except BlockingIOError:
                return None
            except OSError:
                continue  # what ICMP said of a query; it counts as lost
            self._take_stamps()
            answer = self._answer(data, notes)
            if answer is not None:
                return answer

    def _answer(self, data: bytes, notes: list[tuple[int, int, bytes]]) -> Answer | None:
        if len(data) != _PAYLOAD.size:
            return None
        nonce, sequence = _PAYLOAD.unpack(data)
        header = next((d for level, kind, d in notes if (level, kind) == (41, _RTHDR)), b"")
        if nonce != self._nonce or sequence not in self._pending:
            return None
        message = _dm(header)
        carried, sent = self._pending[sequence]
        if message is None or not message.response or message.sent != carried:
            return None
        del self._pending[sequence]
        arrived = _stamp(notes) or time.clock_gettime_ns(TAI)
        return Answer(
            sequence, sent, message.received, message.reply_sent, arrived, message.control
        )

    def _take_stamps(self) -> None:
        """Take the times at which queries left out of the socket's error queue."""
        while True:
            try:
                _, notes, _, _ = self._socket.recvmsg(0, 1024, socket.MSG_ERRQUEUE)
            except OSError:
                return
            when = _stamp(notes)
            for level, kind, data in notes:
                if (level, kind) == (socket.IPPROTO_IPV6, _RECVERR) and len(data) >= _ERROR.size:
                    sequence = self._numbers.pop(_ERROR.unpack_from(data)[-1], -1)
                    if sequence in self._pending and when is not None:
                        self._pending[sequence] = (self._pending[sequence][0], when)


def _address(text: str) -> IPv6Address:
    try:
        return IPv6Address(text)
    except ValueError:
        raise UsageError(f"'{text}' is not an IPv6 address") from None


def _stamp(notes: list[tuple[int, int, bytes]]) -> int | None:
    """The kernel's time, which is of the clock of UTC, as TAI. Both clocks go alike."""
    for level, kind, data in notes:
        if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMPING) and len(data) >= _SPEC.size:
            seconds, nanoseconds = _SPEC.unpack_from(data)
            if seconds:
                between = time.clock_gettime_ns(TAI) - time.clock_gettime_ns(time.CLOCK_REALTIME)
                return int(seconds * NS + nanoseconds + round(between / NS) * NS)
    return None


def _dm(header: bytes) -> Message | None:
    """The DM TLV of an SRH, None if there is none that can be read."""
    if len(header) < 8 or header[2] != 4:
        return None
    at = 8 + 16 * (header[4] + 1)
    while at + 2 <= len(header):
        if header[at] == 0:
            at += 1
        elif header[at] == DM_TYPE:
            try:
                return Message.decode(header, at)
            except ObjectError:
                return None
        else:
            at += 2 + header[at + 1]
    return None


def reachable_hint(querier: Querier) -> str | None:
    """What to look at where no answer came."""
    if querier.accepts:
        return "is the SID right, and does end_dm run there? 'nfc status' says on that router"
    return (
        "answers carry an SRH, and this machine takes none: set net.ipv6.conf.all.seg6_enabled "
        "and that of the interface to 1"
    )
