"""LLVM IR that finds the parts of the packet that values read, each once and before its use."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from nfc.codegen import helpers as h
from nfc.codegen.builder import FunctionBuilder, Packet
from nfc.codegen.memory import FORGET, MAX_FORGET
from nfc.codegen.srh import (
    MAX_OFFSET,
    MAX_SRH_START,
    SRH_FIXED,
    Srh,
    Tlvs,
    find_srh,
    in_packet,
    walk_tlvs,
)
from nfc.codegen.upper import find_upper
from nfc.codegen.values import I32, I64, PTR, at, number
from nfc.manifest import PARAMS_ACTIVE_SIZE
from nfc.plan import plan as p
from nfc.plan import values as v
from nfc.plan.uses import body_values, finds_srh, guard_values
from nfc.sema.headers import UPPER

I1 = ir.IntType(1)
# offsets in struct __sk_buff, uapi/linux/bpf.h
SKB_DATA, SKB_DATA_END = 76, 80


def begin(f: FunctionBuilder) -> Packet:
    """What is known of the packet before the first rule."""
    needs_packet = any(
        isinstance(value, v.Load | v.Found)
        for rule in f.plan.rules
        for value in (*guard_values(rule), *body_values(rule))
    ) or any(isinstance(edit, p.Store | p.Rebuild) for rule in f.plan.rules for edit in rule.edits)
    if not needs_packet:
        null = ir.Constant(PTR, None)
        return Packet(null, null)
    if not f.kernel_checks and finds_srh(f.plan):
        # Bytes that are not in the packet's linear part cannot be read otherwise.
        length = f.b.zext(f.b.load(f.context, align=4, typ=I32), I64)
        far = f.b.icmp_unsigned(">", length, number(MAX_OFFSET))
        most = f.b.select(far, number(MAX_OFFSET), length)
        f.call(h.PULL_DATA, f.context, most)
    pointers = []
    for offset in (SKB_DATA, SKB_DATA_END):
        raw = f.b.load(at(f.b, f.context, offset), align=4, typ=I32)
        pointers.append(f.b.inttoptr(f.b.zext(raw, I64), PTR))
    return Packet(pointers[0], pointers[1])


def prepare(f: FunctionBuilder, values: list[v.Value], packet: Packet) -> None:
    """Find, once and before they are used, the parts of the packet that values read."""
    loads = {x.region for x in values if isinstance(x, v.Load)}
    wants_tlv = any(isinstance(x, v.Found) for x in values)
    wants_srh = any(region.kind in ("srh", "segment") for region in loads)
    if wants_srh or wants_tlv:
        srh_of(f, packet)
    if wants_tlv and packet.tlvs is None:
        walk(f, packet)
    upper = {region.kind for region in loads if region.kind in UPPER}
    if upper and not packet.upper:
        packet.upper = find_upper(f, _upper_headers(f))
    if any(isinstance(x, v.Clock) for x in values) and packet.clock is None:
        packet.clock = f.call(h.KTIME_TAI)
    if any(isinstance(x, v.Param) for x in values) and packet.params is None:
        packet.params = _params(f)


def _upper_headers(f: FunctionBuilder) -> set[str]:
    """The headers behind the extension headers that any rule reads."""
    return {
        value.region.kind
        for rule in f.plan.rules
        for value in (*guard_values(rule), *body_values(rule))
        if isinstance(value, v.Load) and value.region.kind in UPPER
    }


def walk(f: FunctionBuilder, packet: Packet) -> None:
    """Walk the TLVs, once for the whole function."""
    assert packet.srh is not None
    tail = any(isinstance(e, p.Rebuild) for r in f.plan.rules for e in r.edits)
    # A zero of which the verifier knows nothing: with one that it knows it would keep apart
    # the rounds before the first TLV of a type, the second, and so on.
    (nothing,) = forget(f, [number(0)])
    packet.tlvs = walk_tlvs(
        f.b,
        nothing,
        packet.data,
        packet.end,
        packet.srh,
        f.plan.searches,
        f.target.max_tlvs,
        tail,
        f.kernel_checks,
    )
    _forget_walk(f, packet)


def srh_of(f: FunctionBuilder, packet: Packet) -> Srh:
    """The SRH of the packet, found if it was not yet."""
    if packet.srh is None:
        packet.srh = _find_srh(f, packet)
    return packet.srh


def _find_srh(f: FunctionBuilder, packet: Packet) -> Srh:
    """Find the SRH; before a walk over TLVs, forget on which way it was found."""
    checked = f.kernel_checks
    srh = find_srh(f.b, packet.data, packet.end, f.memory(), checked=checked)
    if not f.plan.walks:
        return srh
    known = [srh.offset, srh.end, srh.tlvs, srh.behind, f.b.zext(srh.found, I64)]
    offset, end, tlvs, behind, found = forget(f, known)
    there, near, good, done = (
        f.block(f"srh.{name}") for name in ("known", "close", "again", "here")
    )
    start = f.b.block
    f.b.cbranch(f.b.icmp_unsigned("!=", found, number(0)), there, done)
    f.b.position_at_end(there)
    small = f.b.icmp_unsigned("<=", offset, number(MAX_SRH_START))
    f.b.cbranch(small, near, done)
    f.b.position_at_end(near)
    pointer = in_packet(f.b, packet.data, offset)
    fits = f.b.icmp_unsigned("<=", at(f.b, pointer, SRH_FIXED), packet.end)
    f.b.cbranch(fits, good, done)
    f.b.position_at_end(good)
    f.b.branch(done)
    f.b.position_at_end(done)
    again, where = f.b.phi(I1, "srh.known"), f.b.phi(PTR, "srh.pointer")
    again.add_incoming(I1(1), good)
    where.add_incoming(pointer, good)
    for block in (start, there, near):
        again.add_incoming(I1(0), block)
        where.add_incoming(packet.data, block)
    return Srh(again, where, offset, end, tlvs, behind)


def _forget_walk(f: FunctionBuilder, packet: Packet) -> None:
    srh, tlvs = packet.srh, packet.tlvs
    assert srh is not None and tlvs is not None
    # The SRH's end too: every round of the walk has told the verifier more of it.
    known = [srh.offset, srh.end, srh.tlvs, srh.behind]
    known += [tlvs.tail, tlvs.reached, tlvs.gaps, *tlvs.slots]
    offset, end, begin, behind, tail, reached, gaps, *slots = forget(f, known)
    packet.srh = Srh(srh.found, srh.pointer, offset, end, begin, behind)
    packet.tlvs = Tlvs(tuple(slots), tail, reached, gaps)


def _params(f: FunctionBuilder) -> ir.Value:
    """The copy of the params that is in force now (see nfc.manifest)."""
    base = f.globals.params
    active = f.b.and_(f.b.load(base, align=8, typ=I64), number(1))
    # Volatile would be the wrong tool: the word is read once, and that copy is used.
    offset = f.b.mul(active, number(f.plan.params_size))
    return at(f.b, at(f.b, base, offset), PARAMS_ACTIVE_SIZE)


def forget(f: FunctionBuilder, values: Sequence[ir.Value]) -> list[ir.Value]:
    """The same values, of which the verifier knows nothing any more.

    It would otherwise follow the rest of the program once for each way in which a walk over
    TLVs can end: a value that comes out of a map is the same unknown number on all of them.
    """
    assert len(values) <= MAX_FORGET
    b, memory = f.b, f.memory()
    for i, value in enumerate(values):
        b.store(value, at(b, memory, FORGET + 8 * i), align=8)
    # Or LLVM would see that what is loaded was just stored.
    barrier = ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", side_effect=True)
    b.call(barrier, [])
    return [b.load(at(b, memory, FORGET + 8 * i), align=8, typ=I64) for i in range(len(values))]
