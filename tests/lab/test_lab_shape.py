"""When packets come out of a link: by property, without a clock."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from nfc.lab.shape import NS, Shape, Shaper

SHAPES = st.builds(
    Shape,
    rate=st.sampled_from([0, 8_000, 1_000_000, 10**9]),
    burst=st.integers(0, 10_000),
    queue=st.integers(0, 50_000),
    delay=st.integers(0, 10**8),
    jitter=st.integers(0, 10**7),
    loss=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 9),
)
PACKETS = st.lists(st.tuples(st.integers(0, 10**7), st.integers(60, 9000)), max_size=60)


def through(shape: Shape, gaps: list[tuple[int, int]]) -> list[tuple[int, int, int | None]]:
    """(arrived, size, out) of each packet."""
    shaper, now, found = Shaper(shape), 10**12, []
    for gap, size in gaps:
        now += gap
        found.append((now, size, shaper.out(now, size)))
    return found


@given(SHAPES, PACKETS)
def test_nothing_overtakes_comes_early_or_is_made_up(
    shape: Shape, gaps: list[tuple[int, int]]
) -> None:
    found = through(shape, gaps)
    outs = [out for _, _, out in found if out is not None]
    assert outs == sorted(outs)
    for arrived, _, out in found:
        assert out is None or out >= arrived + max(shape.delay - shape.jitter, 0)
    assert found == through(shape, gaps)  # the same seed, the same fate


@given(SHAPES, PACKETS)
def test_no_interval_carries_more_than_rate_and_burst(
    shape: Shape, gaps: list[tuple[int, int]]
) -> None:
    shape = replace(shape, jitter=0)
    outs = [(out, size) for _, size, out in through(shape, gaps) if out is not None]
    for i in range(len(outs)):
        for j in range(i + 1, len(outs)):
            carried = sum(size for _, size in outs[i + 1 : j + 1])
            took = outs[j][0] - outs[i][0]
            if shape.rate:
                assert carried * 8 * NS <= (took + 2 * len(outs)) * shape.rate + (
                    shape.burst * 8 * NS
                )


@given(PACKETS)
def test_a_queue_holds_what_it_says_and_no_more(gaps: list[tuple[int, int]]) -> None:
    shape = Shape(rate=1_000_000, queue=20_000)
    for arrived, size, out in through(shape, gaps):
        if out is not None:
            assert out - arrived <= (shape.queue + size) * 8 * NS // shape.rate + 1


def test_as_much_is_lost_as_it_says_and_nothing_passes_when_down() -> None:
    shaper = Shaper(Shape(loss=0.25, seed=3))
    gone = sum(shaper.out(n, 100) is None for n in range(10_000))
    assert gone == shaper.lost
    assert 2300 < gone < 2700  # six standard deviations
    shaper.change(Shape(down=True))
    assert shaper.out(10_001, 100) is None


def test_with_reorder_packets_overtake_and_delays_spread_evenly() -> None:
    shaper = Shaper(Shape(delay=10_000, jitter=5_000, reorder=True))
    delays = [(shaper.out(n, 100) or 0) - n for n in range(4000)]
    outs = [n + delay for n, delay in enumerate(delays)]
    assert outs != sorted(outs)
    assert 5_000 <= min(delays) < 5_200
    assert 14_800 < max(delays) <= 15_000
    assert 9_800 < sum(delays) / len(delays) < 10_200


@given(
    st.lists(st.integers(60, 9000), min_size=1, max_size=40),
    st.sampled_from([8_000, 1_000_000, 10**8]),
    st.sampled_from([0, 8_000, 1_000_000, 10**8]),
    st.integers(0, 10**10),
    st.booleans(),
)
def test_what_waits_goes_by_another_rate_from_now_on(
    sizes: list[int], before: int, after: int, later: int, reorder: bool
) -> None:
    """The queue empties at the new rate, nothing overtakes, and what comes next waits no longer."""
    shape = Shape(rate=before, queue=10**6, delay=10**6, jitter=10**5, reorder=reorder)
    shaper, begin = Shaper(shape), 10**12
    all_ = []
    for size in sizes:
        due = shaper.out(begin, size)
        assert due is not None
        all_.append((shaper.left, due, size))
    now = begin + later
    waiting = [one for one in all_ if one[0] > now]
    last = max((due for left, due, _ in all_ if left <= now < due), default=0)
    shaper.change(replace(shape, rate=after))
    found = shaper.requeue(now, before, last, waiting)
    lefts, outs = [left for left, _ in found], [out for _, out in found]
    assert lefts == sorted(lefts)
    if not reorder:
        assert [last, *outs] == sorted([last, *outs])
    assert all(out - left >= shape.delay - shape.jitter for left, out in found)
    if waiting:
        most = sum(size for *_, size in waiting) * 8
        least = most - waiting[0][2] * 8
        took = lefts[-1] - now
        assert (
            (took == 0)
            if after == 0
            else (least * NS - len(waiting) * after <= took * after <= most * NS)
        )
    left_then = shaper.left
    assert shaper.out(now, 60) is not None or after  # a slower link may have no room
    if after and found:
        assert shaper.left - left_then in (0, 60 * 8 * NS // after)


def test_changing_a_shape_keeps_what_is_under_way_in_order() -> None:
    shaper = Shaper(Shape(delay=10 * 10**6))
    first = shaper.out(0, 100)
    shaper.change(Shape(delay=10**6))
    second = shaper.out(1, 100)
    assert first == second == 10 * 10**6
    assert shaper.out(20 * 10**6, 100) == 21 * 10**6
