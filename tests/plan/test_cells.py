"""For every layout of fields: cells cover it without gaps, and say the same bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfc.plan.cells import MAX_SHARED_BITS, Cell, Piece, cells, fill
from nfc.plan.values import Imm


@st.composite
def layouts(draw: st.DrawFn) -> list[Piece]:
    """Fields of 1 to 64 bits, or addresses at whole bytes, that fill whole bytes."""
    pieces: list[Piece] = []
    bit = 0
    for bits in draw(
        st.lists(st.one_of(st.integers(1, 64), st.just(128)), min_size=1, max_size=12)
    ):
        if bits == 128 and bit % 8:
            continue
        value = draw(st.integers(0, (1 << bits) - 1))
        pieces.append(Piece(bit, bits, Imm(bits, value)))
        bit += bits
    if bit % 8:
        rest = 8 - bit % 8
        pieces.append(Piece(bit, rest, Imm(rest, draw(st.integers(0, (1 << rest) - 1)))))
    return pieces


def as_bytes(found: tuple[Cell, ...]) -> bytes:
    out = b""
    for cell in found:
        constant = cell.constant
        assert constant is not None
        assert cell.offset == len(out)
        out += constant.to_bytes(cell.length, "big")
    return out


@given(layouts())
def test_cells_say_what_the_pieces_say(pieces: list[Piece]) -> None:
    total = bits = 0
    for piece in pieces:
        assert isinstance(piece.value, Imm)
        total = total << piece.bits | piece.value.value
        bits += piece.bits
    found = cells(pieces)
    assert as_bytes(found) == total.to_bytes(bits // 8, "big")
    for cell in found:
        assert len(cell.pieces) == 1 or cell.length * 8 <= MAX_SHARED_BITS


@given(layouts(), st.data())
def test_what_is_not_given_is_kept(pieces: list[Piece], data: st.DataObject) -> None:
    end = pieces[-1].bit + pieces[-1].bits
    given_ = [p for p in pieces if data.draw(st.booleans())]
    full = fill(given_, 0, end)
    assert [p for p in full if p.value is not None] == given_
    at = 0
    for piece in full:
        assert piece.bit == at
        at += piece.bits
    assert at == end


def test_pieces_that_end_within_a_byte_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="middle of a byte"):
        cells([Piece(0, 3, None)])


def test_nine_bytes_that_share_bits_are_cut() -> None:
    """A u64 between two u4: the smallest case that no register holds."""
    pieces = [Piece(0, 4, Imm(4, 1)), Piece(4, 64, Imm(64, 2)), Piece(68, 4, Imm(4, 3))]
    assert as_bytes(cells(pieces)) == bytes.fromhex("100000000000000023")
