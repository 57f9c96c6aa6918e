"""Probes whose arguments are given with each packet: four numbers and 64 bytes, drawn at random.

The bytes lie on the stack at r10-64, the numbers in r2 to r5 as far as a verifier lets any number
be there; sizes are kept in bounds by the program.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from probes_packet import framed
from probes_srv6 import DROP, FAR, NEAR, REROUTE, packed, srh, v4, v6
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
    put,
    store,
    to_map,
    to_stack,
)  # fmt: skip

from nfc.bpf.isa import Instruction as I

SIZE = 64  # bytes that are given
NUMBERS = 4
GIVEN = 128  # bytes of the map's value


def masked(register: int, mask: int) -> I:
    return I(0x57, register, 0, 0, mask)


def arguments() -> Code:
    """The bytes onto the stack, the numbers into r2 to r5, and the context into r1."""
    return [
        put(4, -72, 0), to_stack(2, -72), to_map(1, "given"), call(1), I(0x55, 0, 0, 2),
        mov(0, DROP), I(0x95), copy(9, 0),
        [[load(8, 1, 9, 8 * NUMBERS + at), store(8, 10, -SIZE + at, 1)]
         for at in range(0, SIZE, 8)],
        [load(8, 2 + i, 9, 8 * i) for i in range(NUMBERS)], context(),
    ]  # fmt: skip


def bounded(register: int, mask: int) -> Code:
    """1 to mask + 1."""
    return [masked(register, mask), add(register, 1)]


def of_bytes(register: int) -> Code:
    return to_stack(register, -SIZE)


def bytes_back() -> Code:
    """The first 32 bytes of what was given, as they are afterwards, in slots 1 to 4."""
    return [[load(8, 1, 10, -SIZE + 8 * i), keep(1 + i, 1)] for i in range(4)]


def _probe(helper: int, name: str, *code: Any, **more: Any) -> Probe:
    body = [arguments(), list(code)]
    return Probe(helper, f"given, {name}", body, **more)


def table() -> list[Probe]:
    """All of these."""
    near = [mov(9, 0), I(0x55, 0, 0, 2), I(0x15, 8, 0, 1), mov(9, REROUTE)]
    return [
        _probe(9, "store", [of_bytes(3), bounded(4, 31)], call(9), keep(0)),
        _probe(10, "replace", call(10), keep(0)),
        _probe(11, "replace", call(11), keep(0)),
        _probe(13, "clone", [copy(8, 2), framed(), context(), copy(2, 8), mov(3, 0)], call(13),
               keep(0), verdict=DROP),
        _probe(26, "load", [of_bytes(3), bounded(4, 31)], call(26), keep(0), bytes_back()),
        _probe(28, "difference", [copy(8, 4), of_bytes(1), masked(2, 31), to_stack(3, -SIZE + 32),
               copy(4, 8), masked(4, 31)], call(28), keep(0)),
        _probe(38, "tail", call(38), keep(0)),
        _probe(39, "pull", call(39), keep(0)),
        _probe(43, "head", masked(2, 2047), call(43), keep(0), verdict=DROP),
        _probe(135, "level", call(135), keep(0)),
        *(
            _probe(helper, "text", [masked(2, 31), add(2, 1), of_bytes(1), to_stack(4, -72)],
                   call(helper), keep(0), load(8, 1, 10, -72), keep(1, 1))
            for helper in (105, 106)
        ),
        _probe(6, "format", [of_bytes(1), bounded(2, 31)], call(6), keep(0)),
        _probe(130, "record", [to_map(1, "ring"), copy(8, 2), of_bytes(2), masked(3, 63),
               copy(4, 8)], call(130), keep(0)),
        _probe(25, "record", [copy(8, 2), to_map(2, "perf"), copy(3, 8), of_bytes(4),
               masked(5, 63)], call(25), keep(0)),
        _probe(74, "bytes", [of_bytes(3), bounded(4, 31)], call(74), keep(0)),
        _probe(75, "size", [masked(3, 127), add(3, -64)], call(75), keep(0)),
        _probe(75, "size and bytes", [copy(8, 4), masked(3, 127), add(3, -64)], call(75), keep(0),
               [context(), copy(2, 8), of_bytes(3), mov(4, 8)], call(74), keep(1), results=(0, 1)),
        _probe(76, "action", [of_bytes(3), bounded(4, 63)], call(76), keep(0), verdict=7),
        _probe(76, "action, OK", [of_bytes(3), bounded(4, 63)], call(76), keep(0)),
        _probe(73, "header", [copy(8, 5), of_bytes(3), bounded(4, 63)], call(73), keep(0), near,
               verdict=None),
    ]  # fmt: skip


# ---- what is given ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """Four numbers, 64 bytes."""

    numbers: tuple[int, int, int, int]
    content: bytes

    def __bytes__(self) -> bytes:
        return (struct.pack("<4Q", *self.numbers) + self.content).ljust(GIVEN, b"\0")


EDGES = [0, 1, 2, 3, 4, 39, 40, 41, 47, 48, 80, 88, 94, 95, 96, 111, 112, 113, 1 << 16, 1 << 31,
         (1 << 32) - 1, 1 << 32, (1 << 64) - 1]  # fmt: skip
ANY = st.integers(0, (1 << 64) - 1)
NUMBER = st.one_of(st.integers(0, 15), st.integers(0, 140), st.sampled_from(EDGES), ANY)
# Of bpf_lX_csum_replace: most numbers are no flags.
FLAGS = st.one_of(st.integers(0, 15), st.integers(0, 255), st.just(0), ANY)
PLACES = st.one_of(st.integers(36, 116), NUMBER)
DIGITS = st.text(" \t-+0123456789abcdefxX_\0", max_size=32).map(str.encode)
WORDS = st.sampled_from(
    ["%", "%d", "%5u", "%-4x|", "%05lld", "%llX", "%+d", "% i", "%s", "%c", "%lu", "%8s", "%%",
     "text", "\0", "\n", "\x07", "é", "%l", "%z", "%0", "%-"]
)  # fmt: skip
FORMATS = st.lists(WORDS, max_size=6).map("".join).map(str.encode)
TLV, TLV_TWO = b"\x04\x06" + bytes(6), b"\x0a\x02xy\x04\x02" + bytes(2)
SRHS = [srh(NEAR), srh(FAR, NEAR), srh(NEAR, tail=TLV), srh(FAR, tail=TLV_TWO), srh(NEAR, FAR)]
OUTER = [v6(NEAR), v6(FAR), v4("10.30.0.9"), v4("10.20.0.9")]
TABLES = [struct.pack("<I", n) for n in (0, 100, 254, 255, 4711)]
# By helper and its first number: what it takes.
PARAMETERS = {
    (73, 0): SRHS, (73, 1): SRHS, (73, 2): OUTER, (76, 2): [packed(FAR), packed(NEAR)],
    (76, 3): TABLES, (76, 7): TABLES, (76, 9): SRHS, (76, 10): SRHS,
}  # fmt: skip


@st.composite
def parameters(draw: st.DrawFn, helper: int, kind: int) -> bytes:
    """What a helper takes, or something else, with a byte or two changed, or not."""
    every = [TLV, TLV_TWO, *OUTER, *SRHS, *TABLES]
    fitting = PARAMETERS.get((helper, kind), [TLV, TLV_TWO])
    content = bytearray(draw(st.sampled_from(fitting if draw(st.integers(0, 5)) else every)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


@st.composite
def given_to(draw: st.DrawFn, probe: Probe) -> Given:
    """What a probe is given."""
    second, third, fourth, fifth = (draw(NUMBER) for _ in range(4))
    content = draw(st.binary(max_size=SIZE))
    helper = probe.helper
    if helper in (9, 26):
        second = draw(PLACES)
    if helper == 9:
        fifth = draw(st.one_of(st.integers(0, 3), FLAGS))
    if helper in (10, 11):
        second = draw(st.one_of(st.integers(20, 55).map(lambda n: 2 * n), PLACES))
        third = draw(st.one_of(st.just(0), NUMBER))
        usual = [0, 2, 4, 0x12, 0x14, 0x20, 0x22, 0x64] if helper == 11 else [0, 2, 4]
        fifth = draw(FLAGS) if draw(st.integers(0, 5)) == 5 else draw(st.sampled_from(usual))
    if helper == 74:
        second = draw(st.one_of(st.sampled_from([45, 46, 47, 72, 80, 80, 81, 84]), PLACES))
        fourth = draw(st.sampled_from([0, 1, 2, 7, 7, 3]))
    if helper == 75:
        second = draw(st.one_of(st.sampled_from([80, 80, 84, 88]), PLACES))
        third = 64 + draw(st.one_of(st.sampled_from([-8, 8, 16, 0]), st.integers(-64, 63)))
        fourth = draw(st.sampled_from([80, 80, 88, 96, 84, 46]))
    if helper == 43:
        third = draw(st.sampled_from([0, 0, 0, 1]))
    if helper == 38:
        second = draw(st.one_of(st.integers(30, 1600), NUMBER))
    if helper in (105, 106):
        content, third = draw(DIGITS), draw(st.sampled_from([0, 8, 10, 16, 0, 10, third]))
    if helper == 6:
        content = draw(FORMATS)
    if helper == 38:
        third = draw(st.sampled_from([0, 0, 0, 1]))
    if helper == 13:
        second = draw(st.integers(0, 6))
    if helper == 25:
        index = draw(st.sampled_from([0xFFFFFFFF, 0xFFFFFFFF, 13, 14, 15, 16, second]))
        second = (
            index & 0xFFFFFFFF | draw(st.integers(0, 120)) << 32 | draw(st.integers(0, 1)) << 60
        )
    if helper == 130:
        second = draw(st.integers(0, 5))
    if helper == 76:
        second = draw(st.sampled_from([2, 3, 7, 9, 10, second]))
    if helper == 73:
        second = draw(st.sampled_from([0, 1, 2, 2, second]))
        fifth = 0 if second == 1 else draw(st.integers(0, 1))  # in line, it may keep its route
    if helper in (73, 74, 75, 76):
        content = draw(parameters(helper, second))
        if helper in (73, 76) and draw(st.integers(0, 7)):  # the size that it has
            fourth = len(content) - 1
    return Given((second, third, fourth, fifth), content[:SIZE].ljust(SIZE, b"\0"))
