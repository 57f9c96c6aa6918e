"""BTF: every kind read, sizes without endless loops, and what the kernel says of the result."""

from __future__ import annotations

import os
import struct

import pytest
from bpf_objects import ALL, clang_object, llvm_object, real_object
from kernel_says import load_btf

from nfc.bpf.btf import Kind, Layout, fix_datasecs, parse_btf
from nfc.bpf.elf import read_elf
from nfc.bpf.reader import layouts, read_object
from nfc.errors import ObjectError

NAMES = b"\0int\0s\0a\0b\0v\0sec\0tag\0"
AT = {name: NAMES.index(b"\0" + name + b"\0") + 1 for name in NAMES.split(b"\0") if name}


def words(*numbers: int) -> bytes:
    return b"".join(struct.pack("<I", number & 0xFFFFFFFF) for number in numbers)


def kind(number: int, vlen: int = 0, flag: int = 0) -> int:
    return flag << 31 | number << 24 | vlen


def blob(*types: bytes) -> bytes:
    """A BTF section of these types, numbered from 1."""
    area = b"".join(types)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(area), len(area), len(NAMES))
    return header + area + NAMES


INT = words(AT[b"int"], kind(1), 4, 0x01000020)
# (bytes, kind, size in bytes or None), each behind INT, so with number 2
KINDS = [
    (words(0, kind(2), 1), Kind.PTR, 8),
    (words(0, kind(3), 0, 1, 1, 6), Kind.ARRAY, 24),
    (words(AT[b"s"], kind(4, 2), 8, AT[b"a"], 1, 0, AT[b"b"], 1, 32), Kind.STRUCT, 8),
    (words(AT[b"s"], kind(4, 1, 1), 4, AT[b"a"], 1, 3 << 24 | 5), Kind.STRUCT, 4),
    (words(AT[b"s"], kind(5, 1), 4, AT[b"a"], 1, 0), Kind.UNION, 4),
    (words(AT[b"s"], kind(6, 2), 4, AT[b"a"], 0, AT[b"b"], -1), Kind.ENUM, 4),
    (words(AT[b"s"], kind(7), 0), Kind.FWD, None),
    (words(AT[b"s"], kind(8), 1), Kind.TYPEDEF, 4),
    (words(0, kind(9), 1), Kind.VOLATILE, 4),
    (words(0, kind(10), 1), Kind.CONST, 4),
    (words(0, kind(11), 1), Kind.RESTRICT, 4),
    (words(AT[b"s"], kind(12, 1), 1), Kind.FUNC, None),
    (words(0, kind(13, 1), 1, AT[b"a"], 1), Kind.FUNC_PROTO, None),
    (words(AT[b"v"], kind(14), 1, 1), Kind.VAR, 4),
    (words(AT[b"s"], kind(16), 8), Kind.FLOAT, 8),
    (words(AT[b"tag"], kind(17), 1, -1), Kind.DECL_TAG, None),
    (words(AT[b"tag"], kind(18), 1), Kind.TYPE_TAG, 4),
    (words(AT[b"s"], kind(19, 1), 8, AT[b"a"], 5, 1), Kind.ENUM64, 8),
]


@pytest.mark.parametrize(("data", "expected", "size"), KINDS, ids=lambda v: getattr(v, "name", ""))
def test_kind(data: bytes, expected: Kind, size: int | None) -> None:
    btf = parse_btf(blob(INT, data))
    assert [t.kind for t in btf.types] == [Kind.VOID, Kind.INT, expected]
    if size is None:
        with pytest.raises(ObjectError, match="has no size"):
            btf.size(2)
    else:
        assert btf.size(2) == size


def test_members() -> None:
    rows = [row[0] for row in KINDS]
    assert [(m.name, m.offset) for m in parse_btf(blob(INT, rows[2])).types[2].members] == [
        ("a", 0),
        ("b", 32),
    ]
    bit_field = parse_btf(blob(INT, rows[3])).types[2].members[0]
    assert (bit_field.offset, bit_field.bits) == (5, 3)
    assert [m.value for m in parse_btf(blob(INT, rows[5])).types[2].members] == [0, -1]
    assert parse_btf(blob(INT, rows[-1])).types[2].members[0].value == 1 << 32 | 5


CYCLES = {
    "a typedef of itself": words(AT[b"s"], kind(8), 2),
    "an array of itself": words(0, kind(3), 0, 2, 1, 1 << 31),
    "const of const": words(0, kind(10), 3) + words(0, kind(10), 2),
}


@pytest.mark.parametrize("types", CYCLES.values(), ids=CYCLES)
def test_cycle_is_refused(types: bytes) -> None:
    btf = parse_btf(blob(INT, types))
    with pytest.raises(ObjectError, match="refers to itself"):
        btf.size(2)


REFUSED = {
    "type cut short": (blob(INT)[:28], ".BTF header"),
    "refers to nothing": (blob(INT, words(0, kind(2), 9)), "type 2"),
    "member of nothing": (blob(words(0, kind(4, 1), 4, 0, 7, 0)), "type 1"),
    "section of no variable": (blob(INT, words(AT[b"sec"], kind(15, 1), 4, 1, 0, 4)), "type 2"),
    "members behind the end": (blob(words(0, kind(4, 0xFFFF), 4)), "type 1"),
    "name behind the end": (blob(words(1 << 20, kind(1), 4, 0)), ".BTF strings"),
}


@pytest.mark.parametrize(("data", "where"), REFUSED.values(), ids=REFUSED)
def test_malformed_btf_is_refused_with_its_place(data: bytes, where: str) -> None:
    with pytest.raises(ObjectError) as raised:
        parse_btf(data)
    assert where in raised.value.where


# ---- data sections -------------------------------------------------------------------------------

SECTION = blob(
    INT,
    words(AT[b"a"], kind(14), 1, 1),
    words(AT[b"b"], kind(14), 1, 1),
    words(AT[b"v"], kind(14), 1, 0),
    words(AT[b"sec"], kind(15, 3), 0, 2, 0, 4, 3, 0, 4, 4, 8, 4),
)


def test_section_gets_its_size_and_its_variables_their_order() -> None:
    fixed = parse_btf(fix_datasecs(SECTION, {"sec": Layout(12, {"a": 4, "b": 0})})).types[5]
    assert fixed.size == 12
    assert [(m.type, m.offset, m.size) for m in fixed.members] == [(3, 0, 4), (2, 4, 4), (4, 8, 4)]


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({}, "section that the object does not have"),
        ({"sec": Layout(12, {"a": 4})}, "has no symbol 'b'"),
        ({"sec": Layout(12, {"a": 0, "b": 2})}, "overlaps or is outside"),
        ({"sec": Layout(8, {"a": 0, "b": 4})}, "overlaps or is outside"),
        ({"sec": Layout(1 << 32, {"a": 0, "b": 4})}, "section of 4294967296 bytes"),
    ],
)
def test_section_that_does_not_fit_is_refused(layout: dict[str, Layout], message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        fix_datasecs(SECTION, layout)


def test_static_variables_of_a_real_object_are_where_the_symbols_are() -> None:
    data = clang_object("rich")
    elf = read_elf(data)
    btf = parse_btf(read_object(data).btf)
    section = btf.by_name[Kind.DATASEC, ".data"]
    offsets = {btf.types[m.type].name: m.offset for m in section.members}
    symbols = {s.name: s.value for s in elf.symbols if s.name in offsets}
    assert offsets == symbols == {"first": 0, "second": 8, "hidden": 16, "hidden_too": 20}


@pytest.mark.parametrize("name", ALL)
def test_fixing_twice_changes_nothing(name: str) -> None:
    data = real_object(name)
    once = read_object(data).btf
    assert fix_datasecs(once, layouts(read_elf(data))) == once


@pytest.mark.kernel
@pytest.mark.parametrize("name", ALL)
def test_the_kernel_takes_fixed_btf(name: str) -> None:
    fd, log = load_btf(read_object(real_object(name)).btf)
    assert fd >= 0, log
    os.close(fd)


@pytest.mark.kernel
def test_the_kernel_refuses_btf_as_llvm_makes_it() -> None:
    elf = read_elf(llvm_object())
    section = elf.section(".BTF")
    assert section
    fd, log = load_btf(elf.content(section))
    assert fd < 0
    assert "size" in log
