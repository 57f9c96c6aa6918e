"""Probes of the context: what programs read of it at each hook, and what their writes come to.

They count as probes of bpf_get_smp_processor_id, which has nothing to do with it.
"""

from __future__ import annotations

import struct

from probes_packet import bare, field
from probes_srv6 import (
    ACTION,
    DROP,
    END_T,
    END_X,
    FAR,
    INLINE,
    IP,
    NEAR,
    REDIRECT,
    REROUTE,
    SEG6,
    action,
    encap,
    packed,
    srh,
    v4,
    v6,
)
from probing import Code, Probe, keep, load, mov, store

from nfc.bpf.isa import Instruction as I

CPU = 8
# Of the words that struct __sk_buff has: up to tc_index; cb, hash, gso_segs, gso_size.
FIRST, SECOND = [*range(0, 48, 4)], [*range(48, 68, 4), 68, 164, 176]
MARK, PRIORITY, CB = 8, 32, 48


def fields(offsets: list[int]) -> Code:
    return [bare(CPU), [field(off, 1 + i) for i, off in enumerate(offsets)]]


def marked(code: Code) -> Code:
    """With mark 7, for which there is a rule."""
    return [mov(1, 7), store(4, 6, MARK, 1), code]


def table() -> list[Probe]:
    """All of these."""
    cb = [[mov(1, 0x1111 * (i + 1)), store(4, 6, CB + 4 * i, 1)] for i in range(5)]
    main, zero = struct.pack("<I", 254), bytes(4)
    written = [load(4, 1, 6, 76), load(4, 2, 6, 80), mov(3, 9), I(0xBF, 4, 1), I(0x07, 4, 0, 0, 8),
               I(0x2D, 4, 2, 1), store(1, 1, 7, 3), bare(CPU)]  # fmt: skip
    done = [mov(9, DROP), I(0x55, 0, 0, 1), mov(9, REROUTE)]
    return [
        *(
            Probe(CPU, f"the context, {name}", fields(offsets), packet=packet,
                  hooks=() if packet == "srh" else ("in", "out", "xmit"))
            for packet in ("srh", "hop", "long")
            for name, offsets in (("first half", FIRST), ("second half", SECOND))
        ),
        Probe(CPU, "what was written to cb", [cb, fields(SECOND)]),
        Probe(CPU, "what was written to mark and priority", [
            mov(1, 7), store(4, 6, PRIORITY, 1), marked(fields([MARK, PRIORITY]))]),
        Probe(CPU, "mark, and another verdict", marked(bare(CPU)), ("endpoint",), verdict=REDIRECT),
        Probe(CPU, "a byte of the packet", written, ("xmit",)),
        *(
            Probe(ACTION, f"mark, {name}", marked(action(kind, parameter)), verdict=REDIRECT)
            for name, (kind, parameter) in {
                "X": (END_X, packed(NEAR)), "T, main": (END_T, main), "T, table 0": (END_T, zero),
            }.items()
        ),
        *(
            Probe(73, f"mark, {name}{', rerouted' if again else ''}",
                  marked([encap(mode, header), done if again else []]),
                  ("in",) if mode != IP else (), verdict=None if again else 0)
            for name, (mode, header) in {
                "SRH": (SEG6, srh(NEAR)), "in line": (INLINE, srh(NEAR)), "IPv6": (IP, v6(NEAR)),
                "IPv4": (IP, v4("10.20.0.9")), "IPv6, far": (IP, v6(FAR)),
            }.items()
            for again in (False, True)
        ),
        Probe(CPU, "the length after all", [bare(CPU), keep(1)], packet="srh"),
    ]  # fmt: skip
