"""The ring buffer: every record once and in order, in memory and from a running program."""

from __future__ import annotations

import struct
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import asm
from nfc.bpf.object import MapDef, Object, Program, Relocation, RelocationKind
from nfc.errors import KernelError
from nfc.kernel import maps, programs
from nfc.kernel.loader import LoadedProgram, load
from nfc.kernel.maps import Map
from nfc.kernel.ringbuf import RingBuffer, RingReader

FRAME = bytes(12) + b"\x86\xdd" + b"\x60" + bytes(99)
SIZE = 4096
BUSY, DISCARDED = 1 << 31, 1 << 30
RESERVE, SUBMIT, DISCARD = 131, 132, 133  # enum bpf_func_id


class Producer:
    """The kernel's side of a ring, after kernel/bpf/ringbuf.c, in plain memory."""

    def __init__(self, start: int) -> None:
        self.positions = memoryview(bytearray(16)).cast("Q")
        self.positions[0] = self.positions[1] = start
        self.data = memoryview(bytearray(2 * SIZE))
        self.reader = RingReader(self.positions[:1], self.positions[1:], self.data)

    def reserve(self, length: int) -> int | None:
        step = (length + 8 + 7) & ~7
        position = self.positions[1]
        if position + step - self.positions[0] > SIZE - 1:
            return None
        self.write(position, struct.pack("=II", length | BUSY, 0))
        self.positions[1] = position + step
        return position

    def commit(self, position: int, content: bytes, flags: int) -> None:
        self.write(position + 8, content)
        self.write(position, struct.pack("=II", len(content) | flags, 0))

    def write(self, position: int, content: bytes) -> None:
        for at, byte in enumerate(content):
            place = (position + at) % SIZE
            self.data[place] = self.data[place + SIZE] = byte


@given(
    st.integers(0, 1 << 40).map(lambda n: n * 8),
    st.lists(st.tuples(st.integers(0, 1500), st.booleans(), st.integers(0, 3)), max_size=40),
)
def test_for_every_sequence_of_records_each_is_read_once_and_in_order(
    start: int, plan: list[tuple[int, bool, int]]
) -> None:
    ring = Producer(start)
    expected: list[bytes] = []
    found: list[bytes] = []
    for number, (length, discarded, reads) in enumerate(plan):
        position = ring.reserve(length)
        if position is None:
            while (record := ring.reader.read()) is not None:
                found.append(record)
            position = ring.reserve(length)
            assert position is not None
        content = bytes([number]) * length
        if reads == 3:
            # A reader that comes while the record is busy gets what is before it, no more.
            while (record := ring.reader.read()) is not None:
                found.append(record)
            assert found == expected
            assert ring.reader.blocked()
        ring.commit(position, content, DISCARDED if discarded else 0)
        if not discarded:
            expected.append(content)
        for _ in range(reads):
            record = ring.reader.read()
            if record is not None:
                found.append(record)
    while (record := ring.reader.read()) is not None:
        found.append(record)
    assert found == expected
    assert ring.positions[0] == ring.positions[1]


@given(st.integers(0, 0x3FFFFFFF), st.integers(1, SIZE))
def test_for_every_header_that_makes_no_sense_there_is_an_error_and_no_hang(
    length: int, produced: int
) -> None:
    ring = Producer(0)
    ring.write(0, struct.pack("=II", length, 0))
    ring.positions[1] = produced
    if length + 8 <= produced and (length + 15) & ~7 <= produced:
        assert ring.reader.read() == bytes(length)
    else:
        with pytest.raises(KernelError, match="corrupt"):
            ring.reader.read()


def ring_program(commit: int) -> Object:
    """Reserves 24 bytes, writes its run's number (from a counter map) to all three u64, and
    commits. r0 = 1 when there was no room."""
    counter = (
        asm.lookup_entry_0()
        + asm.insn(0x55, 0, off=2)  # if r0 != 0 goto past the exit
        + asm.mov(0, 2)
        + asm.EXIT
        + asm.mov_reg(8, 0)
    )
    code = (
        counter
        + asm.ld_imm64(1)
        + asm.mov(2, 24)
        + asm.mov(3, 0)
        + asm.call(RESERVE)
        + asm.insn(0x55, 0, off=2)
        + asm.mov(0, 1)
        + asm.EXIT
        + asm.load(8, 1, 8, 0)
        + asm.store(8, 0, 1, 0)
        + asm.store(8, 0, 1, 8)
        + asm.store(8, 0, 1, 16)
        + asm.insn(0x07, 1, imm=1)
        + asm.store(8, 8, 1, 0)
        + asm.mov_reg(1, 0)
        + asm.mov(2, 0)
        + asm.call(commit)
        + asm.RETURN_0
    )
    relocations = (
        Relocation(asm.LOOKUP_MAP_AT, RelocationKind.MAP, "counter"),
        Relocation(len(counter), RelocationKind.MAP, "ring"),
    )
    return Object(
        (Program("ring", "s", code, relocations),),
        (MapDef("counter", maps.ARRAY, 4, 8, 1), MapDef("ring", maps.RINGBUF, 0, 0, SIZE)),
        license="GPL",
    )


def loaded_ring(commit: int = SUBMIT) -> LoadedProgram:
    return load(ring_program(commit), "ring", hook="in")


def numbers(records: list[bytes]) -> list[int]:
    for record in records:
        assert len(record) == 24
        assert record[:8] == record[8:16] == record[16:]
    return [struct.unpack("=Q", record[:8])[0] for record in records]


@pytest.mark.kernel
@pytest.mark.usefixtures("no_leak")
class TestRunning:
    def test_records_come_in_order_across_the_end_of_the_ring(self) -> None:
        with loaded_ring() as loaded, RingBuffer(loaded.maps["ring"]) as ring:
            found: list[int] = []
            for _ in range(20):  # 20 * 50 records of 32 bytes: eight times round
                assert programs.test_run(loaded.fd, FRAME, repeat=50).result == 0
                found += numbers(list(ring.records(0)))
            assert found == list(range(1000))

    def test_a_full_ring_keeps_the_oldest_and_reading_makes_room(self) -> None:
        with loaded_ring() as loaded, RingBuffer(loaded.maps["ring"]) as ring:
            assert programs.test_run(loaded.fd, FRAME, repeat=200).result == 1
            assert numbers(list(ring.records(0))) == list(range(127))
            assert programs.test_run(loaded.fd, FRAME).result == 0
            assert numbers(list(ring.records(0))) == [127]

    def test_discarded_records_are_passed_over(self) -> None:
        with loaded_ring(DISCARD) as loaded, RingBuffer(loaded.maps["ring"]) as ring:
            for _ in range(5):
                assert programs.test_run(loaded.fd, FRAME, repeat=100).result == 0
                assert list(ring.records(0)) == []

    def test_a_record_that_was_not_taken_is_there_for_the_next_reader(self) -> None:
        with loaded_ring() as loaded:
            programs.test_run(loaded.fd, FRAME, repeat=3)
            with RingBuffer(loaded.maps["ring"]) as ring:
                for record in ring.records(0):
                    assert numbers([record]) == [0]
                    break
            with RingBuffer(loaded.maps["ring"].fd) as ring:
                assert numbers(list(ring.records(0))) == [1, 2]

    def test_waiting_ends_with_the_first_record_and_with_the_timeout(self) -> None:
        with loaded_ring() as loaded, RingBuffer(loaded.maps["ring"]) as ring:
            start = time.monotonic()
            assert list(ring.records(0.2)) == []
            assert 0.15 < time.monotonic() - start < 60
            later = threading.Timer(0.2, lambda: programs.test_run(loaded.fd, FRAME))
            later.start()
            start = time.monotonic()
            assert numbers([next(ring.records(300))]) == [0]
            assert time.monotonic() - start < 60
            later.join()

    def test_nothing_is_lost_or_twice_while_a_program_writes(self) -> None:
        runs, repeat = 300, 20
        with loaded_ring() as loaded, RingBuffer(loaded.maps["ring"]) as ring:

            def produce() -> None:
                for _ in range(runs):
                    # Only ever as much as fits beside what the reader has yet to take.
                    while loaded.maps["counter"].lookup(bytes(4)) != read_up_to[0]:
                        time.sleep(0)
                    programs.test_run(loaded.fd, FRAME, repeat=repeat)

            read_up_to = [struct.pack("=Q", 0)]
            writer = threading.Thread(target=produce)
            writer.start()
            found: list[int] = []
            for record in ring.records(300):
                found += numbers([record])
                if len(found) % repeat == 0:
                    read_up_to[0] = struct.pack("=Q", len(found))
                if len(found) == runs * repeat:
                    break
            writer.join()
            assert found == list(range(runs * repeat))

    def test_another_kind_of_map_is_an_error(self) -> None:
        with (
            Map.create(MapDef("a", maps.ARRAY, 4, 4, 1)) as m,
            pytest.raises(KernelError, match="not a ring"),
        ):
            RingBuffer(m)
