"""Whether this host takes packets with an SRH."""

from __future__ import annotations

from ipaddress import IPv6Address
from pathlib import Path


def accepts_srh(address: str) -> bool:
    """Whether packets with an SRH are delivered to this address: `seg6_enabled` of all and of
    its interface (net/ipv6/exthdrs.c, ipv6_srh_rcv). True where that cannot be found out."""
    conf = Path("/proc/sys/net/ipv6/conf")
    try:
        known = Path("/proc/thread-self/net/if_inet6").read_text()
        rows = [line.split() for line in known.splitlines()]
        wanted = IPv6Address(address).packed.hex()
        names = {"all", *(row[5] for row in rows if row[0] == wanted)}
        return all(int((conf / name / "seg6_enabled").read_text()) > 0 for name in names)
    except (OSError, ValueError, IndexError):
        return True
