"""What a kernel offers by version and hook: program types, instructions, limits.

Helpers are in `nfc.bpf.helpers`, map types in `nfc.bpf.maptypes`. Versions are those of the
mainline; a distribution may have brought things back to an older one, so the running kernel has
the last word.
"""

from __future__ import annotations

from dataclasses import dataclass

from nfc.bpf.helpers import HELPERS, HOOK_SINCE, Helper
from nfc.bpf.version import KernelVersion


@dataclass(frozen=True, slots=True)
class HookFacts:
    """A hook: its program type (uapi/linux/bpf.h, enum bpf_prog_type), the section name by which
    stock loaders know it (libbpf.c, section_defs: exact, without a suffix), its first version."""

    name: str
    program_type: int
    section: str
    since: KernelVersion
    writable: bool  # direct packet access for writing (may_access_direct_pkt_data, verifier.c)
    test_run: bool  # BPF_PROG_TEST_RUN works (measured on 6.18; bpf_prog_ops, filter.c)


_HOOKS = (
    ("endpoint", 19, "lwt_seg6local", False, False),
    ("in", 10, "lwt_in", False, True),
    ("out", 11, "lwt_out", False, True),
    ("xmit", 12, "lwt_xmit", True, True),
)
HOOKS = {
    name: HookFacts(name, number, section, HOOK_SINCE[name], writable, test_run)
    for name, number, section, writable, test_run in _HOOKS
}
HOOK_BY_SECTION = {hook.section: hook for hook in HOOKS.values()}
HOOK_BY_TYPE = {hook.program_type: hook for hook in HOOKS.values()}

# Parts of the instruction set (`Instruction.extension`) and the commits that brought them.
ISA_SINCE = {
    "base": KernelVersion(3, 18),  # 99c55f7d47c0: bpf(2)
    "v2": KernelVersion(4, 14),  # 92b31a9af73b: jumps on <, <=
    "calls": KernelVersion(4, 16),  # cc8b0b92a169: functions within a program
    "jmp32": KernelVersion(5, 1),  # 092ed0968bb6: ISA v3
    "atomics": KernelVersion(5, 12),  # 5ffa25502b5a: fetch, exchange, compare
    "kfuncs": KernelVersion(5, 13),  # e6ac2450d6de
    "v4": KernelVersion(6, 6),  # 1f9a1ea821ff: sign extension, bswap, gotol, signed division
    "may_goto": KernelVersion(6, 9),  # 011832b97b31
    "acquire": KernelVersion(6, 15),  # 880442305a39: load-acquire, store-release
}

STACK_SIZE = 512  # bytes of a function and all that it calls: MAX_BPF_STACK, linux/filter.h
MAX_CALL_FRAMES = 8  # linux/bpf_verifier.h
MAX_TAIL_CALLS = 33  # MAX_TAIL_CALL_CNT, linux/bpf.h
PROGRAM_NAME_SIZE = 16  # bytes with the NUL: BPF_OBJ_NAME_LEN, uapi/linux/bpf.h

# The kernels that `make kernels` runs, and the newest that nfc was run on.
CONFIRMED = ("5.10", "6.1", "6.12", "6.18")

BOUNDED_LOOPS_SINCE = KernelVersion(5, 3)  # 2589726d12a1
BTF_LINE_INFO_SINCE = KernelVersion(5, 0)  # c454a46b5efd
GLOBAL_DATA_SINCE = KernelVersion(5, 2)  # d8eca5bbb2be: .data, .rodata, .bss as maps


@dataclass(frozen=True, slots=True)
class Limits:
    """What the verifier of one version accepts from a privileged loader.

    `length` is the most instructions of a program, `processed` the most that the verifier may
    look at, counting every path (BPF_MAXINSNS, linux/bpf_common.h; BPF_COMPLEXITY_LIMIT_INSNS).
    """

    length: int
    processed: int
    loops: bool
    stack: int = STACK_SIZE


def limits(version: KernelVersion) -> Limits:
    """The limits of a kernel version (5.2: c04c0d2b968a, one million of both)."""
    loops = version >= BOUNDED_LOOPS_SINCE
    if version >= KernelVersion(5, 2):
        return Limits(1_000_000, 1_000_000, loops)
    # 98304 from 4.13, 131072 from 4.14 (8e17c1b16277); before 4.18 no SRv6 function can exist.
    return Limits(4096, 131_072, loops)


def helpers_at(hook: str, version: KernelVersion) -> tuple[Helper, ...]:
    """The helpers that programs at `hook` may call on a kernel of `version`, by number."""
    found = ((helper, helper.since_at(hook)) for helper in HELPERS.values())
    return tuple(
        helper
        for helper, since in found
        if since and since <= version and not helper.withdrawn_at(hook, version)
    )
