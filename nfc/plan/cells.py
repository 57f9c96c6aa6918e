"""Bytes to be written, described by what goes into them.

A cell is a run of whole bytes. Fields that share bytes share a cell, and are put together as
one big-endian number; a field of whole bytes has a cell of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from nfc.plan.values import Imm, Value

MAX_SHARED_BITS = 64  # what fits a register


@dataclass(frozen=True)
class Piece:
    """`bits` bits at bit `bit` of the whole: those of `value` from its bit `shift` (from the
    least significant) up; `value` None keeps what the packet has."""

    bit: int
    bits: int
    value: Value | None
    shift: int = 0

    def __str__(self) -> str:
        """Place and value."""
        what = "keep" if self.value is None else str(self.value)
        cut = f" >> {self.shift}" if self.shift else ""
        return f"{self.bit // 8}.{self.bit % 8}+{self.bits}: {what}{cut}"


@dataclass(frozen=True)
class Cell:
    """`length` bytes at `offset`, and the pieces that fill them, in order and without gaps."""

    offset: int
    length: int
    pieces: tuple[Piece, ...]

    @property
    def constant(self) -> int | None:
        """The cell's bytes as a big-endian number, when all of it is known."""
        total = 0
        for piece in self.pieces:
            if not isinstance(piece.value, Imm):
                return None
            part = (piece.value.value >> piece.shift) & ((1 << piece.bits) - 1)
            total = total << piece.bits | part
        return total

    @property
    def keeps(self) -> bool:
        """Whether the cell leaves all its bytes as they are."""
        return all(p.value is None for p in self.pieces)


def cells(pieces: Iterable[Piece]) -> tuple[Cell, ...]:
    """Group pieces, given in order and without gaps, into cells."""
    result: list[Cell] = []
    group: list[Piece] = []
    for piece in pieces:
        group.append(piece)
        if (piece.bit + piece.bits) % 8 == 0:
            result.extend(_close(group))
            group = []
    if group:
        raise ValueError("pieces end in the middle of a byte")
    return tuple(result)


def _close(group: list[Piece]) -> Iterable[Cell]:
    start = group[0].bit
    bits = group[-1].bit + group[-1].bits - start
    if bits > MAX_SHARED_BITS and len(group) > 1:
        return cells(part for piece in group for part in _split(piece))
    return (Cell(start // 8, bits // 8, tuple(group)),)


def _split(piece: Piece) -> list[Piece]:
    """A piece cut at the first and the last byte boundary inside it."""
    end = piece.bit + piece.bits
    first = min(-(-piece.bit // 8) * 8, end)
    last = max(end // 8 * 8, first)
    edges = sorted({piece.bit, first, last, end})
    return [Piece(a, b - a, piece.value, piece.shift + (end - b)) for a, b in pairwise(edges)]


def fill(pieces: Iterable[Piece], start: int, end: int) -> list[Piece]:
    """Pieces sorted, with the bits between `start` and `end` that none covers kept as they are."""
    result: list[Piece] = []
    at = start
    for piece in sorted(pieces, key=lambda p: p.bit):
        if piece.bit > at:
            result.append(Piece(at, piece.bit - at, None))
        result.append(piece)
        at = piece.bit + piece.bits
    if at < end:
        result.append(Piece(at, end - at, None))
    return result
