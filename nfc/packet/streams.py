"""Reading exact numbers of bytes from a stream that deals them out as it likes (a pipe)."""

from __future__ import annotations

from typing import Final, Protocol

from nfc.packet.base import PacketError

_PIECE: Final = 1 << 16  # bytes of what is skipped that are in memory at a time


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """So many bytes, or fewer; none at the end."""


class Joined:
    """Bytes that were read already, and the stream that they came from. `begun` loses what is read
    of it."""

    def __init__(self, begun: bytearray, stream: Readable) -> None:
        """Keep both."""
        self.begun, self.stream = begun, stream

    def read(self, size: int, /) -> bytes:
        """As of the stream."""
        if not self.begun:
            return self.stream.read(size)
        part = bytes(self.begun[:size])
        del self.begun[:size]
        return part


def exactly(stream: Readable, length: int, offset: int, what: str, already: int = 0) -> bytes:
    """The next `length` bytes. Raises PacketError at `offset`, where `what` begins, if the stream
    ends before; `already` bytes of it were read before this call."""
    parts = []
    left = length
    while left and (part := stream.read(left)):
        parts.append(part)
        left -= len(part)
    if left:
        had, want = already + length - left, already + length
        raise PacketError(f"{what} ends after {had} of {want} bytes", offset)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def skip(stream: Readable, length: int, offset: int, what: str) -> None:
    """Pass over `length` bytes, however many, in bounded memory. Raises as `exactly`."""
    left = length
    while left:
        part = stream.read(min(left, _PIECE))
        if not part:
            raise PacketError(f"{what} ends after {length - left} of {length} bytes", offset)
        left -= len(part)
