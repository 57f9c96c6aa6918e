"""Histograms of delays: exact where they say so, near elsewhere, small whatever comes."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from nfc.delay.histogram import BUCKETS, LIMIT, Histogram, bounds, bucket

VALUES = st.lists(
    st.integers(-LIMIT, LIMIT) | st.integers(-1000, 1000) | st.integers(0, 30_000_000), min_size=1
)


def test_buckets_follow_each_other_without_a_gap() -> None:
    before = -1
    for index in range(BUCKETS):
        low, high = bounds(index)
        assert low == before + 1
        assert high - low <= low / 128
        assert bucket(low) == bucket(high) == index
        before = high
    assert before == LIMIT


@given(VALUES, st.floats(0, 1))
def test_quantiles_are_near(values: list[int], share: float) -> None:
    """Half a bucket away at most: 0.4 % of the value that has that rank."""
    found = Histogram()
    for value in values:
        found.add(value)
    rank = min(len(values), max(1, -int(-share * len(values) // 1)))
    exact = sorted(values)[rank - 1]
    assert abs(found.quantile(share) - exact) <= abs(exact) / 256 + 1
    assert (found.count, found.total) == (len(values), sum(values))
    assert (found.minimum, found.maximum) == (min(values), max(values))


@given(VALUES)
def test_buckets_hold_what_was_counted(values: list[int]) -> None:
    found = Histogram()
    for value in values:
        found.add(value)
    seen = list(found.buckets())
    assert seen == sorted(seen)
    assert sum(count for _, _, count in seen) == len(values)
    for value in values:
        assert any(low <= value <= high for low, high, _ in seen)


@given(VALUES | st.just([]))
def test_it_comes_back_from_json(values: list[int]) -> None:
    found = Histogram()
    for value in values:
        found.add(value)
    text = json.dumps(found.to_json())
    again = Histogram.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    found.clear()
    assert list(found.buckets()) == []


def test_what_is_beyond_the_last_bucket_counts_as_that() -> None:
    found = Histogram()
    found.add(1 << 60)
    found.add(-(1 << 60))
    assert found.maximum == 1 << 60
    assert [count for _, _, count in found.buckets()] == [1, 1]
