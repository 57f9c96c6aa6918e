"""Probes of the helpers on the packet, at every hook and at xmit; and of clocks and the like."""

from __future__ import annotations

from collections.abc import Mapping

from probing import (
    Code,
    Probe,
    call,
    context,
    copy,
    keep,
    load,
    mov,
    onto_stack,
    to_map,
    to_stack,
    wide,
)  # fmt: skip

from nfc.bpf.isa import Instruction as I

STORE, L3, L4, CLONE, CLASSID, REDIRECT, REALM, LOAD, CSUM_DIFF = 9, 10, 11, 13, 17, 23, 24, 26, 28
HASH, CHANGE_TAIL, PULL, CSUM_UPDATE, NO_HASH, NODE, CHANGE_HEAD, LEVEL = (
    34, 38, 39, 40, 41, 42, 43, 135,
)  # fmt: skip
NS, RANDOM, CPU, JIFFIES, BOOT, COARSE, TAI = 5, 7, 8, 118, 125, 160, 208
LEN, CTX_HASH, PROTOCOL = 0, 68, 16
MANGLED_0, ENFORCE, PSEUDO, IPV6 = 0x20, 0x40, 0x10, 0x80
CGROUP = 33
NOWHERE = 7777  # no interface has this number


def load_bytes(offset: int, size: int) -> Code:
    """What it gives; the bytes in slots 1 to 4."""
    return [
        onto_stack(-32, b"\xee" * 32), context(), wide(2, offset), to_stack(3, -32), mov(4, size),
        call(LOAD), keep(0),
        [[load(8, 1, 10, -32 + 8 * i), keep(1 + i, 1)] for i in range(4)],
    ]  # fmt: skip


def csum(old: bytes | None, new: bytes | None, seed: int = 0) -> Code:
    """Of bytes on the stack; None: a null pointer, no bytes."""
    code: list[Code] = []
    for register, off, content in ((1, -64, old), (3, -32, new)):
        if content is None:
            code.append([mov(register, 0), mov(register + 1, 0)])
        else:
            code.append([onto_stack(off, content), to_stack(register, off),
                         mov(register + 1, len(content))])  # fmt: skip
    return [code, wide(5, seed), call(CSUM_DIFF), keep(0)]


def simple(helper: int, *arguments: int, slot: int = 0) -> Code:
    """A call with the context and numbers."""
    return [
        context(), [wide(2 + i, value) for i, value in enumerate(arguments)], call(helper),
        keep(slot),
    ]  # fmt: skip


def field(offset: int, slot: int) -> Code:
    """A word of the context, into the log."""
    return [load(4, 1, 6, offset), keep(slot, 1)]


def cgroup(index: int) -> Code:
    return [context(), to_map(2, "groups"), mov(3, index), call(CGROUP), keep(0)]


def bare(helper: int) -> Code:
    return [call(helper), keep(0)]


def everywhere() -> list[Probe]:
    """At all four hooks."""
    words = bytes(range(1, 17))
    return [
        Probe(LOAD, "in range", load_bytes(6, 2)),
        Probe(LOAD, "the last byte", load_bytes(111, 1)),
        Probe(LOAD, "partly behind the end", load_bytes(100, 16)),
        Probe(LOAD, "behind the end", load_bytes(112, 4)),
        Probe(LOAD, "offset over INT_MAX", load_bytes(1 << 31, 4)),
        Probe(LOAD, "offset -1", load_bytes(0xFFFFFFFF, 4)),
        Probe(LOAD, "high bits of the offset", load_bytes((1 << 32) + 6, 4)),
        Probe(CSUM_DIFF, "both", csum(words, words[::-1] + b"abcd")),
        Probe(CSUM_DIFF, "old only", csum(words, None)),
        Probe(CSUM_DIFF, "new only", csum(None, words)),
        Probe(CSUM_DIFF, "nothing", csum(None, None)),
        Probe(CSUM_DIFF, "nothing, a seed", csum(None, None, 0x12345678)),
        Probe(CSUM_DIFF, "with a seed", csum(words, words[8:], 0xFFFFFFFE)),
        Probe(CSUM_DIFF, "a seed of 64 bits", csum(words, words[8:], 0x123456789A)),
        Probe(CSUM_DIFF, "the same", csum(words, words)),
        Probe(CSUM_DIFF, "odd old size", csum(words[:6], words)),
        Probe(CSUM_DIFF, "odd new size", csum(words, words[:7])),
        Probe(CLASSID, "no socket", simple(CLASSID)),
        Probe(REALM, "IPv6 has none", simple(REALM)),
        Probe(HASH, "of the flow", [field(CTX_HASH, 8), simple(HASH), simple(HASH, slot=1),
              field(CTX_HASH, 2)], loose={0: "hash", 1: "hash", 2: "hash", 8: "hash"}),
        Probe(PULL, "all", simple(PULL, 0)),
        Probe(PULL, "the header", simple(PULL, 40)),
        Probe(PULL, "to the end", simple(PULL, 112)),
        Probe(PULL, "behind the end", simple(PULL, 113)),
        Probe(PULL, "far behind", simple(PULL, 0xFFFFFFFF)),
        Probe(PULL, "and read", [simple(PULL, 40), load(4, 1, 6, 76), load(4, 2, 6, 80),
              copy(3, 1), I(0x07, 3, 0, 0, 8), I(0x2D, 3, 2, 2), load(4, 4, 1, 4), keep(1, 4)]),
        Probe(NODE, "of this CPU", bare(NODE)),
        Probe(CPU, "this one", bare(CPU)),
        *(
            Probe(CPU, f"and give {verdict} back", bare(CPU), verdict=verdict)
            for verdict in (1, 2, 3, 4, 7, 8, 127, 129, -1)
        ),
        *(
            Probe(CPU, f"packet {name}", bare(CPU), ("in", "out", "xmit"), packet=name)
            for name in ("udp", "long", "hop")
        ),
        Probe(CGROUP, "no socket", cgroup(0)),
        Probe(CGROUP, "behind the end", cgroup(4)),
        Probe(RANDOM, "a number", bare(RANDOM), loose={0: "random"}),
        Probe(NS, "now", bare(NS), loose={0: "clock"}),
        Probe(BOOT, "now", bare(BOOT), loose={0: "clock"}),
        Probe(TAI, "now", bare(TAI), loose={0: "clock"}),
        Probe(COARSE, "now", bare(COARSE), loose={0: "coarse"}),
        Probe(JIFFIES, "now", bare(JIFFIES), loose={0: "jiffies"}),
    ]  # fmt: skip


# ---- at xmit ------------------------------------------------------------------------------------

UDP_CHECK = 94  # of packet srh: 40 + 48 + 6
OUTER = bytes.fromhex("60000000007029ff") + bytes(32)
MACS = bytes.fromhex("02112233445502aabbccddee86dd")


def store(offset: int, content: bytes, flags: int = 0, slot: int = 0) -> Code:
    return [
        onto_stack(-32, content), context(), wide(2, offset), to_stack(3, -32),
        mov(4, len(content)), wide(5, flags), call(STORE), keep(slot),
    ]  # fmt: skip


def framed(size: int = 14) -> Code:
    """A link-layer header before the packet."""
    return [simple(CHANGE_HEAD, size, 0, slot=8), store(size - 14, MACS, slot=9)]


def _stores() -> list[Probe]:
    content = b"changed!"
    return [
        Probe(STORE, "payload", store(96, content)),
        Probe(STORE, "hop limit", store(7, b"\x09")),
        Probe(STORE, "the last byte", store(111, b"!")),
        Probe(STORE, "sum of the device", store(96, content, 1)),
        Probe(STORE, "hash void", [simple(HASH, slot=8), store(96, content, 2),
              field(CTX_HASH, 1)], loose={8: "hash"}),
        Probe(STORE, "flags 4", store(96, content, 4)),
        Probe(STORE, "high flags", store(96, content, 1 << 35)),
        Probe(STORE, "partly behind the end", store(108, content)),
        Probe(STORE, "offset over INT_MAX", store(1 << 31, content)),
        Probe(STORE, "offset -1", store(0xFFFFFFFF, content)),
    ]  # fmt: skip


def replace(helper: int, offset: int, old: int, new: int, flags: int) -> Code:
    return simple(helper, offset, old, new, flags)


def _replaces() -> list[Probe]:
    found = []
    for helper, name in ((L3, ""), (L4, "")):
        found += [
            Probe(helper, f"two bytes{name}", replace(helper, 94, 0x1234, 0x4321, 2)),
            Probe(helper, "four bytes", replace(helper, 94, 0x12345678, 0x87654321, 4)),
            Probe(helper, "a difference", replace(helper, 94, 0, 0x12345, 0)),
            Probe(helper, "a difference and old", replace(helper, 94, 1, 0x12345, 0)),
            Probe(helper, "three bytes", replace(helper, 94, 1, 2, 3)),
            Probe(helper, "size 15", replace(helper, 94, 1, 2, 15)),
            Probe(helper, "odd offset", replace(helper, 95, 1, 2, 2)),
            Probe(helper, "offset over 64 KiB", replace(helper, 0x10000, 1, 2, 2)),
            Probe(helper, "behind the end", replace(helper, 112, 1, 2, 2)),
            Probe(helper, "the last two bytes", replace(helper, 110, 1, 2, 2)),
            Probe(helper, "high flags", replace(helper, 94, 1, 2, 1 << 40 | 2)),
            Probe(helper, "high bits of values",
                  replace(helper, 94, 1 << 40 | 5, 1 << 41 | 9, 4)),
            Probe(helper, "high bits, two bytes",
                  replace(helper, 94, 0xABCD0005, 0x98760009, 2)),
            Probe(helper, "high bits, a difference", replace(helper, 94, 0, 7 << 33 | 9, 0)),
        ]  # fmt: skip
    zero = [store(94, bytes(2), slot=8)]
    ones = [store(94, b"\x12\x34", slot=8)]  # which the difference below makes 0
    return [
        *found,
        Probe(L3, "PSEUDO", replace(L3, 94, 1, 2, PSEUDO | 2)),
        Probe(L4, "PSEUDO", replace(L4, 94, 1, 2, PSEUDO | 2)),
        Probe(L4, "PSEUDO, a difference", replace(L4, 94, 0, 0x1234, PSEUDO)),
        Probe(L4, "IPV6", replace(L4, 94, 1, 2, IPV6 | PSEUDO | 4)),
        Probe(L4, "IPV6, a difference", replace(L4, 94, 0, 0x1234, IPV6 | PSEUDO)),
        Probe(L4, "unknown flag", replace(L4, 94, 1, 2, 0x100 | 2)),
        Probe(L4, "no sum, MANGLED_0", [zero, replace(L4, 94, 1, 2, MANGLED_0 | 2)]),
        Probe(L4, "no sum, MANGLED_0, ENFORCE",
              [zero, replace(L4, 94, 1, 2, MANGLED_0 | ENFORCE | 2)]),
        Probe(L4, "no sum, wrong size, MANGLED_0", [zero, replace(L4, 94, 1, 2, MANGLED_0 | 3)]),
        Probe(L4, "sum becomes 0", [ones, replace(L4, 94, 0, 0x3412, 0)]),
        Probe(L4, "sum becomes 0, MANGLED_0", [ones, replace(L4, 94, 0, 0x3412, MANGLED_0)]),
        Probe(L4, "four bytes, MANGLED_0", replace(L4, 94, 1, 77, MANGLED_0 | 4)),
    ]  # fmt: skip


def _redirects(links: Mapping[str, int]) -> list[Probe]:
    far, back = links["h3"], links["h1"]
    go = [copy(9, 0), keep(0)]

    def to(index: int, flags: int = 0) -> Code:
        return [wide(1, index), wide(2, flags), call(REDIRECT)]

    return [
        Probe(CLONE, "another link", [framed(), simple(CLONE, far, 0)], verdict=2),
        Probe(CLONE, "the same link, twice", [framed(), simple(CLONE, links["h2"], 0),
              simple(CLONE, links["h2"], 0, slot=1)], verdict=2, results=(0, 1)),
        Probe(CLONE, "and go on", [framed(), simple(CLONE, far, 0)]),
        Probe(CLONE, "back", [framed(), simple(CLONE, back, 0)], verdict=2),
        Probe(CLONE, "no link-layer header", simple(CLONE, far, 0)),
        Probe(CLONE, "no such link", [framed(), simple(CLONE, NOWHERE, 0)], verdict=2),
        Probe(CLONE, "lo", [framed(), simple(CLONE, 1, 0)], verdict=2),
        Probe(REDIRECT, "lo", [framed(), to(1), go], verdict=None),
        Probe(CLONE, "link 0", simple(CLONE, 0, 0)),
        Probe(CLONE, "flags 2", [framed(), simple(CLONE, far, 2)], verdict=2),
        Probe(CLONE, "high flags", simple(CLONE, far, 1 << 40)),
        Probe(CLONE, "behind another header", [onto_stack(-64, OUTER), context(), mov(2, 2),
              to_stack(3, -64), mov(4, 40), call(73), keep(8), simple(CLONE, far, 0)]),
        Probe(CLONE, "before another header", [framed(), onto_stack(-64, OUTER), context(),
              mov(2, 2), to_stack(3, -64), mov(4, 40), call(73), keep(10),
              simple(CLONE, far, 0)], verdict=2),
        Probe(REDIRECT, "another link", [framed(), to(far), go], verdict=None),
        Probe(REDIRECT, "back", [framed(), to(back), go], verdict=None),
        Probe(REDIRECT, "a longer header", [framed(18), to(far), go], verdict=None),
        Probe(REDIRECT, "no link-layer header", [to(far), go], verdict=None),
        Probe(REDIRECT, "no such link", [framed(), to(NOWHERE), go], verdict=None),
        Probe(REDIRECT, "link 0", [framed(), to(0), go], verdict=None),
        Probe(REDIRECT, "flags 2", [framed(), to(far, 2), go], verdict=None),
        Probe(REDIRECT, "high flags", [framed(), to(far, 1 << 40), go], verdict=None),
        Probe(REDIRECT, "the last call counts", [framed(), to(far), to(back), go], verdict=None),
        Probe(REDIRECT, "and not done", [to(far), keep(0)]),
        Probe(REDIRECT, "never called", [mov(0, 7), keep(0)], verdict=7, results=()),
        Probe(REDIRECT, "called for the packet before", [framed(), keep(0)], verdict=7,
              results=()),
    ]  # fmt: skip


def _changes() -> list[Probe]:
    sizes = {"shorter": 100, "longer": 140, "the same": 112, "the least": 40, "less": 39, "0": 0,
             "a page": 4096, "the most": 16384 - 320, "more than the most": 16384 - 319,
             "-1": 0xFFFFFFFF}  # fmt: skip
    long = {f"the packet {name}": size for name, size in
            {"longer than the link takes": 1500 - 112 + 1}.items()}  # fmt: skip
    return [
        *(
            Probe(CHANGE_TAIL, name, [simple(CHANGE_TAIL, size, 0), field(LEN, 1)])
            for name, size in sizes.items()
        ),
        Probe(
            CHANGE_TAIL,
            "behind an outer header",
            [
                onto_stack(-64, OUTER),
                context(),
                mov(2, 2),
                to_stack(3, -64),
                mov(4, 40),
                call(73),
                keep(8),
                simple(CHANGE_TAIL, 100, 0),
                simple(CHANGE_TAIL, 79, 0, slot=1),
                field(LEN, 2),
            ],
            verdict=2,
            results=(0, 1),
        ),
        Probe(CHANGE_TAIL, "flags", simple(CHANGE_TAIL, 100, 1)),
        Probe(
            CHANGE_TAIL,
            "behind a link-layer header",
            [
                simple(CHANGE_HEAD, 14, 0, slot=8),
                simple(CHANGE_TAIL, 54, 0),
                simple(CHANGE_TAIL, 53, 0, slot=1),
                field(LEN, 2),
            ],
            verdict=2,
            results=(0, 1),
        ),
        Probe(
            CHANGE_TAIL,
            "behind a Hop-by-Hop header",
            [
                simple(CHANGE_TAIL, 48, 0),
                simple(CHANGE_TAIL, 47, 0, slot=1),
                simple(CHANGE_TAIL, 40, 0, slot=2),
                field(LEN, 3),
            ],
            packet="hop",
            verdict=2,
            results=(0, 1, 2),
        ),
        Probe(CHANGE_HEAD, "14 bytes", [simple(CHANGE_HEAD, 14, 0), field(LEN, 1)]),
        Probe(CHANGE_HEAD, "none", [simple(CHANGE_HEAD, 0, 0), field(LEN, 1)]),
        Probe(CHANGE_HEAD, "one byte", [simple(CHANGE_HEAD, 1, 0), field(LEN, 1)], verdict=2),
        Probe(CHANGE_HEAD, "1000 bytes", [simple(CHANGE_HEAD, 1000, 0), field(LEN, 1)], verdict=2),
        Probe(CHANGE_HEAD, "the most", simple(CHANGE_HEAD, 16384 - 320 - 112, 0), verdict=2),
        Probe(CHANGE_HEAD, "more than the most", simple(CHANGE_HEAD, 16384 - 319 - 112, 0)),
        Probe(CHANGE_HEAD, "-1", simple(CHANGE_HEAD, 0xFFFFFFFF, 0)),
        Probe(CHANGE_HEAD, "flags", simple(CHANGE_HEAD, 14, 1)),
        *(
            Probe(CHANGE_HEAD, name, simple(CHANGE_HEAD, size, 0), verdict=2)
            for name, size in long.items()
        ),
    ]


def _levels() -> list[Probe]:
    return [
        Probe(CSUM_UPDATE, "no sum of the device", simple(CSUM_UPDATE, 5)),
        *(Probe(LEVEL, f"level {i}", simple(LEVEL, i)) for i in range(5)),
        Probe(LEVEL, "high level", simple(LEVEL, 1 << 32)),
        *(Probe(LEVEL, f"levels {steps}, and asked", [
            *(simple(LEVEL, step, slot=8) for step in steps), simple(LEVEL, 0)])
          for steps in ((1,), (1, 1), (1, 1, 1, 1, 1), (1, 2), (1, 1, 2), (1, 1, 3), (2, 1))),
        Probe(NO_HASH, "and ask again", [
            simple(HASH, slot=8), simple(NO_HASH), field(CTX_HASH, 1), simple(HASH, slot=9),
            load(8, 1, 7, 64), load(8, 2, 7, 72), mov(3, 0), I(0x5D, 1, 2, 1), mov(3, 1),
            keep(2, 3),
        ], loose={8: "hash", 9: "hash"}),
    ]  # fmt: skip


def table(links: Mapping[str, int]) -> list[Probe]:
    """All of these."""
    return [
        *everywhere(), *_stores(), *_replaces(), *_redirects(links), *_changes(), *_levels(),
    ]  # fmt: skip
