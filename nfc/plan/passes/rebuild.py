"""Joins a rule's edits that change the size of the SRH into one rebuild of its TLVs.

However many TLVs a rule adds, removes and replaces, the packet is resized once and written once.
Several blocks for one place stand there in the order in which they are written in the source.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nfc.plan.cells import Cell, Piece
from nfc.plan.plan import Block, Edit, Plan, Point, Rebuild, Resize, Rule
from nfc.sema.headers import HMAC_TLV


def rebuild(plan: Plan) -> Plan:
    """The plan with at most one Rebuild a rule, and no Resize."""
    return replace(plan, rules=tuple(_rule(rule) for rule in plan.rules))


def _rule(rule: Rule) -> Rule:
    sizes = [e for e in rule.edits if isinstance(e, Resize)]
    if not sizes:
        return rule
    slots = sorted({e.slot for e in sizes if e.slot is not None})
    merged = Rebuild(
        line=sizes[0].line,
        first=_join(sizes, "first"),
        last=_join(sizes, "last"),
        points=tuple(_point(sizes, slot) for slot in slots),
        gone=tuple(sorted({e.type for e in sizes if e.type is not None})),
        unsigns=any(e.type == HMAC_TLV for e in sizes),
    )
    rest: list[Edit] = [e for e in rule.edits if not isinstance(e, Resize)]
    return replace(rule, edits=(*rest, merged))


def _point(sizes: Iterable[Resize], slot: int) -> Point:
    here = [e for e in sizes if e.slot == slot]
    # What replaces a TLV stands where it stood: behind all that is put before it.
    before = [*_blocks(here, "before"), *_blocks(here, "replace")]
    removed = any(e.where in ("remove", "replace") for e in here)
    return Point(slot, _concatenate(before), _join(here, "after"), removed)


def _join(sizes: Iterable[Resize], where: str) -> Block | None:
    return _concatenate(_blocks(sizes, where))


def _blocks(sizes: Iterable[Resize], where: str) -> list[Block]:
    return [e.block for e in sizes if e.where == where and e.block is not None]


def _concatenate(blocks: list[Block]) -> Block | None:
    if not blocks:
        return None
    parts: list[Cell] = []
    length = 0
    for block in blocks:
        parts += [_move(cell, length) for cell in block.cells]
        length += block.length
    return Block(length, tuple(parts))


def _move(cell: Cell, by: int) -> Cell:
    pieces = tuple(Piece(p.bit + 8 * by, p.bits, p.value, p.shift) for p in cell.pieces)
    return Cell(cell.offset + by, cell.length, pieces)
