"""The tables of kernel facts (nfc.bpf.facts, helpers, maptypes), held against other kernels.

tests/bpf/test_facts.py asks the running kernel; here the column of first versions is at stake.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from all_kernels import VERSIONS, on_all, only_long, there
from debian_kernels import UnavailableError, find_kernel
from kernel_verdicts import Job, Verdict, ask

from nfc.bpf.facts import HOOKS, ISA_SINCE, helpers_at
from nfc.bpf.helpers import HELPERS
from nfc.bpf.isa import EXIT, Instruction, encode
from nfc.bpf.maptypes import BY_NAME
from nfc.bpf.object import MapDef, Object, Program
from nfc.bpf.version import KernelVersion

pytestmark = only_long

NUMBERS = range(1, 220)
NO_SUCH_HELPER = ("cannot use helper", "unknown func", "invalid func", "not allowed")

RETURN_0 = (Instruction(0xB7), Instruction(EXIT))
STORE_0 = Instruction(0x7A, 10, off=-8)  # *(u64 *)(r10 - 8) = 0
# An instruction of each extension that has one to itself, between others that make it legal.
EXTENSIONS = {
    "base": RETURN_0,
    "v2": (Instruction(0xB7), Instruction(0xA5, 0, off=0), Instruction(EXIT)),  # if r0 < 0
    "jmp32": (Instruction(0xB7), Instruction(0x16, 0, off=0), Instruction(EXIT)),  # if w0 == 0
    "atomics": (STORE_0, *RETURN_0[:1], Instruction(0xDB, 10, 0, -8, 0x51), RETURN_0[1]),  # fetch |
    "v4": (*RETURN_0[:1], Instruction(0xBF, 0, 0, off=8), RETURN_0[1]),  # r0 = (s8)r0
}
# name: bytes of key and value, entries, flags (1: BPF_F_NO_PREALLOC, which a trie must have)
MAPS = {
    "hash": (4, 8, 4, 0),
    "array": (4, 8, 4, 0),
    "perf_event_array": (4, 4, 4, 0),
    "percpu_hash": (4, 8, 4, 0),
    "percpu_array": (4, 8, 4, 0),
    "lru_hash": (4, 8, 4, 0),
    "lru_percpu_hash": (4, 8, 4, 0),
    "lpm_trie": (8, 8, 4, 1),
    "queue": (0, 8, 4, 0),
    "stack": (0, 8, 4, 0),
    "ringbuf": (0, 0, 4096, 0),
    "bloom_filter": (0, 8, 4, 0),
    "user_ringbuf": (0, 0, 4096, 0),
}


@dataclass(frozen=True)
class Facts:
    """Verdicts of one kernel, by what was asked."""

    helpers: dict[tuple[str, int], Verdict]
    extensions: dict[str, Verdict]
    maps: dict[str, Verdict]


def job(hook: str, code: tuple[Instruction, ...], *maps: MapDef) -> Job:
    return Job(Object((Program("probe", hook, encode(code)),), maps, license="GPL"), "probe", hook)


def facts_of(version: str) -> Facts:
    """All that is asked, in one boot."""
    calls = {
        (hook, number): job(hook, (Instruction(0x85, imm=number), *RETURN_0))
        for hook in HOOKS
        for number in NUMBERS
    }
    extensions = {name: job("in", code) for name, code in EXTENSIONS.items()}
    maps = {
        name: job("in", RETURN_0, MapDef(name, BY_NAME[name].number, *sizes))
        for name, sizes in MAPS.items()
    }
    verdicts = iter(ask(version, [*calls.values(), *extensions.values(), *maps.values()]))
    return Facts(
        {key: next(verdicts) for key in calls},
        {key: next(verdicts) for key in extensions},
        {key: next(verdicts) for key in maps},
    )


@pytest.fixture(scope="module")
def facts() -> dict[str, Facts | UnavailableError]:
    return on_all(facts_of)


All = dict[str, Facts | UnavailableError]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("hook", HOOKS)
def test_helpers(facts: All, version: str, hook: str) -> None:
    """Each hook has exactly the helpers that the table says for this version."""
    verdicts = there(facts[version]).helpers
    allowed = {
        number
        for number in NUMBERS
        if not any(words in verdicts[hook, number].log for words in NO_SUCH_HELPER)
    }
    release = KernelVersion.parse(find_kernel(version).update)
    expected = {helper.number for helper in helpers_at(hook, release)}
    named = {n: HELPERS[n].name if n in HELPERS else f"#{n}" for n in NUMBERS}
    assert {named[n] for n in allowed - expected} == set(), "the kernel has, the table has not"
    assert {named[n] for n in expected - allowed} == set(), "the table has, the kernel has not"


@pytest.mark.parametrize("version", VERSIONS)
def test_instructions(facts: All, version: str) -> None:
    """The kernel takes an extension of the instruction set from its first version on."""
    now = KernelVersion.parse(version)
    expected = {name: ISA_SINCE[name] <= now for name in EXTENSIONS}
    assert {n: v.accepted for n, v in there(facts[version]).extensions.items()} == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_map_types(facts: All, version: str) -> None:
    """The kernel makes a map of each type from its first version on."""
    now = KernelVersion.parse(version)
    expected = {name: BY_NAME[name].since <= now for name in MAPS}
    assert {n: v.accepted for n, v in there(facts[version]).maps.items()} == expected
