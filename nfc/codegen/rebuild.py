"""LLVM IR that rebuilds the TLVs of an SRH: one resize, one write.

The usual case, adding behind the last TLV with no padding between the others, writes only what
is new. Every other case puts the TLVs that leave together in memory, copying what stays in runs
as long as possible, and writes them back whole.

What the loop carries from one TLV to the next lies in that memory, not in registers: the
verifier then knows nothing of it, so all the ways through one round look alike to it, and it
follows one of them instead of all.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from nfc.codegen import helpers as h
from nfc.codegen.buffers import fill, store_raw
from nfc.codegen.builder import FunctionBuilder, Packet
from nfc.codegen.memory import AT, BYTES, MAX_AT, MAX_RUN, OUT, RUN
from nfc.codegen.parts import SKB_DATA, SKB_DATA_END, walk
from nfc.codegen.reading import evaluator
from nfc.codegen.srh import MAX_OFFSET, PADN, in_packet
from nfc.codegen.values import I32, I64, PTR, at, chunks, counted, load_raw, number
from nfc.plan.plan import Block, Point, Rebuild

MAX_EXTENSION = 255 * 8  # bytes behind the first 8 that Hdr Ext Len can say (RFC 8200, 4.4)
MAX_PAD = 9


def emit_rebuild(f: FunctionBuilder, edit: Rebuild, packet: Packet) -> Callable[[], None]:
    """Compute what is to be built now; the function returned does the rest."""
    if packet.tlvs is None:
        walk(f, packet)
    srh, tlvs = packet.srh, packet.tlvs
    assert srh is not None and tlvs is not None
    f.fail_unless(f.b.icmp_unsigned(">=", tlvs.reached, srh.end), "srh_full")
    work = _Rebuild(f, edit, packet)

    def act() -> None:
        with f.line(edit.line):
            if not edit.appends:
                work.everything()
                return
            plain, whole, done = f.block("append"), f.block("rebuild"), f.block("rebuilt")
            f.b.cbranch(f.b.icmp_unsigned("==", tlvs.gaps, number(0)), plain, whole)
            f.b.position_at_end(plain)
            work.append_only()
            f.b.branch(done)
            f.b.position_at_end(whole)
            work.everything()
            f.b.branch(done)
            f.b.position_at_end(done)

    return act


class _Rebuild:
    def __init__(self, f: FunctionBuilder, edit: Rebuild, packet: Packet) -> None:
        assert packet.srh is not None and packet.tlvs is not None
        self.f, self.edit, self.packet = f, edit, packet
        self.srh, self.tlvs = packet.srh, packet.tlvs
        self.memory = f.memory()
        values = evaluator(f, packet)
        self.buffers: dict[int, ir.Value] = {}
        for block in edit.blocks:
            # Room for padding behind: a block that is appended is sent together with it.
            buffer = f.stack(block.length + MAX_PAD)
            fill(f.b, buffer, block.cells, 0, values, None, 0)
            self.buffers[id(block)] = buffer

    # ---- the usual case ---------------------------------------------------------------------

    def append_only(self) -> None:
        """New TLVs in place of the padding at the end, and new padding."""
        f, b, block = self.f, self.f.b, self.edit.last
        assert block is not None
        buffer = self.buffers[id(block)]
        used = b.add(b.sub(self.tlvs.tail, self.srh.offset), number(block.length))
        pad = self._padding(used)
        # PadN's header and zeroes are written always, and sent only as far as `pad` says.
        store_raw(b, buffer, block.length, 1, number(PADN), 0)
        store_raw(b, buffer, block.length + 1, 1, b.sub(pad, number(2)), 0)
        for i in range(2, MAX_PAD):
            store_raw(b, buffer, block.length + i, 1, number(0), 0)
        total = b.add(pad, number(block.length))
        self._resize(b.add(self.tlvs.tail, total))
        f.fail_unless(f.b.icmp_unsigned("<=", pad, number(MAX_PAD)), "srh_full")
        self._write(self.tlvs.tail, buffer, total)

    # ---- every case -------------------------------------------------------------------------

    def everything(self) -> None:
        """Put the TLVs together in memory and write them back."""
        f, b = self.f, self.f.b
        self._set(RUN, self.srh.tlvs)
        self._set(OUT, number(0))
        self._set(AT, self.srh.tlvs)
        self._build(self.edit.first)
        self._loop()
        self._copy_run(self.srh.end)
        self._build(self.edit.last)
        out = self._get(OUT)
        begin = b.add(self.srh.tlvs, out)
        pad = self._padding(b.sub(begin, self.srh.offset))
        target = self._target(out)
        store_raw(b, target, 0, 1, number(PADN), 0)
        store_raw(b, target, 1, 1, b.sub(pad, number(2)), 1)
        for i in range(2, MAX_PAD):
            store_raw(b, target, i, 1, number(0), 1)
        total = b.add(out, pad)
        self._resize(b.add(self.srh.tlvs, total))
        some, done = f.block("some"), f.block("written")
        b.cbranch(b.icmp_unsigned("!=", total, number(0)), some, done)
        b.position_at_end(some)
        f.fail_unless(f.b.icmp_unsigned("<=", total, number(MAX_EXTENSION)), "srh_full")
        self._write(self.srh.tlvs, at(b, self.memory, BYTES), counted(b, total, MAX_RUN + 1))
        b.branch(done)
        b.position_at_end(done)

    def _loop(self) -> None:
        f, b = self.f, self.f.b
        # An edit before this one may have voided the packet's pointers.
        data, end = (
            b.inttoptr(b.zext(b.load(at(b, f.context, o), align=4, typ=I32), I64), PTR)
            for o in (SKB_DATA, SKB_DATA_END)
        )
        head, inside, near, body, done = (
            f.block(f"rebuild.{n}") for n in ("head", "inside", "near", "body", "done")
        )
        start = b.block
        b.branch(head)
        b.position_at_end(head)
        count = b.phi(I64, "count")
        count.add_incoming(number(0), start)
        here = self._get(AT)
        b.cbranch(b.icmp_unsigned("<", count, number(f.target.max_tlvs)), inside, done)
        b.position_at_end(inside)
        more = f.block("rebuild.more")
        b.cbranch(b.icmp_unsigned("<", here, self.srh.end), more, done)
        b.position_at_end(more)
        b.cbranch(b.icmp_unsigned("<=", here, number(MAX_OFFSET)), near, done)
        b.position_at_end(near)
        pointer = in_packet(b, data, here)
        b.cbranch(b.icmp_unsigned("<=", at(b, pointer, 2), end), body, done)
        b.position_at_end(body)
        type_ = load_raw(b, pointer, 0, 1)
        size = b.add(load_raw(b, pointer, 1, 1), number(2))
        following = b.add(here, size)
        self._set(AT, following)
        for point in self.edit.points:
            if point.before is not None:
                self._at_point(point, here, here, point.before)
        self._skip(type_, here, following)
        for point in self.edit.points:
            if point.after is not None:
                self._at_point(point, here, following, point.after)
        count.add_incoming(b.add(count, number(1)), b.block)
        b.branch(head)
        b.position_at_end(done)
        f.fail_unless(b.icmp_unsigned(">=", self._get(AT), self.srh.end), "srh_full")

    def _at_point(self, point: Point, here: ir.Value, upto: ir.Value, block: Block) -> None:
        """At the point's TLV: copy what stays up to `upto`, then build."""
        f, b = self.f, self.f.b
        hit, on = f.block("point"), f.block("on")
        b.cbranch(b.icmp_unsigned("==", here, self.tlvs.slots[point.slot]), hit, on)
        b.position_at_end(hit)
        self._copy_run(upto)
        self._set(RUN, upto)
        self._build(block)
        b.branch(on)
        b.position_at_end(on)

    def _skip(self, type_: ir.Value, here: ir.Value, following: ir.Value) -> None:
        """Leave a TLV out if it is padding, or goes."""
        f, b = self.f, self.f.b
        leave, on = f.block("leave"), f.block("on")
        tests = [(type_, number(t)) for t in (PADN, *self.edit.gone)]
        tests += [(here, self.tlvs.slots[q.slot]) for q in self.edit.points if q.removed]
        for value, wanted in tests:
            other = f.block("other")
            b.cbranch(b.icmp_unsigned("==", value, wanted), leave, other)
            b.position_at_end(other)
        b.branch(on)
        b.position_at_end(leave)
        # After a block built in front of this TLV, the run begins here and is empty.
        self._copy_run(here)
        self._set(RUN, following)
        b.branch(on)
        b.position_at_end(on)

    def _copy_run(self, upto: ir.Value) -> None:
        """Copy the packet from where the run began up to `upto`."""
        f, b = self.f, self.f.b
        begin = self._get(RUN)
        length = b.sub(upto, begin)
        some, done = f.block("run"), f.block("ran")
        b.cbranch(b.icmp_unsigned("!=", length, number(0)), some, done)
        b.position_at_end(some)
        f.fail_unless(b.icmp_unsigned("<=", length, number(MAX_RUN)), "srh_full")
        out = self._get(OUT)
        target = self._target(out)
        bytes_ = counted(b, length, MAX_RUN + 1)
        result = f.call(h.LOAD_BYTES, f.context, begin, target, bytes_)
        f.succeeded(result, "srh_resize_failed")
        self._set(OUT, b.add(out, length))
        b.branch(done)
        b.position_at_end(done)

    def _build(self, block: Block | None) -> None:
        """Put a block behind what is there."""
        if block is None:
            return
        b = self.f.b
        out = self._get(OUT)
        target = self._target(out)
        buffer = self.buffers[id(block)]
        for offset, size in chunks(block.length):
            store_raw(b, target, offset, size, load_raw(b, buffer, offset, size), 0)
        self._set(OUT, b.add(out, number(block.length)))

    # ---- small things -----------------------------------------------------------------------

    def _get(self, word: int) -> ir.Value:
        return self.f.b.load(at(self.f.b, self.memory, word), align=8, typ=I64)

    def _set(self, word: int, value: ir.Value) -> None:
        self.f.b.store(value, at(self.f.b, self.memory, word), align=8)

    def _target(self, out: ir.Value) -> ir.Value:
        """Where byte `out` of what is put together lies; past the end is an error."""
        b = self.f.b
        self.f.fail_unless(b.icmp_unsigned("<=", out, number(MAX_AT)), "srh_full")
        # Said once more, as in `in_packet`; MAX_AT is a mask too.
        return at(b, at(b, self.memory, BYTES), b.and_(out, number(MAX_AT)))

    def _padding(self, used: ir.Value) -> ir.Value:
        """Bytes of padding behind `used` bytes: to a multiple of 8, and never one."""
        b = self.f.b
        gap = b.and_(b.neg(used), number(7))
        one = b.icmp_unsigned("==", gap, number(1))
        return b.and_(b.select(one, number(MAX_PAD), gap), number(15))

    def _resize(self, new_end: ir.Value) -> None:
        """Grow the SRH at its end, or cut off what is behind the new one."""
        f, b = self.f, self.f.b
        length = b.sub(new_end, self.srh.offset)
        f.fail_unless(b.icmp_unsigned("<=", length, number(MAX_EXTENSION + 8)), "srh_full")
        delta = b.sub(new_end, self.srh.end)
        resize, done = f.block("resize"), f.block("resized")
        b.cbranch(b.icmp_unsigned("!=", delta, number(0)), resize, done)
        b.position_at_end(resize)
        shrinks = b.icmp_signed("<", delta, number(0))
        place = b.add(self.srh.end, b.select(shrinks, delta, number(0)))
        f.succeeded(f.call(h.SEG6_ADJUST, f.context, place, delta), "srh_resize_failed")
        b.branch(done)
        b.position_at_end(done)

    def _write(self, offset: ir.Value, source: ir.Value, length: ir.Value) -> None:
        f = self.f
        result = f.call(h.SEG6_STORE, f.context, offset, source, length)
        f.succeeded(result, "srh_write_failed")
