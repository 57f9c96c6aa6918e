"""An IPv6 route as the kernel shows it: raw, so that it can be put back exactly, and readable.

include/uapi/linux/rtnetlink.h (struct rtmsg); which attributes go in and which only come out:
net/ipv6/route.c, rtm_to_fib6_config and rt6_fill_node.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nfc.errors import UsageError
from nfc.kernel import encap, rtattr
from nfc.kernel.encap import InstalledProgram
from nfc.kernel.rtattr import Attribute, NextHop

HEADER = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type

UNICAST = 1  # RTN_UNICAST
CLONED = 0x200  # RTM_F_CLONED: a cached exception, not a route that anybody made

_STATIC = 4  # RTPROT_STATIC
_AF_INET6 = 10
_ONLINK = 4  # RTNH_F_ONLINK: the one flag that the kernel takes
_TICKS_PER_SECOND = 100  # USER_HZ, the unit of rta_expires
_SETTABLE = (
    rtattr.DST,
    rtattr.OIF,
    rtattr.GATEWAY,
    rtattr.PRIORITY,
    rtattr.PREFSRC,
    rtattr.METRICS,
    rtattr.MULTIPATH,
    rtattr.TABLE,
    rtattr.PREF,
    rtattr.ENCAP_TYPE,
    rtattr.ENCAP,
    rtattr.NH_ID,
)
_ENCAP = (rtattr.ENCAP_TYPE, rtattr.ENCAP)
_PLACE = (rtattr.OIF, rtattr.GATEWAY, rtattr.MULTIPATH)


@dataclass(frozen=True)
class Route:
    """One route: struct rtmsg and its attributes, in the kernel's order and bytes.

    `devices` are the names of its devices when it was read; for people, not for the kernel.
    """

    header: bytes
    attributes: tuple[Attribute, ...]
    devices: tuple[str, ...] = ()

    @property
    def prefix(self) -> ipaddress.IPv6Network:
        """The destination."""
        raw = rtattr.find(self.attributes, rtattr.DST) or bytes(16)
        return ipaddress.IPv6Network((raw, self.header[1]), strict=False)

    @property
    def table(self) -> int:
        """The routing table's id."""
        return rtattr.find_u32(self.attributes, rtattr.TABLE) or self.header[4]

    @property
    def metric(self) -> int:
        """The priority; the lowest is used. 1024 is what the kernel takes when told nothing."""
        return rtattr.find_u32(self.attributes, rtattr.PRIORITY) or 0

    @property
    def kind(self) -> int:
        """RTN_*: 1 unicast, 2 local, 6 blackhole, 7 unreachable, 8 prohibit."""
        return self.header[7]

    @property
    def nexthops(self) -> tuple[NextHop, ...]:
        """Where packets go: several for a multipath route, none for one without a device."""
        many = rtattr.find(self.attributes, rtattr.MULTIPATH)
        if many is not None:
            return tuple(rtattr.unpack_nexthops(many))
        index = rtattr.find_u32(self.attributes, rtattr.OIF)
        own = tuple(a for a in self.attributes if a[0] in (rtattr.GATEWAY, *_ENCAP))
        return () if index is None else (NextHop(0, 0, index, own),)

    @property
    def programs(self) -> tuple[InstalledProgram, ...]:
        """The BPF programs on it, each once. Raises KernelError when the attributes are broken."""
        found = list(encap.decode(self.attributes))
        for hop in self.nexthops:
            found += encap.decode(hop.attributes)
        return tuple(dict.fromkeys(found))

    def to_json(self) -> dict[str, object]:
        """Plain data that JSON can hold and `from_json` takes back without loss."""
        return {
            "prefix": str(self.prefix),
            "table": self.table,
            "metric": self.metric,
            "devices": list(self.devices),
            "header": base64.b64encode(self.header).decode(),
            "attributes": [[k, base64.b64encode(v).decode()] for k, v in self.attributes],
        }

    @staticmethod
    def from_json(data: object) -> Route:
        """The route that `to_json` wrote. Raises UsageError when it is something else."""
        try:
            if not isinstance(data, dict):
                raise TypeError("not an object")
            header = base64.b64decode(data["header"], validate=True)
            attributes = tuple(
                (_attribute_type(kind), base64.b64decode(value, validate=True))
                for kind, value in data["attributes"]
            )
            devices = tuple(str(name) for name in data["devices"])
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise UsageError(f"this is not a saved route: {error}") from None
        if len(header) != HEADER.size or header[0] != _AF_INET6 or header[1] > 128:
            raise UsageError("this is not a saved IPv6 route: its header is wrong")
        if any(k == rtattr.DST and len(v) != 16 for k, v in attributes):
            raise UsageError("this is not a saved IPv6 route: its destination is wrong")
        return Route(header, attributes, devices)

    def settable(self) -> Route:
        """What to send to have this route: without what the kernel only tells.

        A lifetime goes from CACHEINFO (ticks) to EXPIRES (seconds). A next hop object stands
        alone, since the kernel shows its contents beside its id but does not take both.
        """
        family, dst_len, src_len, tos, table, protocol, scope, kind, flags = HEADER.unpack(
            self.header
        )
        header = (family, dst_len, src_len, tos, table, protocol, scope, kind, flags & _ONLINK)
        kept = [a for a in self.attributes if a[0] in _SETTABLE]
        if rtattr.find(kept, rtattr.NH_ID) is not None:
            kept = [a for a in kept if a[0] not in (*_PLACE, *_ENCAP)]
        cache = rtattr.find(self.attributes, rtattr.CACHEINFO)
        # struct rta_cacheinfo: clntref, lastuse, expires (signed), …
        if cache is not None and len(cache) >= 12:
            (ticks,) = struct.unpack_from("=i", cache, 8)
            if ticks > 0:
                kept.append((rtattr.EXPIRES, rtattr.u32(max(1, ticks // _TICKS_PER_SECOND))))
        return replace(self, header=HEADER.pack(*header), attributes=tuple(kept))

    def with_encap(self, wanted: Sequence[Attribute]) -> Route:
        """The same route (as sent) with these RTA_ENCAP_TYPE and RTA_ENCAP on every next hop."""
        new: list[Attribute] = []
        many = False
        for kind, value in self.attributes:
            if kind == rtattr.MULTIPATH:
                many = True
                hops = (
                    replace(
                        hop,
                        flags=hop.flags & _ONLINK,
                        attributes=(*(a for a in hop.attributes if a[0] not in _ENCAP), *wanted),
                    )
                    for hop in rtattr.unpack_nexthops(value)
                )
                new.append((kind, rtattr.pack_nexthops(hops)))
            elif kind not in _ENCAP:
                new.append((kind, value))
        return replace(self, attributes=tuple(new if many else (*new, *wanted)))

    def with_attributes(self, changes: dict[int, bytes | None]) -> Route:
        """The same route with each type in `changes` set once, or removed where None."""
        kept = [a for a in self.attributes if a[0] not in changes]
        kept += [(kind, value) for kind, value in changes.items() if value is not None]
        return replace(self, attributes=tuple(kept))

    def as_unicast(self) -> Route:
        """As a template for a program: unicast, with its next hops spelled out.

        A blackhole, unreachable or local route has no place that packets go to; one with a next
        hop object shows where, and that is kept in its stead.
        """
        fields = list(HEADER.unpack(self.header))
        gone: dict[int, bytes | None] = {rtattr.NH_ID: None}
        if fields[7] != UNICAST:
            gone |= dict.fromkeys(_PLACE)
        fields[7] = UNICAST
        return replace(self, header=HEADER.pack(*fields)).with_attributes(gone)


def new_route(prefix: ipaddress.IPv6Network, table: int) -> Route:
    """A static unicast route that goes nowhere yet."""
    header = HEADER.pack(_AF_INET6, prefix.prefixlen, 0, 0, min(table, 252), _STATIC, 0, UNICAST, 0)
    # rtm_table is 8 bits wide; RTA_TABLE is what counts. 252 is RT_TABLE_COMPAT.
    if table in (253, 254, 255):
        header = header[:4] + bytes([table]) + header[5:]
    attributes = ((rtattr.DST, prefix.network_address.packed), (rtattr.TABLE, rtattr.u32(table)))
    return Route(header, attributes)


def parse_prefix(prefix: str) -> ipaddress.IPv6Network:
    """`fc00:2::/64`, an address alone (/128), or `default`. Raises UsageError."""
    try:
        return ipaddress.IPv6Network("::/0" if prefix == "default" else prefix)
    except ValueError as error:
        raise UsageError(
            f"{prefix!r} is not an IPv6 prefix: {error}", hint=_without_host_bits(prefix)
        ) from None


def _without_host_bits(prefix: str) -> str | None:
    """What was meant where only bits behind the prefix's length are set."""
    try:
        return f"did you mean {ipaddress.IPv6Network(prefix, strict=False)}?"
    except ValueError:
        return None


def _attribute_type(kind: object) -> int:
    if not isinstance(kind, int) or not 0 < kind < 64:
        raise ValueError(f"attribute type {kind!r}")
    return kind
