"""LLVM IR for edits: each function computes now, and returns what is to be done later.

All that reads the packet comes before all that changes it: see nfc.codegen.function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nfc.codegen import helpers as h
from nfc.codegen.buffers import fill, store_raw
from nfc.codegen.values import I32, I64, at, number
from nfc.plan import plan as p
from nfc.plan import values as v

if TYPE_CHECKING:
    from nfc.codegen.function import FunctionEmitter, Packet


def emit_store(f: FunctionEmitter, edit: p.Store, packet: Packet) -> Callable[[], None]:
    """Overwrite bytes of the SRH or of a TLV."""
    phase = edit.offset % 8
    buffer = f.stack(edit.length, phase)
    pointer = packet.pointers.get(edit.region)
    fill(f.b, buffer, edit.cells, edit.offset, f.evaluator(packet), pointer, phase)
    if edit.region == v.SRH:
        assert packet.srh is not None
        base = packet.srh.offset
    else:
        assert packet.tlvs is not None
        base = packet.tlvs.slots[edit.region.slot]
    offset = f.b.add(base, number(edit.offset))

    def act() -> None:
        with f.line(edit.line):
            result = f.call(h.SEG6_STORE, f.context, offset, buffer, number(edit.length))
            f.succeeded(result, "srh_write_failed")

    return act


def emit_event(f: FunctionEmitter, edit: p.Emit, packet: Packet) -> Callable[[], None]:
    """Send an event; one that finds no room is counted as lost."""
    buffer = f.stack(edit.size)
    evaluator = f.evaluator(packet)
    store_raw(f.b, buffer, 0, 8, number(edit.index), 0)
    covered = set(range(8))
    for item in edit.fields:
        covered |= set(range(item.offset, item.offset + item.size))
        if item.size == 16:
            wide = evaluator.wide(item.value)
            store_raw(f.b, buffer, item.offset, 8, wide.first, 0)
            store_raw(f.b, buffer, item.offset + 8, 8, wide.last, 0)
        else:
            value = evaluator.narrow(item.value)
            store_raw(f.b, buffer, item.offset, item.size, value, 0)
    for gap in sorted(set(range(edit.size)) - covered):
        store_raw(f.b, buffer, gap, 1, number(0), 0)

    def act() -> None:
        with f.line(edit.line):
            result = f.call(
                h.RINGBUF_OUTPUT, f.globals.events, buffer, number(edit.size), number(0)
            )
            lost, done = f.block("lost"), f.block("emitted")
            failed = f.b.icmp_signed("<", result, number(0))
            f.b.cbranch(failed, lost, done)
            f.b.position_at_end(lost)
            # The packet goes on: a slow reader must not stop traffic.
            f.count(f.plan.error_counter("events_lost"))
            f.b.branch(done)
            f.b.position_at_end(done)

    return act


def emit_count(f: FunctionEmitter, edit: p.Count, packet: Packet) -> Callable[[], None]:
    """Add to a named counter of this CPU."""
    amount = f.evaluator(packet).narrow(edit.amount)
    place = f.plan.named_counter(edit.index) * 8

    def act() -> None:
        with f.line(edit.line):
            slot = at(f.b, f.stats, place)
            total = f.b.add(f.b.load(slot, align=8, typ=I64), amount)
            f.b.store(total, slot, align=8)

    return act


def emit_set_meta(f: FunctionEmitter, edit: p.SetMeta, packet: Packet) -> Callable[[], None]:
    """Set the mark or the priority."""
    value = f.b.trunc(f.evaluator(packet).narrow(edit.value), I32)

    def act() -> None:
        with f.line(edit.line):
            f.b.store(value, at(f.b, f.context, edit.offset), align=4)

    return act
