"""Holding a link's packets back: a tun device takes them, and they go out when it is time.

The link's SID gets a route of its own (/128) into the tun. What comes out of it is sent as it is
by a raw socket that is bound to the link's interface, for which the route into the tun does not
count (net/ipv6/route.c, RT6_LOOKUP_F_IFACE), so it takes the route that was there before. Device
and route live as long as the process: when that is killed, packets go directly again.
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
from ipaddress import IPv6Address
from typing import Any, Final

from nfc.errors import KernelError, PrivilegeError
from nfc.lab.shape import NS, Shape, Shaper
from nfc.lab.wire import hurry

_TUNSETIFF: Final = 0x400454CA  # uapi/linux/if_tun.h
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_METRIC: Final = 50
_BATCH: Final = 64
_MOST: Final = 10_000  # packets held; more are dropped


class Delayer:
    """For one link; a context manager. Raises PrivilegeError without CAP_NET_ADMIN (the tun and
    its route) or CAP_NET_RAW (the raw socket), KernelError otherwise."""

    def __init__(self, name: str, sid: str, dev: str) -> None:
        """Make the tun device, and begin to carry what comes into it."""
        self.sid, self.device = sid, f"bond-{name}"[:15]
        self._packed = IPv6Address(sid).packed
        self._target = (sid, 0)
        self._shaper = Shaper(Shape())
        self._waiting: list[tuple[int, int, bytes]] = []
        self._wake, self._woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.carried = self.dropped = 0
        self._routed = False
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, self._wake)
            undo.callback(os.close, self._woken)
            with _said(f"send out of {dev}", "CAP_NET_RAW"):
                self._out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
                undo.callback(self._out.close)
                self._out.setsockopt(
                    socket.SOL_SOCKET, socket.SO_BINDTODEVICE, dev.encode() + b"\0"
                )
            with _said(f"make the device {self.device}", "CAP_NET_ADMIN"):
                self._tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
                undo.callback(os.close, self._tun)
                request = struct.pack("16sH22x", self.device.encode(), _IFF_TUN | _IFF_NO_PI)
                fcntl.ioctl(self._tun, _TUNSETIFF, request)
            self._set_up(dev)
            self._undo = undo.pop_all()
        self._thread = threading.Thread(target=self._run, name=self.device, daemon=True)
        self._thread.start()

    def hold(self, nanoseconds: int) -> None:
        """Hold packets back by so much from now on; 0: they do not come here any more."""
        if nanoseconds:
            self._shaper.change(Shape(delay=nanoseconds))
        self._route(bool(nanoseconds))

    def close(self) -> None:
        """Let packets go directly, send what is held, and remove the device."""
        with contextlib.suppress(KernelError):
            self._route(False)
        os.write(self._woken, b"x")
        self._thread.join(2)
        self._undo.close()

    def __enter__(self) -> Delayer:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    # ---- the kernel ------------------------------------------------------------------------------

    def _set_up(self, dev: str) -> None:
        with _netlink(f"set up {self.device}") as ipr:
            index = socket.if_nametoindex(self.device)
            [link] = ipr.get_links(socket.if_nametoindex(dev))
            ipr.link("set", index=index, mtu=link.get_attr("IFLA_MTU"), state="up", txqlen=_MOST)

    def _route(self, wanted: bool) -> None:
        """The route into the tun, there or not; also if somebody else has changed it."""
        if not wanted and not self._routed:
            return
        route = {
            "family": socket.AF_INET6,
            "dst": f"{self.sid}/128",
            "oif": socket.if_nametoindex(self.device),
            "priority": _METRIC,
        }
        with _netlink(f"route {self.sid} over {self.device}") as ipr:
            try:
                ipr.route("replace" if wanted else "del", **route)
            except Exception as error:
                if wanted or getattr(error, "code", None) != errno.ESRCH:
                    raise
        self._routed = wanted

    # ---- packets ---------------------------------------------------------------------------------

    def _run(self) -> None:
        hurry()
        more, stopping = False, False
        while not stopping:
            self._send()
            wait = None
            if self._waiting:
                wait = max(self._waiting[0][0] - time.monotonic_ns(), 0) / NS
            found = select.select([self._tun, self._wake], [], [], 0 if more else wait)[0]
            more = self._tun in found and self._read()
            stopping = self._wake in found
        while self._waiting:  # in their order, at once
            self._out_with(heapq.heappop(self._waiting)[2])

    def _read(self) -> bool:
        for _ in range(_BATCH):
            try:
                packet = os.read(self._tun, 65_536)
            except OSError:
                return False
            if packet[24:40] != self._packed:  # the kernel's own: it listens and solicits
                continue
            if len(self._waiting) >= _MOST:
                self.dropped += 1
                continue
            due = self._shaper.out(time.monotonic_ns(), len(packet))
            assert due is not None  # this shape loses nothing
            self.carried += 1
            heapq.heappush(self._waiting, (due, self.carried, packet))
        return True

    def _send(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic_ns():
            self._out_with(heapq.heappop(self._waiting)[2])

    def _out_with(self, packet: bytes) -> None:
        try:
            self._out.sendto(packet, self._target)
        except OSError:  # the link is down, or its queue is full
            self.dropped += 1


@contextlib.contextmanager
def _said(what: str, capability: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        number = error.errno or 0
        if number in (errno.EPERM, errno.EACCES):
            raise PrivilegeError(f"cannot {what}: it takes {capability}", errno=number) from None
        raise KernelError(f"cannot {what}: {error.strerror}", errno=number) from None


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
