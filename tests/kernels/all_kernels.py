"""Verdicts of other kernels, asked of all of them at once: most of a boot is waiting."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from debian_kernels import SUITES, UnavailableError

T = TypeVar("T")
VERSIONS = tuple(SUITES)
# What `make kernels` sets: also what takes minutes.
LONG = os.environ.get("NFC_KERNELS", "") == "long"
only_long = pytest.mark.skipif(not LONG, reason="takes minutes: make kernels runs it")


def on_all(work: Callable[[str], T]) -> dict[str, T | UnavailableError]:
    """`work(version)` for every version, two at a time; or why there is no such kernel."""

    def one(version: str) -> T | UnavailableError:
        try:
            return work(version)
        except UnavailableError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(VERSIONS, pool.map(one, VERSIONS), strict=True))


def there(answer: T | UnavailableError) -> T:
    """The answer; the test is skipped where the kernel cannot be had."""
    if isinstance(answer, UnavailableError):
        pytest.skip(f"other kernels cannot run here: {answer}")
    return answer
