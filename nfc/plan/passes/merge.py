"""Merges a rule's edits of one region into one store: one helper call instead of several.

A store covers everything from the first to the last byte that changes; what lies between is
written back as it was. Copying a few bytes costs less than another call: the helper looks the
SRH up and makes the packet writable each time (bpf_lwt_seg6_store_bytes, net/core/filter.c).
"""

from __future__ import annotations

from dataclasses import replace

from nfc.plan.cells import Piece, cells, fill
from nfc.plan.plan import Edit, Plan, Rule, SetBits, Store
from nfc.plan.values import Region


def merge(plan: Plan) -> Plan:
    """The plan with every SetBits gone into a Store."""
    return replace(plan, rules=tuple(_rule(rule) for rule in plan.rules))


def _rule(rule: Rule) -> Rule:
    by_region: dict[Region, list[SetBits]] = {}
    rest: list[Edit] = []
    for edit in rule.edits:
        if isinstance(edit, SetBits):
            by_region.setdefault(edit.region, []).append(edit)
        else:
            rest.append(edit)
    stores = [_store(region, edits) for region, edits in by_region.items()]
    return replace(rule, edits=(*stores, *rest))


def _store(region: Region, edits: list[SetBits]) -> Store:
    start = min(e.bit for e in edits) // 8
    end = -(-max(e.bit + e.value.bits for e in edits) // 8)
    pieces = fill((Piece(e.bit, e.value.bits, e.value) for e in edits), start * 8, end * 8)
    return Store(edits[0].line, region, start, end - start, cells(pieces))
