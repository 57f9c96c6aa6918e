"""For every program and every packet: what leaves the kernel is what the language says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from compare_with_kernel import Reached, check
from generated_router import Place, router
from generated_sources import Generated, programs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.kernel
SHARE = 8  # of first seeds, often 0: 77 programs go through native code; in `make fuzz` all do


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with router() as built:
        yield built


@given(programs(), st.integers(0, (1 << 32) - 1), st.integers(1, 64))
@settings(
    max_examples=250,
    phases=[Phase.explicit, Phase.generate],  # `make fuzz` shrinks what fails
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
    ],
)
def test_what_leaves_is_what_the_oracle_says(
    place: Place, tmp_path: Path, program: Generated, first: int, count: int
) -> None:
    seeds = range(first, first + count)
    check(place, tmp_path, program, seeds, Reached(), native=first % SHARE == 0)
