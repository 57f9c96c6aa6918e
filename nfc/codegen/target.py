"""What a target kernel lets compiled code do: facts by version, each with its source."""

from __future__ import annotations

from dataclasses import dataclass

from nfc.errors import UsageError

DEFAULT = "6.1"  # the first long-term kernel with a clock that routers can share
MINIMUM = (5, 3)


@dataclass(frozen=True)
class Target:
    """A kernel version and what follows from it."""

    version: tuple[int, int]

    @property
    def name(self) -> str:
        """As on the command line."""
        return f"{self.version[0]}.{self.version[1]}"

    @property
    def cpu(self) -> str:
        """LLVM's name of the instruction set: v3 (32-bit ALU and jumps) from 5.1."""
        return "v3"

    @property
    def max_tlvs(self) -> int:
        """How many TLVs are walked; loops are verified iteration by iteration (5.3)."""
        return 32

    @property
    def has_ringbuf(self) -> bool:
        """BPF_MAP_TYPE_RINGBUF came with 5.8 (457f44363a88)."""
        return self.version >= (5, 8)

    @property
    def has_tai(self) -> bool:
        """bpf_ktime_get_tai_ns came with 6.1 (c8996c98f703)."""
        return self.version >= (6, 1)


def parse_target(text: str) -> Target:
    """A target from "6.1", "6.1.55" or "6.1.0-34-amd64". Raises UsageError."""
    parts = text.split("-", maxsplit=1)[0].split(".")
    try:
        version = (int(parts[0][:4]), int(parts[1][:4]))
    except (ValueError, IndexError):
        raise UsageError(f"'{text}' is not a kernel version", hint="for example 6.1") from None
    if version < MINIMUM:
        raise UsageError(
            f"kernel {text} is too old: compiled functions need {MINIMUM[0]}.{MINIMUM[1]}",
            hint="before 5.3 the verifier knows no loops, and a TLV walk is one",
        )
    return Target(version)
