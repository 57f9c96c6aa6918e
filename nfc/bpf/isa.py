"""BPF instructions as values that decode, encode and print themselves.

Encoding: RFC 9669, sections 3 to 5. Wording: the kernel's (kernel/bpf/disasm.c) and LLVM's, which
read alike; LLVM's for atomic operations, because it tells 32 bits from 64.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from nfc.bpf.helpers import HELPERS
from nfc.bpf.object import Program, Relocation
from nfc.errors import ObjectError

SLOT = 8  # bytes of one instruction; ld_imm64 takes two

# RFC 9669, section 3: classes, the three low bits
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)
IMMEDIATE, REGISTER = 0x00, 0x08  # the source operand of ALU and JMP
# section 5: modes, the three high bits of loads and stores
MODE_IMM, MODE_ABS, MODE_IND, MODE_MEM, MODE_MEMSX, MODE_ATOMIC = 0, 0x20, 0x40, 0x60, 0x80, 0xC0

LD_IMM64 = 0x18
CALL, EXIT, GOTO, GOTOL = 0x85, 0x95, 0x05, 0x06
MAY_GOTO = 0xE5  # not in RFC 9669: Linux 6.9 (011832b97b31)

# The `src` of ld_imm64 (section 5.4; BPF_PSEUDO_* of uapi/linux/bpf.h)
SRC_IMM64, SRC_MAP_FD, SRC_MAP_VALUE, SRC_VARIABLE, SRC_FUNC = 0, 1, 2, 3, 4
SRC_MAP_INDEX, SRC_MAP_INDEX_VALUE = 5, 6
# The `src` of call (section 4.3)
CALL_HELPER, CALL_LOCAL, CALL_KFUNC = 0, 1, 2

_SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}  # the size bits of loads and stores, in bytes
# The high four bits of ALU and JMP: section 4.1 and 4.3
_ALU = {
    0x00: "+=", 0x10: "-=", 0x20: "*=", 0x30: "/=", 0x40: "|=", 0x50: "&=", 0x60: "<<=",
    0x70: ">>=", 0x90: "%=", 0xA0: "^=", 0xB0: "=", 0xC0: "s>>=",
}  # fmt: skip
_NEG, _MOV, _DIV, _MOD, _END = 0x80, 0xB0, 0x30, 0x90, 0xD0
_JUMPS = {
    0x10: "==", 0x20: ">", 0x30: ">=", 0x40: "&", 0x50: "!=", 0x60: "s>", 0x70: "s>=",
    0xA0: "<", 0xB0: "<=", 0xC0: "s<", 0xD0: "s<=",
}  # fmt: skip
_V2_JUMPS = (0xA0, 0xB0, 0xC0, 0xD0)
# The `imm` of atomic operations: section 5.3
_ATOMIC = {0x00: "+=", 0x40: "|=", 0x50: "&=", 0xA0: "^="}
_FETCH = {0x01: "add", 0x41: "or", 0x51: "and", 0xA1: "xor"}
FETCH, XCHG, CMPXCHG = 0x01, 0xE1, 0xF1
LOAD_ACQUIRE, STORE_RELEASE = 0x100, 0x110  # not in RFC 9669: Linux 6.15 (880442305a39)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. `off` is a signed 16-bit number, `imm` a signed 32-bit one.

    Only ld_imm64 has `imm_high`: the signed 32 bits of its second slot. Any numbers can be held
    and encoded; `extension` is empty for those that mean nothing.
    """

    opcode: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0
    imm_high: int = 0

    @property
    def wide(self) -> bool:
        """Whether it takes two slots (ld_imm64)."""
        return self.opcode == LD_IMM64

    @property
    def slots(self) -> int:
        """How many 8-byte slots it takes: 1 or 2."""
        return 2 if self.wide else 1

    @property
    def imm64(self) -> int:
        """The unsigned 64-bit immediate of ld_imm64."""
        return (self.imm_high & 0xFFFFFFFF) << 32 | (self.imm & 0xFFFFFFFF)

    @property
    def cls(self) -> int:
        """The instruction class: LD, LDX, ST, STX, ALU, JMP, JMP32 or ALU64."""
        return self.opcode & 7

    @property
    def size(self) -> int:
        """Bytes that a load, store or atomic operation touches."""
        return _SIZES[self.opcode & 0x18]

    @property
    def jump(self) -> int | None:
        """Slots from the next instruction to the target of a jump; None if it does not jump."""
        if self.opcode == GOTOL:
            return self.imm
        if self.opcode in (GOTO, MAY_GOTO):
            return self.off
        return self.off if self.cls in (JMP, JMP32) and self.opcode & 0xF0 in _JUMPS else None

    @property
    def calls_helper(self) -> bool:
        """Whether it calls the kernel's helper number `imm`."""
        return self.opcode == CALL and self.src == CALL_HELPER

    @property
    def calls_local(self) -> bool:
        """Whether it calls a function of the same program."""
        return self.opcode == CALL and self.src == CALL_LOCAL

    @property
    def extension(self) -> str:
        """The part of the instruction set that has it: a key of `nfc.bpf.facts.ISA_SINCE`, or
        empty if it is not an instruction."""
        return _decoded(self)[1]

    def encode(self) -> bytes:
        """8 bytes, or 16 for ld_imm64, little endian. Raises ValueError if a field is too big."""
        if not (0 <= self.dst <= 15 and 0 <= self.src <= 15):
            raise ValueError(f"{self!r}: a register has four bits")
        try:
            first = struct.pack("<BBhi", self.opcode, self.src << 4 | self.dst, self.off, self.imm)
            second = struct.pack("<4xi", self.imm_high)
        except struct.error as error:
            raise ValueError(f"{self!r}: {error}") from None
        return first + second if self.wide else first

    def __str__(self) -> str:
        """The kernel's words, e.g. `r0 = *(u32 *)(r1 + 76)`."""
        text = _decoded(self)[0]
        return text or f"(not an instruction: {self.encode().hex(' ')})"


def decode(code: bytes, where: str = "") -> Iterator[tuple[int, Instruction]]:
    """(slot number, instruction) of all in `code`; a ld_imm64 is one, and the next has number + 2.

    Raises ObjectError, with `where` before the instruction's number, if `code` is not whole, or a
    ld_imm64 lacks or spoils its second slot (RFC 9669, section 3.2).
    """
    prefix = f"{where}, " if where else ""
    if len(code) % SLOT:
        raise ObjectError(f"{len(code)} bytes are not whole instructions", where=where)
    number = 0
    slots = struct.iter_unpack("<BBhi", code)
    for opcode, registers, off, imm in slots:
        insn = Instruction(opcode, registers & 15, registers >> 4, off, imm)
        if insn.wide:
            second = next(slots, None)
            if second is None or any(second[:3]):
                raise ObjectError(
                    "ld_imm64 lacks its second half", where=f"{prefix}instruction {number}"
                )
            insn = replace(insn, imm_high=second[3])
        yield number, insn
        number += insn.slots


def encode(instructions: Iterable[Instruction]) -> bytes:
    """The code of instructions in order. Raises ValueError."""
    return b"".join(insn.encode() for insn in instructions)


# ---- text ---------------------------------------------------------------------------------------
# Each of these returns (text, extension), or NOTHING if the RFC gives the encoding no meaning.

NOTHING = ("", "")


def _decoded(i: Instruction) -> tuple[str, str]:
    if i.dst > 10 or (i.src > 10):
        return NOTHING
    return _CLASSES[i.cls](i)


def _place(register: int, off: int) -> str:
    return f"r{register} {'-' if off < 0 else '+'} {abs(off)}"


def _memory(i: Instruction, register: int, sign: str = "u") -> str:
    return f"*({sign}{i.size * 8} *)({_place(register, i.off)})"


def _ld(i: Instruction) -> tuple[str, str]:
    mode = i.opcode & 0xE0
    if i.wide:
        words = {
            SRC_IMM64: f"{i.imm64:#x} ll",
            SRC_MAP_FD: f"map fd {i.imm}",
            SRC_MAP_VALUE: f"value of map fd {i.imm} + {i.imm_high}",
            SRC_VARIABLE: f"address of kernel variable {i.imm}",
            SRC_FUNC: f"function pc{i.imm:+d}",
            SRC_MAP_INDEX: f"map index {i.imm}",
            SRC_MAP_INDEX_VALUE: f"value of map index {i.imm} + {i.imm_high}",
        }
        return (f"r{i.dst} = {words[i.src]}", "base") if i.src in words else NOTHING
    if mode == MODE_ABS and i.size < 8:
        return f"r0 = *(u{i.size * 8} *)skb[{i.imm}]", "base"
    if mode == MODE_IND and i.size < 8:
        return f"r0 = *(u{i.size * 8} *)skb[r{i.src} + {i.imm}]", "base"
    return NOTHING


def _ldx(i: Instruction) -> tuple[str, str]:
    mode = i.opcode & 0xE0
    if mode == MODE_MEM:
        return f"r{i.dst} = {_memory(i, i.src)}", "base"
    if mode == MODE_MEMSX and i.size < 8:
        return f"r{i.dst} = {_memory(i, i.src, 's')}", "v4"
    return NOTHING


def _st(i: Instruction) -> tuple[str, str]:
    if i.opcode & 0xE0 != MODE_MEM:
        return NOTHING
    return f"{_memory(i, i.dst)} = {i.imm}", "base"


def _stx(i: Instruction) -> tuple[str, str]:
    mode = i.opcode & 0xE0
    if mode == MODE_MEM:
        return f"{_memory(i, i.dst)} = r{i.src}", "base"
    return _atomic(i) if mode == MODE_ATOMIC else NOTHING


def _atomic(i: Instruction) -> tuple[str, str]:
    if i.imm == LOAD_ACQUIRE:
        return f"r{i.dst} = load_acquire((u{i.size * 8} *)({_place(i.src, i.off)}))", "acquire"
    if i.imm == STORE_RELEASE:
        return f"store_release((u{i.size * 8} *)({_place(i.dst, i.off)}), r{i.src})", "acquire"
    if i.size < 4:
        return NOTHING
    letter, bits, place = "r" if i.size == 8 else "w", i.size * 8, _place(i.dst, i.off)
    source = f"{letter}{i.src}"
    if i.imm in _ATOMIC:
        text = f"lock *(u{bits} *)({place}) {_ATOMIC[i.imm]} {source}"
        return text, "base" if i.imm == 0 else "atomics"
    if i.imm in _FETCH:
        return f"{source} = atomic_fetch_{_FETCH[i.imm]}((u{bits} *)({place}), {source})", "atomics"
    exchange = "" if i.size == 8 else "32"  # LLVM: xchg_64, xchg32_32
    if i.imm == XCHG:
        return f"{source} = xchg{exchange}_{bits}({place}, {source})", "atomics"
    if i.imm == CMPXCHG:
        text = f"{letter}0 = cmpxchg{exchange}_{bits}({place}, {letter}0, {source})"
        return text, "atomics"
    return NOTHING


def _alu(i: Instruction) -> tuple[str, str]:
    code = i.opcode & 0xF0
    by_register = bool(i.opcode & REGISTER)
    letter = "r" if i.cls == ALU64 else "w"
    target = f"{letter}{i.dst}"
    source = f"{letter}{i.src}" if by_register else str(i.imm)
    if code == _END:
        return _swap(i)
    if code == _NEG:
        return (f"{target} = -{target}", "base") if not by_register else NOTHING
    if code not in _ALU:
        return NOTHING
    if not i.off:
        return f"{target} {_ALU[code]} {source}", "base"
    if code in (_DIV, _MOD) and i.off == 1:
        return f"{target} s{_ALU[code]} {source}", "v4"
    widths = (8, 16, 32) if i.cls == ALU64 else (8, 16)
    if code == _MOV and by_register and i.off in widths:
        return f"{target} = (s{i.off}){source}", "v4"
    return NOTHING


def _swap(i: Instruction) -> tuple[str, str]:
    if i.imm not in (16, 32, 64) or i.off:
        return NOTHING
    if i.cls == ALU64:
        unconditional = not i.opcode & REGISTER
        return (f"r{i.dst} = bswap{i.imm} r{i.dst}", "v4") if unconditional else NOTHING
    order = "be" if i.opcode & REGISTER else "le"
    return f"r{i.dst} = {order}{i.imm} r{i.dst}", "base"


def _jmp(i: Instruction) -> tuple[str, str]:
    if i.opcode == CALL:
        return _call(i)
    if i.opcode == EXIT:
        return "exit", "base"
    if i.opcode == GOTO:
        return f"goto {i.off:+d}", "base"
    if i.opcode == GOTOL:
        return f"gotol {i.imm:+d}", "v4"
    if i.opcode == MAY_GOTO:
        return f"may_goto {i.off:+d}", "may_goto"
    code = i.opcode & 0xF0
    if code not in _JUMPS:
        return NOTHING
    letter = "r" if i.cls == JMP else "w"
    right = f"{letter}{i.src}" if i.opcode & REGISTER else str(i.imm)
    extension = "jmp32" if i.cls == JMP32 else "v2" if code in _V2_JUMPS else "base"
    return f"if {letter}{i.dst} {_JUMPS[code]} {right} goto {i.off:+d}", extension


def _call(i: Instruction) -> tuple[str, str]:
    if i.src == CALL_HELPER:
        helper = HELPERS.get(i.imm)
        return f"call {helper.name if helper else i.imm}", "base"
    if i.src == CALL_LOCAL:
        return f"call pc{i.imm:+d}", "calls"
    return (f"call kernel function {i.imm}", "kfuncs") if i.src == CALL_KFUNC else NOTHING


_CLASSES = {
    LD: _ld, LDX: _ldx, ST: _st, STX: _stx, ALU: _alu, JMP: _jmp, JMP32: _jmp, ALU64: _alu,
}  # fmt: skip


# ---- listing ------------------------------------------------------------------------------------


def disassemble(program: Program) -> str:
    """A listing of a program: slot numbers, bytes, text, and above them the source lines.

    Relocations and jump targets are named behind a `#`. Raises ObjectError if the code is not
    whole.
    """
    notes = {r.offset // SLOT: _note(r) for r in program.relocations}
    places = {line.offset // SLOT: line for line in program.line_info}
    rows = [f"{program.name}: section {program.section}, {len(program.code) // SLOT} slots"]
    shown = None
    for number, insn in decode(program.code):
        line = places.get(number)
        # LLVM gives line 0 to what no line of the source asked for.
        if line and line.line and (line.file, line.line, line.text) != shown:
            shown = (line.file, line.line, line.text)
            rows.append(f"; {line.file}:{line.line}  {_visible(line.text)}".rstrip())
        note = notes.get(number, "")
        if insn.jump is not None and insn.extension:
            note = f"to {number + 1 + insn.jump}"
        elif insn.calls_local and not note:
            note = f"to {number + 1 + insn.imm}"
        row = f"{number:6}:  {insn.encode()[:SLOT].hex(' ')}  {insn}"
        rows.append(f"{row}  # {note}" if note else row)
    return "\n".join(rows)


def _note(relocation: Relocation) -> str:
    addend = f" + {relocation.addend}" if relocation.addend else ""
    return f"{relocation.kind.value} {relocation.symbol}{addend}"


def _visible(text: str) -> str:
    """Source text that cannot move the cursor or colour the terminal."""
    return "".join(c if c.isprintable() else " " for c in text).strip()
