"""Every instruction of RFC 9669 on both engines, by its conformance groups (section 2.4).

A row: what r1 and r2 hold before, and what r1 holds after; of a jump, whether it is taken. Memory
at r10 - 8 holds r1 before an instruction on memory, and is what is looked at afterwards. The page
docs/simulator.md has the counts by group.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from machines import assembled, query

from nfc.bpf import isa
from nfc.bpf.helpers import HELPERS
from nfc.bpf.isa import Instruction as I
from nfc.vm.helpers import table
from nfc.vm.simulator import Packet

PACKET = Packet(bytes(query([])))
M32, M64 = (1 << 32) - 1, (1 << 64) - 1
TOP32, TOP64 = 1 << 31, 1 << 63
MINUS = M64  # -1


@dataclass(frozen=True)
class Row:
    """One instruction, its registers before, and what comes of it."""

    group: str
    insn: I
    r1: int
    r2: int
    want: int

    def __str__(self) -> str:
        """The instruction, with its operands."""
        return f"{self.group}: {self.insn} ({self.r1:#x}, {self.r2:#x})"


def alu(group: str, code: int, a: int, b: int, want: int, off: int = 0) -> list[Row]:
    """An operation on registers, and with an immediate where the number fits."""
    wide = group.endswith("64")
    cls = isa.ALU64 if wide else isa.ALU
    rows = [Row(group, I(cls | code | 8, 1, 2, off), a, b, want)]
    signed = b - (1 << 64) if b >> 63 else b
    if -TOP32 <= signed < TOP32 and not (code == 0xB0 and off):
        rows.append(Row(group, I(cls | code, 1, 0, off, signed), a, 0, want))
    return rows


def jump(group: str, code: int, a: int, b: int, taken: bool) -> list[Row]:
    """A comparison of registers, and with an immediate."""
    cls = isa.JMP if group.endswith("64") else isa.JMP32
    rows = [Row(group, I(cls | code | 8, 1, 2, 1), a, b, taken)]
    signed = b - (1 << 64) if b >> 63 else b
    if -TOP32 <= signed < TOP32:
        rows.append(Row(group, I(cls | code, 1, 0, 1, signed), a, 0, taken))
    return rows


A32, A64 = 0x1_8000_0001, 0x8000_0000_0000_0001
ROWS: list[Row] = [
    # ---- base64: arithmetic
    *alu("base64", 0x00, M64, 2, 1),
    *alu("base64", 0x10, 1, 2, MINUS),
    *alu("base64", 0x40, 0xF0, 0x0F, 0xFF),
    *alu("base64", 0x50, A64, MINUS, A64),
    *alu("base64", 0xA0, 0xFF, MINUS, M64 ^ 0xFF),
    *alu("base64", 0xB0, 7, MINUS, MINUS),
    *alu("base64", 0x60, 1, 63, TOP64),
    *alu("base64", 0x60, 1, 64, 1),  # shifts count modulo the width
    *alu("base64", 0x70, A64, 63, 1),
    *alu("base64", 0xC0, A64, 63, MINUS),
    Row("base64", I(0x87, 1), 1, 0, MINUS),
    *[Row("base64", I(0xBF, 1, 2, bits), 0, 0x80808080_80808080, want) for bits, want in (
        (8, M64 ^ 0x7F), (16, M64 ^ 0x7F7F), (32, 0xFFFFFFFF_80808080))],
    *[Row("base64", I(0xD7, 1, 0, 0, bits), 0x0102030405060708, 0, want) for bits, want in (
        (16, 0x0807), (32, 0x08070605), (64, 0x0807060504030201))],
    Row("base64", I(0xD4, 1, 0, 0, 64), 0x0102030405060708, 0, 0x0102030405060708),
    Row("base64", I(0xDC, 1, 0, 0, 64), 0x0102030405060708, 0, 0x0807060504030201),
    Row("base64", I(0x18, 1, 0, 0, -1, 1), 0, 0, 0x1_FFFFFFFF),
    # jumps
    *jump("base64", 0x10, M64, MINUS, True), *jump("base64", 0x10, 1 << 32, 0, False),
    *jump("base64", 0x20, MINUS, 1, True), *jump("base64", 0x20, 1, 1, False),
    *jump("base64", 0x30, 1, 1, True), *jump("base64", 0x30, 0, 1, False),
    *jump("base64", 0x40, A64, 1, True), *jump("base64", 0x40, A64, 2, False),
    *jump("base64", 0x50, 1 << 32, 0, True), *jump("base64", 0x50, 1, 1, False),
    *jump("base64", 0x60, 1, MINUS, True), *jump("base64", 0x60, MINUS, 1, False),
    *jump("base64", 0x70, MINUS, MINUS, True), *jump("base64", 0x70, MINUS, 0, False),
    *jump("base64", 0xA0, 1, MINUS, True), *jump("base64", 0xA0, MINUS, 1, False),
    *jump("base64", 0xB0, 1, 1, True), *jump("base64", 0xB0, 2, 1, False),
    *jump("base64", 0xC0, MINUS, 0, True), *jump("base64", 0xC0, 0, MINUS, False),
    *jump("base64", 0xD0, MINUS, MINUS, True), *jump("base64", 0xD0, 0, MINUS, False),
    # memory: r1 is stored at r10 - 8, then loaded again, or changed there
    Row("base64", I(0x79, 1, 10, -8), A64, 0, A64),
    Row("base64", I(0x7A, 10, 0, -8, -2), 0, 0, M64 - 1),
    Row("base64", I(0x7B, 10, 2, -8), 0, A64, A64),
    # ---- base32
    *alu("base32", 0x00, M64, 2, 1),
    *alu("base32", 0x10, 1, 2, M32),
    *alu("base32", 0x40, 0xF0 | 1 << 40, 0x0F, 0xFF),
    *alu("base32", 0x50, A32, MINUS, TOP32 | 1),
    *alu("base32", 0xA0, 0xFF, MINUS, M32 ^ 0xFF),
    *alu("base32", 0xB0, 7, MINUS, M32),
    *alu("base32", 0x60, 1, 31, TOP32),
    *alu("base32", 0x60, 1, 32, 1),
    *alu("base32", 0x70, A32, 31, 1),
    *alu("base32", 0xC0, A32, 31, M32),
    Row("base32", I(0x84, 1), 1, 0, M32),
    *[Row("base32", I(0xBC, 1, 2, bits), 0, 0x80808080_80808080, want) for bits, want in (
        (8, 0xFFFFFF80), (16, 0xFFFF8080))],
    *[Row("base32", I(0xD4, 1, 0, 0, bits), 0x0102030405060708, 0, want) for bits, want in (
        (16, 0x0708), (32, 0x05060708))],
    *[Row("base32", I(0xDC, 1, 0, 0, bits), 0x0102030405060708, 0, want) for bits, want in (
        (16, 0x0807), (32, 0x08070605))],
    *jump("base32", 0x10, M32, MINUS, True), *jump("base32", 0x10, 1 << 32, 0, True),
    *jump("base32", 0x20, M32, 1, True), *jump("base32", 0x20, 1, 1, False),
    *jump("base32", 0x30, 1, 1, True), *jump("base32", 0x30, 1 << 32, 1, False),
    *jump("base32", 0x40, A32, 1, True), *jump("base32", 0x40, 1 << 33, MINUS, False),
    *jump("base32", 0x50, 2, 1, True), *jump("base32", 0x50, 1 << 32, 0, False),
    *jump("base32", 0x60, 1, MINUS, True), *jump("base32", 0x60, M32, 1, False),
    *jump("base32", 0x70, M32, MINUS, True), *jump("base32", 0x70, M32, 0, False),
    *jump("base32", 0xA0, 1, MINUS, True), *jump("base32", 0xA0, M32, 1, False),
    *jump("base32", 0xB0, 1, 1, True), *jump("base32", 0xB0, 2, 1, False),
    *jump("base32", 0xC0, M32, 0, True), *jump("base32", 0xC0, 0, MINUS, False),
    *jump("base32", 0xD0, M32, MINUS, True), *jump("base32", 0xD0, 0, MINUS, False),
    Row("base32", I(0x05, 0, 0, 1), 0, 0, 1),
    Row("base32", I(0x06, 0, 0, 0, 1), 0, 0, 1),
    *[Row("base32", I(op, 1, 10, -8), A64 | 0x8080, 0, want) for op, want in (
        (0x61, 0x8081), (0x69, 0x8081), (0x71, 0x81), (0x81, 0x8081),
        (0x89, 0xFFFFFFFF_FFFF8081), (0x91, 0xFFFFFFFF_FFFFFF81))],
    *[Row("base32", I(op, 10, 0, -8, -2), 0, 0, want) for op, want in (
        (0x62, 0xFFFFFFFE), (0x6A, 0xFFFE), (0x72, 0xFE))],
    *[Row("base32", I(op, 10, 2, -8), 0, MINUS, want) for op, want in (
        (0x63, M32), (0x6B, 0xFFFF), (0x73, 0xFF))],
    # ---- divmul
    *alu("divmul64", 0x20, M64, 2, M64 - 1),
    *alu("divmul64", 0x30, M64, 2, M64 >> 1),
    *alu("divmul64", 0x30, 7, 0, 0),
    *alu("divmul64", 0x90, 7, 4, 3),
    *alu("divmul64", 0x90, 7, 0, 7),
    *alu("divmul64", 0x30, M64 - 6, 2, M64 - 2, off=1),  # -7 / 2 = -3
    *alu("divmul64", 0x90, M64 - 6, 2, MINUS, off=1),  # -7 % 2 = -1
    *alu("divmul64", 0x30, TOP64, MINUS, TOP64, off=1),
    *alu("divmul64", 0x90, TOP64, MINUS, 0, off=1),
    *alu("divmul32", 0x20, M64, 2, M32 - 1),
    *alu("divmul32", 0x30, M64, 2, M32 >> 1),
    *alu("divmul32", 0x30, 7, 0, 0),
    *alu("divmul32", 0x90, 7 | 1 << 40, 4, 3),
    *alu("divmul32", 0x90, 7 | 1 << 40, 0, 7),
    *alu("divmul32", 0x30, M32 - 6, 2, M32 - 2, off=1),
    *alu("divmul32", 0x90, M32 - 6, 2, M32, off=1),
    *alu("divmul32", 0x30, TOP32, MINUS, TOP32, off=1),
    *alu("divmul32", 0x90, TOP32, MINUS, 0, off=1),
    # ---- atomic: memory holds r1, the operand is r2; what memory holds after
    *[Row(f"atomic{bits}", I(op, 10, 2, -8, imm), 0xF0, 0x3C, want)
      for bits, op in ((64, 0xDB), (32, 0xC3))
      for imm, want in (
        (0x00, 0x12C), (0x40, 0xFC), (0x50, 0x30), (0xA0, 0xCC),
        (0x01, 0x12C), (0x41, 0xFC), (0x51, 0x30), (0xA1, 0xCC), (0xE1, 0x3C), (0xF1, 0xF0))],
]  # fmt: skip

# What the packet group has, and nobody at these hooks may use (may_access_skb, verifier.c)
LEGACY = [I(mode | size, 0, 1) for mode in (0x20, 0x40) for size in (0x00, 0x08, 0x10)]
GROUPS = ("base32", "base64", "divmul32", "divmul64", "atomic32", "atomic64")


def run(row: Row, engine: str) -> int:
    """Run a row: r1 at the end, or memory where the instruction writes there."""
    i = row.insn
    start = [
        I(0x18, 1, 0, 0, *_halves(row.r1)), I(0x18, 2, 0, 0, *_halves(row.r2)),
        I(0x7B, 10, 1, -8), I(0xB7, 0),
    ]  # fmt: skip
    if i.jump is not None:
        body = [i, I(0x05, 0, 0, 1), I(0xB7, 0, 0, 0, 1), I(0x7B, 10, 0, -16)]
    elif i.cls in (isa.ST, isa.STX):
        body = [i, I(0x79, 3, 10, -8), I(0x7B, 10, 3, -16)]
    else:
        body = [i, I(0x7B, 10, 1, -16)]
    found = assembled(*start, *body, I(0xB7, 0), I(0x95), engine=engine)
    outcome = found.run(PACKET)
    assert outcome.fault is None, outcome.fault
    at = 512 - 16
    return int.from_bytes(found.machine.stack.data[at : at + 8], "little")


def _halves(value: int) -> tuple[int, int]:
    return tuple(h - (1 << 32) if h >> 31 else h for h in (value & M32, value >> 32))  # type: ignore[return-value]


@pytest.mark.parametrize("group", GROUPS)
def test_group(group: str) -> None:
    """Both engines, every row; all that are wrong are shown."""
    wrong = [
        f"{engine}: {row}: {found:#x}, not {row.want:#x}"
        for row in ROWS
        if row.group == group
        for engine in ("interpreter", "jit")
        if (found := run(row, engine)) != row.want
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("engine", ["interpreter", "jit"])
@pytest.mark.parametrize("insn", LEGACY, ids=str)
def test_packet_group_is_refused(insn: I, engine: str) -> None:
    found = assembled(insn, I(0x95), engine=engine)
    fault = found.run(PACKET).fault
    assert fault is not None
    assert "packet access of the old kind" in fault.message


FETCHED = [(0x01, 0xF0), (0x41, 0xF0), (0x51, 0xF0), (0xA1, 0xF0), (0xE1, 0xF0), (0x00, 0x3C)]


@pytest.mark.parametrize("engine", ["interpreter", "jit"])
def test_atomic_operations_that_fetch_give_what_was_there(engine: str) -> None:
    for opcode in (0xDB, 0xC3):
        for imm, want in FETCHED:
            found = assembled(
                I(0xB7, 1, 0, 0, 0xF0), I(0x7B, 10, 1, -8), I(0xB7, 2, 0, 0, 0x3C),
                I(opcode, 10, 2, -8, imm), I(0xBF, 0, 2), I(0x95), engine=engine,
            )  # fmt: skip
            assert found.run(PACKET).returned == want


@pytest.mark.parametrize("engine", ["interpreter", "jit"])
@pytest.mark.parametrize(("expected", "after"), [(0xF0, 0x3C), (0xF1, 0xF0)])
def test_compare_and_exchange(engine: str, expected: int, after: int) -> None:
    for opcode in (0xDB, 0xC3):
        found = assembled(
            I(0xB7, 1, 0, 0, 0xF0), I(0x7B, 10, 1, -8), I(0xB7, 2, 0, 0, 0x3C),
            I(0xB7, 0, 0, 0, expected), I(opcode, 10, 2, -8, isa.CMPXCHG),
            I(0x79, 3, 10, -8), I(0x67, 0, 0, 0, 8), I(0x4F, 0, 3), I(0x95), engine=engine,
        )  # fmt: skip
        assert found.run(PACKET).returned == 0xF0 << 8 | after


@pytest.mark.parametrize("engine", ["interpreter", "jit"])
def test_calls_have_stack_frames_of_their_own(engine: str) -> None:
    """The callee writes where the caller has written, and reads zeros there before."""
    caller = [
        I(0x7A, 10, 0, -8, 5), I(0xB7, 6, 0, 0, 9), I(0xBF, 1, 10), I(0x07, 1, 0, 0, -8),
        I(0x85, 0, 1, 0, 4), I(0x79, 2, 10, -8), I(0x0F, 0, 2), I(0x0F, 0, 6), I(0x95),
    ]  # fmt: skip
    callee = [
        I(0x79, 0, 10, -8),  # 0
        I(0x7A, 10, 0, -8, 77), I(0xB7, 6, 0, 0, 1000),
        I(0x79, 3, 1), I(0x0F, 0, 3),  # 5, through the caller's pointer
        I(0x95),
    ]  # fmt: skip
    found = assembled(*caller, *callee, engine=engine)
    assert found.run(PACKET).returned == 5 + 5 + 9


FAULTS = {
    "reads 8 bytes through a null pointer (0x0)": [I(0xB7, 1), I(0x79, 0, 1)],
    "reads 8 bytes at -520 from the top of the stack frame": [I(0x79, 0, 10, -520)],
    "writes 4 bytes at -2 from the top of the stack frame": [I(0x63, 10, 1, -2)],
    "reads 4 bytes of the context at byte 72: skb->tc_classid may not be read by programs at "
    "these hooks": [I(0x61, 0, 1, 72)],
    "writes 4 bytes of the context at byte 0: skb->len may not be written by programs at these "
    "hooks": [I(0x62, 1, 0, 0, 1)],
    "writes to packet, which it may not": [I(0x61, 2, 1, 76), I(0x72, 2, 0, 0, 1)],
    "reads 1 bytes at +106 in packet of 106 bytes": [I(0x61, 2, 1, 76), I(0x71, 0, 2, 106)],
    "works atomically on the context or the packet, which it may not": [I(0xC3, 1, 2, 8)],
    "writes to r10, the frame pointer": [I(0xB7, 10)],
    "loops for too many instructions": [I(0x05, 0, 0, -1)],
    "calls go more than 8 deep": [I(0x85, 0, 1, 0, -1)],
    "jumps out of the program": [I(0x05, 0, 0, 1000)],
    "calls bpf_skb_store_bytes, which the hook endpoint does not have": [I(0x85, 0, 0, 0, 9)],
    "calls bpf_get_current_task, which the simulator does not have": [I(0x85, 0, 0, 0, 35)],
}


@pytest.mark.parametrize("engine", ["interpreter", "jit"])
@pytest.mark.parametrize(("message", "code"), FAULTS.items(), ids=FAULTS.keys())
def test_what_a_verifier_refuses_is_a_fault_at_its_instruction(
    message: str, code: list[I], engine: str
) -> None:
    found = assembled(*code, I(0xB7, 0), I(0x95), engine=engine, budget=1000)
    outcome = found.run(PACKET)
    assert outcome.fate == "fault"
    assert outcome.fault is not None
    assert outcome.fault.message == message
    assert outcome.fault.slot == len(code) - 1


def test_the_page_names_the_helpers() -> None:
    page = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()
    part = page.partition("**Helpers**:")[2].partition("\n\n")[0]
    names = {HELPERS[number].name.removeprefix("bpf_") for number in table()}
    assert set(re.findall(r"`(\w+)`", part)) == names


def test_the_page_has_the_counts() -> None:
    page = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()
    counts = Counter(row.group for row in ROWS)
    found = dict(re.findall(r"^\| `(\w+)` \| (\d+) \| (?:agree|refused)", page, re.M))
    assert found == {**{g: str(counts[g]) for g in GROUPS}, "packet": str(len(LEGACY))}
