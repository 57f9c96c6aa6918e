"""Probes of the helpers on the SRH, and of encapsulation, with what the hooks do afterwards."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from probing import Code, Probe, call, context, keep, load, mov, onto_stack, to_stack, wide

from nfc.bpf.isa import Instruction as I

ENCAP, STORE, ADJUST, ACTION = 73, 74, 75, 76
SEG6, INLINE, IP = 0, 1, 2
END, END_X, END_T, DT6, B6, B6_ENCAP = 1, 2, 3, 7, 9, 10
REROUTE, REDIRECT, DROP = 128, 7, 2
AT, TLVS, LENGTH = 40, 80, 112  # of packet srh: the SRH, its TLVs, the whole
NEAR, FAR, NOWHERE, OWN = "fd20::77", "fd30::77", "fd99::1", "fd00:a::1"


def packed(text: str) -> bytes:
    return IPv6Address(text).packed


def srh(*segments: str, left: int | None = None, tail: bytes = b"", flags: int = 0) -> bytes:
    """A whole header with segments in the order of the wire."""
    last = len(segments) - 1
    size = (16 * len(segments) + len(tail)) // 8
    head = struct.pack(">BBBBBBH", 0, size, 4, last if left is None else left, last, flags, 0)
    return head + b"".join(packed(s) for s in segments) + tail


def v4(to: str, *, check: int = 0, words: int = 5, protocol: int = 41, ttl: int = 64) -> bytes:
    """An IPv4 header."""
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, 20 + 112, 7, 0, ttl, protocol, check)
    return head + IPv4Address("10.0.1.1").packed + IPv4Address(to).packed


def v6(to: str, *, hop: int = 64, source: str = "fd00:1::1") -> bytes:
    """An IPv6 header."""
    return struct.pack(">IHBB", 0x60000000, 112, 41, hop) + packed(source) + packed(to)


# ---- bpf_lwt_push_encap -------------------------------------------------------------------------


def encap(mode: int, header: bytes, size: int | None = None, slot: int = 0) -> Code:
    size = len(header) if size is None else size
    room = -(-max(len(header), size) // 8) * 8
    return [
        onto_stack(-room - 8, header.ljust(room, b"\0")), context(), wide(2, mode),
        to_stack(3, -room - 8), mov(4, size), call(ENCAP), keep(slot), load(4, 1, 6, 0),
        keep(8, 1), load(4, 1, 6, 16), keep(9, 1),
    ]  # fmt: skip


def tried(*arguments: object) -> Code:
    """`encap`, and BPF_LWT_REROUTE where it was done: else the packet would come back for ever."""
    code = encap(*arguments)  # type: ignore[arg-type]
    return [code, mov(9, DROP), I(0x55, 0, 0, 1), mov(9, REROUTE)]


def _encaps() -> list[Probe]:
    one, two = srh(NEAR), srh(FAR, NEAR)
    tlv = srh(NEAR, tail=b"\x04\x06" + bytes(6))
    hmac = b"\x05\x26" + bytes(38)
    inside = {
        "one segment": (SEG6, one),
        "two segments": (SEG6, two),
        "the other way": (SEG6, srh(NEAR, FAR)),
        "a TLV": (SEG6, tlv),
        "in line": (INLINE, srh(FAR, NEAR)),
        "in line, one": (INLINE, one),
        "more left than there are": (SEG6, srh(NEAR, left=1)),
        "wrong routing type": (SEG6, one[:2] + b"\x02" + one[3:]),
        "wrong length": (SEG6, one[:1] + b"\x04" + one[2:]),
        "last entry behind the end": (SEG6, one[:4] + b"\x01" + one[5:]),
        "broken TLV": (SEG6, srh(NEAR, tail=b"\x04\x09" + bytes(6))),
        "shorter than an SRH": (SEG6, one[:7]),
        "no segments": (SEG6, one[:1] + b"\x00" + one[2:8]),
        "no route": (SEG6, srh(NOWHERE)),
        "for the router": (SEG6, srh(OWN)),
        "in line, no route": (INLINE, srh(FAR, NOWHERE)),
        "an HMAC without a key": (SEG6, srh(NEAR, tail=hmac, flags=8)),
        "an HMAC that is none": (SEG6, srh(NEAR, tail=b"\x04\x06" + bytes(6), flags=8)),
        "mode 3": (3, one),
        "mode -1": (0xFFFFFFFF, one),
    }
    found = []
    for name, (mode, header) in inside.items():
        # What an HMAC lacks leaves the outer header half written, with what lay there before.
        after = DROP if "HMAC" in name else 0
        found.append(Probe(ENCAP, name, encap(mode, header), verdict=after))
        if name in ("one segment", "two segments", "in line", "no route"):
            found.append(Probe(ENCAP, f"{name}, rerouted", tried(mode, header), ("in",),
                               verdict=None))  # fmt: skip
            found.append(Probe(ENCAP, f"{name}, REDIRECT", encap(mode, header), ("in",),
                               verdict=REDIRECT))  # fmt: skip
    outer = {
        "IPv6, near": v6(NEAR),
        "IPv6, far": v6(FAR),
        "IPv6, nowhere": v6(NOWHERE),
        "IPv6, for the router": v6(OWN),
        "IPv6, hop limit 1": v6(FAR, hop=1),
        "IPv6 and more": v6(FAR) + bytes(8),
        "IPv4, far": v4("10.30.0.9"),
        "IPv4, near": v4("10.20.0.9"),
        "IPv4, nowhere": v4("10.99.0.9"),
        "IPv4, TTL 1": v4("10.30.0.9", ttl=1),
        "IPv4, its own sum": v4("10.30.0.9", check=0x1234),
        "IPv4, options": v4("10.30.0.9", words=6) + b"\x01\x01\x01\x00",
        "IPv4, shorter than it says": v4("10.30.0.9", words=6),
        "IPv4, UDP": v4("10.30.0.9", protocol=17) + struct.pack(">HHHH", 1, 2, 120, 0),
        "IPv6, cut off": v6(FAR)[:39],
        "19 bytes": v4("10.30.0.9")[:19],
        "version 5": b"\x55" + v4("10.30.0.9")[1:],
        "256 bytes": v6(FAR) + bytes(216),
        "257 bytes": v6(FAR) + bytes(217),
    }
    for name, header in outer.items():
        found.append(Probe(ENCAP, name, encap(IP, header)))
        found.append(Probe(ENCAP, f"{name}, rerouted", tried(IP, header), verdict=None))
    fragment = bytes.fromhex("4000")
    unbroken = v4("10.30.0.9")[:6] + fragment + v4("10.30.0.9")[8:]
    for name, header in {"IPv6": v6(FAR), "IPv4, unbroken": unbroken}.items():
        found += [
            Probe(ENCAP, f"{name}, too long then", encap(IP, header), packet="long"),
            Probe(ENCAP, f"{name}, too long then, rerouted", tried(IP, header), packet="long",
                  verdict=None),
        ]  # fmt: skip
    return [
        *found,
        Probe(ENCAP, "too long then", encap(SEG6, two), ("in",), packet="long"),
        Probe(ENCAP, "in line, too long then", encap(INLINE, two), ("in",), packet="long"),
        Probe(ENCAP, "IPv4, not fragmented", tried(IP, unbroken), verdict=None),
        Probe(ENCAP, "SRH on IPv4", [encap(IP, v4("10.30.0.9")), encap(SEG6, srh(NEAR), slot=1)],
              ("in",), results=(0, 1), verdict=DROP),
        Probe(ENCAP, "IPv4, then cut", [encap(IP, v6(FAR)), context(), mov(2, 100), mov(3, 0),
              call(38), keep(1)], ("xmit",), verdict=REROUTE),
        Probe(ENCAP, "two headers", [encap(IP, v6(NEAR)), encap(IP, v6(FAR), slot=1)],
              results=(0, 1), verdict=REROUTE),
    ]  # fmt: skip


# ---- bpf_lwt_seg6_* -----------------------------------------------------------------------------


def store(offset: int, content: bytes, slot: int = 0) -> Code:
    return [
        onto_stack(-64, content), context(), wide(2, offset), to_stack(3, -64),
        mov(4, len(content)), call(STORE), keep(slot),
    ]  # fmt: skip


def adjust(offset: int, delta: int, slot: int = 0) -> Code:
    return [
        context(), wide(2, offset), wide(3, delta), call(ADJUST), keep(slot), load(4, 1, 6, 0),
        keep(8, 1),
    ]  # fmt: skip


def action(kind: int, parameter: bytes, slot: int = 0) -> Code:
    room = -(-len(parameter) // 8) * 8
    return [
        onto_stack(-room - 8, parameter.ljust(room, b"\0")), context(), wide(2, kind),
        to_stack(3, -room - 8), mov(4, len(parameter)), call(ACTION), keep(slot),
        load(4, 1, 6, 0), keep(8, 1),
    ]  # fmt: skip


PADN = b"\x04\x06" + bytes(6)
BROKEN = b"\x04\x09" + bytes(6)


def _stores() -> list[Probe]:
    good = {
        "flags": (AT + 5, b"\x20"),
        "tag": (AT + 6, b"\x12\x34"),
        "flags and tag": (AT + 5, b"\x20\x12\x34"),
        "TLVs": (TLVS, b"\x0a\x06abcdef"),
        "the end of the last segment": (TLVS - 8, bytes(8)),
        "a byte of a TLV": (TLVS + 4, b"!"),
        "HMAC flag": (AT + 5, b"\x08"),
        "broken TLV": (TLVS, BROKEN),
        "last entry": (AT + 4, b"\x00"),
        "segments left": (AT + 3, b"\x00"),
        "behind the fixed part": (AT + 6, b"abc"),
        "a segment": (AT + 8, bytes(16)),
        "behind the SRH": (TLVS + 4, bytes(8)),
        "the IPv6 header": (0, b"\x60"),
        "behind the packet": (LENGTH, b"x"),
        "offset -1": (0xFFFFFFFF, b"xx"),
        "offset over INT_MAX": (1 << 31, b"xx"),
    }
    gone = action(DT6, struct.pack("<I", 254), slot=9)
    return [
        *(Probe(STORE, name, store(*given)) for name, given in good.items()),
        Probe(STORE, "no SRH any more", [gone, store(AT + 6, b"ab")], packet="inside",
              verdict=REDIRECT),
        Probe(STORE, "an SRH inside now", [gone, store(AT + 6, b"ab")], packet="srh inside",
              verdict=REDIRECT),
        Probe(STORE, "broken, then mended", [store(TLVS, BROKEN), store(TLVS, PADN, 1)],
              results=(0, 1)),
        Probe(STORE, "a longer header", [adjust(TLVS, 8, 9), store(TLVS, PADN),
              store(TLVS + 8, PADN, 1)], results=(0, 1)),
        Probe(STORE, "what was behind the SRH", [adjust(TLVS, -8, 9), store(TLVS, PADN)]),
    ]  # fmt: skip


def _adjusts() -> list[Probe]:
    given = {
        "8 more": (TLVS, 8), "8 more at the end": (TLVS + 8, 8), "8 less": (TLVS, -8),
        "nothing": (TLVS, 0), "4 more": (TLVS, 4), "1 less": (TLVS + 7, -1),
        "16 less": (TLVS, -16), "less than there is": (TLVS + 4, -8),
        "in the segments": (TLVS - 8, 8), "before the SRH": (20, 8), "behind it": (TLVS + 9, 8),
        "offset -1": (0xFFFFFFFF, 8), "240 more": (TLVS, 240), "2048 more": (TLVS, 2048),
        "1024 more": (TLVS, 1024),
    }  # fmt: skip
    gone = action(DT6, struct.pack("<I", 254), slot=9)
    return [
        *(Probe(ADJUST, name, adjust(*given)) for name, given in given.items()),
        Probe(ADJUST, "8 more, filled", [adjust(TLVS, 8), store(TLVS, PADN, 9)]),
        Probe(ADJUST, "8 more, broken", [adjust(TLVS, 8), store(TLVS, BROKEN, 9)]),
        Probe(ADJUST, "4 more, twice", [adjust(TLVS, 4), adjust(TLVS, 4, 1)], results=(0, 1)),
        Probe(ADJUST, "more and less", [adjust(TLVS, 16), adjust(TLVS, -16, 1)], results=(0, 1)),
        Probe(ADJUST, "no SRH any more", [gone, adjust(AT, 8)], packet="inside",
              verdict=REDIRECT),
    ]  # fmt: skip


def _actions() -> list[Probe]:
    main, far, none = (struct.pack("<I", n) for n in (254, 100, 4711))
    broken, odd = store(TLVS, BROKEN, 9), adjust(TLVS, 4, 9)
    gone = action(DT6, main, slot=9)
    given: dict[str, tuple[int, bytes]] = {
        "X": (END_X, packed(FAR)),
        "X, no route": (END_X, packed(NOWHERE)),
        "X, the router": (END_X, packed(OWN)),
        "X, 8 bytes": (END_X, bytes(8)),
        "T, main": (END_T, main),
        "T, far": (END_T, far),
        "T, no such table": (END_T, none),
        "T, table 0": (END_T, bytes(4)),
        "T, 8 bytes": (END_T, bytes(8)),
        "DT6, nothing inside": (DT6, main),
        "DT6, 2 bytes": (DT6, bytes(2)),
        "B6": (B6, srh(NEAR, FAR)),
        "B6, near": (B6, srh(FAR, NEAR)),
        "B6 encap": (B6_ENCAP, srh(FAR)),
        "B6 encap, two": (B6_ENCAP, srh(NEAR, FAR)),
        "B6, no route": (B6, srh(FAR, NOWHERE)),
        "B6 encap, no route": (B6_ENCAP, srh(NOWHERE)),
        "B6 encap, the router": (B6_ENCAP, srh(OWN)),
        "B6, no SRH": (B6, bytes(24)),
        "B6 encap, no SRH": (B6_ENCAP, bytes(24)),
        "B6 encap, an HMAC without a key": (
            B6_ENCAP, srh(NEAR, tail=b"\x05\x26" + bytes(38), flags=8),
        ),
        "B6 encap, an HMAC that is none": (B6_ENCAP, srh(NEAR, tail=PADN, flags=8)),
        "End": (END, packed(FAR)),
        "0": (0, bytes(4)),
        "DT4": (8, main),
        "-1": (0xFFFFFFFF, main),
    }  # fmt: skip
    kinds = {"X": packed(FAR), "T": main, "DT6": main, "B6": srh(NEAR, FAR), "B6 encap": srh(FAR)}
    codes = dict(zip(kinds, (END_X, END_T, DT6, B6, B6_ENCAP), strict=True))
    found = []
    for name, (kind, parameter) in given.items():
        for verdict, said in ((REDIRECT, ""), (0, ", OK")):
            after = DROP if "HMAC" in name else verdict
            found.append(Probe(ACTION, name + said, action(kind, parameter), verdict=after))
    for name, parameter in kinds.items():
        found += [
            Probe(ACTION, f"{name}, broken TLV", [broken, action(codes[name], parameter)],
                  verdict=REDIRECT),
            Probe(ACTION, f"{name}, odd length", [odd, action(codes[name], parameter)],
                  verdict=REDIRECT),
            Probe(ACTION, f"{name}, another SRH length",
                  [adjust(TLVS, 8, 9), store(TLVS, PADN, 10), action(codes[name], parameter)],
                  verdict=REDIRECT),
            Probe(ACTION, f"{name}, no SRH any more", [gone, action(codes[name], parameter)],
                  packet="inside", verdict=REDIRECT),
        ]  # fmt: skip
    for packet in ("inside", "srh inside"):
        for name, table in (("main", main), ("far", far), ("none", none)):
            found.append(Probe(ACTION, f"DT6, {packet}, {name}", action(DT6, table),
                               packet=packet, verdict=REDIRECT))  # fmt: skip
            found.append(Probe(ACTION, f"DT6, {packet}, {name}, OK", action(DT6, table),
                               packet=packet))  # fmt: skip
    return [
        *found,
        Probe(ACTION, "twice", [action(END_X, packed(FAR)), action(END_T, main, 1)],
              verdict=REDIRECT, results=(0, 1)),
        Probe(ACTION, "then broken", [action(END_X, packed(FAR)), store(TLVS, BROKEN, 9)],
              verdict=REDIRECT),
        Probe(ACTION, "then dropped", action(END_X, packed(FAR)), verdict=DROP),
        Probe(ACTION, "then REROUTE", action(END_X, packed(FAR)), verdict=REROUTE),
    ]  # fmt: skip


def table() -> list[Probe]:
    """All of these."""
    return [*_encaps(), *_stores(), *_adjusts(), *_actions()]
