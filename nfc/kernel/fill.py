"""The last step before BPF_PROG_LOAD: file descriptors in the place of names.

What src_reg of a ld_imm64 means: BPF_PSEUDO_* in include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from nfc.bpf.isa import LD_IMM64, SRC_MAP_FD, SRC_MAP_VALUE
from nfc.bpf.object import Program, Relocation, RelocationKind
from nfc.errors import ObjectError

_INSN = struct.Struct("<BBhi")  # opcode, dst | src << 4, offset, immediate


@dataclass(frozen=True)
class Filled:
    """A program ready to load. `func_info` and `line_info` are the kernel's raw records."""

    code: bytes
    func_info: bytes
    line_info: bytes


def fill(program: Program, fds: Mapping[str, int]) -> Filled:
    """Put file descriptors, given by the name of map or data section, into a linked program
    (see nfc.bpf.link). Raises ObjectError for a relocation that does not fit."""
    code = bytearray(program.code)
    for relocation in program.relocations:
        _apply(code, program, relocation, fds)
    functions = b"".join(struct.pack("=II", f.offset // 8, f.type_id) for f in program.func_info)
    return Filled(bytes(code), functions, _lines(program.raw_line_info))


def _apply(
    code: bytearray, program: Program, relocation: Relocation, fds: Mapping[str, int]
) -> None:
    where = f"program {program.name}, byte {relocation.offset}"
    at = relocation.offset
    if at % 8 or not 0 <= at <= len(code) - 16:
        raise ObjectError("a relocation outside the code", where=where)
    opcode, registers, offset, _ = _INSN.unpack_from(code, at)
    if opcode != LD_IMM64:
        kind = relocation.kind.value
        raise ObjectError(f"a {kind} relocation on opcode {opcode:#04x}", where=where)
    if relocation.symbol not in fds:
        raise ObjectError(f"refers to '{relocation.symbol}', which is not there", where=where)
    source, high = SRC_MAP_FD, 0
    if relocation.kind is RelocationKind.DATA:
        source, high = SRC_MAP_VALUE, relocation.addend
    if not -(1 << 31) <= high < 1 << 31:
        raise ObjectError(f"{high} bytes into {relocation.symbol}: too far", where=where)
    low = fds[relocation.symbol]
    _INSN.pack_into(code, at, opcode, (registers & 0x0F) | source << 4, offset, low)
    _INSN.pack_into(code, at + 8, 0, 0, 0, high)


def _lines(raw: bytes) -> bytes:
    """The line info, or none: the kernel wants some for the first instruction or none at all
    (check_btf_line, kernel/bpf/verifier.c)."""
    return raw if raw[:4] == bytes(4) else b""
