"""From an object's functions to one instruction stream, as BPF_PROG_LOAD takes it.

A program and the functions that it calls are laid end to end and the calls between them become
relative; maps and data get their file descriptors. The meaning of src_reg in a ld_imm64 and in
a call: BPF_PSEUDO_* in include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from nfc.bpf.object import Object, Program, Relocation, RelocationKind
from nfc.errors import ObjectError

_INSN = struct.Struct("<BBhi")  # opcode, dst | src << 4, offset, immediate
_LINE = struct.Struct("=IIII")  # insn_off, file_name_off, line_off, line_col
_LD_IMM64 = 0x18
_CALL = 0x85
_PSEUDO_MAP_FD = 1
_PSEUDO_MAP_VALUE = 2
_PSEUDO_FUNC = 4
_PSEUDO_CALL = 1


@dataclass(frozen=True)
class Linked:
    """One program ready to load. `func_info` and `line_info` are the kernel's raw records."""

    code: bytes
    func_info: bytes
    line_info: bytes


def link(obj: Object, name: str, maps: Mapping[str, int], data: Mapping[str, int]) -> Linked:
    """Lay out the program `name`; `maps` and `data` give file descriptors by name.

    Raises ObjectError for a relocation that does not fit, KeyError never.
    """
    functions = {p.name: p for p in reversed(obj.programs)}
    if name not in functions:
        known = ", ".join(p.name for p in obj.programs)
        raise ObjectError(f"no program {name!r}; there are: {known or 'none'}")
    order = _reachable(functions, functions[name])
    starts: dict[str, int] = {}
    code = bytearray()
    for function in order:
        starts[function.name] = len(code)
        code += function.code
    for function in order:
        for relocation in function.relocations:
            _apply(code, function, relocation, starts, maps, data)
    return Linked(bytes(code), _func_info(order, starts), _line_info(order, starts))


def _reachable(functions: Mapping[str, Program], entry: Program) -> list[Program]:
    """The entry, then whatever it refers to, each once."""
    order: list[Program] = []
    seen = {entry.name}
    queue = [entry]
    for function in queue:  # grows while it is walked
        if not function.code or len(function.code) % 8:
            raise ObjectError(
                f"{len(function.code)} bytes of code: not a whole number of instructions",
                where=f"program {function.name}",
            )
        order.append(function)
        for relocation in function.relocations:
            if relocation.kind not in (RelocationKind.CALL, RelocationKind.FUNC):
                continue
            if relocation.symbol not in functions:
                raise ObjectError(
                    f"refers to function {relocation.symbol!r}, which the object does not have",
                    where=_place(function, relocation),
                )
            if relocation.symbol not in seen:
                seen.add(relocation.symbol)
                queue.append(functions[relocation.symbol])
    return order


def _apply(
    code: bytearray,
    function: Program,
    relocation: Relocation,
    starts: Mapping[str, int],
    maps: Mapping[str, int],
    data: Mapping[str, int],
) -> None:
    where = _place(function, relocation)
    width = 8 if relocation.kind is RelocationKind.CALL else 16
    wanted = _CALL if relocation.kind is RelocationKind.CALL else _LD_IMM64
    if relocation.offset % 8 or not 0 <= relocation.offset <= len(function.code) - width:
        raise ObjectError("a relocation outside the code", where=where)
    at = starts[function.name] + relocation.offset
    opcode, registers, offset, _ = _INSN.unpack_from(code, at)
    if opcode != wanted:
        raise ObjectError(
            f"a {relocation.kind.value} relocation on opcode {opcode:#04x}", where=where
        )
    high = 0
    match relocation.kind:
        case RelocationKind.MAP:
            pseudo, low = _PSEUDO_MAP_FD, _known(maps, relocation, "map", where)
        case RelocationKind.DATA:
            pseudo, low = _PSEUDO_MAP_VALUE, _known(data, relocation, "data section", where)
            high = relocation.addend
        case RelocationKind.CALL:
            pseudo, low = _PSEUDO_CALL, (starts[relocation.symbol] - at) // 8 - 1
        case RelocationKind.FUNC:
            pseudo, low = _PSEUDO_FUNC, (starts[relocation.symbol] - at) // 8 - 1
    if not -(1 << 31) <= high < 1 << 31:
        raise ObjectError(f"{high} bytes into {relocation.symbol}: too far", where=where)
    _INSN.pack_into(code, at, opcode, (registers & 0x0F) | pseudo << 4, offset, low)
    if width == 16:
        _INSN.pack_into(code, at + 8, 0, 0, 0, high)


def _known(fds: Mapping[str, int], relocation: Relocation, what: str, where: str) -> int:
    if relocation.symbol not in fds:
        raise ObjectError(
            f"refers to {what} {relocation.symbol!r}, which is not there", where=where
        )
    return fds[relocation.symbol]


def _func_info(order: list[Program], starts: Mapping[str, int]) -> bytes:
    """One record a function, or none at all: the kernel wants every function or no function."""
    records = []
    for function in order:
        ids = [f.type_id for f in function.func_info if f.offset == 0]
        if not ids:
            return b""
        records.append(struct.pack("=II", starts[function.name] // 8, ids[0]))
    return b"".join(records)


def _line_info(order: list[Program], starts: Mapping[str, int]) -> bytes:
    """All functions' records; none at all unless every function has one for its first
    instruction, which check_btf_line() in kernel/bpf/verifier.c insists on."""
    out = bytearray()
    for function in order:
        raw = function.raw_line_info
        if len(raw) % _LINE.size:
            raise ObjectError("line info is cut short", where=f"program {function.name}")
        records = list(_LINE.iter_unpack(raw))
        if not records or records[0][0] != 0:
            return b""
        for offset, *rest in records:
            shifted = offset + starts[function.name] // 8
            if shifted >= 1 << 32:
                raise ObjectError("line info past the code", where=f"program {function.name}")
            out += _LINE.pack(shifted, *rest)
    return bytes(out)


def _place(function: Program, relocation: Relocation) -> str:
    return f"program {function.name}, byte {relocation.offset}"
