"""LLVM IR for edits: each function computes now, and returns what is to be done later.

All that reads the packet comes before all that changes it: see nfc.codegen.function.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from nfc.codegen import helpers as h
from nfc.codegen.buffers import fill, store_placed, store_raw, zero_gaps
from nfc.codegen.builder import FunctionBuilder, Packet
from nfc.codegen.reading import evaluator
from nfc.codegen.values import I32, I64, at, counted, number
from nfc.plan import plan as p
from nfc.plan import values as v

SKB_LEN = 0  # offset in struct __sk_buff, uapi/linux/bpf.h


def emit_store(f: FunctionBuilder, edit: p.Store, packet: Packet) -> Callable[[], None]:
    """Overwrite bytes of the SRH, of a TLV or of the IPv6 header."""
    phase = edit.offset % 8
    buffer = f.stack(edit.length, phase)
    pointer = packet.pointers.get(edit.region)
    fill(f.b, buffer, edit.cells, edit.offset, evaluator(f, packet), pointer, phase)
    if edit.region == v.IP:
        base = number(0)
    elif edit.region == v.SRH:
        assert packet.srh is not None
        base = packet.srh.offset
    else:
        assert packet.tlvs is not None
        base = packet.tlvs.slots[edit.region.slot]
    offset = f.b.add(base, number(edit.offset))

    def act() -> None:
        with f.line(edit.line):
            where = (f.context, offset, buffer, number(edit.length))
            if f.kernel_checks:
                result = f.call(h.SEG6_STORE, *where)
            else:
                result = f.call(h.STORE_BYTES, *where, number(0))
            f.succeeded(result, "ip_write_failed" if edit.region == v.IP else "srh_write_failed")

    return act


def emit_event(f: FunctionBuilder, edit: p.Emit, packet: Packet) -> Callable[[], None]:
    """Send an event; one that finds no room is counted as lost."""
    copied = number(0)
    if edit.packet_bytes:
        buffer = f.packet_memory(edit.size + 8 + edit.packet_bytes)
        copied = _copy_packet(f, buffer, edit)
    else:
        buffer = f.stack(edit.size)
    values = evaluator(f, packet)
    store_raw(f.b, buffer, 0, 8, number(edit.index), 0)
    for item in edit.fields:
        store_placed(f.b, buffer, item, values)
    zero_gaps(f.b, buffer, edit.size, edit.fields, 8)
    fixed = edit.size + 8 * bool(edit.packet_bytes)

    def act() -> None:
        with f.line(edit.line):
            size = number(fixed)
            if edit.packet_bytes:
                size = counted(f.b, f.b.add(copied, size), fixed + edit.packet_bytes)
            result = f.call(h.RINGBUF_OUTPUT, f.globals.events, buffer, size, number(0))
            lost, done = f.block("lost"), f.block("emitted")
            failed = f.b.icmp_signed("<", result, number(0))
            f.b.cbranch(failed, lost, done)
            f.b.position_at_end(lost)
            # The packet goes on: a slow reader must not stop traffic.
            f.count(f.plan.error_counter("events_lost"))
            f.b.branch(done)
            f.b.position_at_end(done)

    return act


def _copy_packet(f: FunctionBuilder, buffer: ir.Value, edit: p.Emit) -> ir.Value:
    """Put the packet's length, the bytes copied (4 each) and these bytes behind the record."""
    b, start = f.b, edit.size
    length = b.zext(b.load(at(b, f.context, SKB_LEN), align=4, typ=I32), I64)
    store_raw(b, buffer, start, 4, length, 0)
    wanted, there, short = (f.block(f"packet.{n}") for n in ("copy", "copied", "none"))
    longer = b.icmp_unsigned(">", length, number(edit.packet_bytes))
    most = b.select(longer, number(edit.packet_bytes), length)
    b.cbranch(b.icmp_unsigned("!=", most, number(0)), wanted, short)
    b.position_at_end(wanted)
    to = at(b, buffer, start + 8)
    result = f.call(h.LOAD_BYTES, f.context, number(0), to, counted(b, most, edit.packet_bytes))
    failed = b.icmp_signed("<", result, number(0))
    b.cbranch(failed, short, there)
    b.position_at_end(short)
    b.branch(there)
    b.position_at_end(there)
    copied = b.phi(I64, "copied")
    copied.add_incoming(most, wanted)
    copied.add_incoming(number(0), short)
    store_raw(b, buffer, start + 4, 4, copied, 0)
    return copied


def emit_count(f: FunctionBuilder, edit: p.Count, packet: Packet) -> Callable[[], None]:
    """Add to a named counter of this CPU."""
    amount = evaluator(f, packet).narrow(edit.amount)
    place = f.plan.named_counter(edit.index) * 8

    def act() -> None:
        with f.line(edit.line):
            slot = at(f.b, f.stats, place)
            total = f.b.add(f.b.load(slot, align=8, typ=I64), amount)
            f.b.store(total, slot, align=8)

    return act


def emit_set_meta(f: FunctionBuilder, edit: p.SetMeta, packet: Packet) -> Callable[[], None]:
    """Set the mark or the priority."""
    value = f.b.trunc(evaluator(f, packet).narrow(edit.value), I32)

    def act() -> None:
        with f.line(edit.line):
            f.b.store(value, at(f.b, f.context, edit.offset), align=4)

    return act
