"""What came of a probe in the kernel or in the simulator, and in what the two differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from probing import RAN, SLOTS, Probe


@dataclass(frozen=True)
class Seen:
    """What came of a probe: the log; what left by which link, from the link-layer header on where
    the program wrote one; the maps that the probe names; what a reader of rings and perf buffers
    got."""

    log: tuple[int, ...]
    left: tuple[tuple[str, bytes], ...]
    maps: Mapping[str, object]
    records: tuple[tuple[str, bytes], ...]
    now: int  # TAI, nanoseconds, before it was sent
    took: int  # nanoseconds
    why: str = ""


# What clocks may be beside the time that the packet took: nanoseconds in a unit of each, units.
NEAR = {"clock": (1, 1_000_000), "coarse": (1, 100_000_000), "jiffies": (1_000_000, 300)}


def differences(probe: Probe, kernel: Seen, simulated: Seen) -> list[str]:
    """What the simulator says otherwise."""
    found = []
    for slot in range(SLOTS):
        k, s = kernel.log[slot], simulated.log[slot]
        kind = probe.loose.get(slot, "")
        if k == s or (kind in NEAR and abs(k - s) <= kernel.took // NEAR[kind][0] + NEAR[kind][1]):
            continue
        if kind == "random" and max(k, s) >> 32 == 0:
            continue
        if kind == "hash" and k and s and max(k, s) >> 32 == 0:
            continue
        found.append(f"slot {slot}: kernel {_signed(k)}, simulator {_signed(s)}")
    found += _frames(kernel.left, simulated.left)
    for name, content in kernel.maps.items():
        if content != simulated.maps[name]:
            found.append(f"map {name}: kernel {content}, simulator {simulated.maps[name]}")
    if len(kernel.records) != len(simulated.records) or any(
        not _same(*pair) for pair in zip(kernel.records, simulated.records, strict=True)
    ):
        found.append(f"records: kernel {_short(kernel)}, simulator {_short(simulated)}")
    if found and simulated.why:
        found.append(f"simulator: {simulated.why}")
    return found


def _same(kernel: tuple[str, bytes], simulated: tuple[str, bytes]) -> bool:
    """Perf buffers fill records up to 4 bytes behind a multiple of 8."""
    (name, k), (other, s) = kernel, simulated
    padding = len(k) - len(s) if name == "perf" else 0
    return name == other and k[: len(s)] == s and 0 <= padding < 8 and (padding > 0 or k == s)


def _frames(kernel: Sequence[tuple[str, bytes]], said: Sequence[tuple[str, bytes]]) -> list[str]:
    same = len(kernel) == len(said)
    for (link, frame), (other, data) in zip(kernel, said, strict=False):
        same = same and link == other and data in (frame, frame[14:])
    if same:
        return []
    ours = [f"{link} {data.hex()}" for link, data in said]
    theirs = [f"{link} {frame[:14].hex()} {frame[14:].hex()}" for link, frame in kernel]
    return [f"left: kernel {theirs}, simulator {ours}"]


def _short(seen: Seen) -> list[str]:
    return [f"{name} {len(r)} bytes {r[:40].hex()}" for name, r in seen.records]


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def ran(seen: Seen, number: int) -> bool:
    """Whether the probe's block has been reached."""
    return seen.log[RAN] == number + 1
