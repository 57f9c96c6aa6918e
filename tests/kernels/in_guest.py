"""A pytest plugin for runs in a guest: each test's outcome as a line of JSON to NFC_REPORT.

Where the compiler refuses a function because this kernel lacks something, the test is skipped
with its reason. Guests have no tshark: packets for it are reported too, for the host to look at.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from nfc.lab import dissect
from nfc.syntax.diagnostics import SourceErrors

_running = [""]


def tell(**record: str) -> None:
    """Write one line of JSON for the host."""
    with open(os.environ["NFC_REPORT"], "ab", buffering=0) as out:
        out.write(json.dumps(record).encode() + b"\n")


def keep_for_tshark(packets: Sequence[bytes]) -> list[SimpleNamespace]:
    """In the place of nfc.lab.dissect.dissect: one SRH each, nothing to complain of."""
    for packet in packets:
        tell(test=_running[0], packet=packet.hex())
    return [SimpleNamespace(srhs=(None,), complaints=()) for _ in packets]


dissect.dissect = keep_for_tshark  # type: ignore[assignment]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Skip what the compiler refuses for this kernel."""
    _running[0] = item.nodeid
    try:
        return (yield)
    except SourceErrors as error:
        release = ".".join(os.uname().release.split(".")[:2])
        if f"kernel {release} has no" in str(error):
            pytest.skip(f"the compiler: {error}")
        raise


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One line a test: passed, skipped or failed, with why."""
    if report.when == "call" or not report.passed:
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        tell(test=report.nodeid, outcome=report.outcome, why=why)
