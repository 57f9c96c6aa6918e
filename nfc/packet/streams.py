"""Reading exact numbers of bytes from a stream that deals them out as it likes (a pipe)."""

from __future__ import annotations

from typing import BinaryIO, Final

from nfc.packet.base import PacketError

_PIECE: Final = 1 << 16  # bytes of what is skipped that are in memory at a time


def exactly(stream: BinaryIO, length: int, offset: int, what: str, already: int = 0) -> bytes:
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


def skip(stream: BinaryIO, length: int, offset: int, what: str) -> None:
    """Pass over `length` bytes, however many, in bounded memory. Raises as `exactly`."""
    left = length
    while left:
        part = stream.read(min(left, _PIECE))
        if not part:
            raise PacketError(f"{what} ends after {length - left} of {length} bytes", offset)
        left -= len(part)
