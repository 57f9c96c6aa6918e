"""Large arrays: which of their entries are in use is found without a look at each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfc.bpf.object import MapDef
from nfc.kernel.maps import ARRAY, PERCPU_ARRAY
from nfc.vm.maps import BLOCK, ArrayMap


@given(
    st.sampled_from([1, 7, 8, 24, BLOCK - 1, BLOCK + 8]),
    st.integers(1, 3 * BLOCK // 8),
    st.lists(st.integers(0, 1 << 20), max_size=4),
)
def test_keys_in_use_are_those_with_a_value(size: int, entries: int, used: list[int]) -> None:
    entries = min(entries, 4 * BLOCK // size + 1)
    one = ArrayMap(MapDef("a", ARRAY, 4, size, entries), 0, 20, 1)
    for index in used:
        one.update((index % entries).to_bytes(4, "little"), bytes(size - 1) + b"\1")
    found = [int.from_bytes(key, "little") for key in one.keys_in_use()]
    assert found == sorted({index % entries for index in used})


@pytest.mark.parametrize("cpu", [0, 1])
def test_the_first_cpu_says_it(cpu: int) -> None:
    one = ArrayMap(MapDef("a", PERCPU_ARRAY, 4, 8, 3), 0, 20, 2)
    values = [bytes(8), bytes(8)]
    values[cpu] = b"\1" + bytes(7)
    one.update_percpu((1).to_bytes(4, "little"), values)
    assert len(list(one.keys_in_use())) == 1 - cpu
