"""A wire: a process that carries frames between two interfaces, as slowly as a link is to be.

Linux has netem for this, but not every kernel has netem; the wire is the same everywhere. It
stands in a namespace of its own between the two ends of a link, hears both with packet sockets
(packet(7)), and sends each frame when `Shaper` says. The kernel's time of arrival counts, not
when the wire came to read it, so a wire that is woken late for one frame delays no other. A frame
that waited longer than any clock is trusted for arrived when it was read, and so did those behind
it: else these would find the link taken by one that came after them, and its queue too long.

    python -m nfc.lab.wire     with a JSON object of `Options` on standard input

Only the standard library is used here: a lab starts one of these for each link.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import heapq
import json
import os
import select
import socket
import statistics
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from nfc.lab.shape import NS, Shape, Shaper

_ETH_P_ALL: Final = 3  # uapi/linux/if_ether.h
_SO_TIMESTAMPNS: Final = 35  # uapi/asm-generic/socket.h
_SO_RCVBUFFORCE: Final = 33
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6  # uapi/linux/if_packet.h
_PACKET_IGNORE_OUTGOING: Final = 23
_PR_SET_TIMERSLACK: Final = 29  # uapi/linux/prctl.h
_BUFFER: Final = 16 << 20  # bytes
_MOST_FRAME: Final = 65_600
_BATCH: Final = 64  # frames read from one side before the other has its turn
_LATELY: Final = 10_000  # frames
_LATE: Final = 50_000_000  # ns: an older time of arrival than this is a clock that jumped
_TIME: Final = struct.Struct("@qq")


@dataclass(frozen=True)
class Options:
    """The interfaces of both sides, what becomes of frames from the first to the second and back,
    and the name under which the wire is spoken to (an abstract Unix socket of its namespace)."""

    interfaces: tuple[str, str]
    there: Shape
    back: Shape
    control: str


class Clock:
    """How far the kernel's clock for arrivals (CLOCK_REALTIME) is ahead of the monotonic one."""

    def __init__(self) -> None:
        """Compare them for the first time."""
        self.ahead = self.next = 0
        self.compare()

    def compare(self) -> None:
        """Take the reading between whose two neighbours the least time passed; at most every
        100 ms, in which adjtime(2) moves the clock by 50 µs at most."""
        if time.monotonic_ns() < self.next:
            return
        best = NS
        for _ in range(5):
            before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
            if after - before < best:
                best, self.ahead = after - before, real - (before + after) // 2
        self.next = time.monotonic_ns() + NS // 10


class Side:
    """One direction: frames from one interface, to the other when it is time."""

    def __init__(self, source: str, shape: Shape, clock: Clock) -> None:
        """Open the socket of the source; `Wire` sets that of the target, `output`."""
        self.input = self.output = _open(source)
        self.clock = clock
        self.shaper = Shaper(shape)
        self.waiting: list[tuple[int, int, int, bytes]] = []  # due, number, when it leaves, frame
        self.received = self.sent = self.missed = self.refused = 0
        self.bytes = 0
        self.arrived = 0  # ns, when the last frame did
        self.late = self.latest = 0  # ns, sum and maximum
        self.lately: deque[int] = deque(maxlen=_LATELY)  # ns

    def read(self) -> bool:
        """Take in what has come; whether there may be more."""
        recvmsg, waiting, out = self.input.recvmsg, self.waiting, self.shaper.out
        for _ in range(_BATCH):
            try:
                frame, extra, _, _ = recvmsg(_MOST_FRAME, 64, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError:  # ENETDOWN: the interface was set down
                return False
            arrived = now = time.monotonic_ns()
            if extra:
                seconds, rest = _TIME.unpack(extra[0][2][:16])
                noted = seconds * NS + rest - self.clock.ahead
                if now - _LATE < noted < now:
                    arrived = max(noted, self.arrived)
            self.arrived = arrived
            self.received += 1
            due = out(arrived, len(frame))
            if due is not None:
                heapq.heappush(waiting, (due, self.received, self.shaper.left, frame))
        return True

    def change(self, shape: Shape) -> None:
        """Be like that from now on."""
        before = self.shaper.shape
        self.shaper.change(shape)
        if shape.rate == before.rate:
            return
        now = time.monotonic_ns()
        gone = [one for one in self.waiting if one[2] <= now]
        queue = sorted((one for one in self.waiting if one[2] > now), key=lambda one: one[1])
        times = self.shaper.requeue(
            now,
            before.rate,
            max((one[0] for one in gone), default=0),
            [(left, due, len(frame)) for due, _, left, frame in queue],
        )
        again = [
            (due, number, left, frame)
            for (left, due), (_, number, _, frame) in zip(times, queue, strict=True)
        ]
        self.waiting[:] = [*gone, *again]
        heapq.heapify(self.waiting)

    def send(self) -> None:
        """Send all whose time has come."""
        waiting, send = self.waiting, self.output.send
        while waiting and waiting[0][0] <= (now := time.monotonic_ns()):
            due, _, _, frame = heapq.heappop(waiting)
            try:
                send(frame)
            except OSError:  # ENOBUFS, ENETDOWN, EMSGSIZE: as a wire, it loses the frame
                self.refused += 1
                continue
            self.sent += 1
            self.bytes += len(frame)
            self.late += now - due
            self.lately.append(now - due)
            self.latest = max(self.latest, now - due)

    def status(self) -> dict[str, Any]:
        """Counts, and in microseconds how much later than due frames were sent: the mean, the
        median of the last `_LATELY`, the most."""
        raw = self.input.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)  # since the last call
        self.missed += struct.unpack("@II", raw)[1]
        return {
            "shape": self.shaper.shape.to_json(),
            "received": self.received,
            "sent": self.sent,
            "bytes": self.bytes,
            "waiting": len(self.waiting),
            "lost": self.shaper.lost,
            "overflowed": self.shaper.overflowed,
            "missed": self.missed,
            "refused": self.refused,
            "late_us": round(self.late / max(self.sent, 1) / 1000, 1),
            "median_late_us": round(statistics.median(self.lately or (0,)) / 1000, 1),
            "latest_us": round(self.latest / 1000, 1),
        }


class Wire:
    """Both directions, and the socket that it is spoken to by."""

    def __init__(self, options: Options) -> None:
        """Open everything. Raises OSError."""
        first, second = options.interfaces
        self.clock = Clock()
        self.sides = (
            Side(first, options.there, self.clock),
            Side(second, options.back, self.clock),
        )
        self.sides[0].output, self.sides[1].output = self.sides[1].input, self.sides[0].input
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.control.bind("\0" + options.control)
        self.control.setblocking(False)

    def run(self, ready: Callable[[], object]) -> None:
        """Carry frames until the process is killed."""
        sockets: list[socket.socket] = [self.control, *(side.input for side in self.sides)]
        more = False
        ready()
        while True:
            for side in self.sides:
                side.send()
            dues = [side.waiting[0][0] for side in self.sides if side.waiting]
            wait = max(min(dues) - time.monotonic_ns(), 0) / NS if dues else None
            # select(2) takes microseconds; epoll_wait(2) would round to milliseconds.
            found = select.select(sockets, [], [], 0 if more else wait)[0]
            more = False
            self.clock.compare()
            for side in self.sides:
                if side.input in found:
                    more |= side.read()
            if self.control in found:
                self.answer()

    def answer(self) -> None:
        """Do what was asked for: change one or both shapes, and say how it stands."""
        try:
            data, sender = self.control.recvfrom(65_536)
        except BlockingIOError:
            return
        try:
            asked = json.loads(data)
            for side, key in zip(self.sides, ("there", "back"), strict=True):
                if asked.get(key):
                    side.change(replace(side.shaper.shape, **asked[key]))
            reply: dict[str, Any] = {
                "there": self.sides[0].status(),
                "back": self.sides[1].status(),
            }
        except (ValueError, TypeError, AttributeError) as error:
            reply = {"error": str(error)}
        with contextlib.suppress(OSError):
            self.control.sendto(json.dumps(reply).encode(), sender)


def _open(interface: str) -> socket.socket:
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    found.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    found.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    found.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    found.bind((interface, _ETH_P_ALL))
    return found


def hurry() -> None:
    """Be woken when asked, and before others: what is late here is late for everybody. A machine
    that does not allow it has a less punctual wire; `status` says how punctual."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:
        with contextlib.suppress(OSError):
            os.nice(-10)


def ask(control: str, question: dict[str, Any], timeout: float = 2.0) -> dict[str, Any]:
    """Speak to a wire, from inside its namespace. Raises OSError if it does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as here:
        here.bind("")  # a name of the kernel's choice, for the answer
        here.settimeout(timeout)
        here.connect("\0" + control)
        here.send(json.dumps(question).encode())
        found: dict[str, Any] = json.loads(here.recv(65_536))
    return found


def main() -> None:
    """Read the options, say "ready" once frames are carried, and carry them."""
    asked = json.load(sys.stdin)
    options = Options(
        (asked["interfaces"][0], asked["interfaces"][1]),
        Shape(**asked["there"]),
        Shape(**asked["back"]),
        asked["control"],
    )
    try:
        wire = Wire(options)
    except OSError as error:
        sys.exit(f"wire {options.control}: {error}")
    hurry()
    gc.freeze()
    gc.disable()  # nothing here makes cycles
    wire.run(lambda: print("ready", flush=True))


if __name__ == "__main__":
    main()
