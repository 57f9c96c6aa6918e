"""What a rule needs: the values it reads, so that code can be placed before its first use."""

from __future__ import annotations

from collections.abc import Iterable

from nfc.plan.cells import Cell
from nfc.plan.plan import (
    Action,
    Count,
    CountKey,
    Delete,
    Edit,
    Emit,
    Encap,
    Plan,
    Put,
    Rebuild,
    Redirect,
    Resize,
    Rule,
    SetBits,
    SetMember,
    SetMeta,
    Store,
)
from nfc.plan.values import IP, Load, Member, Region, Value, walk


def edit_values(edit: Edit) -> list[Value]:
    """The values that an edit writes (not what they are computed from)."""
    match edit:
        case SetBits(_, _, _, value) | SetMeta(_, _, _, value) | Count(_, _, _, value):
            return [value]
        case Store(_, region, _, _, cells):
            return _cell_values(cells, region)
        case Resize(_, _, _, _, block):
            return _cell_values(block.cells, None) if block else []
        case Rebuild():
            return [v for block in edit.blocks for v in _cell_values(block.cells, None)]
        case Emit(_, _, _, _, fields, _):
            return [f.value for f in fields]
        case SetMember(_, region, place, _):
            there = Member(8 * place.size, region, place.offset, place.size, place.raw)
            return [there, place.value]
        case Put(_, key, _, fields):
            return [f.value for f in (*key.parts, *fields)]
        case Delete(_, key):
            return [f.value for f in key.parts]
        case CountKey(_, key, amount):
            return [amount, *(f.value for f in key.parts)]


def _cell_values(cells: Iterable[Cell], region: Region | None) -> list[Value]:
    found: list[Value] = []
    for piece in (p for c in cells for p in c.pieces):
        if piece.value is not None:
            found.append(piece.value)
        elif region is not None:
            found.append(Load(piece.bits, region, piece.bit))
    return found


def body_values(rule: Rule) -> list[Value]:
    """Every value in a rule's edits and verdict, with all that they are computed from."""
    top = [v for edit in rule.edits for v in edit_values(edit)]
    match rule.verdict:
        case Action(_, _, _, argument):
            top.append(argument)
        case Redirect(link=link, cells=cells):
            top += [link, *_cell_values(cells, None)]
        case Encap(cells=cells):
            top += _cell_values(cells, None)
    return [part for value in top for part in walk(value)]


def guard_values(rule: Rule) -> list[Value]:
    """Every value in a rule's guard."""
    return [] if rule.guard is None else walk(rule.guard)


def regions(values: Iterable[Value]) -> list[Region]:
    """What has to be there to compute values, in a fixed order."""
    found = {v.region for v in values if isinstance(v, Load | Member)}
    return sorted(found, key=str)


def finds_srh(plan: Plan) -> bool:
    """Whether a function has to find the SRH."""
    values = [v for rule in plan.rules for v in (*guard_values(rule), *body_values(rule))]
    return (
        plan.walks
        or any(isinstance(v, Load) and v.region.kind in ("srh", "segment") for v in values)
        or any(
            isinstance(edit, Store) and edit.region != IP
            for rule in plan.rules
            for edit in rule.edits
        )
    )
