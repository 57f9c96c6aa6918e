"""What the kernel does before and after a program at each hook.

Receiving: net/ipv6/ip6_input.c, net/ipv6/exthdrs.c. End.BPF: net/ipv6/seg6_local.c, seg6.c,
seg6_hmac.c. in, out, xmit: net/core/lwt_bpf.c. Forwarding: net/ipv6/ip6_output.c. All sysctls at
their defaults (seg6_require_hmac 0, seg6_flowlabel 0), and no HMAC keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from nfc.vm.context import CB, CB_SIZE, IFINDEX, MARK
from nfc.vm.helpers.seg6 import has_valid_srh, hmac_tlv, look_up, valid_srh
from nfc.vm.helpers.writing import INGRESS_FAULT, LOOPBACK, fits_link
from nfc.vm.machine import DEEPEST, Machine
from nfc.vm.memory import FaultError
from nfc.vm.packet import (
    ETH_P_IP,
    ETH_P_IPV6,
    ETHERNET_SIZE,
    HOP_BY_HOP,
    IPV6_SIZE,
    MAX_LENGTH,
    ROUTING,
    find_header,
)

# uapi/linux/bpf.h, enum bpf_ret_code
OK, DROP, REDIRECT, REROUTE = 0, 2, 7, 128
# net/ipv6/exthdrs.c, ip6_parse_tlv: options, and how many and how much padding in a row are taken
_PAD1, _PADN, _ROUTER_ALERT, _CALIPSO, _IOAM, _JUMBO = 0, 1, 5, 7, 49, 194
_MOST_OPTIONS, _MOST_PADDING = 8, 7
_LOOPBACK = bytes(15) + b"\x01"
DONT_FRAGMENT = 0x40
AFTER_FORWARDING = frozenset({"out", "xmit"})  # hooks that see the hop limit that leaves


@dataclass(frozen=True, slots=True)
class End:
    """How a packet ends: `fate` and `reason` as in Outcome; `link` where it was sent."""

    fate: str
    reason: str
    link: str = ""


_LOOP = End("lost", "comes back to the same function again and again")
TOO_LONG = f"longer than {MAX_LENGTH} bytes, which the simulator has no room for"


# ---- before -------------------------------------------------------------------------------------


def received(data: bytes) -> bytes | str:
    """The packet as IPv6 takes it in, trimmed to its payload length; or why it is refused."""
    if len(data) < IPV6_SIZE:
        return "shorter than an IPv6 header"
    if data[0] >> 4 != 6:
        return "not an IPv6 packet"
    length = int.from_bytes(data[4:6], "big")
    if length or data[6] != HOP_BY_HOP:
        if IPV6_SIZE + length > len(data):
            return "shorter than its payload length says"
        data = data[: IPV6_SIZE + length]
    if len(data) > MAX_LENGTH:
        return TOO_LONG
    if _from_nobody(data[8:24], data[24:40]):
        return "its source or destination is none that a link may carry"
    if data[6] == HOP_BY_HOP:
        if len(data) < 48 or len(data) < 48 + data[41] * 8:
            return "its Hop-by-Hop header is cut off"
        if not _good_options(data[40 : 48 + data[41] * 8]):
            return "its Hop-by-Hop options are refused"
    return data


def _from_nobody(source: bytes, target: bytes) -> bool:
    """Addresses that ip6_rcv_core drops: loopback; a source that is a group; a group whose scope
    is the sender itself."""
    group = target[0] == 0xFF and target[1] & 0x0F <= 1
    return _LOOPBACK in (source, target) or source[0] == 0xFF or group


def _good_options(header: bytes) -> bool:
    """ip6_parse_tlv: whether the kernel goes on behind these Hop-by-Hop options. The jumbo option
    is for packets of more than 65,535 bytes, which do not come here; CALIPSO has no domain."""
    at, padded, count = 2, 0, 0
    while at < len(header):
        kind = header[at]
        if kind == _PAD1:
            padded, size = padded + 1, 1
        elif at + 2 > len(header) or at + 2 + header[at + 1] > len(header):
            return False
        else:
            length = header[at + 1]
            size = 2 + length
            if kind == _PADN:
                padded += size
                if any(header[at + 2 : at + size]):
                    return False
            else:
                padded, count = 0, count + 1
                if count > _MOST_OPTIONS or kind in (_JUMBO, _CALIPSO):
                    return False
                if (kind == _ROUTER_ALERT and length != 2) or (kind == _IOAM and at % 4):
                    return False
                # The highest bits say what to do with one that is not known (RFC 8200, 4.2).
                if kind not in (_ROUTER_ALERT, _IOAM) and kind >> 6:
                    return False
        if padded > _MOST_PADDING:
            return False
        at += size
    return True


def before(machine: Machine, data: bytes) -> End | None:
    """Put a packet into the machine as the program sees it; or how it ends before that."""
    packet = received(data)
    if isinstance(packet, str):
        return End("refused", packet)
    if machine.hook == "endpoint":
        return _advance(machine, packet)
    if machine.hook in AFTER_FORWARDING:
        machine.link, error = machine.fib.lookup(packet[24:40], machine.context.get(MARK))
        machine.route_error, machine.routed = error, True
        stopped = _stopped(packet, machine)
        if stopped:
            return End("refused", stopped)
        packet = packet[:7] + bytes([packet[7] - 1]) + packet[8:]
    machine.skb.put(packet)
    machine.context.resized()
    machine.srh.there = False
    if packet[6] == HOP_BY_HOP:  # ipv6_parse_hopopts
        machine.transport += 8 + packet[41] * 8
    return None


def _advance(machine: Machine, data: bytes) -> End | None:
    """get_and_validate_srh, advance_nextseg."""
    at = find_header(data, ROUTING, skip_done=True)
    if at is None:
        return End("refused", "no segment routing header with segments left")
    size = (data[at + 1] + 1) * 8 if at + 1 < len(data) else 0
    srh = data[at : at + size]
    if at + 8 > len(data) or len(srh) < size or not valid_srh(srh, True):
        return End("refused", "SRH not valid")
    # The HMAC is looked for in what follows the IPv6 header and Hop-by-Hop, whatever that is
    # (seg6_hmac_validate_skb takes the transport header for the SRH).
    transport = 48 + data[41] * 8 if data[6] == HOP_BY_HOP else IPV6_SIZE
    if hmac_tlv(data[transport:]):
        return End("refused", "HMAC that no key fits")
    left = srh[3] - 1
    segment = srh[8 + 16 * left : 24 + 16 * left]
    machine.skb.put(data)
    machine.skb.set(24, segment)
    machine.skb.set(at + 3, bytes([left]))
    machine.context.resized()
    state = machine.srh
    state.there, state.at, state.length, state.valid = True, len(data) - at, size - 8, True
    return None


def again(machine: Machine) -> End | None:
    """Put a packet before the program again, that its route has led back; or how it ends."""
    if machine.runs > DEEPEST:
        return _LOOP
    runs = machine.runs
    machine.context.raw[CB : CB + CB_SIZE] = bytes(CB_SIZE)  # bpf_prog_run_save_cb
    if machine.hook == "endpoint":
        data = machine.skb.read()
        machine.begin()
        stopped = _advance(machine, data)
        if stopped is not None:
            return End("lost", stopped.reason)
    else:
        machine.restart()
        machine.entered = machine.context.protocol
        if machine.hook == "xmit":  # ip6_output, ip_output
            machine.context.put(IFINDEX, machine.fib.links.get(machine.link, 0))
    machine.runs = runs + 1
    return None


# ---- after --------------------------------------------------------------------------------------


def after(machine: Machine, returned: int) -> End:
    """What becomes of the packet."""
    hook = machine.hook
    if returned == DROP:
        return End("dropped", "program returned BPF_DROP")
    known = (OK, REDIRECT) if hook == "endpoint" else (OK, REDIRECT, REROUTE)
    if returned not in known:
        return End("dropped", f"program returned {returned}, which means nothing here")
    if hook == "endpoint":
        if machine.srh.there and not has_valid_srh(machine):
            return End("lost", "SRH not valid after the program")
        if returned == OK:
            look_up(machine, None, 0)
        elif not machine.routed:
            return End("again", "program returned BPF_REDIRECT without an action")
        return _input(machine)
    if hook == "in":
        if returned == REROUTE:
            return _input_again(machine)
        if not machine.routed:
            # The route is the one that the function runs on, whatever the mark says now.
            machine.link, machine.route_error = machine.fib.lookup(
                machine.skb.header()[24:], machine.arrival_mark
            )
        return _forward_ipv4(machine) if machine.ipv4 else _forward(machine)
    return _transmit(machine, returned)


def _input(machine: Machine) -> End:
    """dst_input: to the function, if it lies on the route, else on."""
    if machine.function:
        return End("again", "its route leads to the function again")
    return _forward_ipv4(machine) if machine.ipv4 else _forward(machine)


def _input_again(machine: Machine) -> End:
    """bpf_lwt_input_reroute: the packet is looked up as if it had just come in."""
    machine.ipv4 = machine.context.protocol == ETH_P_IP
    if not machine.ipv4:
        look_up(machine, None, 0)
        return _input(machine)
    head = machine.skb.read(0, 20)
    if head[12] in (0, 127) or head[12] >= 224:  # ip_route_input_slow
        return End("lost", "its source is no address of a host")
    machine.link, machine.route_error, machine.function = machine.fib.hop_ipv4(head[16:20])
    machine.routed = True
    return _input(machine)


def _transmit(machine: Machine, returned: int) -> End:
    """After a program at out or xmit: the packet was on its way to a neighbour."""
    if machine.hook == "xmit" and returned == REDIRECT:
        if machine.redirect is None:
            return End("lost", "program returned BPF_REDIRECT without bpf_redirect")
        if machine.redirect[1]:
            raise FaultError(INGRESS_FAULT)
        if machine.runs >= DEEPEST:
            return _LOOP
        if not machine.network:
            return End("lost", "redirected without a link-layer header")
        if machine.redirect[0] == LOOPBACK and machine.fib.link_of(LOOPBACK) == "lo":
            return End("lost", "redirected to the router's own lo")
        if machine.fib.links and machine.redirect[0] not in machine.fib.links.values():
            return End("lost", f"there is no interface {machine.redirect[0]}")
        if not fits_link(machine, len(machine.skb)):
            return End("lost", f"longer than the MTU of {machine.fib.mtu}")
        return End("sent", "", machine.fib.link_of(machine.redirect[0]))
    if machine.hook == "xmit" and returned == REROUTE:
        if machine.context.protocol == ETH_P_IP:
            hop = machine.fib.hop_ipv4(machine.skb.read(machine.network + 16, 4))
            machine.link, machine.route_error, machine.function = hop
            end = _send_ipv4(machine)
        elif look_up(machine, None, 0):
            return End("lost", "no route")
        else:
            end = _send(machine, len(machine.skb) <= machine.fib.mtu)
        if machine.function and end.fate == "sent":
            return End("again", "its route leads to the function again")
        return end
    if machine.hook == "xmit" and machine.context.protocol != machine.entered:
        was = "IPv6" if machine.entered == ETH_P_IPV6 else "IPv4"
        return End("lost", f"not an {was} packet any more, and not rerouted")
    return _send(machine, fits_link(machine, len(machine.skb) + ETHERNET_SIZE))


def _send(machine: Machine, fits: bool) -> End:
    """ip6_output: to a neighbour."""
    if not machine.link:
        return End("lost", "its next hop is link-local or a group")
    if not fits:
        return End("lost", f"longer than the MTU of {machine.fib.mtu}")
    return End("sent", "", machine.link)


def _forward(machine: Machine) -> End:
    """dst_input, ip6_forward: the packet leaves, one hop on. Neither asks whether it is still an
    IPv6 packet, or a whole header."""
    data = machine.skb.header()
    stopped = _stopped(data, machine, len(machine.skb))
    if stopped:
        return End("lost", stopped)
    if len(machine.skb) > 7:
        machine.skb.set(7, bytes([data[7] - 1]))
    return _queued(machine)


def _queued(machine: Machine) -> End:
    """dev_queue_xmit within the function's call: links without a queue count, too."""
    if machine.runs > DEEPEST:
        return _LOOP
    return End("sent", "", machine.link)


def _send_ipv4(machine: Machine) -> End:
    """ip_output."""
    if not machine.link:
        return End("lost", "no route")
    if len(machine.skb) > machine.fib.mtu:
        if not machine.skb.read(6, 1)[0] & DONT_FRAGMENT:
            raise FaultError("makes an IPv4 packet to be sent in fragments, which is not modelled")
        return End("lost", f"longer than the MTU of {machine.fib.mtu}")
    return End("sent", "", machine.link)


def _forward_ipv4(machine: Machine) -> End:
    """ip_forward: the TTL goes down."""
    head = machine.skb.read(0, 20)
    if not machine.link:
        return End("lost", "no route")
    if head[8] <= 1:
        return End("lost", "TTL")
    total = int.from_bytes(head[10:12], "big") + 0x100  # ip_decrease_ttl
    machine.skb.set(8, bytes([head[8] - 1, head[9]]))
    machine.skb.set(10, ((total + (total >= 0xFFFF)) & 0xFFFF).to_bytes(2, "big"))
    end = _send_ipv4(machine)
    return end if end.fate != "sent" else _queued(machine)


def _stopped(data: bytes, machine: Machine, length: int | None = None) -> str:
    """Why ip6_forward does not send a packet on; "" if it does."""
    if machine.route_error:
        return "no route" if machine.route_error != -22 else "for the router itself, or discarded"
    if not machine.link:
        return "its next hop is link-local or a group"
    if data[7] <= 1:
        return "hop limit"
    source = data[8:24]
    if source in (bytes(16), _LOOPBACK) or source[0] == 0xFF:
        return "its source is no address of a host"
    if source[0] == 0xFE and source[1] & 0xC0 == 0x80:
        return "its source is link-local"
    if (len(data) if length is None else length) > machine.fib.mtu:
        return f"longer than the MTU of {machine.fib.mtu}"
    return ""
