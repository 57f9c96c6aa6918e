"""Merges the TLVs that a rule adds into one append, in the order in which they are written."""

from __future__ import annotations

from dataclasses import replace

from nfc.plan.cells import Cell, Piece
from nfc.plan.plan import Append, Edit, Plan, Rule


def append(plan: Plan) -> Plan:
    """The plan with at most one Append a rule."""
    return replace(plan, rules=tuple(_rule(rule) for rule in plan.rules))


def _rule(rule: Rule) -> Rule:
    added = [e for e in rule.edits if isinstance(e, Append)]
    if len(added) < 2:
        return rule
    parts: list[Cell] = []
    length = 0
    for edit in added:
        parts += [_move(cell, length) for cell in edit.cells]
        length += edit.length
    merged = Append(added[0].line, length, tuple(parts))
    rest: list[Edit] = [e for e in rule.edits if not isinstance(e, Append)]
    return replace(rule, edits=(*rest, merged))


def _move(cell: Cell, by: int) -> Cell:
    pieces = tuple(Piece(p.bit + 8 * by, p.bits, p.value, p.shift) for p in cell.pieces)
    return Cell(cell.offset + by, cell.length, pieces)
