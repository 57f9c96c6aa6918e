"""Policy rules (`ip -6 rule`), as far as a destination alone decides.

The packet that is looked up comes from another host, by an interface that no rule names, and has
no mark, source, protocol or port that one names: what `ip -6 route get DESTINATION iif DEVICE`
looks up. include/uapi/linux/fib_rules.h; what matches: net/core/fib_rules.c, fib_rule_match, and
net/ipv6/fib6_rules.c, fib6_rule_match.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Network
from typing import Final

from nfc.errors import KernelError
from nfc.kernel import rtattr

HEADER: Final = struct.Struct("=BBBBBBBBI")  # family, dst, src, tos, table, -, -, action, flags
TO_TABLE, GOTO, NOP = 1, 2, 3  # FR_ACT_*; 6 to 8 are blackhole, unreachable, prohibit
DROPS: Final = (6, 7, 8)

_INVERT: Final = 2  # FIB_RULE_INVERT
_TO, _FROM, _IIF, _GOTO, _PRIORITY, _MARK = 1, 2, 3, 4, 6, 10  # FRA_*
_IFGROUP, _SUPPRESS, _TABLE, _MASK, _OIF, _VRF, _UIDS = 13, 14, 15, 16, 17, 19, 20
_NONE: Final = 0xFFFFFFFF  # what is told of a suppressor that is not set
_LOOPBACK: Final = b"lo\0"  # as iif: packets of this host
# A selector that no packet looked up here has, by attribute. Those of the kernel that are not
# here do not select: goto, priority, table, suppressors, who made the rule.
_SELECTORS: Final = {
    12: "tun_id",
    22: "ipproto",
    23: "sport",
    24: "dport",
    25: "dscp",
    26: "flowlabel",
}
_KNOWN: Final = {*_SELECTORS, *(1, 2, 3, 4, 6, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21)}
_PART_OF: Final = {27, 28, 29, 30}  # masks of flow label, ports and DSCP


@dataclass(frozen=True)
class Rule:
    """One rule: `plain` says whether what it asks for beside `to` holds for the packet; `needs`
    what of that another packet might have."""

    priority: int
    action: int
    table: int = 0
    target: int = 0
    to: tuple[int, int] = (0, 0)  # length in bits, address
    inverted: bool = False
    plain: bool = True
    suppress: int = -1  # what has been found by a prefix no longer than this does not count
    needs: tuple[str, ...] = ()

    def matches(self, length: int, address: int) -> bool:
        """Whether it holds for the destinations of this prefix, as long as it or longer."""
        bits, network = self.to
        inside = length >= bits and (address ^ network) >> (128 - bits) == 0
        return (inside and self.plain) != self.inverted

    def __str__(self) -> str:
        """For people."""
        to = f" to {IPv6Network((self.to[1], self.to[0]))}" if self.to[0] else ""
        return f"rule {self.priority}{to} ({', '.join(self.needs)})"


LOCAL, MAIN = 255, 254  # RT_TABLE_*
USUAL: Final = (Rule(0, TO_TABLE, LOCAL), Rule(32766, TO_TABLE, MAIN))


def parse(body: bytes) -> Rule:
    """A rule out of its message. Raises KernelError when it is broken."""
    if len(body) < HEADER.size:
        raise KernelError(f"a rule of {len(body)} bytes")
    _, bits, source_bits, tos, table, _, _, action, flags = HEADER.unpack_from(body)
    found = dict(rtattr.unpack(body[HEADER.size :]))
    address = found.get(_TO, bytes(16))
    if bits > 128 or len(address) != 16:
        raise KernelError("a rule whose destination is no IPv6 prefix")
    plain, needs = _others(found, source_bits, tos)
    network = int.from_bytes(address, "big") >> (128 - bits) << (128 - bits)
    suppress = _number(found, _SUPPRESS, _NONE)
    return Rule(
        priority=_number(found, _PRIORITY),
        action=action,
        table=_number(found, _TABLE) or table,
        target=_number(found, _GOTO),
        to=(bits, network),
        inverted=bool(flags & _INVERT),
        plain=plain,
        suppress=-1 if suppress == _NONE else suppress,
        needs=needs,
    )


def _others(found: Mapping[int, bytes], source_bits: int, tos: int) -> tuple[bool, tuple[str, ...]]:
    """Whether all but the destination holds, and what of it another packet might have."""
    plain, needs = True, []
    if source_bits:
        plain = False
        needs.append("from")
    if tos:
        plain = False
        needs.append("tos")
    if _IIF in found:
        plain = False
        if found[_IIF] != _LOOPBACK:
            needs.append("iif")
    if _OIF in found:  # none is chosen yet when a packet is forwarded
        plain = False
    if _MARK in found or _MASK in found:
        plain = plain and not _number(found, _MARK) & _number(found, _MASK, _NONE)
        needs.append("fwmark")
    if _UIDS in found:  # what is forwarded counts as of user 0 (net/ipv6/route.c, ip6_route_input)
        plain = plain and _number(found, _UIDS) == 0
    if any(found.get(_VRF, b"")):
        plain = False
        needs.append("l3mdev")
    for kind, name in _SELECTORS.items():
        if kind in found:
            plain = plain and not any(found[kind])
            needs.append(name)
    if _number(found, _IFGROUP, _NONE) != _NONE:
        needs.append("suppress_ifgroup")
    for kind in sorted(set(found) - _KNOWN - _PART_OF):
        plain = False
        needs.append(f"selector {kind}")
    return plain, tuple(needs)


def _number(found: Mapping[int, bytes], kind: int, otherwise: int = 0) -> int:
    value = found.get(kind, b"")
    return struct.unpack_from("=I", value)[0] if len(value) >= 4 else otherwise
