"""Traffic between two nodes, measured: echoes, datagrams at a rate, TCP connections.

Times of arrival are the kernel's (SO_TIMESTAMPNS), so that a reader that is busy measures no
delay of its own. Both ends are on one machine and read one clock. Every function takes sockets
that were opened in their namespaces.
"""

from __future__ import annotations

import contextlib
import select
import socket
import statistics
import struct
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from nfc.errors import KernelError

_SO_TIMESTAMPNS: Final = 35
_SO_RCVBUFFORCE: Final = 33
_ICMP6_FILTER: Final = 1  # uapi/linux/icmpv6.h
_ECHO, _REPLY = 128, 129
_HEAD: Final = struct.Struct("!QQ")  # a datagram's number, and when it was sent (ns since 1970)
_TIME: Final = struct.Struct("@qq")
_RETRANSMITTED: Final = 100  # tcpi_total_retrans in struct tcp_info, uapi/linux/tcp.h
_GRACE: Final = 1.0  # seconds to wait for what is under way, where it does not come


@dataclass(frozen=True)
class Delays:
    """Of delays, in microseconds."""

    minimum: float
    median: float
    p99: float
    maximum: float

    @classmethod
    def of(cls, nanoseconds: list[int]) -> Delays | None:
        """None of no delays."""
        if not nanoseconds:
            return None
        found = sorted(nanoseconds)
        at = (found[0], statistics.median(found), found[len(found) * 99 // 100], found[-1])
        return cls(*(round(one / 1000, 1) for one in at))


@dataclass(frozen=True)
class Echoes:
    """What came of echo requests; round trips in microseconds."""

    sent: int
    received: int
    round_trip_us: Delays | None

    def __str__(self) -> str:
        """One line."""
        times = _delays(self.round_trip_us, "round trip")
        return f"{self.received} of {self.sent} echoes came back{times}"


@dataclass(frozen=True)
class Datagrams:
    """What came of datagrams; `rate` is bits a second of Ethernet frames (62 bytes around each
    payload) between the first and the last that came in."""

    sent: int
    received: int
    reordered: int
    sent_rate: float
    rate: float
    delay_us: Delays | None

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.received} of {self.sent} datagrams at {self.rate / 1e6:.2f} of "
            f"{self.sent_rate / 1e6:.2f} Mbit/s, {self.reordered} reordered"
            + _delays(self.delay_us, "one way")
        )


@dataclass(frozen=True)
class Streams:
    """What TCP connections carried: `goodput` in bits a second, all and each."""

    connections: int
    seconds: float
    goodput: float
    each: list[float]
    retransmitted: int

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.connections} connections, {self.goodput / 1e6:.2f} Mbit/s, "
            f"{self.retransmitted} segments sent again"
        )


def _delays(found: Delays | None, what: str) -> str:
    if found is None:
        return ""
    return (
        f"; {what} {found.minimum / 1000:.3f} / {found.median / 1000:.3f} / "
        f"{found.p99 / 1000:.3f} / {found.maximum / 1000:.3f} ms (min, median, p99, max)"
    )


def to_json(result: Echoes | Datagrams | Streams) -> dict[str, Any]:
    """A result as JSON has it."""
    return asdict(result)


def echo_socket() -> socket.socket:
    """For `ping`; to be called in the node."""
    found = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    blocked = bytearray(b"\xff" * 32)
    word = struct.unpack_from("=I", blocked, _REPLY // 32 * 4)[0] & ~(1 << _REPLY % 32)
    struct.pack_into("=I", blocked, _REPLY // 32 * 4, word)
    found.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, bytes(blocked))
    found.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    return found


def ping(
    out: socket.socket, to: str, *, count: int = 10, rate: float = 10.0, size: int = 56
) -> Echoes:
    """`count` echo requests with `size` bytes of payload, `rate` a second. Raises KernelError."""
    identity = id(out) & 0xFFFF
    sent: dict[int, int] = {}
    times: dict[int, int] = {}

    def receive(until: float) -> None:
        while (left := until - time.monotonic()) > 0 or until == 0:
            if not select.select([out], [], [], max(left, 0))[0]:
                return
            data, extra, _, _ = out.recvmsg(65_536, 64)
            arrived = arrival(extra)
            kind, _, _, ident, number = struct.unpack_from("!BBHHH", data)
            if (kind, ident) == (_REPLY, identity) and number in sent and number not in times:
                times[number] = arrived - sent[number]
            if until == 0 or len(times) == count:
                return

    begin = time.monotonic()
    for number in range(count):
        due = begin + number / rate
        receive(due)
        while (left := due - time.monotonic()) > 0:
            time.sleep(left)
        key = number & 0xFFFF
        sent[key] = time.time_ns()
        head = struct.pack("!BBHHH", _ECHO, 0, 0, identity, key)
        with _said(f"send an echo to {to}"):
            out.sendto(head + bytes(size), (to, 0))
    receive(time.monotonic() + _GRACE)
    return Echoes(count, len(times), Delays.of(list(times.values())))


def datagram_socket(to: str, port: int) -> socket.socket:
    """The receiving one, bound; to be called in the node. Raises KernelError."""
    found = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    found.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
    found.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    with _said(f"listen at [{to}]:{port}"):
        found.bind((to, port))
    return found


FRAME: Final = 14 + 40 + 8  # bytes around a payload: Ethernet, IPv6, UDP


def datagrams(
    out: socket.socket,
    into: socket.socket,
    *,
    rate: float = 10e6,
    size: int | list[int] = 1000,
    seconds: float = 1.0,
    grace: float = _GRACE,
) -> Datagrams:
    """Datagrams of `size` bytes payload (or of these sizes in turn) at `rate` bits a second of
    frames, for `seconds`; `grace` seconds longer for what is under way. Raises KernelError."""
    sizes = [size] if isinstance(size, int) else size
    arrivals: list[tuple[int, int, int, int]] = []  # number, sent, arrived, size
    done = threading.Event()
    receiver = threading.Thread(target=_receive, args=(into, arrivals, done), daemon=True)
    receiver.start()
    begin = time.monotonic()
    number = bits = 0
    target = into.getsockname()[:2]
    while True:
        due = begin + bits / rate
        if due - begin >= seconds:
            break
        ahead = due - time.monotonic()
        if ahead > 0.0001:
            time.sleep(ahead)
        payload = sizes[number % len(sizes)]
        head = _HEAD.pack(number, time.time_ns())
        with _said(f"send a datagram to {target[0]}"):
            out.sendto(head + bytes(payload - len(head)), target)
        number += 1
        bits += (payload + FRAME) * 8
    took = max(time.monotonic() - begin, 1e-9)
    deadline = time.monotonic() + grace
    while len(arrivals) < number and time.monotonic() < deadline:
        time.sleep(0.005)
    done.set()
    receiver.join()
    order = [one[0] for one in arrivals]
    span = (arrivals[-1][2] - arrivals[0][2]) / 1e9 if len(arrivals) > 1 else 0.0
    came = sum((one[3] + FRAME) * 8 for one in arrivals[1:])
    return Datagrams(
        number,
        len(arrivals),
        _overtaken(order),
        bits / took,
        came / span if span else 0.0,
        Delays.of([arrived - sent for _, sent, arrived, _ in arrivals]),
    )


def _receive(
    into: socket.socket, arrivals: list[tuple[int, int, int, int]], done: threading.Event
) -> None:
    while not done.is_set():
        if not select.select([into], [], [], 0.05)[0]:
            continue
        with contextlib.suppress(BlockingIOError):
            while True:
                data, extra, _, _ = into.recvmsg(65_536, 64, socket.MSG_DONTWAIT)
                number, sent = _HEAD.unpack_from(data)
                arrivals.append((number, sent, arrival(extra), len(data)))


def _overtaken(order: list[int]) -> int:
    """How many came in behind one that was sent later (RFC 4737, section 3)."""
    highest, count = -1, 0
    for number in order:
        count += number < highest
        highest = max(highest, number)
    return count


def listen(to: str, port: int, most: int) -> socket.socket:
    """A listening TCP socket; to be called in the node. Raises KernelError."""
    found = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with _said(f"listen at [{to}]:{port}"):
        found.bind((to, port))
        found.listen(most)
    return found


def streams(
    outs: list[socket.socket], server: socket.socket, *, seconds: float = 3.0, warm: float = 0.0
) -> Streams:
    """TCP connections from `outs` (not connected yet) to the server, each with as much as goes,
    for `seconds`; what came in the first `warm` seconds is not counted. Raises KernelError."""
    got = [0] * len(outs)
    stop = threading.Event()
    accepted: list[socket.socket] = []
    target = server.getsockname()[:2]
    threads: list[threading.Thread] = []
    try:
        for out in outs:
            out.settimeout(10)
            with _said(f"connect to [{target[0]}]:{target[1]}"):
                out.connect(target)
                server.settimeout(10)
                accepted.append(server.accept()[0])
        threads.append(threading.Thread(target=_drain, args=(accepted, got, stop), daemon=True))
        threads += [threading.Thread(target=_fill, args=(o, stop), daemon=True) for o in outs]
        for thread in threads:
            thread.start()
        time.sleep(warm)
        before, begin = list(got), time.monotonic()
        time.sleep(seconds)
        after, took = list(got), time.monotonic() - begin
        again = sum(_retransmitted(out) for out in outs)
    finally:
        stop.set()
        for one in (*outs, *accepted):
            # Reset, rather than wait for what is under way (socket(7), SO_LINGER).
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for one in outs:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)
        for one in (*outs, *accepted):
            one.close()
    each = [(b - a) * 8 / took for a, b in zip(before, after, strict=True)]
    return Streams(len(outs), round(took, 3), sum(each), each, again)


def _fill(out: socket.socket, stop: threading.Event) -> None:
    block = bytes(65_536)
    with contextlib.suppress(OSError):
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                out.send(block)


def _drain(accepted: list[socket.socket], got: list[int], stop: threading.Event) -> None:
    numbers = {one: n for n, one in enumerate(accepted)}
    buffer = bytearray(1 << 18)
    while not stop.is_set():
        for one in select.select(accepted, [], [], 0.05)[0]:
            with contextlib.suppress(OSError):
                got[numbers[one]] += one.recv_into(buffer, len(buffer), socket.MSG_DONTWAIT)


def _retransmitted(out: socket.socket) -> int:
    with contextlib.suppress(OSError, struct.error):
        info = out.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return int(struct.unpack_from("=I", info, _RETRANSMITTED)[0])
    return 0


def arrival(extra: list[tuple[int, int, bytes]]) -> int:
    """Nanoseconds since 1970, as the kernel noted."""
    if not extra:
        return time.time_ns()
    seconds, rest = _TIME.unpack(extra[0][2][:16])
    return int(seconds * 10**9 + rest)


@contextlib.contextmanager
def _said(what: str) -> Any:
    try:
        yield
    except OSError as error:
        raise KernelError(
            f"cannot {what}: {error.strerror or error}", errno=error.errno or 0
        ) from None
