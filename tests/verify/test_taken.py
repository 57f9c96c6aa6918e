"""What kernels take and a checker easily refuses, or the other way round: one thing each.

The programs are the idea of a test of the kernel's (tools/testing/selftests/bpf/progs), in
instructions of our own; the running kernel says of each whether it takes it.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from kernel.asm import EXIT, RETURN_0, call, insn, load, mov, mov_reg, store
from mutate import Kernel

from nfc.bpf.link import link
from nfc.bpf.object import Object, Program
from nfc.bpf.version import KernelVersion
from nfc.verify.checks import check_linked

NOW = KernelVersion.running()
DATA, DATA_END, SK = 76, 80, 168  # of struct __sk_buff, uapi/linux/bpf.h
PRANDOM = call(7)
BAD = load(8, 0, 9, 0)  # nothing was put in r9: only a dead way may have this
JGT, JLT, JGE, JLE = 0x25, 0xA5, 0x35, 0xB5


@dataclass(frozen=True)
class Case:
    """A program, and whether a kernel of today takes it."""

    code: bytes
    taken: bool = True
    hook: str = "in"


CASES = {
    "what is known of r0": Case(
        PRANDOM + insn(JGT, 0, off=2, imm=16) + insn(JLE, 0, off=1, imm=16) + BAD + RETURN_0
    ),
    "what is known of r0, in a register": Case(
        PRANDOM + insn(JLT, 0, off=3, imm=3) + mov(2, 2) + insn(0x5D, 0, 2, 1) + BAD + RETURN_0
    ),
    "a spilled number and its register": Case(
        PRANDOM + store(8, 10, 0, -8) + insn(JGT, 0, off=3, imm=16) + load(8, 1, 10, -8)
        + insn(JLE, 1, off=1, imm=16) + BAD + RETURN_0
    ),
    "a spilled number, cut": Case(
        call(5) + store(4, 10, 0, -8) + insn(JGT, 0, off=3, imm=16) + load(4, 1, 10, -8)
        + insn(JLE, 1, off=1, imm=16) + BAD + RETURN_0, taken=False,
    ),
    "a spilled number of 4 bytes": Case(
        call(5) + insn(0x57, 0, imm=65535) + store(4, 10, 0, -8) + insn(JLT, 0, off=3, imm=1)
        + load(4, 1, 10, -8) + insn(JGE, 1, off=1, imm=1) + BAD + RETURN_0
    ),
    "signed and unsigned, at one end": Case(
        PRANDOM + insn(0xBF, 0, 0, off=8) + mov(1, -256) + insn(0x2D, 0, 1, 2)
        + insn(JLT, 0, off=1, imm=128) + BAD + RETURN_0
    ),
    "an atomic sum where a pointer was": Case(
        store(8, 10, 1, -8) + mov(2, 1) + insn(0xDB, 10, 2, -8, 0) + load(8, 0, 10, -8) + EXIT
    ),
    "the start of the packet, signed": Case(
        insn(0x81, 2, 1, DATA) + RETURN_0, taken=False,
    ),
    "the end of the packet, signed": Case(
        insn(0x81, 2, 1, DATA_END) + RETURN_0, taken=False,
    ),
    "the length, signed": Case(insn(0x81, 2, 1, 0) + RETURN_0),
    "the family of a socket": Case(
        load(8, 2, 1, SK) + insn(0x15, 2, off=1) + load(4, 0, 2, 4) + RETURN_0
    ),
    "the family of no socket": Case(load(8, 2, 1, SK) + load(4, 0, 2, 4) + RETURN_0, taken=False),
    "the type of a socket": Case(
        load(8, 2, 1, SK) + insn(0x15, 2, off=1) + load(4, 0, 2, 8) + RETURN_0, taken=False
    ),
    "the port of a socket": Case(
        load(8, 2, 1, SK) + insn(0x15, 2, off=1) + load(2, 0, 2, 44) + RETURN_0
    ),
    "behind a socket": Case(
        load(8, 2, 1, SK) + insn(0x15, 2, off=1) + load(4, 0, 2, 80) + RETURN_0, taken=False
    ),
    "a socket written": Case(
        load(8, 2, 1, SK) + mov(3, 0) + insn(0x15, 2, off=1) + store(4, 2, 3, 4) + RETURN_0,
        taken=False,
    ),
    "a socket and the context": Case(
        load(8, 2, 1, SK) + insn(0x55, 2, off=1) + mov_reg(2, 1) + load(4, 0, 2, 0) + RETURN_0,
        taken=False,
    ),
    "a choice made with a mask": Case(
        PRANDOM + insn(0xBC, 2, 0) + insn(0xC4, 2, imm=31) + insn(0x54, 2, imm=-134)
        + insn(0x66, 2, off=2, imm=-1) + insn(0x56, 2, off=1, imm=-136) + BAD + RETURN_0
    ),
    "bytes turned round": Case(
        PRANDOM + insn(0x57, 0, imm=0xFF) + insn(0xDC, 0, imm=16)
        + insn(0xB5, 0, off=1, imm=0xFF00) + BAD + RETURN_0
    ),
    "one value is left": Case(
        PRANDOM + insn(0x47, 0, imm=0xE0) + insn(0x57, 0, imm=0xF0) + insn(0x15, 0, off=2, imm=0xE0)
        + insn(0x15, 0, off=1, imm=0xF0) + BAD + RETURN_0
    ),
    "a load with order": Case(
        store(8, 10, 1, -8) + insn(0xDB, 0, 10, -8, 0x100) + load(4, 0, 0, 0) + EXIT
    ),
    "a store with order": Case(
        mov(1, 7) + insn(0xDB, 10, 1, -8, 0x110) + load(8, 0, 10, -8) + EXIT
    ),
    "a load with order from the context": Case(insn(0xC3, 0, 1, 0, 0x100) + EXIT, taken=False),
    "a loop from an unknown number to 4": Case(
        PRANDOM + insn(0x07, 0, imm=1) + insn(JLT, 0, off=-2, imm=4) + EXIT
    ),
}  # fmt: skip


def program(case: Case) -> Object:
    return Object((Program("one", case.hook, case.code),), license="GPL")


@pytest.mark.parametrize("name", CASES)
def test_the_check(name: str) -> None:
    case = CASES[name]
    obj = program(case)
    report = check_linked(obj, link(obj, "one"), case.hook, KernelVersion.parse("6.18.44"))
    assert (not report.violations) == case.taken, report


@pytest.mark.kernel
@pytest.mark.parametrize("name", CASES)
def test_the_kernel(name: str) -> None:
    """The running kernel agrees, or knows less and so does the check for it."""
    case = CASES[name]
    obj = program(case)
    with Kernel(obj) as kernel:
        taken, log = kernel.asks(link(obj, "one"), case.hook)
    assert taken == case.taken or KernelVersion(6, 18) > NOW, log
    report = check_linked(obj, link(obj, "one"), case.hook, NOW)
    assert taken or report.violations
