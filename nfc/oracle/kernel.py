"""What the kernel does around a function, on bytes.

Receiving: net/ipv6/ip6_input.c. End.BPF: net/ipv6/seg6_local.c, seg6.c, seg6_hmac.c. Encap and
insert: net/ipv6/seg6_iptunnel.c, net/core/filter.c. Forwarding: net/ipv6/ip6_output.c. With
every sysctl at its default (seg6_require_hmac 0, seg6_flowlabel 0), and no HMAC keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from nfc.oracle import wire
from nfc.oracle.wire import Srh
from nfc.sema.headers import HMAC_FLAG, HMAC_TLV

MAIN = 254
LINK_LOCAL = IPv6Network("fe80::/64")  # every link has a route to it, in table main
_HMAC_SIZE = 40


@dataclass(frozen=True)
class Route:
    """A route: packets to `prefix` go out of `link`."""

    table: int
    prefix: IPv6Network
    link: str


@dataclass(frozen=True)
class Router:
    """The router: its routes, its own addresses, `ip -6 rule fwmark` as (mark, table), the
    source of outer headers (`ip sr tunsrc`), the MTU of every link in bytes, links by index."""

    routes: tuple[Route, ...]
    own: frozenset[IPv6Address]
    marks: tuple[tuple[int, int], ...]
    tunnel_source: IPv6Address
    mtu: int
    links: tuple[tuple[int, str], ...] = ()

    def lookup(self, destination: bytes, mark: int, table: int | None = None) -> str | None:
        """The link that a packet leaves by; None: no route, or the packet is for the router.

        "" where it is found to lead to a neighbour on the link that it came from, or to a group:
        such addresses are looked for on that link alone (net/ipv6/route.c, rt6_need_strict).
        """
        address = IPv6Address(destination)
        if address in LINK_LOCAL and table in (None, MAIN):
            return ""
        if table is not None:
            return self._in(table, address)
        if address.is_multicast:
            return ""
        if address in self.own or address.is_loopback or address.is_link_local:
            return None
        for wanted, number in self.marks:
            link = self._in(number, address) if mark == wanted else None
            if link is not None:
                return link
        return self._in(MAIN, address)

    def _in(self, table: int, address: IPv6Address) -> str | None:
        hits = [r for r in self.routes if r.table == table and address in r.prefix]
        return max(hits, key=lambda r: r.prefix.prefixlen).link if hits else None


def received(packet: bytes) -> bytes | None:
    """The packet as IPv6 takes it in: trimmed to its payload length; None: dropped."""
    if len(packet) < wire.IPV6_SIZE or packet[0] >> 4 != 6:
        return None
    length = int.from_bytes(packet[4:6], "big")
    hop_by_hop = packet[6] == wire.HOP_BY_HOP
    if length or not hop_by_hop:
        if wire.IPV6_SIZE + length > len(packet):
            return None
        packet = packet[: wire.IPV6_SIZE + length]
    source, target = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    if source.is_loopback or target.is_loopback or source.is_multicast:
        return None
    if target.is_multicast and target.packed[1] & 15 in (0, 1):  # RFC 4291, section 2.7: scopes
        return None
    if hop_by_hop:
        end = 48 + packet[41] * 8 if len(packet) >= 48 else 0
        if not end or len(packet) < end or not _options_taken(packet, end):
            return None
    return packet


def _options_taken(packet: bytes, end: int) -> bool:
    """Whether the kernel takes the Hop-by-Hop options, which end there (net/ipv6/exthdrs.c): up to
    8 of them, none that says to drop what does not know it (RFC 8200, section 4.2), and between
    them no more than 7 bytes of padding, all zero."""
    at, options, gap = 42, 0, 0
    while at < end:
        if packet[at] == 0:  # Pad1
            at, gap = at + 1, gap + 1
        else:
            after = at + 2 + packet[at + 1] if at + 1 < end else end + 1
            if after > end:
                return False
            body = packet[at + 2 : after]
            if packet[at] == wire.PADN_OPTION:
                if any(body):
                    return False
                gap += after - at
            else:
                options, gap = options + 1, 0
                if options > 8 or not _option_taken(packet[at], body, at):
                    return False
            at = after
        if gap > 7:
            return False
    return True


def _option_taken(kind: int, body: bytes, at: int) -> bool:
    """One option with what is in it; `at` is its place in the packet."""
    if kind == 5:  # router alert (RFC 2711)
        return len(body) == 2
    if kind == 0x31:  # IOAM (RFC 9486), which is not in use
        return at % 4 == 0
    # CALIPSO (RFC 5570) has no domain here; jumbograms (RFC 2675) are longer than packets here.
    return kind >> 6 == 0 and kind != 7


def find_header(data: bytes, target: int, *, skip_done: bool = False) -> tuple[int, Srh] | None:
    """ipv6_find_hdr: where the first header of that protocol is, with what stood before it.

    `skip_done` passes over routing headers without segments left. Ends and TLVs are filled in
    for a routing header whose fixed part is there.
    """
    protocol, at, count, first = data[6], wire.IPV6_SIZE, 0, True
    while True:
        extension = protocol in wire.EXTENSIONS
        if not extension:
            return (at, Srh(at, at, at, count, first)) if protocol == target else None
        if len(data) < at + 2:
            return None
        if protocol == wire.ROUTING:
            if len(data) < at + 4:
                return None
            if target == wire.ROUTING and not (skip_done and data[at + 3] == 0):
                if len(data) < at + 8:
                    return at, Srh(at, len(data), len(data), count, first)
                tlvs = at + 8 + 16 * (data[at + 4] + 1)
                return at, Srh(at, at + 8 * (data[at + 1] + 1), tlvs, count, first)
            first = False
        if protocol == wire.FRAGMENT and (len(data) < at + 4 or wire.later_fragment(data, at)):
            return None
        protocol, at = data[at], at + wire.extension_size(protocol, data, at)
        count += 1


def valid_srh(srh: bytes) -> bool:
    """seg6_validate_srh for a reduced SRH, given all of its bytes."""
    if len(srh) < 8 or srh[2] != wire.SRH_TYPE or (srh[1] + 1) * 8 != len(srh):
        return False
    left, last = srh[3], srh[4]
    if last > srh[1] // 2 - 1 or left > last + 1:
        return False
    rest = srh[8 + 16 * (last + 1) :]
    while rest:
        if len(rest) < 2 or 2 + rest[1] > len(rest):
            return False
        rest = rest[2 + rest[1] :]
    return 8 + 16 * (last + 1) <= len(srh)


def advanced(data: bytes) -> tuple[bytes, Srh] | None:
    """What End.BPF makes of a packet before the function sees it; None: dropped."""
    found = find_header(data, wire.ROUTING, skip_done=True)
    if found is None:
        return None
    at, srh = found
    if srh.end > len(data) or not valid_srh(data[at : srh.end]):
        return None
    # The HMAC is looked for in the first extension header but Hop-by-Hop, whatever that is
    # (seg6_hmac_validate_skb takes the transport header for the SRH).
    transport = 48 + data[41] * 8 if data[6] == wire.HOP_BY_HOP else wire.IPV6_SIZE
    if at == transport and _has_hmac(data[at : srh.end]):
        return None
    left = data[at + 3] - 1
    segment = data[at + 8 + 16 * left : at + 24 + 16 * left]
    data = data[:24] + segment + data[40:]
    return data[: at + 3] + bytes([left]) + data[at + 4 :], srh


def _has_hmac(srh: bytes) -> bool:
    """Whether there is an HMAC to check (seg6_get_tlv_hmac): no key fits it, here."""
    if srh[1] < (srh[4] + 1) * 2 + 5 or not srh[5] & HMAC_FLAG:
        return False
    return srh[-_HMAC_SIZE] == HMAC_TLV and srh[1 - _HMAC_SIZE] == _HMAC_SIZE - 2


def with_length(packet: bytes) -> bytes:
    """The packet with the payload length that it has."""
    return packet[:4] + (len(packet) - wire.IPV6_SIZE).to_bytes(2, "big") + packet[6:]


def encapsulated(packet: bytes, srh: bytes, source: bytes) -> bytes:
    """An outer header from `source` and an SRH (its next header is filled in) before the packet.

    Traffic class, flow label and hop limit are those of the packet.
    """
    srh = bytes([wire.IPV6]) + srh[1:]
    last = srh[4]
    outer = (
        bytes([0x60 | packet[0] & 0x0F])
        + packet[1:4]
        + bytes(2)
        + bytes([wire.ROUTING, packet[7]])
        + source
        + srh[8 + 16 * last : 24 + 16 * last]
    )
    return with_length(outer + srh + packet)


def inserted(packet: bytes, srh: bytes) -> bytes:
    """An SRH behind the IPv6 header, before whatever followed; its segment 0 becomes the
    packet's destination, and its first segment the packet's new one."""
    last = srh[4]
    srh = bytes([packet[6]]) + srh[1:8] + packet[24:40] + srh[24:]
    first = srh[8 + 16 * last : 24 + 16 * last]
    head = packet[:6] + bytes([wire.ROUTING]) + packet[7:24] + first
    return with_length(head + srh + packet[40:])


def forwarded(packet: bytes, router: Router) -> bytes | None:
    """The packet with its hop limit one lower; None: dropped, with an ICMPv6 error."""
    if packet[7] <= 1 or len(packet) > router.mtu:
        return None
    return packet[:7] + bytes([packet[7] - 1]) + packet[8:]


def may_leave(source: bytes) -> bool:
    """Whether packets from that source are forwarded (net/ipv6/ip6_output.c, ip6_forward)."""
    address = IPv6Address(source)
    own = address.is_unspecified or address.is_loopback or address.is_link_local
    return not own and not address.is_multicast
