"""Instructions: their text against a table and against the kernel's own, their bytes both ways."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from dataclasses import replace

import pytest
from bpf_objects import real_object
from hypothesis import given
from hypothesis import strategies as st
from kernel_says import load_program

from nfc.bpf.facts import HOOKS, ISA_SINCE
from nfc.bpf.isa import EXIT, Instruction, decode, disassemble, encode
from nfc.bpf.link import link
from nfc.bpf.object import LineInfo, Program
from nfc.bpf.reader import read_object
from nfc.errors import ObjectError

I = Instruction  # noqa: E741

# (text, instruction, extension); opcodes are those of RFC 9669, appendix A
TABLE = [
    ("r0 = 5", I(0xB7, 0, imm=5), "base"),
    ("w0 = -1", I(0xB4, 0, imm=-1), "base"),
    ("r1 = r2", I(0xBF, 1, 2), "base"),
    ("w1 = w2", I(0xBC, 1, 2), "base"),
    ("r1 += 8", I(0x07, 1, imm=8), "base"),
    ("w1 -= w2", I(0x1C, 1, 2), "base"),
    ("r1 *= r2", I(0x2F, 1, 2), "base"),
    ("r1 /= 3", I(0x37, 1, imm=3), "base"),
    ("r1 |= r2", I(0x4F, 1, 2), "base"),
    ("w1 &= 15", I(0x54, 1, imm=15), "base"),
    ("r1 <<= 32", I(0x67, 1, imm=32), "base"),
    ("r1 >>= 32", I(0x77, 1, imm=32), "base"),
    ("r1 = -r1", I(0x87, 1), "base"),
    ("w1 = -w1", I(0x84, 1), "base"),
    ("r1 %= r2", I(0x9F, 1, 2), "base"),
    ("r1 ^= r2", I(0xAF, 1, 2), "base"),
    ("r1 s>>= 32", I(0xC7, 1, imm=32), "base"),
    ("w1 s>>= w2", I(0xCC, 1, 2), "base"),
    ("r1 = be16 r1", I(0xDC, 1, imm=16), "base"),
    ("r1 = be64 r1", I(0xDC, 1, imm=64), "base"),
    ("r1 = le32 r1", I(0xD4, 1, imm=32), "base"),
    ("r1 = bswap16 r1", I(0xD7, 1, imm=16), "v4"),
    ("r1 = bswap64 r1", I(0xD7, 1, imm=64), "v4"),
    ("r1 s/= r2", I(0x3F, 1, 2, off=1), "v4"),
    ("w1 s%= 7", I(0x94, 1, off=1, imm=7), "v4"),
    ("r1 = (s8)r2", I(0xBF, 1, 2, off=8), "v4"),
    ("r1 = (s32)r2", I(0xBF, 1, 2, off=32), "v4"),
    ("w1 = (s16)w2", I(0xBC, 1, 2, off=16), "v4"),
    ("r0 = *(u32 *)(r1 + 76)", I(0x61, 0, 1, off=76), "base"),
    ("r0 = *(u8 *)(r10 - 1)", I(0x71, 0, 10, off=-1), "base"),
    ("r0 = *(u64 *)(r1 + 0)", I(0x79, 0, 1), "base"),
    ("r0 = *(s16 *)(r10 - 2)", I(0x89, 0, 10, off=-2), "v4"),
    ("*(u16 *)(r10 - 2) = r1", I(0x6B, 10, 1, off=-2), "base"),
    ("*(u32 *)(r10 - 4) = 7", I(0x62, 10, off=-4, imm=7), "base"),
    ("lock *(u64 *)(r10 - 8) += r1", I(0xDB, 10, 1, off=-8, imm=0), "base"),
    ("lock *(u32 *)(r10 - 8) ^= w1", I(0xC3, 10, 1, off=-8, imm=0xA0), "atomics"),
    ("r1 = atomic_fetch_or((u64 *)(r10 - 8), r1)", I(0xDB, 10, 1, off=-8, imm=0x41), "atomics"),
    ("w1 = atomic_fetch_add((u32 *)(r10 - 8), w1)", I(0xC3, 10, 1, off=-8, imm=1), "atomics"),
    ("r1 = xchg_64(r10 - 8, r1)", I(0xDB, 10, 1, off=-8, imm=0xE1), "atomics"),
    ("w0 = cmpxchg32_32(r10 - 8, w0, w1)", I(0xC3, 10, 1, off=-8, imm=0xF1), "atomics"),
    ("r1 = load_acquire((u64 *)(r10 - 8))", I(0xDB, 1, 10, off=-8, imm=0x100), "acquire"),
    ("store_release((u8 *)(r10 - 8), r1)", I(0xD3, 10, 1, off=-8, imm=0x110), "acquire"),
    ("r0 = *(u16 *)skb[12]", I(0x28, imm=12), "base"),
    ("r0 = *(u8 *)skb[r6 + 2]", I(0x50, 0, 6, imm=2), "base"),
    ("goto +3", I(0x05, off=3), "base"),
    ("gotol -70000", I(0x06, imm=-70000), "v4"),
    ("may_goto +1", I(0xE5, off=1), "may_goto"),
    ("if r1 > r2 goto +3", I(0x2D, 1, 2, off=3), "base"),
    ("if r1 == 0 goto -2", I(0x15, 1, off=-2), "base"),
    ("if r1 & 4 goto +1", I(0x45, 1, off=1, imm=4), "base"),
    ("if r1 < r2 goto +1", I(0xAD, 1, 2, off=1), "v2"),
    ("if w1 s<= -5 goto +1", I(0xD6, 1, off=1, imm=-5), "jmp32"),
    ("call bpf_lwt_seg6_store_bytes", I(0x85, imm=74), "base"),
    ("call 9999", I(0x85, imm=9999), "base"),
    ("call pc+5", I(0x85, src=1, imm=5), "calls"),
    ("call kernel function 12", I(0x85, src=2, imm=12), "kfuncs"),
    ("exit", I(0x95), "base"),
    ("r1 = 0x100000007b ll", I(0x18, 1, imm=123, imm_high=16), "base"),
    ("r1 = 0xffffffffffffffff ll", I(0x18, 1, imm=-1, imm_high=-1), "base"),
    ("r1 = map fd 3", I(0x18, 1, 1, imm=3), "base"),
    ("r1 = value of map fd 3 + 16", I(0x18, 1, 2, imm=3, imm_high=16), "base"),
    ("r1 = function pc+7", I(0x18, 1, 4, imm=7), "base"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "insn", "extension"), TABLE, ids=[row[0] for row in TABLE])
def test_text_bytes_and_extension(text: str, insn: Instruction, extension: str) -> None:
    assert str(insn) == text
    assert insn.extension == extension
    assert extension in ISA_SINCE
    assert list(decode(insn.encode())) == [(0, insn)]


MEANINGLESS = [
    I(0x00), I(0x8D, 1), I(0x8F, 1, 2), I(0xE7), I(0xF5), I(0x0E), I(0x38), I(0x99, 1),
    I(0x81 | 0x18, 1, 2), I(0xDC, imm=8), I(0xDF, imm=16), I(0xBF, 1, 2, off=7),
    I(0x07, 1, off=1, imm=1), I(0xD3, 1, 2, imm=0), I(0xDB, 1, 2, imm=2), I(0x18, 1, 9),
    I(0x85, src=7), I(0xB7, 11), I(0xBF, 1, 12),
]  # fmt: skip


@pytest.mark.parametrize("insn", MEANINGLESS, ids=repr)
def test_what_is_no_instruction_says_so(insn: Instruction) -> None:
    assert insn.extension == ""
    assert str(insn).startswith("(not an instruction:")


BITS32 = st.integers(-(1 << 31), (1 << 31) - 1)
INSTRUCTIONS = st.builds(
    Instruction,
    st.integers(0, 255).filter(lambda opcode: opcode != 0x18),
    st.integers(0, 15),
    st.integers(0, 15),
    st.integers(-(1 << 15), (1 << 15) - 1),
    BITS32,
) | st.builds(Instruction, st.just(0x18), st.integers(0, 15), st.integers(0, 15),
              st.integers(-(1 << 15), (1 << 15) - 1), BITS32, BITS32)  # fmt: skip


@given(st.lists(INSTRUCTIONS))
def test_for_every_list_of_instructions_decoding_undoes_encoding(insns: list[Instruction]) -> None:
    code = encode(insns)
    decoded = list(decode(code))
    assert [insn for _, insn in decoded] == insns
    slots = [number for number, _ in decoded]
    assert slots == [sum(i.slots for i in insns[:n]) for n in range(len(insns))]
    assert all(str(insn) for insn in insns)


@given(st.binary(max_size=64))
def test_for_every_byte_string_encoding_undoes_decoding_or_it_is_refused(code: bytes) -> None:
    try:
        decoded = [insn for _, insn in decode(code)]
    except ObjectError:
        return
    assert encode(decoded) == code


def test_ld_imm64_needs_a_clean_second_half() -> None:
    with pytest.raises(ObjectError, match="instruction 1"):
        list(decode(I(0xBF).encode() + I(0x18).encode()[:8]))
    with pytest.raises(ObjectError, match="instruction 0"):
        list(decode(I(0x18).encode()[:8] + I(0xBF).encode()))


def test_fields_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="off=32768"):
        I(0x05, off=32768).encode()
    with pytest.raises(ValueError, match="dst=16"):
        I(0xBF, 16).encode()


def test_listing_has_slots_source_lines_targets_and_names() -> None:
    code = encode([I(0x18, 1), I(0x15, 1, off=1), I(0xB7, 0, imm=2), I(0x95)])
    lines = (LineInfo(0, "f.nf", "  when a\x1b[31m", 3, 1), LineInfo(24, "f.nf", "drop", 4, 1))
    text = disassemble(Program("f", "lwt_in", code, line_info=lines))
    assert text.splitlines() == [
        "f: section lwt_in, 5 slots",
        "; f.nf:3  when a [31m",
        "     0:  18 01 00 00 00 00 00 00  r1 = 0x0 ll",
        "     2:  15 01 01 00 00 00 00 00  if r1 == 0 goto +1  # to 4",
        "; f.nf:4  drop",
        "     3:  b7 00 00 00 02 00 00 00  r0 = 2",
        "     4:  95 00 00 00 00 00 00 00  exit",
    ]


def test_listing_of_a_real_object_names_maps_and_data() -> None:
    obj = read_object(real_object("small"))
    text = disassemble(obj.programs[0])
    assert "# map events" in text
    assert "# data .data" in text
    assert "; small.nf:2  emit value" in text
    assert text.count("; small.nf:2") == 1


def test_listing_of_a_linked_program_shows_where_calls_go() -> None:
    text = disassemble(link(read_object(real_object("rich")), "one"))
    assert re.search(r"call pc\+\d+  # to \d+", text)


# ---- the kernel's words --------------------------------------------------------------------------


def plain(text: str) -> str:
    """Without spaces, `pc`, and hexadecimal, in which the kernel's text differs from ours."""
    text = re.sub(r"0x([0-9a-f]+)", lambda found: str(int(found[1], 16)), text)
    text = re.sub(r"^call\s*(\w+)#\d+", r"call \1", text)
    text = (
        text.replace("4294967291", "-5").replace("goto pc", "goto ").replace("gotol pc", "gotol ")
    )
    return re.sub(r"\s+", "", re.sub(r"\bll$", "", text.strip()))


# The kernel prints the map or function itself; or it does not tell 32-bit registers from 64.
NOT_COMPARED = (
    "map fd", "value of", "function pc", "kernel function", "call 9999", "call pc",
    "atomic_fetch", "xchg", "^= w1",
)  # fmt: skip
KERNEL_ROWS = [row for row in TABLE if not any(words in row[0] for words in NOT_COMPARED)]


@pytest.mark.kernel
@pytest.mark.parametrize("row", KERNEL_ROWS, ids=[row[0] for row in KERNEL_ROWS])
def test_the_kernel_says_the_same(row: tuple[str, Instruction, str]) -> None:
    text, insn, _ = row
    # Jumps stay inside, and leave nothing behind that cannot be reached.
    if insn.jump is not None:
        insn = replace(insn, imm=0) if insn.opcode == 0x06 else replace(insn, off=0)
        text = str(insn)
    body = [I(0xB7, n) for n in range(10) if n != 1]
    body += [I(0x7B, 10, 0, off=-8), I(0xB7, 1, imm=1)]
    if insn.opcode in (0x28, 0x50) or (insn.src == 1 and insn.cls == 1):
        body = [I(0xBF, 6, 1)]
    code = encode([*body, insn] + ([] if insn.opcode == EXIT else [I(0xB7, 0), I(EXIT)]))
    _, log = load_program(HOOKS["xmit"].program_type, code)
    printed = re.findall(rf"^{len(body)}: \([0-9a-f]{{2}}\) (.*?)(?:\s*;.*)?$", log, re.MULTILINE)
    assert printed, log
    assert plain(printed[0]) == plain(text)


# ---- LLVM's words ------------------------------------------------------------------------------

# What the LLVM of 2022 prints; it does not know these of ours, or has numbers for the words.
UNKNOWN_TO_LLVM = r"call|map fd|function|= 7$|%=|skb\[r|r1 & 4|0xffffffff"
LLVM_ROWS = [
    row
    for row in TABLE
    if row[2] in ("base", "v2", "jmp32", "atomics") and not re.search(UNKNOWN_TO_LLVM, row[0])
]


@pytest.mark.parametrize("row", LLVM_ROWS, ids=[row[0] for row in LLVM_ROWS])
def test_llvm_says_the_same(row: tuple[str, Instruction, str]) -> None:
    if shutil.which("llvm-mc") is None:
        pytest.skip("no llvm-mc here to disassemble with")
    text, insn, _ = row
    command = ["llvm-mc", "-triple=bpfel", "-mcpu=v3", "-mattr=+alu32", "-disassemble"]
    given = " ".join(f"{byte:#04x}" for byte in insn.encode())
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    # It shows that a 32-bit load or store is one of half a register.
    said = re.sub(r"w(\d) = \*|\) = w(\d)", lambda f: f[0].replace("w", "r"), done.stdout)
    said = said.replace("\t.text", "").strip()
    assert plain(said) == plain(text), done.stderr


def test_decoding_a_program_of_the_kernel_s_size_is_quick() -> None:
    code = struct.pack("<BBhi", 0xB7, 0, 0, 1) * 100_000
    assert sum(insn.slots for _, insn in decode(code)) == 100_000
