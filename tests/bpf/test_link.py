"""One program from several functions: distances, callbacks, info, and the kernel's opinion."""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import ExitStack
from dataclasses import replace

import pytest
from bpf_objects import real_object
from kernel_says import load_btf, load_program

from nfc.bpf.facts import HOOKS
from nfc.bpf.isa import Instruction, decode, encode
from nfc.bpf.link import link
from nfc.bpf.object import (
    FuncInfo,
    LineInfo,
    MapDef,
    Object,
    Program,
    Relocation,
    RelocationKind,
)
from nfc.bpf.reader import read_object
from nfc.errors import ObjectError
from nfc.kernel.maps import Map

EXIT = Instruction(0x95)
CALL = Instruction(0x85, src=1, imm=-1)


def function(name: str, *calls: str, kind: RelocationKind = RelocationKind.CALL) -> Program:
    """A function that calls (or takes the address of) others and exits."""
    insn = CALL if kind is RelocationKind.CALL else Instruction(0x18, 2)
    size = 8 * insn.slots
    return Program(
        name,
        ".text",
        encode([insn] * len(calls) + [EXIT]),
        tuple(Relocation(size * i, kind, called) for i, called in enumerate(calls)),
        (FuncInfo(0, 1),),
        (LineInfo(0, "f", name, 1, 1),),
        struct.pack("<IIII", 0, 1, 2, 3),
    )


def targets(program: Program) -> list[int]:
    """Slots that calls and addresses of functions lead to."""
    return [
        number + 1 + insn.imm
        for number, insn in decode(program.code)
        if insn.calls_local or (insn.wide and insn.src == 4)
    ]


def test_called_functions_come_once_in_order_of_first_call() -> None:
    obj = Object((function("c"), function("b", "c"), function("a", "b", "c"), function("not me")))
    linked = link(obj, "a")
    # a: call, call, exit; b: call, exit; c: exit
    assert targets(linked) == [3, 5, 5]
    assert len(linked.code) == 6 * 8
    assert [info.offset for info in linked.func_info] == [0, 24, 40]
    assert [(line.offset, line.text) for line in linked.line_info] == [
        (0, "a"),
        (24, "b"),
        (40, "c"),
    ]
    assert [row[0] for row in struct.iter_unpack("<IIII", linked.raw_line_info)] == [0, 3, 5]
    assert linked.relocations == ()


def test_info_is_on_all_functions_or_on_none() -> None:
    untyped = replace(function("b"), func_info=())
    linked = link(Object((function("a", "b"), untyped)), "a")
    assert (linked.func_info, linked.raw_line_info) == ((), b"")
    unlined = replace(function("b"), raw_line_info=b"")
    linked = link(Object((function("a", "b"), unlined)), "a")
    assert linked.func_info
    assert linked.raw_line_info == b""
    assert [line.text for line in linked.line_info] == ["a", "b"]


def test_recursion_ends() -> None:
    assert targets(link(Object((function("a", "b"), function("b", "a"))), "a")) == [2, 0]
    assert targets(link(Object((function("a", "a"),)), "a")) == [0]


def test_address_of_a_function_is_a_distance_too() -> None:
    linked = link(Object((function("a", "b", kind=RelocationKind.FUNC), function("b"))), "a")
    assert targets(linked) == [3]


def test_uses_of_maps_move_with_their_function() -> None:
    used = Relocation(0, RelocationKind.MAP, "m")
    b = Program("b", ".text", encode([Instruction(0x18, 1), EXIT]), (used,))
    assert link(Object((function("a", "b"), b)), "a").relocations == (replace(used, offset=16),)


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(ObjectError, match="no function 'z'"):
        link(Object((function("a"),)), "z")
    with pytest.raises(ObjectError, match="'a' calls 'b'"):
        link(Object((function("a", "b"),)), "a")


# ---- the kernel ----------------------------------------------------------------------------------


def filled(obj: Object, program: Program, stack: ExitStack) -> bytes:
    """The code with descriptors of maps that `stack` closes (src 1: a map, 2: its value)."""
    definitions = {m.name: m for m in obj.maps}
    definitions |= {d.name: MapDef(d.name, 2, 4, len(d.content), 1) for d in obj.data}
    code = bytearray(program.code)
    for relocation in program.relocations:
        one = stack.enter_context(Map.create(definitions[relocation.symbol]))
        source = 1 if relocation.kind is RelocationKind.MAP else 2
        code[relocation.offset + 1] |= source << 4
        struct.pack_into("<i", code, relocation.offset + 4, one.fd.fileno())
        struct.pack_into("<i", code, relocation.offset + 12, relocation.addend)
    return bytes(code)


def info_attributes(btf: int, program: Program) -> tuple[bytes, object]:
    """bpf_attr from byte 48 (prog_name) on, and what it points to."""
    functions = b"".join(struct.pack("<II", i.offset // 8, i.type_id) for i in program.func_info)
    buffers = [ctypes.create_string_buffer(x, len(x)) for x in (functions, program.raw_line_info)]
    functions_at, lines_at = (ctypes.addressof(buffer) for buffer in buffers)
    lines = len(program.raw_line_info) // 16
    head = struct.pack("<16xIIIIQI", 0, 0, btf, 8, functions_at, len(program.func_info))
    return head + struct.pack("<IQI", 16, lines_at, lines), buffers


@pytest.mark.kernel
@pytest.mark.parametrize(("name", "hook"), [("one", "in"), ("two", "in"), ("three", "xmit")])
def test_the_kernel_takes_linked_programs_with_their_info(name: str, hook: str) -> None:
    obj = read_object(real_object("rich"))
    program = link(obj, name)
    btf, log = load_btf(obj.btf)
    assert btf >= 0, log
    with ExitStack() as stack:
        stack.callback(os.close, btf)
        code = filled(obj, program, stack)
        attributes, _alive = info_attributes(btf, program)
        taken, log = load_program(HOOKS[hook].program_type, code, attributes)
        assert taken, log
        for line in program.line_info:
            assert line.line == 0 or line.text.strip() in log
