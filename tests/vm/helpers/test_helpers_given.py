"""Helpers with arguments at random, in the kernel and in the simulator.

NFC_HELPERS=long tries more of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as for_all
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent))

import probes_given
import probes_maps
from helper_rig import Kernel, Rig, Simulated, rig
from probes_given import given_to
from probing import HOOKS, Probe, to_object
from seen import differences, ran

from nfc.bpf.version import KernelVersion
from nfc.vm.context import VERSION

EXAMPLES = 2000 if os.environ.get("NFC_HELPERS") == "long" else 50  # at each hook
HMAC = 8  # in the flags of an SRH: what a header without a key becomes holds what lay there
Sides = tuple[str, Kernel, Simulated]


def probes(hook: str) -> list[tuple[int, Probe]]:
    return [(n, p) for n, p in enumerate(probes_given.table()) if p.at(hook)]


@pytest.fixture(scope="module")
def router() -> Iterator[Rig]:
    if KernelVersion.running() < VERSION:
        pytest.skip(f"the simulator's helpers are those of Linux {VERSION}")
    with rig() as built:
        yield built


@pytest.fixture(scope="module", params=HOOKS)
def sides(router: Rig, request: pytest.FixtureRequest) -> Iterator[Sides]:
    """A hook, and the kernel and the simulator there."""
    hook = str(request.param)
    obj = to_object(probes(hook), probes_maps.others(), b"\0")
    kernel = Kernel(router, hook, obj)
    try:
        yield hook, kernel, Simulated(router, hook, obj, "interpreter")
    finally:
        kernel.close()


@pytest.mark.kernel
@for_all(st.data())
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
def test_for_every_argument_the_simulator_does_what_the_kernel_does(
    sides: Sides, data: st.DataObject
) -> None:
    hook, kernel, simulated = sides
    number, probe = data.draw(st.sampled_from(probes(hook)))
    given = data.draw(given_to(probe))
    if probe.helper in (73, 76) and given.content[5] & HMAC:
        return
    seen = kernel.run(number, probe, bytes(given))
    assert ran(seen, number)
    said = simulated.run(number, probe, seen.now, bytes(given))
    assert not differences(probe, seen, said)
