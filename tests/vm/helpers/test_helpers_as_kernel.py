"""Every helper that the simulator has, called in the kernel on a real route and in both engines
with the same packet: what it gives, what leaves, and what is in maps afterwards.

NFC_HELPERS=long compiles all probes for every hook. Without it those of helpers that have native
code of their own are compiled, at one hook where the code is the same at all, and one probe of
each other helper, whose code both engines share.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

import probes_again
import probes_context
import probes_maps
import probes_packet
import probes_srv6
import probes_text
from helper_rig import Kernel, Rig, Simulated, rig
from model_errnos import model_errnos
from probing import HOOKS, Probe, to_object
from seen import Seen, differences, ran

from nfc.bpf.helpers import HELPERS
from nfc.bpf.object import Object
from nfc.bpf.version import KernelVersion
from nfc.vm import fast
from nfc.vm.context import VERSION
from nfc.vm.helpers import table
from nfc.vm.helpers.failures import FAILURES, NULL, SHOT, can_fail

LONG = os.environ.get("NFC_HELPERS") == "long"
BY_HOOK = {9, 73}  # native code that asks for the hook
RINGS = {130, 131, 132, 133, 134}  # their positions depend on all that was sent
Numbered = list[tuple[int, Probe]]

# What the model names that no probe makes the kernel give, and why.
UNPROVOKED = {
    (75, errno.ENOMEM): "more than the machine has to give; the simulator's own limit is 64 KiB",
}


@cache
def everything(links: tuple[tuple[str, int], ...]) -> tuple[Probe, ...]:
    return (
        *probes_maps.table(),
        *probes_packet.table(dict(links)),
        *probes_srv6.table(),
        *probes_context.table(),
        *probes_text.table(),
        *probes_again.table(dict(links)),
    )


def numbered(links: Mapping[str, int], hook: str) -> Numbered:
    return [(n, p) for n, p in enumerate(everything(tuple(links.items()))) if p.at(hook)]


def to_compile(chosen: Numbered, hook: str) -> Numbered:
    """Those that are compiled, too."""
    firsts = {p.helper: n for n, p in reversed(chosen)}
    native = {*fast.NUMBERS, *RINGS} if hook == "endpoint" else BY_HOOK
    return [(n, p) for n, p in chosen if LONG or p.helper in native or firsts[p.helper] == n]


def as_object(chosen: Numbered) -> Object:
    return to_object(chosen, probes_maps.others(), probes_text.texts())


@pytest.fixture(scope="module")
def router() -> Iterator[Rig]:
    if KernelVersion.running() < VERSION:
        pytest.skip(f"the simulator's helpers are those of Linux {VERSION}")
    with rig() as built:
        yield built


@pytest.fixture(scope="module")
def seen(router: Rig) -> dict[str, dict[int, Seen]]:
    """What came of every probe in the kernel, by hook and number."""
    found = {}
    for hook in HOOKS:
        chosen = numbered(router.links, hook)
        kernel = Kernel(router, hook, as_object(chosen))
        try:
            found[hook] = {n: kernel.run(n, probe) for n, probe in chosen}
        finally:
            kernel.close()
    return found


Everything = dict[str, dict[int, Seen]]


@pytest.mark.kernel
@pytest.mark.parametrize("engine", ["interpreter", "jit"])
@pytest.mark.parametrize("hook", HOOKS)
def test_helpers_as_kernel(router: Rig, seen: Everything, hook: str, engine: str) -> None:
    chosen = numbered(router.links, hook)
    if engine == "jit":
        chosen = to_compile(chosen, hook)
    simulated = Simulated(router, hook, as_object(chosen), engine)
    problems = []
    for n, probe in chosen:
        kernel = seen[hook][n]
        if not ran(kernel, n):
            problems.append(f"{probe}: the kernel does not come to it")
        problems += [
            f"{probe}: {one}"
            for one in differences(probe, kernel, simulated.run(n, probe, kernel.now))
        ]
    assert not problems, "\n".join(problems)


def given(probe: Probe, log: tuple[int, ...]) -> set[int]:
    """The failures that a probe's helper has given: errnos; 0 for a null pointer."""
    results = {log[slot] for slot in probe.results}
    if probe.helper in NULL:
        return {0} & results
    if probe.helper == 23:
        return {SHOT} & results
    narrow = {(1 << 32) - value for value in results if 1 << 31 <= value < 1 << 32}
    wide = {(1 << 64) - value for value in results if value >> 63}
    return {n for n in narrow | wide if 0 < n < 4096} if can_fail(probe.helper) else set()


@cache
def _names() -> dict[int, str]:
    return {n: HELPERS[n].name.removeprefix("bpf_") for n in table()}


def covered(router: Rig, seen: Everything) -> dict[tuple[int, str], set[int]]:
    """By helper and hook: the failures that the kernel gave."""
    found: dict[tuple[int, str], set[int]] = {}
    for hook in HOOKS:
        for n, probe in numbered(router.links, hook):
            found.setdefault((probe.helper, hook), set()).update(given(probe, seen[hook][n].log))
    return found


@pytest.mark.kernel
def test_every_failure_is_the_kernels(router: Rig, seen: Everything) -> None:
    """At every hook, every modelled helper is called; the failures that `fail` can bring about are
    those that the kernel was made to give; the model names no other one."""
    found = covered(router, seen)
    for (number, hook), errnos in sorted(found.items()):
        shown = ", ".join(sorted(errno.errorcode.get(e, str(e)) for e in errnos)) or "-"
        print(f"{_names()[number]:24} {hook:9} {shown}")
    wanted = {(number, hook) for number in table() for hook in HELPERS[number].hooks}
    assert set(found) == wanted
    model = model_errnos()
    for number in table():
        here = set().union(*(found[number, hook] for hook in HELPERS[number].hooks))
        excused = {e for n, e in UNPROVOKED if n == number}
        if number in NULL or number == 23:
            assert here == {0 if number in NULL else SHOT}, _names()[number]
            continue
        assert set(FAILURES.get(number, ())) == here, _names()[number]
        assert model[number] - here == excused, _names()[number]
        for hook in HELPERS[number].hooks:
            if number != 73:  # at xmit it has no SRHs, and looks no route up
                assert found[number, hook] == here, (_names()[number], hook)


CLEARS = {26, 88, 89, 105, 106}  # clear what they would have filled in, which is in slot 1


@pytest.mark.kernel
@pytest.mark.parametrize("hook", HOOKS)
def test_failures_on_demand_are_the_kernels(router: Rig, seen: Everything, hook: str) -> None:
    """A call that has succeeded in the kernel, and is made to fail, gives what the kernel gives
    where it fails."""
    chosen = numbered(router.links, hook)
    for number in table():
        if not can_fail(number) or hook not in HELPERS[number].hooks:
            continue
        mine = [(n, p) for n, p in chosen if p.helper == number]
        good = [(n, p) for n, p in mine if not given(p, seen[hook][n].log)]
        n, probe = good[0] if good else mine[0]
        name = HELPERS[number].name
        simulated = Simulated(router, hook, as_object([(n, probe)]), "interpreter", name)
        log = simulated.run(n, probe, seen[hook][n].now)
        if number == 1:  # the program does not even find out which probe it is
            assert not ran(log, n)
            continue
        assert ran(log, n), name
        if number == 12:
            assert log.log[0] == seen[hook][mine[1][0]].log[0] == 55
            continue
        failures = {
            seen[hook][n].log[slot]
            for n, p in mine
            for slot in p.results
            if given(replace(p, results=(slot,)), seen[hook][n].log)
        }
        assert log.log[probe.results[0]] in failures, name
        assert number not in CLEARS or log.log[1] & 0xFF == 0
