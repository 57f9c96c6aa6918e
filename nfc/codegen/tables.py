"""LLVM IR for maps: what is written into entries, state and keyed counters.

As in nfc.codegen.edits, each function computes now and returns what is to be done later.
"""

from __future__ import annotations

from collections.abc import Callable

from nfc.codegen import helpers as h
from nfc.codegen.buffers import store_placed
from nfc.codegen.builder import FunctionBuilder, Packet
from nfc.codegen.reading import evaluator, is_there, put_together
from nfc.codegen.values import I32, I64, at, number
from nfc.plan import plan as p

BPF_ANY = 0  # uapi/linux/bpf.h: make an entry, or replace the one that is there
_RMW = {"+": "add", "-": "sub", "&": "and", "|": "or", "^": "xor"}


def emit_put(f: FunctionBuilder, edit: p.Put, packet: Packet) -> Callable[[], None]:
    """Put an entry; where there is no room the packet is dropped."""
    key, entry = f.stack(edit.key.size), f.stack(edit.size)
    put_together(f, key, edit.key.size, edit.key.parts, packet)
    put_together(f, entry, edit.size, edit.fields, packet)

    def act() -> None:
        with f.line(edit.line):
            place = f.globals.maps[edit.key.map]
            result = f.call(h.MAP_UPDATE, place, key, entry, number(BPF_ANY))
            f.succeeded(result, "put_failed")

    return act


def emit_delete(f: FunctionBuilder, edit: p.Delete, packet: Packet) -> Callable[[], None]:
    """Remove an entry; that there is none is no failure."""
    key = f.stack(edit.key.size)
    put_together(f, key, edit.key.size, edit.key.parts, packet)

    def act() -> None:
        with f.line(edit.line):
            f.call(h.MAP_DELETE, f.globals.maps[edit.key.map], key)

    return act


def emit_set_member(f: FunctionBuilder, edit: p.SetMember, packet: Packet) -> Callable[[], None]:
    """Write a field of an entry, or state."""
    values = evaluator(f, packet)
    pointer, place = packet.pointers[edit.region], edit.place
    if edit.atomic is None:
        # Computed now, with all that reads; a store of its own puts it there later.
        write = store_placed(f.b, pointer, place, values, later=True)
        assert write is not None

        def act() -> None:
            with f.line(edit.line):
                write()

        return act
    value = values.narrow(place.value)

    def change() -> None:
        with f.line(edit.line):
            narrow = value if place.size == 8 else f.b.trunc(value, I32)
            target = at(f.b, pointer, place.offset)
            # Its result is not used: one locked instruction, since no kernel is too old for it.
            f.b.atomic_rmw(_RMW[edit.atomic or "+"], target, narrow, "monotonic")

    return change


def emit_count_key(f: FunctionBuilder, edit: p.CountKey, packet: Packet) -> Callable[[], None]:
    """Add to the count of this CPU at a key; one that finds no room is counted as lost."""
    key, first = f.stack(edit.key.size), f.stack(8)
    put_together(f, key, edit.key.size, edit.key.parts, packet)
    amount = evaluator(f, packet).narrow(edit.amount)
    f.b.store(amount, first, align=8)

    def act() -> None:
        with f.line(edit.line):
            place = f.globals.maps[edit.key.map]
            pointer = f.call(h.MAP_LOOKUP, place, key)
            known, new, lost, done = (
                f.block(f"count.{n}") for n in ("known", "new", "lost", "done")
            )
            f.b.cbranch(is_there(f, pointer), known, new)
            f.b.position_at_end(known)
            f.b.store(f.b.add(f.b.load(pointer, align=8, typ=I64), amount), pointer, align=8)
            f.b.branch(done)
            f.b.position_at_end(new)
            result = f.call(h.MAP_UPDATE, place, key, first, number(BPF_ANY))
            f.b.cbranch(f.b.icmp_signed("<", result, number(0)), lost, done)
            f.b.position_at_end(lost)
            f.count(f.plan.error_counter("counts_lost"))
            f.b.branch(done)
            f.b.position_at_end(done)

    return act
