"""Real packets on other kernels: the tests of tests/kernel, run inside guests.

nfc deploys there, packets go through the guest's own routes, and the tests are the same that run
on this machine's kernel. A guest is some ten times slower, so only tests that do not depend on
time are chosen.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

import pytest
from all_kernels import VERSIONS, on_all, only_long, there
from debian_kernels import UnavailableError
from guest import run_on

from nfc.lab.dissect import dissect

pytestmark = only_long

SUITE = (
    "tests/kernel/test_stdlib_functions.py",
    "tests/kernel/test_thesis_functions.py",
    "tests/kernel/test_params.py",
    "tests/kernel/test_loader.py",
    "tests/kernel/test_ringbuf.py",
    "tests/kernel/test_routes.py",
)
# Not asked in guests: what counts packets against the clock, or sends one to a neighbour that it
# finds out about only then.
TIMED = (
    "tests/kernel/test_routes.py::TestPackets::test_no_packet_is_lost_while_generations_change",
    "tests/kernel/test_thesis_functions.py::test_action[push_encap_udp: UDP]",
)
# BPF_PROG_TEST_RUN takes endpoint programs on 5.10 and 6.1, and has said ENOTSUPP by 6.12.
TEST_RUN = "tests/kernel/test_loader.py::TestLoad::test_the_endpoint_type_cannot_be_test_run"
NOT_ASKED = {"5.10": (*TIMED, TEST_RUN), "6.1": (*TIMED, TEST_RUN), "6.12": TIMED}
TIMEOUT_S = 3600  # a busy machine took 900 for 43 % of the suite
# How many of the suite's tests pass at least; the others need what a kernel lacks.
PASS = {"5.10": 100, "6.1": 150, "6.12": 150}


@dataclass(frozen=True)
class Suite:
    """What a guest said of each test, and the packets it left for tshark, by test."""

    outcomes: dict[str, tuple[str, str]]
    packets: dict[str, list[bytes]]
    console: str


def suite_on(version: str) -> Suite:
    """The suite in one boot."""
    pytest_ = ["python", "-m", "pytest", "-q", "-p", "in_guest", "-p", "no:cacheprovider"]
    ran = run_on(
        version,
        [*pytest_, *(f"--deselect={test}" for test in NOT_ASKED[version]), *SUITE],
        variables={"PYTHONPATH": "tests/kernels"},
        compiler=True,
        timeout=TIMEOUT_S,
    )
    outcomes: dict[str, tuple[str, str]] = {}
    packets: dict[str, list[bytes]] = {}
    for line in ran.report.splitlines():
        said = json.loads(line)
        if "packet" in said:
            packets.setdefault(said["test"], []).append(bytes.fromhex(said["packet"]))
        else:
            outcomes[said["test"]] = (said["outcome"], said["why"])
    return Suite(outcomes, packets, ran.console)


Suites = dict[str, Suite | UnavailableError]


@pytest.fixture(scope="module")
def suites() -> Suites:
    return on_all(suite_on)


@pytest.mark.parametrize("version", VERSIONS)
def test_packets_leave_as_on_this_kernel(suites: Suites, version: str) -> None:
    suite = there(suites[version])
    failed = {
        name: [line for line in why.splitlines() if line.startswith("E ")]
        for name, (outcome, why) in suite.outcomes.items()
        if outcome == "failed"
    }
    assert failed == {}, failed
    counts = Counter(outcome for outcome, _ in suite.outcomes.values())
    assert counts["passed"] >= PASS[version], (counts, suite.console[-2000:])


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_skipped_but_for_the_kernel(suites: Suites, version: str) -> None:
    """A skipped test proves nothing: only the compiler may say why."""
    reasons = {
        why for outcome, why in there(suites[version]).outcomes.values() if outcome == "skipped"
    }
    assert {why for why in reasons if f"kernel {version} has no" not in why} == set()


@pytest.mark.parametrize("version", VERSIONS)
def test_tshark_has_no_complaint(suites: Suites, version: str) -> None:
    suite = there(suites[version])
    sent = [(name, packet) for name, packets in suite.packets.items() for packet in packets]
    assert len(sent) >= 10
    seen = dissect([packet for _, packet in sent])
    for (name, _), one in zip(sent, seen, strict=True):
        assert (len(one.srhs), one.complaints) == (1, ()), name
