"""A function's events: records of its ring buffer, decoded by their declared fields."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nfc.errors import NfcError
from nfc.manifest import Event, Manifest
from nfc.observe import values

if TYPE_CHECKING:
    from nfc.kernel.maps import Map

_LENGTHS = struct.Struct("<II")  # of the packet, and of its bytes that follow


@dataclass(frozen=True)
class Decoded:
    """One event; times are TAI nanoseconds, addresses text. `packet` is the first bytes of the
    packet where the event holds them, of `length` bytes in all."""

    declared: Event
    fields: dict[str, int | bool | str]
    packet: bytes = b""
    length: int = 0

    @property
    def name(self) -> str:
        """The event's name."""
        return self.declared.name

    def to_json(self) -> dict[str, Any]:
        """The event as a JSON-ready object."""
        found = {"event": self.name, **self.fields}
        if self.declared.packet_bytes:
            found |= {"packet": self.packet.hex(), "packet_length": self.length}
        return found

    def __str__(self) -> str:
        """One line for a terminal."""
        parts = [f"{f.name}={values.show(f, self.fields[f.name])}" for f in self.declared.fields]
        if self.declared.packet_bytes:
            parts.append(f"packet={self.packet.hex()} ({len(self.packet)} of {self.length} bytes)")
        return " ".join([self.name, *parts])


def decode(manifest: Manifest, record: bytes) -> Decoded:
    """An event from a record. Raises NfcError if it is none of this function's."""
    if len(record) >= 8:
        index = struct.unpack_from("<Q", record)[0]
        for event in manifest.events:
            whole = event.size + _LENGTHS.size * bool(event.packet_bytes)
            if event.index == index and len(record) >= whole:
                fields = {f.name: values.decode(f, record) for f in event.fields}
                if not event.packet_bytes:
                    return Decoded(event, fields)
                length, copied = _LENGTHS.unpack_from(record, event.size)
                return Decoded(event, fields, record[whole : whole + copied], length)
    raise NfcError(f"a record of {len(record)} bytes is no event of {manifest.function}")


def read_events(
    ring: Map, manifest: Manifest, *, count: int | None = None, timeout: float | None = None
) -> Iterator[Decoded]:
    """Events from a ring buffer as they come: `count` of them at most, for `timeout` seconds at
    most; without end if neither is given."""
    from nfc.kernel.ringbuf import RingBuffer

    until = None if timeout is None else time.monotonic() + timeout
    left = count
    with RingBuffer(ring) as buffer:
        while left is None or left > 0:
            rest = None if until is None else max(0.0, until - time.monotonic())
            record = next(iter(buffer.records(rest)), None)
            if record is None:
                return
            yield decode(manifest, record)
            left = None if left is None else left - 1
