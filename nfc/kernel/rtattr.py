"""Netlink attributes as raw bytes: pack and unpack, nested ones too.

include/uapi/linux/netlink.h (struct nlattr: u16 length with its own 4 bytes, u16 type, padded to
4) and include/uapi/linux/rtnetlink.h. All numbers are in the machine's byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nfc.errors import KernelError

# enum rtattr_type_t
DST = 1
OIF = 4
GATEWAY = 5
PRIORITY = 6
PREFSRC = 7
METRICS = 8
MULTIPATH = 9
CACHEINFO = 12
TABLE = 15
PREF = 20
ENCAP_TYPE = 21
ENCAP = 22
EXPIRES = 23
NH_ID = 30

Attribute = tuple[int, bytes]

_HEADER = struct.Struct("=HH")
_NEXTHOP = struct.Struct("=HBBi")  # length, flags, hops, ifindex
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER


@dataclass(frozen=True)
class NextHop:
    """One entry of RTA_MULTIPATH (struct rtnexthop); `hops` is the weight less one."""

    flags: int
    hops: int
    ifindex: int
    attributes: tuple[Attribute, ...]


def u32(number: int) -> bytes:
    """An attribute's u32."""
    return struct.pack("=I", number)


def text(value: str) -> bytes:
    """An attribute's string, with the NUL that ends it."""
    return value.encode() + b"\0"


def pack(attributes: Iterable[Attribute]) -> bytes:
    """Attributes one after the other, padded: also the value of a nested attribute."""
    out = bytearray()
    for kind, value in attributes:
        out += _HEADER.pack(_HEADER.size + len(value), kind) + value
        out += bytes(-len(out) % 4)
    return bytes(out)


def unpack(data: bytes) -> Iterator[Attribute]:
    """The attributes in `data`. Raises KernelError when a length does not fit."""
    at = 0
    while len(data) - at >= _HEADER.size:
        length, kind = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= length <= len(data) - at:
            raise KernelError(f"a netlink attribute of {length} bytes at byte {at} does not fit")
        yield kind & _TYPE_MASK, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def find(attributes: Iterable[Attribute], kind: int) -> bytes | None:
    """The first attribute of type `kind`, or None."""
    return next((value for k, value in attributes if k == kind), None)


def find_u32(attributes: Iterable[Attribute], kind: int) -> int | None:
    """The first attribute of type `kind` as a u32, or None (also when it is shorter)."""
    value = find(attributes, kind)
    return None if value is None or len(value) < 4 else struct.unpack_from("=I", value)[0]


def pack_nexthops(hops: Iterable[NextHop]) -> bytes:
    """The value of RTA_MULTIPATH."""
    out = bytearray()
    for hop in hops:
        inner = pack(hop.attributes)
        out += _NEXTHOP.pack(_NEXTHOP.size + len(inner), hop.flags, hop.hops, hop.ifindex) + inner
    return bytes(out)


def unpack_nexthops(data: bytes) -> Iterator[NextHop]:
    """The entries of RTA_MULTIPATH. Raises KernelError when a length does not fit."""
    at = 0
    while len(data) - at >= _NEXTHOP.size:
        length, flags, hops, ifindex = _NEXTHOP.unpack_from(data, at)
        if not _NEXTHOP.size <= length <= len(data) - at:
            raise KernelError(f"a next hop of {length} bytes at byte {at} does not fit")
        inner = tuple(unpack(data[at + _NEXTHOP.size : at + length]))
        yield NextHop(flags, hops, ifindex, inner)
        at += (length + 3) & ~3
