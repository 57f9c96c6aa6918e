"""What readers of counters, tables and params ask of a map, the kernel's or the simulator's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nfc.kernel.maps import MapInfo


class AnyMap(Protocol):
    """The methods that `nfc.kernel.maps.Map` and `nfc.vm.maps.VmMap` have in common."""

    @property
    def info(self) -> MapInfo:
        """Name, type and sizes."""

    @property
    def cpus(self) -> int:
        """How many values a key has in a per-CPU map."""

    def lookup(self, key: bytes) -> bytes | None:
        """The value at `key`, or None."""

    def lookup_percpu(self, key: bytes) -> tuple[bytes, ...] | None:
        """The values at `key`, one a CPU, or None."""

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Set the value at `key`."""

    def update_percpu(self, key: bytes, values: Sequence[bytes], flags: int = 0) -> None:
        """Set every CPU's value at `key`."""

    def delete(self, key: bytes) -> bool:
        """Remove `key`; False when it was not there."""

    def keys(self) -> Iterator[bytes]:
        """Every key, once."""

    def barrier(self) -> None:
        """Wait until every program that could see what was there before is done."""
