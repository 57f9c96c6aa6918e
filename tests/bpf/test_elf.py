"""Hostile ELF files: each is refused with a place, none takes long."""

from __future__ import annotations

import contextlib
import random
import struct
import time
import tracemalloc

import pytest
from bpf_objects import ALL, llvm_object, real_object
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nfc.bpf.elf import SECTION_SIZE, SYMBOL_SIZE, read_elf
from nfc.bpf.isa import disassemble
from nfc.bpf.link import link
from nfc.bpf.reader import read_object
from nfc.bpf.strip import strip
from nfc.errors import ObjectError

# Byte offsets in ELF structures: gABI chapter 4
E_TYPE, E_MACHINE, E_SHOFF, E_SHENTSIZE, E_SHNUM, E_SHSTRNDX = 16, 18, 40, 58, 60, 62
SH_NAME, SH_TYPE, SH_OFFSET, SH_SIZE, SH_LINK, SH_INFO, SH_ENTSIZE = 0, 4, 24, 32, 40, 44, 56
ST_NAME, ST_INFO, ST_SHNDX, ST_VALUE = 0, 4, 6, 8
HUGE = (1 << 64) - 1


def header(layout: str, offset: int, value: int) -> bytes:
    """The small object with one field of the ELF header changed."""
    data = bytearray(llvm_object())
    struct.pack_into("<" + layout, data, offset, value)
    return bytes(data)


def section(name: str, layout: str, field: int, value: int) -> bytes:
    """The small object with one field of a section header changed."""
    elf = read_elf(llvm_object())
    found = elf.section(name)
    assert found
    (table,) = struct.unpack_from("<Q", elf.data, E_SHOFF)
    return header(layout, table + found.index * SECTION_SIZE + field, value)


def symbol(name: str, layout: str, field: int, value: int) -> bytes:
    """The small object with one field of a symbol changed."""
    elf = read_elf(llvm_object())
    table = elf.section(".symtab")
    assert table
    found = next(s for s in elf.symbols if s.name == name)
    return header(layout, table.offset + found.index * SYMBOL_SIZE + field, value)


def relocation(layout: str, field: int, value: int) -> bytes:
    """The small object with one field of the program's first relocation changed."""
    found = read_elf(llvm_object()).section(".rellwt_seg6local")
    assert found
    return header(layout, found.offset + field, value)


def content(name: str, layout: str, field: int, value: int) -> bytes:
    """The small object with something in a section changed."""
    found = read_elf(llvm_object()).section(name)
    assert found
    return header(layout, found.offset + field, value)


HOSTILE = {
    "not ELF": (header("B", 0, 0), "ELF header"),
    "32 bits": (header("B", 4, 1), "ELF header"),
    "big endian": (header("B", 5, 2), "ELF header"),
    "an executable": (header("H", E_TYPE, 2), "ELF header"),
    "another machine": (header("H", E_MACHINE, 62), "ELF header"),
    "headers outside": (header("Q", E_SHOFF, HUGE), "ELF header"),
    "headers over the ELF header": (header("Q", E_SHOFF, 8), "ELF header"),
    "headers of odd size": (header("H", E_SHENTSIZE, 40), "ELF header"),
    "no sections": (header("H", E_SHNUM, 0), "ELF header"),
    "huge count of sections": (header("H", E_SHNUM, 0xFFFF), "ELF header"),
    "names in no section": (header("H", E_SHSTRNDX, 0xFFF), "ELF header"),
    "names in a program": (header("H", E_SHSTRNDX, 3), "section 3"),
    "name outside the names": (section("license", "I", SH_NAME, 0xFFFFFFFF), "section names"),
    "section outside": (section("license", "Q", SH_OFFSET, HUGE), "section 7"),
    "section too long": (section("license", "Q", SH_SIZE, HUGE), "section 7"),
    "sections overlap": (section(".data", "Q", SH_SIZE, 32), "section license"),
    "section over the ELF header": (section("license", "Q", SH_OFFSET, 8), "section license"),
    "symbols of odd size": (section(".symtab", "Q", SH_ENTSIZE, 16), "section .symtab"),
    "symbol names in a program": (section(".symtab", "I", SH_LINK, 3), "section .symtab"),
    "symbol names nowhere": (section(".symtab", "I", SH_LINK, 999), "section .symtab"),
    "two symbol tables": (section(".data", "I", SH_TYPE, 2), "section .symtab"),
    "symbol outside": (symbol("end_small", "Q", ST_VALUE, 4096), "symbol end_small"),
    "symbol in no section": (symbol("end_small", "H", ST_SHNDX, 999), "symbol end_small"),
    "symbol without a name": (symbol("end_small", "I", ST_NAME, 1 << 30), ".strtab"),
    "function inside an instruction": (symbol("end_small", "Q", ST_VALUE, 4), "symbol end_small"),
    "relocations of nothing": (section(".rellwt_seg6local", "I", SH_INFO, 99), "rellwt_seg6local"),
    "relocations with addends": (section(".rellwt_seg6local", "I", SH_TYPE, 4), "rellwt_seg6local"),
    "relocation outside": (relocation("Q", 0, 1 << 20), ".rellwt_seg6local"),
    "relocation inside an instruction": (relocation("Q", 0, 8), "lwt_seg6local"),
    "relocation of a move": (relocation("Q", 0, 32), "lwt_seg6local"),
    "relocation of unknown type": (relocation("I", 8, 77), "lwt_seg6local"),
    "relocation to no symbol": (relocation("I", 12, 1 << 20), ".rellwt_seg6local"),
    "relocation to the null symbol": (relocation("I", 12, 0), "lwt_seg6local"),
    "half a ld_imm64": (content("lwt_seg6local", "B", 96, 0x18), "instruction 12"),
    "BTF of another byte order": (content(".BTF", "H", 0, 0x9FEB), ".BTF header"),
    "BTF strings outside": (content(".BTF", "I", 20, 1 << 31), ".BTF header"),
    "BTF of unknown kind": (content(".BTF", "I", 28, 0x1F000000), ".BTF, type 1"),
    "BTF with a huge vlen": (content(".BTF", "I", 28, 0x0400FFFF), ".BTF, type 1"),
    "BTF to no type": (content(".BTF", "I", 32, 1 << 20), ".BTF, type 1"),
    "ext of odd records": (content(".BTF.ext", "I", 32, 3), ".BTF.ext func_info"),
    "ext with a huge count": (content(".BTF.ext", "I", 40, HUGE >> 32), ".BTF.ext func_info"),
}


@pytest.mark.parametrize(("data", "where"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_object_is_refused_with_its_place(data: bytes, where: str) -> None:
    with pytest.raises(ObjectError) as raised:
        read_object(data)
    assert where in raised.value.where


def test_the_objects_that_hostile_ones_are_made_of_are_good() -> None:
    assert read_object(llvm_object()).programs


def test_every_truncation_is_refused() -> None:
    data = llvm_object()
    for length in range(0, len(data) - 1, 13):
        with pytest.raises(ObjectError):
            read_object(data[:length])


def bss_of_huge_size() -> bytes:
    """.data becomes .bss-like (NOBITS) and claims an exabyte."""
    data = bytearray(section(".data", "I", SH_TYPE, 8))
    elf = read_elf(llvm_object())
    found = elf.section(".data")
    assert found
    (table,) = struct.unpack_from("<Q", data, E_SHOFF)
    struct.pack_into("<Q", data, table + found.index * SECTION_SIZE + SH_SIZE, 1 << 60)
    return bytes(data)


def ten_megabytes(kind: str) -> bytes:
    """A large file of a kind that makes careless readers slow."""
    size = 10 << 20
    noise = random.Random(7).randbytes(size)
    if kind == "noise":
        return noise
    if kind == "noise behind a good object":
        return llvm_object() + noise
    strings = b"\0.symtab\0.strtab\0code\0"
    if kind == "code":
        return file(
            (1, 6, bytes(8) * (size // 8), 0, 0, 17),
            (2, 0, struct.pack("<IBBHQQ", 1, 2, 0, 1, 0, size), 3, SYMBOL_SIZE, 1),
            (3, 0, strings, 0, 0, 9),
        )
    # A string table with one long string, and as many symbols as fit, each named by a part of it.
    names = b"\0" + b"a" * (size // 2) + b"\0"
    rows = b"".join(
        struct.pack("<IBBHQQ", 1 + 7 * i, 0, 0, 0, 0, 0) for i in range(size // 2 // SYMBOL_SIZE)
    )
    if kind == "many long names":
        rows = rows[: (1 << 16) * SYMBOL_SIZE]
        names = b"\0" + (b"a" * 1000 + b"\0") * (size // 2 // 1001)
    return file((3, 0, names, 0, 0, 9), (2, 0, rows, 1, SYMBOL_SIZE, 1), (3, 0, strings, 0, 0, 9))


def file(*parts: tuple[int, int, bytes, int, int, int]) -> bytes:
    """An ELF file of sections (type, flags, content, link, entry size, name); the last one has
    the names."""
    place = 64
    headers = bytes(SECTION_SIZE)
    for kind, flags, content_, link_, entry, name in parts:
        headers += struct.pack(
            "<IIQQQQIIQQ", name, kind, flags, 0, place, len(content_), link_, 0, 1, entry
        )
        place += len(content_)
    start = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01", 1, 247, 1, 0, 0, place, 0, 64, 0, 0, SECTION_SIZE,
        len(parts) + 1, len(parts),
    )  # fmt: skip
    return start + b"".join(part[2] for part in parts) + headers


LARGE = ["noise", "noise behind a good object", "one long name", "many long names", "code"]


@pytest.mark.parametrize("kind", LARGE)
def test_ten_megabytes_take_neither_long_nor_much(kind: str) -> None:
    data = ten_megabytes(kind)
    started = time.monotonic()
    tracemalloc.start()
    try:
        if kind == "noise behind a good object":
            assert read_object(data).programs
        else:
            with pytest.raises(ObjectError):
                read_object(data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.monotonic() - started < 10
    assert most < 100 << 20


def test_claimed_size_of_bss_takes_no_memory() -> None:
    with pytest.raises(ObjectError, match="bytes of data"):
        read_object(bss_of_huge_size())


def use(data: bytes) -> None:
    """All that this package does with an object."""
    obj = read_object(data)
    for program in obj.programs:
        disassemble(program)
        disassemble(link(obj, program.name))


CHANGES = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=8)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(changes=CHANGES)
def test_for_every_change_of_bytes_only_object_errors_escape(
    name: str, changes: list[tuple[int, int]]
) -> None:
    changed = bytearray(real_object(name))
    for at, difference in changes:
        changed[at % len(changed)] ^= difference
    for act in (use, strip):
        with contextlib.suppress(ObjectError):
            act(bytes(changed))


# The parts where a changed word does most: all headers, symbols, relocations, BTF.
@pytest.mark.parametrize("name", ALL)
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    at=st.integers(0, 1 << 20),
    word=st.sampled_from(
        [0, 1, 3, 8, 0x18, 0xFF, 0xFFFF, 1 << 20, 1 << 24, (1 << 31) - 1, 1 << 31]
    ),
)
def test_for_every_change_of_a_word_only_object_errors_escape(
    name: str, at: int, word: int
) -> None:
    stripped = bytearray(strip(real_object(name)))
    struct.pack_into("<I", stripped, at % (len(stripped) // 4) * 4, word)
    for act in (use, strip):
        with contextlib.suppress(ObjectError):
            act(bytes(stripped))
