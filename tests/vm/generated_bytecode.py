"""Programs made of any instructions, for the two engines to be compared on.

Registers begin as pointers and numbers of all kinds, so that many loads and stores are good ones;
nothing is done so that programs make sense. At the end every register is put on the stack.
"""

from __future__ import annotations

from hypothesis import strategies as st

from nfc.bpf import isa
from nfc.bpf.isa import Instruction as I
from nfc.bpf.isa import encode
from nfc.bpf.object import MapDef, Object, Program, Relocation, RelocationKind

ARRAY, HASH, RING = 2, 1, 27
SLOT = 8
REGISTERS = st.integers(0, 9)
OFFSETS = st.one_of(st.integers(-64, 80), st.integers(-32768, 32767))
IMMEDIATES = st.one_of(
    st.integers(-130, 130), st.integers(-(1 << 31), (1 << 31) - 1), st.sampled_from([-(1 << 31)])
)
SIZES = (0x00, 0x08, 0x10, 0x18)
ALU_CODES = (0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0, 0xB0, 0xC0)
JUMP_CODES = (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0)
ATOMICS = (0x00, 0x01, 0x40, 0x41, 0x50, 0x51, 0xA0, 0xA1, 0xE1, 0xF1, 0x100, 0x110)
COMMON = (1, 1, 2, 2, 3, 5, 7, 8, 26, 26, 34, 125, 130, 208)  # of every hook
ENDPOINT, XMIT = (74, 74, 75, 75, 76, 76), (9, 39)
ODD = (28, 131, 132, 134, 999)
HELPERS = {
    "endpoint": COMMON + ENDPOINT + ODD[:1],
    "in": COMMON,
    "xmit": COMMON + XMIT,
}
EPILOGUE = (*(I(0x7B, 10, r, -8 * (r + 1)) for r in range(10)), I(0x95))


@st.composite
def instructions(draw: st.DrawFn, size: int, at: int, hook: str) -> I:
    """One instruction, at a place in a program of `size`."""
    odd = draw(st.integers(0, 30)) == 0  # anything at all; else what has a chance
    numbers = REGISTERS if odd else st.integers(0, 5)
    dst, src, imm = draw(numbers), draw(REGISTERS), draw(IMMEDIATES)
    base = draw(REGISTERS if odd else st.sampled_from([7, 8, 8, 10]))
    off = draw(OFFSETS if odd else st.integers(-64, -8) if base == 10 else st.integers(0, 48))
    kind = draw(st.integers(0, 13))
    jump = draw(st.integers(-min(at + 1, 6), max(0, min(12, size - at - 1))))
    if kind <= 2:
        cls = draw(st.sampled_from([isa.ALU, isa.ALU64]))
        code = draw(st.sampled_from(ALU_CODES))
        by_register = draw(st.sampled_from([0, 8]))
        signed = draw(st.sampled_from([0, 0, 1])) if code in (0x30, 0x90) else 0
        if code == 0xB0 and by_register:
            signed = draw(st.sampled_from([0, 0, 8, 16, *([32] if cls == isa.ALU64 else [])]))
        return I(cls | code | by_register, dst, src if by_register else 0, signed, imm)
    if kind == 3:
        cls, width = (
            draw(st.sampled_from([isa.ALU, isa.ALU64])),
            draw(st.sampled_from([16, 32, 64])),
        )
        order = 0 if cls == isa.ALU64 else draw(st.sampled_from([0, 8]))
        return draw(st.sampled_from([I(cls | 0xD0 | order, dst, 0, 0, width), I(cls | 0x80, dst)]))
    if kind in (4, 5):
        sizes = draw(st.sampled_from(SIZES))
        mode = draw(st.sampled_from([0x60, 0x60, 0x80 if sizes != 0x18 else 0x60]))
        return I(isa.LDX | mode | sizes, dst, base, off)
    if kind in (6, 7):
        cls = draw(st.sampled_from([isa.ST, isa.STX]))
        target = base if odd or base != 7 else draw(st.sampled_from([6, 7, 8]))
        off = 8 if target == 6 else off
        return I(cls | 0x60 | draw(st.sampled_from(SIZES)), target, src, off, imm)
    if kind == 8:
        sizes = draw(st.sampled_from([0x00, 0x18]))
        return I(isa.STX | 0xC0 | sizes, base, dst, off, draw(st.sampled_from(ATOMICS)))
    if kind in (9, 10):
        cls, code = draw(st.sampled_from([isa.JMP, isa.JMP32])), draw(st.sampled_from(JUMP_CODES))
        by_register = draw(st.sampled_from([0, 8]))
        any_jump = I(cls | code | by_register, dst, src if by_register else 0, jump, imm)
        return draw(st.sampled_from([any_jump, I(0x05, 0, 0, jump), I(0x06, 0, 0, 0, jump)]))
    if kind == 13 and not odd:
        return I(0xBF, dst, 0, 0, 0)
    local = I(0x85, 0, 1, 0, jump)
    helper = I(0x85, 0, 0, 0, draw(st.sampled_from(ODD if odd else HELPERS[hook])))
    return draw(st.sampled_from([helper, helper, helper, helper, local, I(0x95)]))


@st.composite
def objects(draw: st.DrawFn, hook: str) -> Object:
    """An object of one program, f, with an array, a hash and a ring buffer."""
    size = draw(st.integers(1, 24))
    body = [draw(instructions(size, at, hook)) for at in range(size)]
    # r6 context, r7 packet, r8 stack, r9 a map, r2.. numbers
    start = (
        I(0xBF, 6, 1),
        I(0x61, 7, 1, 76),
        I(0xBF, 8, 10),
        I(0x07, 8, 0, 0, -64),
        I(isa.LD_IMM64, 9),
        I(isa.LD_IMM64, 2, 0, 0, draw(IMMEDIATES), draw(IMMEDIATES)),
        I(0xB7, 3, 0, 0, draw(st.integers(0, 100))),
        I(0xB7, 4, 0, 0, draw(st.integers(0, 16))),
        I(0x7A, 10, 0, -64, draw(st.integers(0, 5))),
    )
    # A helper's arguments, as it wants them, before some calls.
    made: list[I] = []
    relocations = [(4, draw(st.sampled_from(["array", "hash", "ring"])))]
    begin = sum(i.slots for i in start)
    for one in body:
        if one.calls_helper and draw(st.integers(0, 15)):
            made += draw(_arguments(one.imm))
        made.append(one)
    program = (*start, *made, *EPILOGUE)
    places = [sum(i.slots for i in program[:n]) for n in range(len(program))]
    for n, one in enumerate(program):
        if one.wide and n >= len(start):
            name = {1: "array", 2: "hash", 3: "hash"}.get(one.imm, "ring")
            relocations.append((places[n], name))
    code = encode(program)
    found = tuple(Relocation(slot * SLOT, RelocationKind.MAP, name) for slot, name in relocations)
    assert begin
    maps = (
        MapDef("array", ARRAY, 4, 16, 4),
        MapDef("hash", HASH, 4, 8, 2),
        MapDef("ring", RING, 0, 0, 4096),
    )
    return Object((Program("f", "lwt_seg6local", code, found),), maps, license="GPL")


def _arguments(number: int) -> st.SearchStrategy[list[I]]:
    """Arguments that a helper might take: of context, map, memory, number."""
    stack = [I(0xBF, 2, 10), I(0x07, 2, 0, 0, -64)]
    if number in (1, 2, 3):
        value = [I(0xBF, 3, 10), I(0x07, 3, 0, 0, -32), I(0xB7, 4)]
        return st.just([I(isa.LD_IMM64, 1, 0, 0, number), *stack, *value])
    if number in (130, 131):
        return st.integers(0, 40).map(
            lambda n: [I(isa.LD_IMM64, 1, 0, 0, number), *stack, I(0xB7, 3, 0, 0, n), I(0xB7, 4)]
        )
    if number in (26, 74, 9):
        return st.tuples(st.integers(0, 140), st.integers(0, 60)).map(
            lambda n: [
                I(0xBF, 1, 6), I(0xB7, 2, 0, 0, n[0]), I(0xBF, 3, 10), I(0x07, 3, 0, 0, -64),
                I(0xB7, 4, 0, 0, n[1]), I(0xB7, 5),
            ]
        )  # fmt: skip
    if number == 75:
        return st.tuples(st.integers(70, 140), st.sampled_from([-16, -8, -1, 0, 1, 8, 40])).map(
            lambda n: [I(0xBF, 1, 6), I(0xB7, 2, 0, 0, n[0]), I(0xB7, 3, 0, 0, n[1])]
        )
    if number == 76:
        return st.tuples(st.sampled_from([2, 3, 7, 9, 10, 1]), st.sampled_from([4, 16, 24])).map(
            lambda n: [
                I(0xBF, 1, 6), I(0xB7, 2, 0, 0, n[0]), I(0xBF, 3, 10), I(0x07, 3, 0, 0, -64),
                I(0xB7, 4, 0, 0, n[1]),
            ]
        )  # fmt: skip
    return st.just([I(0xBF, 1, 6)])
