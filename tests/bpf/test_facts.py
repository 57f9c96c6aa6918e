"""The tables of kernel facts, held against the running kernel."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_says import load_program

from nfc.bpf.facts import HOOK_BY_SECTION, HOOKS, helpers_at, limits
from nfc.bpf.helper_names import helper_name
from nfc.bpf.helpers import BY_NAME, HELPERS
from nfc.bpf.isa import EXIT, Instruction, encode
from nfc.bpf.maptypes import MAP_TYPES
from nfc.bpf.version import KernelVersion
from nfc.errors import UsageError


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("6.1", (6, 1, 0)),
        ("5.10.0-34-amd64", (5, 10, 0)),
        ("v6.12-rc3", (6, 12, 0)),
        ("5.4.281+", (5, 4, 281)),
        (" 6.18.44-fc-v669\n", (6, 18, 44)),
    ],
)
def test_version_parses(text: str, version: tuple[int, int, int]) -> None:
    assert KernelVersion.parse(text) == KernelVersion(*version)


@pytest.mark.parametrize("text", ["", "6", "six", "6.", ".1", "6.1.2.3", "-6.1", "6.٣", "66666.1"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a kernel version"):
        KernelVersion.parse(text)


VERSIONS = st.builds(KernelVersion, st.integers(0, 9999), st.integers(0, 9999), st.integers(0, 999))


@given(VERSIONS, VERSIONS)
def test_for_every_two_versions_order_is_that_of_numbers(
    a: KernelVersion, b: KernelVersion
) -> None:
    assert KernelVersion.parse(str(a)) == a
    assert (a < b) == ((a.major, a.minor, a.patch) < (b.major, b.minor, b.patch))


@pytest.mark.parametrize(
    ("helper", "hook", "since"),
    [
        ("bpf_lwt_push_encap", "in", "4.18"),
        ("bpf_lwt_push_encap", "xmit", "5.1"),
        ("bpf_lwt_push_encap", "endpoint", None),
        ("bpf_lwt_seg6_action", "endpoint", "4.18"),
        ("bpf_lwt_seg6_action", "xmit", None),
        ("bpf_map_lookup_elem", "endpoint", "4.18"),
        ("bpf_map_lookup_elem", "in", "4.10"),
        ("bpf_ringbuf_output", "out", "5.8"),
        ("bpf_ktime_get_tai_ns", "endpoint", "6.1"),
        ("bpf_skb_store_bytes", "xmit", "4.10"),
        ("bpf_skb_store_bytes", "in", None),
    ],
)
def test_helper_since(helper: str, hook: str, since: str | None) -> None:
    expected = KernelVersion.parse(since) if since else None
    assert BY_NAME[helper].since_at(hook) == expected


def test_helpers_at_a_version() -> None:
    names = {helper.name for helper in helpers_at("endpoint", KernelVersion(5, 10))}
    assert "bpf_ringbuf_output" in names
    assert names.isdisjoint({"bpf_ktime_get_tai_ns", "bpf_loop", "bpf_skb_store_bytes"})


def test_a_helper_that_an_update_took_away() -> None:
    def offered(version: str, hook: str = "endpoint") -> bool:
        helpers = helpers_at(hook, KernelVersion.parse(version))
        return BY_NAME["bpf_skb_pull_data"] in helpers

    assert offered("6.12.107")
    assert not offered("6.12.112")
    assert not offered("6.12.117")
    assert offered("6.18.44")
    assert offered("6.12.117", "in")


def test_limits() -> None:
    assert limits(KernelVersion(5, 1)).length == 4096
    assert not limits(KernelVersion(5, 2)).loops
    assert limits(KernelVersion(5, 3)).loops
    assert limits(KernelVersion(6, 1)).processed == 1_000_000
    assert limits(KernelVersion(6, 1)).stack == 512


def test_tables_have_no_doubles_and_every_hook_its_section() -> None:
    assert len(BY_NAME) == len(HELPERS)
    assert list(MAP_TYPES) == list(range(1, len(MAP_TYPES) + 1))
    assert set(HOOK_BY_SECTION) == {"lwt_seg6local", "lwt_in", "lwt_out", "lwt_xmit"}


def test_importing_the_package_is_light() -> None:
    modules = "facts, helpers, isa, reader, link, strip, maptypes"
    heavy = "{'llvmlite', 'pyroute2', 'lark', 'rich', 'click'}"
    program = f"import sys; from nfc.bpf import {modules}; print({heavy} & set(sys.modules))"
    run = [sys.executable, "-c", program]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "set()\n"


# ---- the running kernel --------------------------------------------------------------------------

REFUSALS = ("cannot use helper", "unknown func", "invalid func")
NOW = KernelVersion.parse(os.uname().release)


def called(hook: str, number: int) -> str:
    """What the kernel says of a program that calls helper `number`."""
    code = encode([Instruction(0x85, imm=number), Instruction(0xB7), Instruction(EXIT)])
    _, log = load_program(HOOKS[hook].program_type, code)
    assert f"#{number}" in log, log
    return log


def allowed(hook: str, number: int) -> bool:
    """Whether the kernel lets programs at `hook` call a helper; what it says of the arguments does
    not matter."""
    log = called(hook, number)
    return not any(words in log for words in REFUSALS)


@pytest.mark.kernel
def test_the_kernel_has_these_names_for_helpers() -> None:
    """Of all program types; a kernel before 6.2 lacks the last two."""
    logs = {number: called("in", number) for number in range(1, 210)}
    assert [n for n, log in logs.items() if f"{helper_name(n)}#{n}" not in log] == []


@pytest.mark.kernel
@pytest.mark.parametrize("hook", HOOKS)
def test_the_kernel_allows_the_helpers_of_the_table_and_no_others(hook: str) -> None:
    if not (6, 18) <= (NOW.major, NOW.minor) < (6, 19):
        pytest.skip("the table's column of hooks is that of 6.18")
    expected = {helper.number for helper in helpers_at(hook, NOW)}
    assert {number for number in range(1, 220) if allowed(hook, number)} == expected


@pytest.mark.kernel
@pytest.mark.parametrize("hook", HOOKS)
def test_the_kernel_has_the_program_types(hook: str) -> None:
    code = encode([Instruction(0xB7), Instruction(EXIT)])
    taken, log = load_program(HOOKS[hook].program_type, code)
    assert taken, log


@pytest.mark.kernel
@pytest.mark.parametrize("hook", HOOKS)
def test_the_kernel_lets_the_writable_hooks_write(hook: str) -> None:
    write = [
        Instruction(0x61, 2, 1, off=76),
        Instruction(0x61, 3, 1, off=80),
        Instruction(0xBF, 4, 2),
        Instruction(0x07, 4, imm=1),
        Instruction(0x2D, 4, 3, off=1),
        Instruction(0x72, 2),
        Instruction(0xB7),
        Instruction(EXIT),
    ]
    taken, log = load_program(HOOKS[hook].program_type, encode(write))
    assert taken == HOOKS[hook].writable, log


@pytest.mark.kernel
def test_the_kernel_s_stack_has_the_size_of_the_table() -> None:
    for size, fits in ((512, True), (520, False)):
        code = encode([Instruction(0x7A, 10, off=-size), Instruction(0xB7), Instruction(EXIT)])
        assert load_program(HOOKS["in"].program_type, code)[0] == fits
