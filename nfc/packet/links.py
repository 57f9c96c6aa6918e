"""Where the IPv6 packet is in a frame, by link type (https://www.tcpdump.org/linktypes.html).

What the frame says is IPv6 but is not of version 6 is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

NULL: Final = 0
ETHERNET: Final = 1
RAW: Final = 101  # the packet begins at its IP header
LOOP: Final = 108
LINUX_SLL: Final = 113
IPV6: Final = 229
LINUX_SLL2: Final = 276

_ETHERTYPE_IPV6: Final = b"\x86\xdd"
_ETHERTYPES_VLAN: Final = (b"\x81\x00", b"\x88\xa8")  # IEEE 802.1Q and 802.1ad
# AF_INET6 of the machine that captured: Linux, NetBSD and OpenBSD, FreeBSD, macOS.
_FAMILIES: Final = frozenset(n.to_bytes(4, "big") for n in (10, 24, 28, 30))


def _raw(frame: bytes) -> bytes | None:
    return frame if frame[:1] and frame[0] >> 4 == 6 else None


def _ethertype(kind: int, start: int) -> Callable[[bytes], bytes | None]:
    """A frame with its EtherType at byte `kind` and its payload from byte `start` on; VLAN tags
    (two bytes of tag, the next EtherType) are taken off."""

    def ipv6(frame: bytes) -> bytes | None:
        found, at = frame[kind : kind + 2], start
        while found in _ETHERTYPES_VLAN:
            found, at = frame[at + 2 : at + 4], at + 4
        return _raw(frame[at:]) if found == _ETHERTYPE_IPV6 else None

    return ipv6


def _family(*, either_order: bool) -> Callable[[bytes], bytes | None]:
    """A frame that begins with four bytes of address family: the capturing machine's byte order
    in NULL, network byte order in LOOP."""

    def ipv6(frame: bytes) -> bytes | None:
        family = frame[:4]
        there = family in _FAMILIES or (either_order and family[::-1] in _FAMILIES)
        return _raw(frame[4:]) if there else None

    return ipv6


IPV6_OF: Final[dict[int, Callable[[bytes], bytes | None]]] = {
    NULL: _family(either_order=True),
    ETHERNET: _ethertype(12, 14),
    RAW: _raw,
    LOOP: _family(either_order=False),
    LINUX_SLL: _ethertype(14, 16),
    IPV6: _raw,
    LINUX_SLL2: _ethertype(0, 20),
}
NAMES: Final = {
    NULL: "NULL",
    ETHERNET: "ETHERNET",
    RAW: "RAW",
    LOOP: "LOOP",
    LINUX_SLL: "LINUX_SLL",
    IPV6: "IPV6",
    LINUX_SLL2: "LINUX_SLL2",
}
