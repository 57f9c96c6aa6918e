"""IPv6 routes that run programs: read, put in one message, put back, delete, list.

Every change is one netlink message, which the kernel carries out as a whole or refuses
(net/ipv6/route.c): packets see the old route or the new one.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nfc.errors import KernelError, UsageError
from nfc.kernel import encap, programs, rtattr, syscall
from nfc.kernel.encap import InstalledProgram, RouteProgram
from nfc.kernel.netns import run_in
from nfc.kernel.route import CLONED, HEADER, Route, new_route, parse_prefix
from nfc.kernel.rtattr import Attribute
from nfc.kernel.syscall import Fd
from nfc.kernel.tables import MAIN, table_id

if TYPE_CHECKING:
    from nfc.kernel import netlink

_HINTS = {
    errno.ENETUNREACH: "the gateway is not reachable from this namespace",
    errno.EHOSTUNREACH: "the gateway is not on a connected link",
    errno.ENETDOWN: "the device is down: ip link set dev DEVICE up",
    errno.EOPNOTSUPP: "the kernel lacks this encapsulation (CONFIG_IPV6_SEG6_BPF for endpoint, "
    "CONFIG_LWTUNNEL_BPF for in, out and xmit)",
}


def get_routes(
    prefix: str, *, table: int | str = MAIN, netns: str | None = None
) -> tuple[Route, ...]:
    """The routes to exactly `prefix`, lowest metric (the one in use) first; none if none.

    Raises UsageError for a prefix or table that is not one, KernelError.
    """
    wanted = parse_prefix(prefix)
    found = _dump(netns, table_id(table))
    return tuple(sorted((r for r in found if r.prefix == wanted), key=lambda r: r.metric))


def routes_with_programs(netns: str | None = None) -> tuple[Route, ...]:
    """Every route of the namespace, in any table, that has a BPF program. Raises KernelError."""
    return tuple(route for route in _dump(netns, None) if route.programs)


def all_routes(table: int | str, netns: str | None = None) -> tuple[Route, ...]:
    """Every route of a table. Raises UsageError, KernelError."""
    return _dump(netns, table_id(table))


def installed_program(route: Route) -> tuple[InstalledProgram, ...]:
    """The programs on `route`: hook, tag, and id where the kernel tells (endpoint only)."""
    return route.programs


def replace_route(
    prefix: str,
    wanted: Sequence[RouteProgram],
    *,
    table: int | str = MAIN,
    netns: str | None = None,
    metric: int | None = None,
    gateway: str | None = None,
    dev: str | None = None,
    headroom: int = 0,
) -> Route | None:
    """Put programs on the route to `prefix`, in one message; gives the route that was there.

    One endpoint program, or any of in, out and xmit. What is not told stays as it is on the
    route there: metric, gateway, device, all next hops of a multipath route, protocol, path
    metrics, source; an encapsulation that it had gives way, and so does a gateway when `dev` is
    another device. With several routes to the prefix,
    the one of `metric` is meant, or else the one with the lowest. A `metric` that none has makes
    another route beside them. Without a route there, `dev` or `gateway` is needed.

    Raises UsageError, KernelError with the kernel's words; then the old route is still there.
    """
    new_encap = encap.encode(wanted, headroom)
    number = table_id(table)
    there = get_routes(prefix, table=number, netns=netns)
    same = [route for route in there if metric is None or route.metric == metric]
    old = same[0] if same else None
    template = (same or list(there) or [new_route(parse_prefix(prefix), number)])[0]
    route = template.as_unicast().settable()
    changes: dict[int, bytes | None] = {}
    if metric is not None:
        changes[rtattr.PRIORITY] = rtattr.u32(_metric(metric))
    if gateway is not None:
        changes |= {rtattr.GATEWAY: _gateway(gateway), rtattr.MULTIPATH: None}
    if dev is not None:
        changes |= {rtattr.OIF: rtattr.u32(_index(dev, netns)), rtattr.MULTIPATH: None}
        if gateway is None and dev not in template.devices:
            changes[rtattr.GATEWAY] = None  # it is a neighbour on another link
    route = route.with_attributes(changes)
    if not any(
        kind in (rtattr.OIF, rtattr.GATEWAY, rtattr.MULTIPATH) for kind, _ in route.attributes
    ):
        raise UsageError(
            f"there is no route to {prefix} in table {table} to put a program on",
            hint="say where its packets go: a device, or a gateway",
        )
    _put(route.with_encap(new_encap), netns)
    return old


def put_route(
    route: Route, wanted: Sequence[RouteProgram] = (), *, netns: str | None = None
) -> None:
    """Put back a route as it was read, in one message, in the place of one of its metric.

    Programs on it are needed again: from `wanted`, by hook; an endpoint's is found by its id
    while the kernel still has it. Raises KernelError (ENOENT when a program is gone).
    """
    has = route.programs
    if not has:
        _put(route.settable(), netns)
        return
    given = {program.hook: program for program in wanted}
    opened: list[Fd] = []
    try:
        again = []
        for program in has:
            if program.hook in given:
                again.append(RouteProgram(program.hook, given[program.hook].fd, program.tag))
            elif program.prog_id is not None:
                opened.append(programs.by_id(program.prog_id))
                again.append(RouteProgram(program.hook, opened[-1], program.tag))
            else:
                raise KernelError(
                    f"cannot put back the route to {route.prefix}: the kernel does not tell "
                    f"which program {program.tag!r} was at hook {program.hook}",
                    errno=errno.ENOENT,
                    hint="keep transit programs pinned, and give them",
                )
        _put(route.settable().with_encap(encap.encode(again)), netns)
    finally:
        for fd in opened:
            fd.close()


def delete_route(route: Route, *, netns: str | None = None) -> bool:
    """Delete this route, by prefix, table, metric, and where it goes; False when it is not there.

    Raises KernelError.
    """
    keep = (rtattr.DST, rtattr.TABLE, rtattr.PRIORITY, rtattr.OIF, rtattr.GATEWAY)
    attributes = [a for a in route.settable().attributes if a[0] in keep]
    try:
        _request("delete", netns, route, attributes)
    except KernelError as error:
        if error.errno == errno.ESRCH:
            return False
        raise
    return True


def seg6_disabled(devices: Iterable[str], *, netns: str | None = None) -> tuple[str, ...]:
    """The sysctls out of seg6_enabled for `all` and `devices` that are not 1, by full name.

    Without them the kernel drops packets with an SRH that are for an address of its own
    (net/ipv6/exthdrs.c, ipv6_srh_rcv): those that a function passes up to this host. A seg6local
    route does not ask for them (measured on 6.18). Raises KernelError when a device, or SRv6 in
    this kernel, does not exist.
    """
    names = ("all", *devices)

    def look() -> tuple[str, ...]:
        off = []
        for name in names:
            path = Path("/proc/sys/net/ipv6/conf", name, "seg6_enabled")
            try:
                if path.read_text().strip() != "1":
                    off.append(f"net.ipv6.conf.{name}.seg6_enabled")
            except OSError as error:
                raise KernelError(
                    f"cannot read {path}: {syscall.describe(error.errno or 0)}",
                    errno=error.errno or 0,
                    hint="no such device, or a kernel without CONFIG_IPV6_SEG6_LWTUNNEL",
                ) from None
        return tuple(off)

    for name in names:
        _device_name(name)
    return run_in(netns, look)


def _dump(netns: str | None, table: int | None) -> tuple[Route, ...]:
    from nfc.kernel import netlink  # pyroute2 takes a quarter of a second to import

    attributes = [] if table is None else [(rtattr.TABLE, rtattr.u32(table))]
    header = HEADER.pack(socket.AF_INET6, 0, 0, 0, 0, 0, 0, 0, 0)
    try:
        found = netlink.request(netlink.RTM_GETROUTE, netlink.DUMP, header, attributes, netns)
    except netlink.Refused as error:
        if error.code == errno.ENOENT:  # the table has never had a route
            return ()
        raise _refusal("read routes", error) from None
    routes = (Route(*one) for one in found if not HEADER.unpack(one[0])[8] & CLONED)
    kept = tuple(r for r in routes if r.header[0] == socket.AF_INET6)
    names = _device_names(netns)
    return tuple(
        Route(r.header, r.attributes, tuple(names.get(h.ifindex, "?") for h in r.nexthops))
        for r in kept
    )


def _put(route: Route, netns: str | None) -> None:
    _request("put", netns, route, route.attributes)


def _request(what: str, netns: str | None, route: Route, attributes: Iterable[Attribute]) -> None:
    from nfc.kernel import netlink  # pyroute2 takes a quarter of a second to import

    kind, flags = {
        "put": (netlink.RTM_NEWROUTE, netlink.ACK | netlink.REPLACE | netlink.CREATE),
        "delete": (netlink.RTM_DELROUTE, netlink.ACK),
    }[what]
    header = route.settable().header
    try:
        netlink.request(kind, flags, header, attributes, netns)
    except netlink.Refused as error:
        raise _refusal(f"{what} route {route.prefix} table {route.table}", error) from None


def _refusal(what: str, error: netlink.Refused) -> KernelError:
    if error.code in (errno.EPERM, errno.EACCES):
        return syscall.refused(what, error.code, ("CAP_NET_ADMIN",))
    usual = os.strerror(error.code)
    said = usual if error.said == usual else f"{error.said} ({usual})"
    return KernelError(
        f"cannot {what}: {said}", errno=error.code, log=error.said, hint=_HINTS.get(error.code)
    )


def _device_names(netns: str | None) -> dict[int, str]:
    return dict(run_in(netns, socket.if_nameindex))


def _index(dev: str, netns: str | None) -> int:
    names = {name: index for index, name in _device_names(netns).items()}
    if dev not in names:
        raise KernelError(
            f"no such device: {dev!r}; there are: {', '.join(names)}", errno=errno.ENODEV
        )
    return names[dev]


def _device_name(name: str) -> None:
    if not name or "/" in name or name in (".", "..") or "\0" in name:
        raise UsageError(f"{name!r} is not the name of a device")


def _metric(metric: int) -> int:
    if not 0 < metric < 1 << 32:
        raise UsageError(f"a metric is 1 to {(1 << 32) - 1}, not {metric}")
    return metric


def _gateway(gateway: str) -> bytes:
    try:
        return ipaddress.IPv6Address(gateway).packed
    except ValueError as error:
        raise UsageError(f"{gateway!r} is not an IPv6 address: {error}") from None
