"""Where the IPv6 packet is in a frame, by link type (https://www.tcpdump.org/linktypes.html).

What the frame says is IPv6 but is not of version 6 is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NULL: Final = 0
ETHERNET: Final = 1
# What files hold instead that were written with a system's own numbers: DLT_RAW of most, of OpenBSD
# (libpcap's pcap/dlt.h).
DLT_RAW, DLT_RAW_OPENBSD = 12, 14
RAW: Final = 101  # the packet begins at its IP header
LOOP: Final = 108
LINUX_SLL: Final = 113
IPV6: Final = 229
LINUX_SLL2: Final = 276

ETH_P_IPV6, ETH_P_8021Q, ETH_P_8021AD = 0x86DD, 0x8100, 0x88A8  # IEEE 802.1Q and 802.1ad
# AF_INET6 of the machine that captured: Linux, NetBSD and OpenBSD, FreeBSD, macOS.
FAMILIES: Final = (10, 24, 28, 30)
# What tells that a frame holds IPv6: nothing but its version; an EtherType; four bytes of address
# family at its beginning, in network byte order, or in either.
BARE, ETHERTYPE, FAMILY, HOST_FAMILY = range(1, 5)


@dataclass(frozen=True)
class Form:
    """What frames of a link type look like: the packet begins at byte `start`, and an EtherType is
    at byte `at`; VLAN tags (two bytes of tag, the next EtherType) before the packet are taken
    off."""

    kind: int
    start: int = 0
    at: int = 0

    def ipv6(self, frame: bytes) -> bytes | None:
        """The IPv6 packet in a frame; None if it holds something else."""
        start = self.start
        if self.kind == ETHERTYPE:
            found = _number(frame[self.at : self.at + 2])
            while found in (ETH_P_8021Q, ETH_P_8021AD):
                found, start = _number(frame[start + 2 : start + 4]), start + 4
            if found != ETH_P_IPV6:
                return None
        elif self.kind != BARE:
            family = _number(frame[:4]) if len(frame) >= 4 else 0
            other = int.from_bytes(frame[:4], "little") if self.kind == HOST_FAMILY else 0
            if family not in FAMILIES and other not in FAMILIES:
                return None
        return frame[start:] if frame[start : start + 1] and frame[start] >> 4 == 6 else None


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


FORMS: Final[dict[int, Form]] = {
    NULL: Form(HOST_FAMILY, 4),
    ETHERNET: Form(ETHERTYPE, 14, 12),
    DLT_RAW: Form(BARE),
    DLT_RAW_OPENBSD: Form(BARE),
    RAW: Form(BARE),
    LOOP: Form(FAMILY, 4),
    LINUX_SLL: Form(ETHERTYPE, 16, 14),
    IPV6: Form(BARE),
    LINUX_SLL2: Form(ETHERTYPE, 20, 0),
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
