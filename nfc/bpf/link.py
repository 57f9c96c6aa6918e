"""Putting a program and the functions that it calls into one, as the kernel wants it.

The kernel takes a program as one run of instructions: the main function first, the others behind
it, calls as distances (check_subprogs and add_subprog_and_kfunc, kernel/bpf/verifier.c).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from nfc.bpf.functions import MAX_SLOTS
from nfc.bpf.isa import SLOT, SRC_FUNC
from nfc.bpf.object import Object, Program, Relocation, RelocationKind
from nfc.errors import ObjectError


@dataclass(frozen=True)
class _Call:
    """A place in the joined code that needs the distance to a function."""

    at: int  # bytes
    kind: RelocationKind
    function: str


def link(obj: Object, name: str) -> Program:
    """The program called `name` with all functions that it calls, directly or not, behind it.

    CALL and FUNC relocations are gone; MAP and DATA ones stay, for the loader. Functions come in
    the order in which they are first called; function and line info come with them, unless one
    function lacks them: then `func_info` and `raw_line_info` are empty. Raises ObjectError if
    there is no such function, or the whole is too long.
    """
    by_name = {program.name: program for program in obj.programs}
    if name not in by_name:
        raise ObjectError(
            f"no function '{name}'", hint=f"there are: {', '.join(by_name) or 'none'}"
        )
    starts = {name: 0}
    order = [by_name[name]]
    size = 0
    calls: list[_Call] = []
    for program in order:  # grows while it is walked
        if program.obstacle:
            raise ObjectError(program.obstacle, where=f"function {program.name}")
        starts[program.name] = size
        for relocation in program.relocations:
            if relocation.kind not in (RelocationKind.CALL, RelocationKind.FUNC):
                continue
            called = relocation.symbol
            if called not in by_name:
                raise ObjectError(f"'{program.name}' calls '{called}', which is not there")
            calls.append(_Call(size + relocation.offset, relocation.kind, called))
            if called not in starts:
                starts[called] = -1  # known, to be placed
                order.append(by_name[called])
        size += len(program.code)
        if size > MAX_SLOTS * SLOT:
            raise ObjectError(f"'{name}' and what it calls has more than {MAX_SLOTS} instructions")
    code = bytearray(b"".join(program.code for program in order))
    for call in calls:
        # Distances count slots from the next instruction; a callback's, from its ld_imm64.
        distance = (starts[call.function] - call.at) // SLOT - 1
        struct.pack_into("<i", code, call.at + 4, distance)
        if call.kind is RelocationKind.FUNC:
            code[call.at + 1] = code[call.at + 1] & 0x0F | SRC_FUNC << 4
    # The kernel takes info on all functions, from their first instruction on, or on none
    # (check_btf_func, check_btf_line, kernel/bpf/verifier.c).
    typed = all([info.offset for info in program.func_info[:1]] == [0] for program in order)
    lined = all(program.raw_line_info.startswith(bytes(4)) for program in order)
    return Program(
        name,
        order[0].section,
        bytes(code),
        tuple(r for program in order for r in _moved(program, starts[program.name])),
        tuple(
            replace(info, offset=info.offset + starts[program.name])
            for program in order
            for info in program.func_info
            if typed
        ),
        tuple(
            replace(line, offset=line.offset + starts[program.name])
            for program in order
            for line in program.line_info
        ),
        b"".join(
            _moved_lines(program.raw_line_info, starts[program.name])
            for program in order
            if typed and lined
        ),
    )


def _moved(program: Program, start: int) -> list[Relocation]:
    return [
        replace(relocation, offset=relocation.offset + start)
        for relocation in program.relocations
        if relocation.kind in (RelocationKind.MAP, RelocationKind.DATA)
    ]


def _moved_lines(raw: bytes, start: int) -> bytes:
    return b"".join(
        struct.pack("<IIII", slot + start // SLOT, *rest)
        for slot, *rest in struct.iter_unpack("<IIII", raw)
    )
