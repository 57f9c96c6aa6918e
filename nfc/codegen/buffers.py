"""LLVM IR that puts cells into memory on the stack, for helpers that take bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from nfc.codegen.values import (
    BYTE_TYPES,
    Evaluator,
    Wide,
    aligned_chunks,
    at,
    chunks,
    load_raw,
    number,
    swap,
)
from nfc.plan.cells import Cell
from nfc.plan.values import Imm, Placed, Value


def store_raw(
    builder: ir.IRBuilder, base: ir.Value, offset: int, size: int, value: ir.Value, phase: int
) -> None:
    """Put the lowest `size` bytes of an i64 at `base + offset`.

    `phase` is what `base` is past a multiple of 8. The verifier wants stack memory accessed at
    natural alignment, always (check_ptr_alignment, kernel/bpf/verifier.c), and LLVM splits a
    store whose alignment it knows to be less.
    """
    align = next(a for a in (8, 4, 2, 1) if (phase + offset) % a == 0)
    narrow = value if size == 8 else builder.trunc(value, BYTE_TYPES[size])
    builder.store(narrow, at(builder, base, offset), align=min(align, size))


def store_bytes(
    builder: ir.IRBuilder, base: ir.Value, offset: int, size: int, value: ir.Value, phase: int
) -> None:
    """The lowest `size` bytes of an i64, lowest first, at any offset (see `store_raw`)."""
    for start, length in aligned_chunks(size, phase + offset):
        part = builder.lshr(value, number(8 * start)) if start else value
        store_raw(builder, base, offset + start, length, part, phase)


def store_placed(
    builder: ir.IRBuilder,
    base: ir.Value,
    place: Placed,
    evaluator: Evaluator,
    *,
    later: bool = False,
) -> Callable[[], None] | None:
    """Compute a value and put it into a structure at `base`, a multiple of 8; `later` returns
    what puts it there."""
    offset, size = place.offset, place.size
    parts: list[tuple[int, int, ir.Value]]
    if place.value.bits > 64:
        wide = evaluator.wide(place.value)
        parts = [(offset, 8, wide.first), (offset + 8, size - 8, wide.last)]
    else:
        value = evaluator.narrow(place.value)
        if place.raw:
            value = builder.shl(value, number(64 - 8 * size)) if size < 8 else value
            value = builder.bswap(value)
        parts = [(offset, size, value)]

    def store() -> None:
        for where, length, part in parts:
            store_bytes(builder, base, where, length, part, 0)

    if later:
        return store
    store()
    return None


def zero_gaps(
    builder: ir.IRBuilder, base: ir.Value, size: int, parts: Sequence[Placed], start: int = 0
) -> None:
    """Zero what no part covers of the bytes from `start` to `size`."""
    covered = {i for part in parts for i in range(part.offset, part.offset + part.size)}
    known = {i: 0 for i in range(start, size) if i not in covered}
    _constants(builder, base, known, 0)


def fill(
    builder: ir.IRBuilder,
    base: ir.Value,
    cells: Sequence[Cell],
    origin: int,
    evaluator: Evaluator,
    original: ir.Value | None,
    phase: int,
) -> None:
    """Write cells at `base`, whose first byte is byte `origin` of the whole.

    `original` points at byte 0 of the region that kept bits are read from.
    """
    known: dict[int, int] = {}
    for cell in cells:
        constant = cell.constant
        offset = cell.offset - origin
        if constant is not None:
            data = constant.to_bytes(cell.length, "big")
            known.update({offset + i: byte for i, byte in enumerate(data)})
            continue
        if cell.keeps:
            assert original is not None
            _copy(builder, base, offset, original, cell, phase)
        else:
            _computed(builder, base, offset, cell, evaluator, original, phase)
    _constants(builder, base, known, phase)


def _constants(builder: ir.IRBuilder, base: ir.Value, known: dict[int, int], phase: int) -> None:
    """Store known bytes, in the largest aligned pieces that are wholly known."""
    done: set[int] = set()
    for offset in sorted(known):
        if offset in done:
            continue
        for size in (8, 4, 2, 1):
            span = range(offset, offset + size)
            if (phase + offset) % size == 0 and all(i in known for i in span):
                value = int.from_bytes(bytes(known[i] for i in span), "little")
                store_raw(builder, base, offset, size, number(value), phase)
                done.update(span)
                break


def _copy(
    builder: ir.IRBuilder, base: ir.Value, offset: int, original: ir.Value, cell: Cell, phase: int
) -> None:
    for start, size in aligned_chunks(cell.length, phase + offset):
        value = load_raw(builder, original, cell.offset + start, size)
        store_raw(builder, base, offset + start, size, value, phase)


def _computed(
    builder: ir.IRBuilder,
    base: ir.Value,
    offset: int,
    cell: Cell,
    evaluator: Evaluator,
    original: ir.Value | None,
    phase: int,
) -> None:
    first = cell.pieces[0]
    if len(cell.pieces) == 1 and first.bits > 64:
        assert first.value is not None
        wide: Wide = evaluator.wide(first.value)
        store_bytes(builder, base, offset, 8, wide.first, phase)
        store_bytes(builder, base, offset + 8, cell.length - 8, wide.last, phase)
        return
    total: ir.Value = number(0)
    end = (cell.offset + cell.length) * 8
    keep_mask = 0
    for piece in cell.pieces:
        left = end - (piece.bit + piece.bits)
        if piece.value is None:
            keep_mask |= ((1 << piece.bits) - 1) << left
            continue
        total = builder.or_(
            total, _placed(builder, evaluator, piece.value, piece.shift, piece.bits, left)
        )
    if keep_mask:
        assert original is not None
        kept: ir.Value = number(0)
        for start, size in chunks(cell.length):
            part = swap(builder, load_raw(builder, original, cell.offset + start, size), size)
            up = (cell.length - start - size) * 8
            kept = builder.or_(kept, builder.shl(part, number(up)) if up else part)
        total = builder.or_(total, builder.and_(kept, number(keep_mask)))
    for start, size in chunks(cell.length):
        down = (cell.length - start - size) * 8
        part = builder.lshr(total, number(down)) if down else total
        store_raw(builder, base, offset + start, size, swap(builder, part, size), phase)


def _placed(
    builder: ir.IRBuilder, evaluator: Evaluator, value: Value, shift: int, bits: int, left: int
) -> ir.Value:
    """`bits` bits of a value from its bit `shift` up, moved left to their place."""
    if isinstance(value, Imm):
        return number(((value.value >> shift) & ((1 << bits) - 1)) << left)
    part = evaluator.narrow(value)
    if shift:
        part = builder.lshr(part, number(shift))
    if bits < value.bits - shift:
        part = builder.and_(part, number((1 << bits) - 1))
    return builder.shl(part, number(left)) if left else part
