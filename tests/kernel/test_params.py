"""Params change as a whole under running packets."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from typing import Self

import pytest

from kernel import asm
from nfc.bpf.object import DataSection, MapDef, Object, Program, Relocation, RelocationKind
from nfc.errors import KernelError, UsageError
from nfc.kernel import maps, programs, syscall
from nfc.kernel.loader import LoadedProgram, load
from nfc.kernel.maps import Map, index_key
from nfc.kernel.params import read_params, write_params

FRAME = bytes(12) + b"\x86\xdd" + b"\x60" + bytes(99)
CHANGES = 20
SLOW = 60  # instructions between the two reads


def torn_reader() -> Object:
    """Reads the copy in force: its first u64, then, a while later, its second. Counts packets
    in .bss[0], and in .bss[1] those that found the two unlike."""
    body = (
        asm.ld_imm64(1)  # byte 0: .data
        + asm.load(8, 2, 1, 0)  # the active word, read once
        + asm.insn(0x57, 2, imm=1)
        + asm.insn(0x67, 2, imm=4)  # copies are 16 bytes long
        + asm.insn(0x0F, 1, 2)
        + asm.load(8, 3, 1, 8)
        + asm.mov(6, SLOW)
        + asm.insn(0x17, 6, imm=1)
        + asm.insn(0x55, 6, off=-2)
        + asm.load(8, 4, 1, 16)
    )
    code = (
        body
        + asm.ld_imm64(5)  # .bss
        + asm.mov(1, 1)
        + asm.insn(0xDB, 5, 1)
        + asm.insn(0x1D, 3, 4, off=1)  # equal: skip the next
        + asm.insn(0xDB, 5, 1, off=8)
        + asm.RETURN_0
    )
    relocations = (
        Relocation(0, RelocationKind.DATA, ".data"),
        Relocation(len(body), RelocationKind.DATA, ".bss"),
    )
    return Object(
        (Program("torn", "s", code, relocations),),
        data=(DataSection(".data", bytes(40), False), DataSection(".bss", bytes(16), False)),
        license="GPL",
    )


class Traffic:
    """Runs the program on packets, in another thread, until the block ends."""

    def __init__(self, loaded: LoadedProgram) -> None:
        self.loaded = loaded
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        while not self.stop.is_set():
            # ctypes lets go of the GIL here. The kernel keeps one RCU section for a whole call.
            programs.test_run(self.loaded.fd, FRAME, repeat=2000)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def counts(self) -> tuple[int, int]:
        raw = self.loaded.maps[".bss"].lookup(index_key(0))
        assert raw is not None
        packets, torn = struct.unpack("=QQ", raw)
        return packets, torn


def change_under_traffic(write: Callable[[Map, bytes], None]) -> tuple[int, int]:
    with load(torn_reader(), "torn", hook="in") as loaded:
        traffic = Traffic(loaded)
        with traffic:
            for n in range(CHANGES):
                write(loaded.maps[".data"], struct.pack("=QQ", n, n))
        return traffic.counts()


@pytest.mark.kernel
@pytest.mark.usefixtures("no_leak")
class TestParams:
    def test_every_packet_sees_all_of_the_old_or_all_of_the_new(self) -> None:
        packets, torn = change_under_traffic(write_params)
        assert packets > 1_000
        assert torn == 0

    def test_the_program_above_would_notice(self) -> None:
        """Not by a race, which two threads on one busy CPU may never run: by halves that differ."""

        def torn_on_purpose(data: Map, params: bytes) -> None:
            halves = struct.pack("=QQ", 1, 2)
            data.update(index_key(0), bytes(8) + halves + halves)
            time.sleep(0.01)

        packets, torn = change_under_traffic(torn_on_purpose)
        assert packets > 0
        assert torn > 0

    def test_what_was_written_is_read_and_the_copies_take_turns(self) -> None:
        with Map.create(MapDef(".data", maps.ARRAY, 4, 24, 1)) as data:
            assert read_params(data) == bytes(8)
            write_params(data, b"abcdefgh")
            assert read_params(data) == b"abcdefgh"
            assert data.lookup(index_key(0)) == struct.pack("=Q", 1) + bytes(8) + b"abcdefgh"
            write_params(data, b"ijklmnop")
            assert data.lookup(index_key(0)) == struct.pack("=Q", 0) + b"ijklmnopabcdefgh"

    def test_the_next_program_starts_with_what_the_last_one_had(self) -> None:
        with load(torn_reader(), "torn", hook="in") as first:
            write_params(first.maps[".data"], b"x" * 16)
            kept = {".data": first.maps[".data"]}
            with load(torn_reader(), "torn", hook="in", reuse_maps=kept) as second:
                assert read_params(second.maps[".data"]) == b"x" * 16

    def test_a_wrong_length_is_refused_and_changes_nothing(self) -> None:
        with Map.create(MapDef(".data", maps.ARRAY, 4, 24, 1)) as data:
            with pytest.raises(UsageError, match="8 bytes"):
                write_params(data, b"short")
            assert read_params(data) == bytes(8)

    def test_maps_of_another_layout_are_refused(self) -> None:
        with Map.create(MapDef("odd", maps.ARRAY, 4, 23, 1)) as odd, pytest.raises(KernelError):
            read_params(odd)
        with Map.create(MapDef("hash", maps.HASH, 8, 24, 1)) as other, pytest.raises(KernelError):
            read_params(other)
        with Map.create(MapDef(".data", maps.ARRAY, 4, 24, 1)) as data:
            data.update(index_key(0), struct.pack("=Q", 2) + bytes(16))
            with pytest.raises(KernelError, match="copy 2"):
                read_params(data)

    def test_membarrier_works_here(self) -> None:
        syscall.membarrier()
