"""What a target kernel lets compiled code do: facts by version, each with its source."""

from __future__ import annotations

from dataclasses import dataclass

from nfc.bpf.facts import BOUNDED_LOOPS_SINCE
from nfc.bpf.helpers import HELPERS
from nfc.bpf.maptypes import MAP_TYPES
from nfc.bpf.version import KernelVersion
from nfc.errors import UsageError

DEFAULT = "6.1"  # the first long-term kernel with a clock that routers can share
_RINGBUF, _KTIME_TAI = 27, 208  # uapi/linux/bpf.h


@dataclass(frozen=True)
class Target:
    """A kernel version and what follows from it."""

    version: KernelVersion

    @property
    def name(self) -> str:
        """The version without a patch level: what runs on 6.1 runs on 6.1.55."""
        return f"{self.version.major}.{self.version.minor}"

    @property
    def cpu(self) -> str:
        """LLVM's name of the instruction set: v3 (32-bit ALU and jumps) from 5.1."""
        return "v3"

    @property
    def max_tlvs(self) -> int:
        """How many TLVs are walked; the verifier follows a loop iteration by iteration."""
        return 32

    @property
    def has_ringbuf(self) -> bool:
        """Whether there are ring buffers (5.8)."""
        return MAP_TYPES[_RINGBUF].since <= self.version

    @property
    def has_atomics(self) -> bool:
        """Whether & | ^ change memory in one step (BPF_ATOMIC other than BPF_ADD: 5.12)."""
        return self.version >= KernelVersion(5, 12)

    @property
    def has_tai(self) -> bool:
        """Whether programs can read TAI, bpf_ktime_get_tai_ns (6.1)."""
        return HELPERS[_KTIME_TAI].since <= self.version


def parse_target(text: str) -> Target:
    """A target from "6.1", "6.1.55" or "6.1.0-34-amd64". Raises UsageError."""
    version = KernelVersion.parse(text)
    if version < BOUNDED_LOOPS_SINCE:
        raise UsageError(
            f"kernel {text} is too old: compiled functions need {BOUNDED_LOOPS_SINCE}",
            hint="before it the verifier knows no loops, and a walk over TLVs is one",
        )
    return Target(version)
