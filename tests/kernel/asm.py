"""Instructions by hand: the tests' programs are so short that bytes are their best spelling."""

from __future__ import annotations

import struct


def insn(op: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """One instruction, as in include/uapi/linux/bpf.h, struct bpf_insn."""
    return struct.pack("<BBhi", op, dst | src << 4, off, imm)


def mov(dst: int, imm: int) -> bytes:
    return insn(0xB7, dst, imm=imm)


def mov_reg(dst: int, src: int) -> bytes:
    return insn(0xBF, dst, src)


def ld_imm64(dst: int, src: int = 0, low: int = 0, high: int = 0) -> bytes:
    """Two slots; `src` 1 and 2 are the loader's pseudo sources, which relocations fill in."""
    return insn(0x18, dst, src, imm=low) + insn(0, imm=high)


def call(helper: int) -> bytes:
    return insn(0x85, imm=helper)


def load(size: int, dst: int, src: int, off: int) -> bytes:
    return insn({1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}[size], dst, src, off)


def store(size: int, dst: int, src: int, off: int) -> bytes:
    return insn({1: 0x73, 2: 0x6B, 4: 0x63, 8: 0x7B}[size], dst, src, off)


EXIT = insn(0x95)
RETURN_0 = mov(0, 0) + EXIT
RETURN_2 = mov(0, 2) + EXIT  # BPF_DROP

MAP_LOOKUP_ELEM = 1


def lookup_entry_0() -> bytes:
    """r0 = pointer to entry 0 of a map (relocate byte 24), or null. 7 instructions."""
    return (
        mov(1, 0)
        + store(4, 10, 1, -4)
        + mov_reg(2, 10)
        + ld_imm64(1)  # byte 24
        + insn(0x07, 2, imm=-4)
        + call(MAP_LOOKUP_ELEM)
    )


LOOKUP_MAP_AT = 24


def count_in_entry_0(result: int) -> bytes:
    """Add 1 to the u64 in entry 0 of a map (relocate byte 24), and give `result`."""
    return (
        lookup_entry_0()
        + insn(0x15, 0, off=2)  # if r0 == 0 goto past the add
        + mov(1, 1)
        + insn(0xDB, 0, 1)  # lock *(u64 *)r0 += r1
        + mov(0, result)
        + EXIT
    )
