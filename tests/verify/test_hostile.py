"""Objects made to trouble: a check of them ends, soon, with a reason.

tests/bpf/test_elf.py has those that are no objects; here are those that are, and damaged ones.
"""

from __future__ import annotations

import resource
import struct
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel.asm import EXIT, RETURN_0, insn, ld_imm64, load, mov
from mutate import Kernel

from nfc.bpf.elf import read_elf
from nfc.bpf.facts import limits
from nfc.bpf.link import link
from nfc.bpf.maps import MAX_MAPS
from nfc.bpf.object import MapDef, Object, Program, Relocation, RelocationKind
from nfc.bpf.version import KernelVersion
from nfc.compiler import compile_file
from nfc.errors import ObjectError
from nfc.resources import data_dir
from nfc.verify import checks, walk
from nfc.verify.checks import check_linked, check_path

NOW = KernelVersion.running()
# Found by the coverage-guided fuzzer: a walk over TLVs whose last jump was turned round. Each
# round differs from the one before, so the kernel, too, follows a million instructions of it.
COUNTS_ON = (
    load(4, 1, 1, 0) + mov(5, 32) + mov(3, -1) + insn(0x5F, 1, 3)
    + insn(0x07, 5, imm=1) + insn(0x25, 5, off=-3, imm=31) + RETURN_0
)  # fmt: skip


def alone(code: bytes, maps: tuple[MapDef, ...] = (), at: tuple[int, ...] = ()) -> Object:
    relocations = tuple(
        Relocation(offset, RelocationKind.MAP, m.name) for m, offset in zip(maps, at, strict=True)
    )
    return Object((Program("one", "lwt_in", code, relocations),), maps, license="GPL")


def test_a_counter_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole million takes some 8 s of processor time; a tenth shows the same."""
    some = replace(limits(NOW), processed=100_000)
    monkeypatch.setattr(walk, "limits", lambda version: some)
    obj = alone(COUNTS_ON)
    report = check_linked(obj, link(obj, "one"), "in", NOW)
    assert "more than 100000 instructions" in report.violations[0].message


@pytest.mark.kernel
def test_the_kernel_counts_as_far() -> None:
    obj = alone(COUNTS_ON)
    with Kernel(obj) as kernel:
        taken, log = kernel.asks(link(obj, "one"), "in", 4)
    assert not taken
    assert "1000001" in log


def maps(count: int) -> tuple[MapDef, ...]:
    return tuple(MapDef(f"m{n}", 2, 4, 8, 1) for n in range(count))


def many_maps(count: int) -> Object:
    code = b"".join(ld_imm64(1) for _ in range(count)) + RETURN_0
    return alone(code, maps(count), tuple(range(0, 16 * count, 16)))


@pytest.mark.parametrize("count", [64, 65])
def test_64_maps_and_no_more(count: int) -> None:
    obj = many_maps(count)
    report = check_linked(obj, link(obj, "one"), "in", NOW)
    assert report.ok == (count == 64)


@pytest.mark.kernel
@pytest.mark.parametrize("count", [64, 65])
def test_the_kernel_takes_64_maps_and_no_more(count: int) -> None:
    obj = many_maps(count)
    with Kernel(obj) as kernel:
        assert kernel.accepts(link(obj, "one"), "in") == (count == 64)


def file_of(functions: int, code: bytes, maps_: int = 0) -> bytes:
    """An ELF object with so many equal programs in section lwt_in, and old-style maps."""
    names = bytearray(b"\0lwt_in\0maps\0.symtab\0.strtab\0")
    rows = bytearray(24)
    for n in range(functions):
        rows += struct.pack("<IBBHQQ", len(names), 0x12, 0, 1, n * len(code), len(code))
        names += f"f{n}\0".encode()
    for n in range(maps_):
        rows += struct.pack("<IBBHQQ", len(names), 0x11, 0, 2, n * 20, 20)
        names += f"m{n}\0".encode()
    contents = (
        (1, 6, code * functions, 0, 0, 1, 0),
        (1, 2, struct.pack("<5I", 2, 4, 8, 1, 0) * maps_, 0, 0, 8, 0),
        (2, 0, bytes(rows), 4, 24, 13, 1),
        (3, 0, bytes(names), 0, 0, 21, 0),
    )
    place, headers, body = 64, bytes(64), b""
    for kind, flags, content, link_, entry, name, info in contents:
        headers += struct.pack(
            "<IIQQQQIIQQ", name, kind, flags, 0, place + len(body), len(content), link_, info, 8,
            entry,
        )  # fmt: skip
        body += content
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head = struct.pack(
        "<HHIQQQIHHHHHH", 1, 247, 1, 0, 0, place + len(body), 0, 64, 0, 0, 64, len(contents) + 1, 4
    )
    return ident + head + body + headers


def check(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "hostile.o"
    path.write_bytes(data)
    for report in check_path(path, ["6.1"], None, load=False)[0]:
        assert str(report)


def test_a_thousand_programs_and_no_more(tmp_path: Path) -> None:
    check(tmp_path, file_of(3, RETURN_0, 2))
    check(tmp_path, file_of(checks.MAX_CHECKS, RETURN_0))
    with pytest.raises(ObjectError, match="at a time"):
        check(tmp_path, file_of(checks.MAX_CHECKS + 1, RETURN_0))


def test_a_thousand_maps_and_no_more(tmp_path: Path) -> None:
    check(tmp_path, file_of(2, RETURN_0, MAX_MAPS))
    with pytest.raises(ObjectError, match="maps"):
        check(tmp_path, file_of(2, RETURN_0, MAX_MAPS + 1))


def test_programs_that_are_too_much_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "MAX_FOLLOWED", 1000)
    with pytest.raises(ObjectError, match="more than 1000 instructions"):
        check(tmp_path, file_of(12, mov(0, 0) * 99 + EXIT))


@cache
def good() -> bytes:
    compilation = compile_file(data_dir("stdlib") / "tag.nf")
    return compilation.object(compilation.functions)


NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 4, 7, 8, 24, 64, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]),
    st.integers(0, 0xFFFFFFFF),
)


@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.data())
def test_for_every_damage_to_a_part(tmp_path: Path, data: st.DataObject) -> None:
    """Words of one part of an object changed: section headers, symbols, relocations, names, types,
    lines, instructions. A report or an error, soon, and not with much memory."""
    content = bytearray(good())
    elf = read_elf(good())
    (table,) = struct.unpack_from("<Q", content, 40)
    parts = [(table, len(content) - table), *((s.offset, s.size) for s in elf.sections if s.size)]
    start, size = data.draw(st.sampled_from(parts))
    for _ in range(data.draw(st.integers(1, 6))):
        at = start + 4 * data.draw(st.integers(0, max(size // 4 - 1, 0)))
        struct.pack_into("<I", content, min(at, len(content) - 4), data.draw(NUMBERS))
    began = time.process_time()
    try:
        check(tmp_path, bytes(content))
    except ObjectError as error:
        assert error.message
    assert time.process_time() - began < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 << 20  # KiB
