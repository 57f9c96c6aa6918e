"""Maps on the running kernel."""

from __future__ import annotations

import ctypes
import errno
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfc.bpf.object import MapDef
from nfc.errors import KernelError, UsageError
from nfc.kernel import maps, syscall
from nfc.kernel.maps import Map, index_key


def key(n: int) -> bytes:
    return struct.pack("=I", n)


@pytest.mark.kernel
@pytest.mark.usefixtures("no_leak")
class TestMaps:
    def test_hash_holds_what_was_put(self) -> None:
        with Map.create(MapDef("h", maps.HASH, 4, 8, 10)) as m:
            assert m.lookup(key(1)) is None
            for n in range(10):
                m.update(key(n), struct.pack("=Q", n * n))
            assert dict(m.items()) == {key(n): struct.pack("=Q", n * n) for n in range(10)}
            assert m.delete(key(3))
            assert not m.delete(key(3))
            assert sorted(m.keys()) == sorted(key(n) for n in range(10) if n != 3)

    def test_info_says_what_was_made(self) -> None:
        with Map.create(MapDef("a/b", maps.ARRAY, 4, 12, 7)) as m:
            assert m.info == maps.MapInfo(m.info.id, "a_b", maps.ARRAY, 4, 12, 7, 0)
            with Map.by_id(m.info.id) as again:
                assert again.info == m.info

    def test_per_cpu_values_keep_their_cpu_at_sizes_that_are_no_multiple_of_8(self) -> None:
        with Map.create(MapDef("p", maps.PERCPU_ARRAY, 4, 12, 2)) as m:
            values = [bytes([cpu + 1]) * 12 for cpu in range(maps.possible_cpus())]
            m.update_percpu(index_key(1), values)
            assert m.lookup_percpu(index_key(1)) == tuple(values)
            assert m.lookup_percpu(index_key(0)) == (bytes(12),) * maps.possible_cpus()
            with pytest.raises(UsageError):
                m.lookup(index_key(1))

    def test_update_flags(self) -> None:
        with Map.create(MapDef("h", maps.HASH, 4, 4, 2)) as m:
            with pytest.raises(KernelError) as absent:
                m.update(key(1), key(1), maps.EXIST)
            assert absent.value.errno == 2
            m.update(key(1), key(1), maps.NOEXIST)
            with pytest.raises(KernelError) as there:
                m.update(key(1), key(1), maps.NOEXIST)
            assert there.value.errno == 17

    def test_wrong_sizes_never_reach_the_kernel(self) -> None:
        with Map.create(MapDef("h", maps.HASH, 4, 8, 2)) as m:
            with pytest.raises(UsageError, match="key has 4 bytes"):
                m.lookup(b"123")
            with pytest.raises(UsageError, match="key has 4 bytes"):
                m.update(b"12345", bytes(8))
            with pytest.raises(UsageError, match="value has 8 bytes"):
                m.update(key(1), bytes(7))

    def test_frozen_is_for_ever(self) -> None:
        with Map.create(MapDef("f", maps.ARRAY, 4, 4, 1)) as m:
            m.update(key(0), key(5))
            m.freeze()
            with pytest.raises(KernelError) as refused:
                m.update(key(0), key(6))
            assert refused.value.errno == errno.EPERM
            assert "frozen" in (refused.value.hint or "")
            assert m.lookup(key(0)) == key(5)

    def test_keys_end_although_others_change_the_map(self) -> None:
        with Map.create(MapDef("h", maps.HASH, 4, 4, 64)) as m:
            for n in range(64):
                m.update(key(n), key(n))
            stop = threading.Event()

            def churn() -> None:
                n = 0
                while not stop.is_set():
                    m.delete(key(n % 64))
                    m.update(key(n % 64), key(n))
                    n += 1

            other = threading.Thread(target=churn)
            other.start()
            try:
                for _ in range(200):
                    found = list(m.keys())
                    assert len(found) == len(set(found)) <= 64
            finally:
                stop.set()
                other.join()

    @pytest.mark.parametrize(
        "definition",
        [
            MapDef("bad", 999, 4, 4, 1),
            MapDef("bad", maps.ARRAY, 3, 4, 1),
            MapDef("bad", maps.HASH, 4, 4, 1 << 40),
            MapDef("bad", maps.RINGBUF, 0, 0, 17),
        ],
    )
    def test_what_the_kernel_refuses_is_a_kernel_error(self, definition: MapDef) -> None:
        with pytest.raises(KernelError, match="create map bad"):
            Map.create(definition)

    def test_a_closed_descriptor_is_an_error(self) -> None:
        m = Map.create(MapDef("h", maps.HASH, 4, 4, 1))
        m.close()
        m.close()
        with pytest.raises(KernelError, match="closed"):
            m.lookup(key(1))

    def test_the_descriptor_of_something_else_is_an_error(self) -> None:
        with pytest.raises(KernelError):
            maps.info(0)
        with pytest.raises(KernelError, match="open map"):
            Map.by_id(0xFFFFFFF0)


@given(st.sets(st.integers(0, 300), min_size=1))
def test_for_every_cpu_list_the_count_is_that_of_its_members(cpus: set[int]) -> None:
    ordered = sorted(cpus)
    ranges = [[ordered[0], ordered[0]]]
    for cpu in ordered[1:]:
        if cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    text = ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)
    assert maps.cpu_count(text + "\n") == len(cpus)


@pytest.mark.parametrize("text", ["", "x", "1-", "1,,2", "0-3;5"])
def test_a_cpu_list_that_is_none_is_a_kernel_error(text: str) -> None:
    with pytest.raises(KernelError):
        maps.cpu_count(text)


@given(st.text())
def test_for_every_name_the_kernel_gets_one_that_it_takes(name: str) -> None:
    raw = syscall.kernel_name(name)
    assert len(raw) <= 15
    assert all(chr(c).isalnum() or c in b"_." for c in raw)


def test_524_has_a_name() -> None:
    assert "ENOTSUPP" in syscall.describe(524)


def test_buffers_of_nothing_have_an_address() -> None:
    assert syscall.address(syscall.buffer_of(b"")) != 0
    assert syscall.address(None) == 0
    assert isinstance(syscall.buffer_of(b"x"), ctypes.Array)
