"""Holding a link's packets back: a tun device takes them, and they go out when it is time.

The link's SID gets a route of its own (/128) into the tun. What comes out of it is sent as it is
by a raw socket that is bound to the link's interface, for which the route into the tun does not
count (net/ipv6/route.c, RT6_LOOKUP_F_IFACE), so it takes the route that was there before. Device
and route live as long as the process: when that is killed, packets go directly again.

Where a packet can be lost here is in `Lost`, and counted; but for those that wait in a process
that is killed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import heapq
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any, Final

from nfc.closing import Closing
from nfc.errors import KernelError, NfcError, PrivilegeError
from nfc.lab.shape import NS, Shape, Shaper
from nfc.lab.wire import hurry

_TUNSETIFF: Final = 0x400454CA  # uapi/linux/if_tun.h
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_SIOCGIFMTU: Final = 0x8921  # uapi/linux/sockios.h
_REQUEST = struct.Struct("@16sI20x")  # struct ifreq, uapi/linux/if.h
_IPV6_RECVERR: Final = 25  # uapi/linux/in6.h
_SO_SNDBUFFORCE: Final = 32  # uapi/asm-generic/socket.h
_BUFFER: Final = 8 << 20  # bytes that may be in the interface's queue
_METRIC: Final = 50
_BATCH: Final = 64
_MOST: Final = 10_000  # packets that wait here, and as many in the device; more are dropped
_QUIET: Final = NS // 10  # after so long without a packet, none is on its way into the device
_STOP: Final = 2 * NS  # what is due later than so long after the end is sent then
_EVER: Final = 1 << 63


@dataclass(frozen=True)
class Lost:
    """Packets of a link that were lost on this router. `device`: it was full, as this process did
    not run for a while; `full`: more than `_MOST` had to wait here; `refused`: the link's
    interface was down, without a route, or its queue full."""

    device: int = 0
    full: int = 0
    refused: int = 0


class Delayer(Closing):
    """For one link; a context manager. Raises PrivilegeError without CAP_NET_ADMIN (the tun and
    its route) or CAP_NET_RAW (the raw socket), KernelError otherwise."""

    def __init__(self, device: str, sid: str, dev: str) -> None:
        """Make the tun device, and begin to carry what comes into it: packets to `sid`, which are
        to leave by `dev`. A %d in the device's name is a number of the kernel's choice."""
        self.sid, self.dev = sid, dev
        self._packed = IPv6Address(sid).packed
        self._target = (sid, 0)
        self._shaper = Shaper(Shape())
        self._waiting: list[tuple[int, int, bytes]] = []
        self._wake, self._woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.carried = self._full = self._refused = self._mtu = 0
        self._before: int | None = None  # what the device had dropped of the kernel's own packets
        self._failed: OSError | None = None
        self._lost: Lost | None = None  # in all, once it is closed
        self._routed = self._left = False
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, self._wake)
            undo.callback(os.close, self._woken)
            with _said(f"send out of {dev}", "CAP_NET_RAW"):
                self._out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
                undo.callback(self._out.close)
            self._bind()
            with _said(f"make the device {device}", "CAP_NET_ADMIN"):
                self._tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
                undo.callback(os.close, self._tun)
                request = struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI)
                made: bytes = fcntl.ioctl(self._tun, _TUNSETIFF, request)
                self.device = made[:16].rstrip(b"\0").decode()
                # The queue of the interface, not this socket, is to say what is too much; and it
                # is to say so: else what it drops is taken for sent (net/ipv6/raw.c).
                self._out.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
                self._out.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            self._set_up()
            self._undo = undo.pop_all()
        self._thread = threading.Thread(target=self._run, name=self.device, daemon=True)
        self._thread.start()

    def hold(self, nanoseconds: int) -> None:
        """Hold packets back by so much from now on; 0: they do not come here any more. What
        somebody else has changed of route, MTU and interface is put right. Raises KernelError
        where that cannot be, NfcError where this one can carry nothing any more."""
        if self._failed is not None:
            raise NfcError(f"cannot read from {self.device}: {self._failed.strerror}")
        if nanoseconds:
            self._shaper.change(Shape(delay=nanoseconds))
            self._bind()
            if self._mtu != self._wanted_mtu():
                self._set_up()
        self._route(bool(nanoseconds))

    def lost(self) -> Lost:
        """What was lost so far, and where."""
        if self._lost is not None:
            return self._lost
        device = 0 if self._before is None else _dropped(self.device) - self._before
        return Lost(device, self._full, self._refused)

    def leave(self) -> None:
        """Let packets go directly, and begin to end; not to be used again but to be closed."""
        if not self._left:
            self._left = True
            with contextlib.suppress(KernelError):
                self._route(False)
            os.write(self._woken, b"x")

    def close(self) -> None:
        """Let packets go directly, send all that are held, and remove the device."""
        self.leave()
        self._thread.join(2 * _STOP / NS)
        self._lost = self.lost()
        self._undo.close()

    # ---- the kernel ------------------------------------------------------------------------------

    def _bind(self) -> None:
        """Send by the interface that has the name now: one that was made anew is another."""
        with _said(f"send out of {self.dev}", "CAP_NET_RAW"):
            self._out.setsockopt(
                socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.dev.encode() + b"\0"
            )

    def _wanted_mtu(self) -> int:
        with _said(f"ask for the MTU of {self.dev}", "CAP_NET_RAW"):
            found = fcntl.ioctl(self._out, _SIOCGIFMTU, _REQUEST.pack(self.dev.encode(), 0))
        return int(_REQUEST.unpack(found)[1])

    def _set_up(self) -> None:
        """With the MTU of the link, so that whoever sends too much is told by the router."""
        mtu = self._wanted_mtu()
        with _netlink(f"set up {self.device}") as ipr:
            index = socket.if_nametoindex(self.device)
            ipr.link("set", index=index, mtu=mtu, state="up", txqlen=_MOST)
        self._mtu = mtu

    def _route(self, wanted: bool) -> None:
        """The route into the tun, there or not; also if somebody else has changed it. One that is
        right is left alone: to replace it would make the kernel look for the way of every flow
        anew."""
        if not wanted and not self._routed:
            return
        with _netlink(f"route {self.sid} over {self.device}") as ipr:
            index = socket.if_nametoindex(self.device)
            if wanted and self._routed and _leads_to(ipr, self.sid, index):
                return
            route = {
                "family": socket.AF_INET6,
                "dst": f"{self.sid}/128",
                "oif": index,
                "priority": _METRIC,
            }
            if self._before is None:
                self._before = _dropped(self.device)
            try:
                ipr.route("replace" if wanted else "del", **route)
            except Exception as error:
                if wanted or getattr(error, "code", None) != errno.ESRCH:
                    raise
        self._routed = wanted

    # ---- packets ---------------------------------------------------------------------------------

    def _run(self) -> None:
        hurry()
        try:
            self._carry()
            self._empty()
        except OSError as error:  # the device is gone
            self._failed = error

    def _carry(self) -> None:
        more, stopping = False, False
        while not stopping:
            self._send(time.monotonic_ns())
            wait = None
            if self._waiting:
                wait = max(self._waiting[0][0] - time.monotonic_ns(), 0) / NS
            found = select.select([self._tun, self._wake], [], [], 0 if more else wait)[0]
            more = self._tun in found and self._read()
            stopping = self._wake in found

    def _empty(self) -> None:
        """The route is gone: take what is still in the device or on its way there, and send it
        all when it is due; not at once, for which a queue behind this might be too short."""
        now = time.monotonic_ns()
        end, quiet = now + _STOP, now + _QUIET
        while now < end and (self._waiting or now < quiet):
            self._send(now)
            until = min(self._waiting[0][0] if self._waiting else quiet, end)
            wait = max(until - time.monotonic_ns(), 0) / NS
            if select.select([self._tun], [], [], wait)[0]:
                self._read()
                quiet = time.monotonic_ns() + _QUIET
            now = time.monotonic_ns()
        self._send(_EVER)

    def _read(self) -> bool:
        for _ in range(_BATCH):
            try:
                packet = os.read(self._tun, 65_536)
            except BlockingIOError:
                return False
            if packet[24:40] != self._packed:  # the kernel's own: it listens and solicits
                continue
            if len(self._waiting) >= _MOST:
                self._full += 1
                continue
            due = self._shaper.out(time.monotonic_ns(), len(packet))
            assert due is not None  # this shape loses nothing
            self.carried += 1
            heapq.heappush(self._waiting, (due, self.carried, packet))
        return True

    def _send(self, until: int) -> None:
        """Send what is due by then."""
        while self._waiting and self._waiting[0][0] <= until:
            packet = heapq.heappop(self._waiting)[2]
            try:
                self._out.sendto(packet, socket.MSG_DONTWAIT, self._target)
            except OSError:  # the link is down, or its queue is full
                self._refused += 1


def _leads_to(ipr: Any, address: str, index: int) -> bool:
    """Whether packets to the address leave by that interface."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        found = ipr.route("get", family=socket.AF_INET6, dst=address)
    except NetlinkError:
        return False
    return any(one.get_attr("RTA_OIF") == index for one in found)


def _dropped(device: str) -> int:
    """Packets that the kernel could not put into the device (proc(5), net/dev)."""
    with contextlib.suppress(OSError), open("/proc/thread-self/net/dev") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name.strip() == device:
                return int(rest.split()[11])
    return 0


@contextlib.contextmanager
def _said(what: str, capability: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        number = error.errno or 0
        if number in (errno.EPERM, errno.EACCES):
            raise PrivilegeError(f"cannot {what}: it takes {capability}", errno=number) from None
        hint = "does another 'nfc bond run' hold it?" if number == errno.EBUSY else None
        raise KernelError(f"cannot {what}: {error.strerror}", errno=number, hint=hint) from None


@contextlib.contextmanager
def _netlink(what: str) -> Iterator[Any]:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with _said(what, "CAP_NET_ADMIN"):
        try:
            with IPRoute() as ipr:
                yield ipr
        except NetlinkError as error:
            raise OSError(error.code, os.strerror(error.code)) from None
