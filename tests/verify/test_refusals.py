"""What the check says of programs that are wrong in one thing each; and the kernel refuses them
too, so nothing here is a matter of taste."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kernel.asm import EXIT, RETURN_0, call, insn, ld_imm64, load, mov, mov_reg, store
from mutate import Kernel

from nfc.bpf.link import link
from nfc.bpf.object import MapDef, Object, Program, Relocation, RelocationKind
from nfc.bpf.version import KernelVersion
from nfc.errors import ObjectError
from nfc.verify.checks import check_linked
from nfc.verify.report import Report

NOW = KernelVersion.running()
ARRAY, HASH = MapDef("numbers", 2, 4, 8, 4), MapDef("numbers", 1, 4, 8, 4)
RING = MapDef("ring", 27, 0, 0, 4096)
DATA, DATA_END = 76, 80  # of struct __sk_buff, uapi/linux/bpf.h
LOOKUP = mov(1, 0) + store(4, 10, 1, -4) + mov_reg(2, 10) + insn(0x07, 2, imm=-4)
LOOKUP += ld_imm64(1) + call(1)  # the map at byte 32
RESERVE = ld_imm64(1) + mov(2, 8) + mov(3, 0) + call(131)
BOUNDS = load(4, 2, 1, DATA) + load(4, 3, 1, DATA_END)
JEQ0, GOTO = 0x15, 0x05

# name: hook, code, maps by the byte that loads them, what is said
WRONG: dict[str, tuple[str, bytes, dict[int, MapDef], str]] = {
    "nothing written": ("in", mov_reg(0, 2) + EXIT, {}, "r2 is used, and nothing was put there"),
    "after a call": (
        "in", mov(1, 0) + call(7) + mov_reg(0, 1) + EXIT, {}, "r1 is used, and nothing was put",
    ),
    "no result": ("in", EXIT, {}, "r0 is used, and nothing was put there"),
    "below the stack": ("in", mov(0, 0) + store(8, 10, 0, -520) + EXIT, {}, "the stack has the"),
    "above the stack": ("in", mov(0, 0) + store(8, 10, 0, 0) + EXIT, {}, "the stack has the bytes"),
    "null": (
        "in", LOOKUP + load(8, 0, 0, 0) + EXIT, {32: HASH}, "may be null",
    ),
    "behind a value": (
        "in", LOOKUP + insn(JEQ0, 0, off=1) + load(8, 0, 0, 8) + mov(0, 0) + EXIT, {32: ARRAY},
        "r0 reaches byte 15 of 8",
    ),
    "packet unchecked": ("in", load(4, 2, 1, DATA) + load(1, 0, 2, 0) + EXIT, {}, "packet"),
    "packet too far": (
        "in",
        BOUNDS + mov_reg(4, 2) + insn(0x07, 4, imm=8) + mov(0, 0) + insn(0x2D, 4, 3, 1)
        + load(1, 0, 2, 8) + EXIT, {}, "packet",
    ),
    "packet moved": (
        "in",
        mov_reg(6, 1) + load(4, 7, 1, DATA) + load(4, 8, 1, DATA_END) + mov_reg(4, 7)
        + insn(0x07, 4, imm=8) + mov(0, 0) + insn(0x2D, 4, 8, 4) + mov_reg(1, 6) + mov(2, 8)
        + call(39) + load(1, 0, 7, 0) + EXIT, {}, "is a number and no pointer",
    ),
    "packet written": (
        "in",
        BOUNDS + mov_reg(4, 2) + insn(0x07, 4, imm=8) + mov(0, 0) + insn(0x2D, 4, 3, 1)
        + store(1, 2, 0, 0) + EXIT, {}, "packet",
    ),
    "context, no field": ("in", load(4, 0, 1, 3) + EXIT, {}, "context"),
    "context written": ("in", mov(0, 0) + store(4, 1, 0, 0) + EXIT, {}, "context"),
    "for ever": ("in", mov(0, 0) + insn(GOTO, off=-1) + EXIT, {}, ""),
    "nothing leads there": ("in", RETURN_0 + RETURN_0, {}, "nothing leads to this instruction"),
    "off the end": ("in", mov(0, 0), {}, "runs off its end"),
    "out of the program": ("in", mov(0, 0) + insn(JEQ0, 0, off=5) + EXIT, {}, "jumps out"),
    "no such opcode, where no path comes to it": (
        "in", mov(0, 1) + insn(JEQ0, 0, off=1) + EXIT + insn(0xDF, 0, imm=16) + EXIT, {}, "0xdf",
    ),
    "no such opcode": ("in", insn(0xF7) + RETURN_0, {}, ""),
    "frame pointer": ("in", mov(10, 0) + RETURN_0, {}, "frame pointer"),
    "division by zero": ("in", mov(0, 4) + insn(0x37, 0, imm=0) + EXIT, {}, "no meaning"),
    "shift too far": ("in", mov(0, 4) + insn(0x67, 0, imm=64) + EXIT, {}, "no meaning"),
    "never given back": (
        "in", RESERVE + insn(JEQ0, 0, off=0) + RETURN_0, {0: RING}, "given back",
    ),
    "given back twice": (
        "in",
        RESERVE + insn(JEQ0, 0, off=6) + mov_reg(6, 0) + mov_reg(1, 6) + mov(2, 0) + call(132)
        + mov_reg(1, 6) + call(132) + RETURN_0, {0: RING}, "",
    ),
    "helper of another hook": (
        "in", mov(2, 0) + mov(3, 0) + call(75) + RETURN_0, {}, "not offered at in",
    ),
    "helper of other programs": (
        "in", mov(2, 0) + call(50) + RETURN_0, {}, "no hook of nfc may call bpf_skb_adjust_room",
    ),
    "no such helper": ("in", call(9999) + RETURN_0, {}, "may call helper 9999"),
    "size unbounded": (
        "in",
        load(4, 4, 1, 0) + mov_reg(3, 10) + insn(0x07, 3, imm=-16) + mov(2, 0) + call(26)
        + RETURN_0, {}, "",
    ),
    "a pointer with a pointer": ("in", insn(0x0F, 1, 10) + RETURN_0, {}, ""),
    "a pointer multiplied": ("in", mov_reg(2, 10) + insn(0x27, 2, imm=2) + RETURN_0, {}, ""),
    "unaligned in the stack": (
        "in", mov(0, 0) + store(8, 10, 0, -12) + EXIT, {}, "align",
    ),
}  # fmt: skip


def program_of(hook: str, code: bytes, maps: dict[int, MapDef]) -> Object:
    relocations = tuple(Relocation(at, RelocationKind.MAP, m.name) for at, m in maps.items())
    return Object((Program("wrong", hook, code, relocations),), tuple(maps.values()), license="GPL")


@pytest.mark.parametrize("name", WRONG)
def test_it_is_said(name: str) -> None:
    hook, code, maps, said = WRONG[name]
    obj = program_of(hook, code, maps)
    report = check_linked(obj, link(obj, "wrong"), hook, NOW)
    assert report.violations, name
    assert said in str(report.violations[0])
    json.dumps(report.to_json())


@pytest.mark.kernel
@pytest.mark.parametrize("name", WRONG)
def test_the_kernel_refuses_it(name: str) -> None:
    hook, code, maps, _ = WRONG[name]
    obj = program_of(hook, code, maps)
    with Kernel(obj) as kernel:
        assert not kernel.accepts(link(obj, "wrong"), hook)


@pytest.mark.kernel
def test_the_kernel_knows_every_opcode_that_the_check_knows() -> None:
    """Also where no path comes to it."""
    for op in range(256):
        for imm, src in ((0, 0), (16, 0), (0x100, 1), (-1, 0), (0, 1)):
            code = mov(0, 1) + insn(JEQ0, 0, off=1) + EXIT + insn(op, 0, src, imm=imm) + EXIT
            obj = program_of("in", code, {})
            try:
                linked = link(obj, "wrong")
                known = check_linked(obj, linked, "in", NOW).ok
            except ObjectError:
                continue
            if known:
                with Kernel(obj) as kernel:
                    assert kernel.accepts(linked, "in"), (hex(op), imm, src)


def long(count: int) -> Report:
    obj = program_of("in", mov(0, 0) * count + EXIT, {})
    return check_linked(obj, link(obj, "wrong"), "in", NOW)


def test_a_million_instructions_are_followed_and_no_more() -> None:
    """In bounded time and memory: what cannot be short is refused."""
    assert long(200_000).ok
    branchy = b"".join(
        load(4, 2, 1, 0) + insn(0x25, 2, off=1, imm=n) + insn(0x0F, 0, 2) for n in range(40)
    )
    obj = program_of("in", mov(0, 0) + branchy + insn(0x25, 0, off=-122, imm=5) + EXIT, {})
    report = check_linked(obj, link(obj, "wrong"), "in", NOW)
    assert not report.ok


def test_where_and_how_it_came_there(tmp_path: Path) -> None:
    """The instruction, what registers hold, and the decisions on the way."""
    code = load(4, 0, 1, 0) + insn(0x25, 0, off=1, imm=9) + mov(0, 1) + mov_reg(3, 2) + EXIT
    obj = program_of("in", code, {})
    (violation,) = check_linked(obj, link(obj, "wrong"), "in", NOW).violations
    assert violation.instruction == 3
    assert violation.path == ("instruction 1: no jump",)
    assert "r2" in violation.message


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_what_a_number_that_is_known_is_compared_with_stays_decided(version: str) -> None:
    """0 is equal to none of 2 to 257, which Linux 6.1 does not see; but it does not lose the 0 on
    that way: it jumps past the load from nowhere. Seen in the kernel's own test_lwt_seg6local."""
    code = (
        load(4, 2, 1, 8) + insn(0x57, 2, imm=0xFF) + insn(0x07, 2, imm=2) + mov(7, 0)
        + insn(0x1D, 7, 2, off=2) + RETURN_0
        + insn(JEQ0, 7, off=1) + load(1, 0, 7, 0) + RETURN_0
    )  # fmt: skip
    obj = Object((Program("f", "lwt_in", code),), license="GPL")
    assert not check_linked(obj, link(obj, "f"), "in", KernelVersion.parse(version)).violations
