"""Links, addresses, routes and sysctls of the namespace that the calling thread is in.

Every function here must be called through `netns.run`: it changes the thread's own namespace.
pyroute2 is imported when first needed, since it takes a tenth of a second.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Interface
from typing import Any, Final

from nfc.errors import KernelError, PrivilegeError, UsageError

_IFA_F_NODAD: Final = 0x02  # uapi/linux/if_addr.h
_NUD_PERMANENT: Final = 0x80  # uapi/linux/neighbour.h
_SIOCETHTOOL: Final = 0x8946  # uapi/linux/sockios.h
_ETHTOOL_STXCSUM: Final = 0x17  # uapi/linux/ethtool.h
_READY_SECONDS: Final = 5.0

# Documentation/networking/ip-sysctl.rst, seg6-sysctl.rst. SRv6 is accepted where both `all` and
# the interface say so. No duplicate detection and no router solicitations: an interface is usable
# at once, and quiet. Link-local addresses stay: without one a router sends no neighbour
# solicitation for what it forwards (net/ipv6/ndisc.c), and only known neighbours are reached.
_QUIET: Final = {
    "all.seg6_enabled": 1,
    "default.seg6_enabled": 1,
    "lo.seg6_enabled": 1,
    "all.accept_dad": 0,
    "default.accept_dad": 0,
    "default.dad_transmits": 0,
    "default.accept_ra": 0,
    "default.router_solicitations": 0,
}


def interface_address(text: str) -> IPv6Interface:
    """An address with its prefix length. Raises UsageError if it is not one."""
    try:
        return IPv6Interface(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not an IPv6 address with a prefix length") from error


def prepare(forwarding: bool) -> None:
    """Set up a new namespace: sysctls, and the loopback up."""
    for key, value in _QUIET.items():
        sysctl(f"net.ipv6.conf.{key}", value)
    sysctl("net.ipv6.icmp.ratelimit", 0)  # else an answer may be held back, now and then
    if forwarding:
        sysctl("net.ipv6.conf.all.forwarding", 1)
    with _routes("bring up lo") as ipr:
        ipr.link("set", index=socket.if_nametoindex("lo"), state="up")


def sysctl(key: str, value: int | str) -> None:
    """Write "net.ipv6..." Raises KernelError if there is none, or it refuses the value."""
    parts = key.split(".")
    if parts[0] != "net" or any("/" in p or not p for p in parts):
        raise UsageError(f"{key!r} is not a sysctl of a network namespace")
    try:
        with open("/proc/sys/" + "/".join(parts), "w") as file:
            file.write(str(value))
    except OSError as error:
        raise KernelError(
            f"cannot set {key} to {value}: {error.strerror}", errno=error.errno or 0
        ) from error


def add_veth(own: tuple[str, bytes], peer: tuple[str, bytes], peer_namespace: int) -> None:
    """A veth pair: (name, MAC) here, and there in the namespace of the descriptor."""
    there = {"ifname": peer[0], "address": peer[1].hex(":"), "net_ns_fd": peer_namespace}
    with _routes(f"make the link {own[0]}") as ipr:
        ipr.link("add", kind="veth", ifname=own[0], address=own[1].hex(":"), peer=there)


def bring_up(interface: str, own: IPv6Interface, peer: IPv6Interface, peer_mac: bytes) -> None:
    """Address an interface, tell it its neighbour for good, and set it up.

    Transmit checksum offload goes off: with it, a packet that this kernel makes would cross the
    veth with half a checksum, and a capture would see that.
    """
    _no_checksum_offload(interface)
    index = socket.if_nametoindex(interface)
    with _routes(f"set up {interface}") as ipr:
        ipr.link("set", index=index, state="up")
    add_address(interface, own)
    with _routes(f"add the neighbour {peer.ip}") as ipr:
        ipr.neigh(
            "add",
            family=socket.AF_INET6,
            dst=str(peer.ip),
            lladdr=peer_mac.hex(":"),
            ifindex=index,
            state=_NUD_PERMANENT,
        )


def wait_ready(interface: str) -> None:
    """Wait until the interface carries packets: the kernel attaches the queue of the end that
    came up first from a work queue (net/core/link_watch.c), and drops packets until then."""
    index = socket.if_nametoindex(interface)
    deadline = time.monotonic() + _READY_SECONDS
    with _routes(f"look at {interface}") as ipr:
        while True:
            [link] = ipr.get_links(index)
            if (
                link.get("state") == "up"
                and link.get_attr("IFLA_QDISC") != "noop"
                and (link.get_attr("IFLA_OPERSTATE") == "UP")
            ):
                return
            if time.monotonic() > deadline:
                raise KernelError(f"{interface} is not ready after {_READY_SECONDS} s")
            time.sleep(0.0005)


def add_address(interface: str, address: IPv6Interface) -> None:
    """Add an address, usable at once (no duplicate address detection)."""
    with _routes(f"add {address} to {interface}") as ipr:
        ipr.addr(
            "add",
            index=_index(interface),
            family=socket.AF_INET6,
            address=str(address.ip),
            prefixlen=address.network.prefixlen,
            flags=_IFA_F_NODAD,
        )


def add_route(destination: str, via: str, interface: str, more: dict[str, Any]) -> None:
    """Add an IPv6 route; empty `via` and `interface` are left out."""
    route: dict[str, Any] = {"family": socket.AF_INET6, "dst": destination, **more}
    if destination == "default":
        route["dst"] = "::/0"
    if via:
        route["gateway"] = via
    if interface:
        route["oif"] = _index(interface)
    with _routes(f"add the route to {destination}") as ipr:
        ipr.route("add", **route)


def add_hops(destination: str, hops: list[dict[str, Any]], more: dict[str, Any]) -> None:
    """Add a route with these next hops (`via`, `dev`: empty ones are left out; `weight`)."""
    made = []
    for hop in hops:
        one: dict[str, Any] = {"hops": hop["weight"] - 1}  # rtnh_hops is the weight less one
        if hop["via"]:
            one["gateway"] = hop["via"]
        if hop["dev"]:
            one["oif"] = _index(hop["dev"])
        made.append(one)
    add_route(destination, "", "", {**more, "multipath": made})


def set_mtu(interface: str, mtu: int) -> None:
    """Set the interface's MTU in bytes."""
    with _routes(f"set the MTU of {interface}") as ipr:
        ipr.link("set", index=_index(interface), mtu=mtu)


def bring_up_bare(interface: str) -> None:
    """Set an interface up that has no address and says nothing itself."""
    _no_checksum_offload(interface)
    with _routes(f"set up {interface}") as ipr:
        ipr.link("set", index=_index(interface), state="up")


def quiet() -> None:
    """Make a new namespace one that only carries frames: no IPv6 of its own."""
    for which in ("all", "default"):
        sysctl(f"net.ipv6.conf.{which}.disable_ipv6", 1)


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        known = ", ".join(name for _, name in socket.if_nameindex())
        raise UsageError(f"there is no interface {interface!r}; there are: {known}") from None


@contextmanager
def _routes(what: str) -> Iterator[Any]:
    """An IPRoute in the thread's namespace; its errors become KernelError, with `what`."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as ipr:
            yield ipr
    except NetlinkError as error:
        reason, text = error.args[0], error.args[1] if len(error.args) > 1 else ""
        if reason in (1, 13):
            raise PrivilegeError(f"cannot {what}: it takes CAP_NET_ADMIN", errno=reason) from error
        raise KernelError(f"cannot {what}: {text}", errno=reason, log=text) from error


def _no_checksum_offload(interface: str) -> None:
    value = array.array("B", struct.pack("=II", _ETHTOOL_STXCSUM, 0))
    address, _ = value.buffer_info()
    request = struct.pack("16sP16x", interface.encode(), address)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)
