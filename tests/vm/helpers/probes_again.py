"""Probes of packets that come back to the function: rerouted onto a route on which it lies as well,
or with another segment that is its SID. And of what a link takes that nobody has held to the MTU.

The function is on the transit route, on 10.47.0.0/16 and on the SID (helper_rig). The packet's
priority counts how often it has been there; each time leaves its own row in the log.
"""

from __future__ import annotations

from collections.abc import Mapping

from probes_packet import CHANGE_HEAD, CHANGE_TAIL, CLONE, CPU, framed, simple
from probes_srv6 import ACTION, DROP, ENCAP, FAR, REDIRECT, REROUTE, SEG6, action, packed, srh, v6
from probing import (
    Code,
    Probe,
    add,
    call,
    context,
    copy,
    keep,
    load,
    mov,
    onto_stack,
    to_stack,
    wide,
)
from probing import store as put_at

from nfc.bpf.isa import Instruction as I

LEN, PROTOCOL, PRIORITY, INGRESS, IFINDEX, CB = 0, 16, 32, 36, 40, 48
ON_WAY, ON_WAY_V4 = "fd2f::9", bytes((10, 47, 0, 9))
BRIDGE = ("in", "xmit")
ROOM = 1500 + 4  # of a veth link's MTU, and a VLAN tag


def row(*code: Code) -> Code:
    """Count; what `code` leaves in r0 goes into this time's slot, and r8 is the count."""
    return [
        mov(0, 0), code, load(4, 8, 6, PRIORITY), I(0x57, 8, 0, 0, 15), copy(1, 8),
        I(0x67, 1, 0, 0, 3), I(0x0F, 1, 7), put_at(8, 1, 0, 0), add(8, 1),
        put_at(4, 6, PRIORITY, 8),
    ]  # fmt: skip


def times(most: int, *code: Code) -> Code:
    """A verdict: REROUTE after `code` the first `most` times, BPF_OK afterwards."""
    inner = flat_size(code)
    return [mov(9, 0), I(0x25, 8, 0, inner + 1, most), code, mov(9, REROUTE)]


def flat_size(code: Code) -> int:
    """Slots of instructions."""
    return sum(one.slots if hasattr(one, "slots") else flat_size(one) for one in code)


def looks() -> Code:
    """Into r0: what of the context may be another thing the next time; and change the cb."""
    return [
        load(4, 0, 6, LEN), [
            [I(0x67, 0, 0, 0, shift), load(4, 1, 6, off), I(0x0F, 0, 1)]
            for shift, off in ((16, PROTOCOL), (8, CB), (4, INGRESS), (4, IFINDEX))
        ], mov(1, 0x55), put_at(4, 6, CB, 1),
    ]  # fmt: skip


def pushed(header: bytes, mode: int = 2) -> Code:
    """An outer header; what the helper gave goes into slot 14."""
    room = -(-len(header) // 8) * 8
    return [
        onto_stack(-room - 8, header.ljust(room, b"\0")), context(), wide(2, mode),
        to_stack(3, -room - 8), mov(4, len(header)), call(ENCAP), keep(14),
    ]  # fmt: skip


def v4_outer() -> bytes:
    """To the IPv4 route that has the function; the length is that of one header more."""
    head = bytes((0x45, 0, 0, 132, 0, 7, 0, 0, 64, 41, 0, 0, 10, 0, 1, 1))
    return head + ON_WAY_V4


def table(links: Mapping[str, int]) -> list[Probe]:
    """All of these."""
    far = links["h3"]
    found = []
    for most in (1, 2, 6, 7, 8, 9):
        found += [
            Probe(CPU, f"rerouted {most} times", [row(looks()), times(most)],
                  ("in", "out", "xmit"), verdict=None, results=()),
            Probe(CLONE, f"rerouted {most} times, a copy each",
                  [row(simple(CLONE, far, 0, slot=14)), times(most)], verdict=None,
                  results=(6, 7, 8)),
            Probe(REDIRECT_HELPER, f"rerouted {most} times, then to a link",
                  [row(), times(most), I(0x15, 9, 0, flat_size(_leave(far)), REROUTE),
                   _leave(far)], verdict=None, results=()),
            Probe(ENCAP, f"IPv6 onto the function, {most} times",
                  [row(looks()), times(most, pushed(v6(ON_WAY)))], BRIDGE, verdict=None,
                  results=(14,)),
            Probe(ENCAP, f"IPv4 onto the function, {most} times",
                  [row(looks()), times(most, pushed(v4_outer()))], BRIDGE, verdict=None,
                  results=(14,)),
        ]  # fmt: skip
    found += [
        Probe(ENCAP, "IPv6, then IPv4 onto the function",
              [row(looks()), mov(9, 0), I(0x25, 8, 0, 1, 2), mov(9, REROUTE),
               I(0x15, 8, 0, flat_size(pushed(v4_outer())), 1), pushed(v4_outer()),
               I(0x55, 8, 0, flat_size(pushed(v6(ON_WAY))), 1), pushed(v6(ON_WAY))],
              BRIDGE, verdict=None, results=(14,)),
        Probe(ENCAP, "IPv4 on an IPv4 route, not rerouted",
              [row(looks()), pushed(v4_outer()), mov(9, 0), I(0x25, 8, 0, 1, 1), mov(9, REROUTE)],
              BRIDGE, verdict=None, results=(14,)),
        Probe(ENCAP, "an SRH onto the function, not rerouted",
              [row(looks()), pushed(srh(ON_WAY), SEG6)], ("in",), results=(14,)),
        Probe(ENCAP, "an SRH onto the function, rerouted",
              [row(looks()), times(2, pushed(srh(ON_WAY), SEG6))], ("in",), verdict=None,
              results=(14,)),
        Probe(ENCAP, "away from the function", [row(looks()), times(9, pushed(v6(FAR)))], BRIDGE,
              verdict=None, results=(14,)),
        Probe(CHANGE_HEAD, "then rerouted",
              [row(looks()), times(2, simple(CHANGE_HEAD, 14, 0, slot=14))],
              verdict=None, results=(14,)),
        Probe(CHANGE_HEAD, "then a header, rerouted",
              [row(looks()), times(2, simple(CHANGE_HEAD, 14, 0, slot=13), pushed(v6(ON_WAY)))],
              verdict=None, results=(13,)),
        Probe(CHANGE_HEAD, "then a header, to a link",
              [simple(CHANGE_HEAD, 14, 0), pushed(v6(FAR)), _to(far)], verdict=None),
        Probe(CHANGE_HEAD, "behind a header, to a link",
              [pushed(v6(FAR)), framed(), _to(far)], verdict=None, results=()),
        *[
            Probe(CHANGE_TAIL, f"{size} bytes, a link's room", simple(CHANGE_TAIL, size, 0))
            for size in (1500, 1501, ROOM, ROOM + 1)
        ],
        *[
            Probe(CHANGE_TAIL, f"{size} bytes, rerouted away",
                  [simple(CHANGE_TAIL, size, 0), pushed(v6(FAR))], verdict=REROUTE)
            for size in (1460, 1461)
        ],
        *[
            Probe(REDIRECT_HELPER, f"{size} bytes",
                  [simple(CHANGE_TAIL, size, 0, slot=13), framed(), _to(far)], verdict=None,
                  results=())
            for size in (ROOM, ROOM + 1)
        ],
        *[
            Probe(CLONE, f"{size} bytes", [simple(CHANGE_TAIL, size, 0, slot=13), framed(),
                  simple(CLONE, far, 0)], verdict=DROP)
            for size in (ROOM, ROOM + 1)
        ],
    ]  # fmt: skip
    for size in (2, 8, 9):
        name = f"the SID {size} times"
        found += [
            Probe(CPU, name, row(looks()), ("endpoint",), f"own {size}", results=()),
            Probe(CPU, f"{name}, REDIRECT", row(looks()), ("endpoint",), f"own {size}",
                  verdict=REDIRECT, results=()),
            Probe(ACTION, f"{name}, by its table", [row(looks()), action(3, b"\xfe\0\0\0", 14)],
                  ("endpoint",), f"own {size}", verdict=REDIRECT, results=(14,)),
            Probe(ACTION, f"{name}, as a next hop",
                  [row(looks()), action(2, packed("fd00:a::d"), 14)], ("endpoint",), f"own {size}",
                  verdict=REDIRECT, results=(14,)),
        ]  # fmt: skip
    return found


REDIRECT_HELPER = 23


def _to(link: int) -> Code:
    """bpf_redirect, whose answer is the verdict."""
    return [mov(1, link), mov(2, 0), call(REDIRECT_HELPER), copy(9, 0)]


def _leave(link: int) -> Code:
    return [framed(), _to(link)]
