"""LLVM IR for one function from its plan.

The shape of every function: count the packet, try the rules in turn; a rule that matches reads
all it needs, then edits, then settles the packet's fate. Reads come first because helpers that
change the packet void every pointer into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from llvmlite import ir

from nfc.codegen import helpers as h
from nfc.codegen.conditions import STATE, branch, evaluator, reach
from nfc.codegen.debuginfo import DebugInfo
from nfc.codegen.edits import emit_count, emit_event, emit_set_meta, emit_store
from nfc.codegen.memory import key_size, packets_at
from nfc.codegen.rebuild import emit_rebuild, forget
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
from nfc.codegen.tables import (
    emit_count_key,
    emit_delete,
    emit_put,
    emit_set_member,
)
from nfc.codegen.target import Target
from nfc.codegen.upper import Copy, find_upper
from nfc.codegen.values import (
    I8,
    I32,
    I64,
    PTR,
    Evaluator,
    at,
    load_raw,
    number,
)
from nfc.codegen.verdicts import BPF_DROP, emit_verdict
from nfc.manifest import PARAMS_ACTIVE_SIZE
from nfc.plan import plan as p
from nfc.plan import values as v
from nfc.plan.uses import body_values, finds_srh, guard_values, regions
from nfc.sema.headers import HMAC_FLAG, UPPER

I1 = ir.IntType(1)
# offsets in struct __sk_buff, uapi/linux/bpf.h
SKB_DATA, SKB_DATA_END = 76, 80


@dataclass
class Globals:
    """The module's variables that a function uses."""

    stats: ir.GlobalVariable
    events: ir.GlobalVariable | None
    params: ir.GlobalVariable | None
    maps: Mapping[str, ir.GlobalVariable]  # tables, state and keyed counters by name


@dataclass
class Packet:
    """What is known of the packet at the place the builder stands at."""

    data: ir.Value
    end: ir.Value
    ip: bool = False  # 40 bytes checked
    srh: Srh | None = None
    tlvs: Tlvs | None = None
    clock: ir.Value | None = None
    params: ir.Value | None = None
    upper: dict[str, Copy] = field(default_factory=dict)
    pointers: dict[v.Region, ir.Value] = field(default_factory=dict)


class FunctionEmitter:
    """Emits one function; `emit` does it all."""

    def __init__(
        self, module: ir.Module, plan: p.Plan, globals_: Globals, debug: DebugInfo, target: Target
    ) -> None:
        """Declare the function in `module`."""
        self.plan = plan
        self.globals = globals_
        self.debug = debug
        self.target = target
        self.function = ir.Function(module, ir.FunctionType(I32, [PTR]), plan.name)
        self.function.args[0].name = "skb"
        self.scope: Any = debug.function(self.function, plan.line)
        self.context = self.function.args[0]
        # One frame for all buffers: bytes kept for the whole function, and taken by a rule's body.
        self.kept = self.frame_size = 0
        self.taken: int | None = None
        self.rule_frames: list[int] = []  # bytes that each rule's body had, in order
        self.packets = 0  # bytes of map memory that a rule's events take for the packet

    # ---- plumbing ---------------------------------------------------------------------------

    @contextmanager
    def line(self, line: int) -> Iterator[None]:
        """Within the block, instructions belong to that line of the source."""
        before = self.b.debug_metadata
        self.b.debug_metadata = self.debug.location(self.scope, line)
        yield
        self.b.debug_metadata = before

    def block(self, name: str) -> ir.Block:
        """A new basic block."""
        return self.function.append_basic_block(name)

    def call(self, helper: h.Helper, *arguments: ir.Value) -> ir.Value:
        """Call a helper of the kernel."""
        types = {"ptr": PTR, "i64": I64}
        signature = ir.FunctionType(types[helper.result], [types[a] for a in helper.arguments])
        address = ir.Constant(I64, helper.number).inttoptr(PTR)
        # A call to a small constant address is how LLVM's BPF target spells a helper call.
        return self.b.call(_Callee(address, signature), arguments)

    def stack(self, size: int, phase: int = 0) -> ir.Value:
        """Stack memory whose first byte is `phase` bytes past a multiple of 8.

        What a rule's body takes, the next rule takes again: no packet goes through both.
        """
        offset = self.kept if self.taken is None else self.taken
        end = offset + -(-(size + phase) // 8) * 8
        if self.taken is None:
            self.kept = end
        else:
            self.taken = end
        self.frame_size = max(self.frame_size, end)
        return at(self.b, self.frame, offset + phase)

    def packet_memory(self, size: int) -> ir.Value:
        """Map memory for an event that holds bytes of the packet."""
        place = at(self.b, self.stats, packets_at(self.plan) + self.packets)
        self.packets += -(-size // 8) * 8
        return place

    @contextmanager
    def _own_stack(self) -> Iterator[None]:
        """Within the block, stack memory is a rule body's own."""
        self.taken = self.kept
        self.packets = 0
        yield
        self.rule_frames.append(self.taken)
        self.taken = None

    def count(self, index: int) -> None:
        """Add one to a counter of this CPU: no other program runs on it meanwhile."""
        slot = at(self.b, self.stats, index * 8)
        self.b.store(self.b.add(self.b.load(slot, align=8, typ=I64), number(1)), slot, align=8)

    def fail_unless(self, condition: ir.Value, reason: str) -> None:
        """Where `condition` does not hold, count the reason and drop."""
        good, bad = self.block("ok"), self.block(reason)
        self.b.cbranch(condition, good, bad)
        self.b.position_at_end(bad)
        self.count(self.plan.error_counter(reason))
        self.b.ret(I32(BPF_DROP))
        self.b.position_at_end(good)

    def succeeded(self, result: ir.Value, reason: str) -> None:
        """Where a helper's result is negative, count the reason and drop."""
        self.fail_unless(self.b.icmp_signed(">=", result, number(0)), reason)

    # ---- the whole --------------------------------------------------------------------------

    def emit(self) -> ir.Function:
        """Emit the body and return the function."""
        entry = self.block("entry")
        self.b = ir.IRBuilder(entry)
        self.frame = self.b.alloca(I8)  # its size is set below, when all that it holds is known
        self.frame.align = 8
        self.frame.type = PTR  # llvmlite still gives it a typed pointer
        with self.line(self.plan.line):
            start = self.block("start")
            # The key of every look-up, one after the other.
            self.key_memory = self.stack(key_size(self.plan))
            self.b.store(I32(0), self.key_memory, align=4)
            self.stats = self.call(h.MAP_LOOKUP, self.globals.stats, self.key_memory)
            missing = self.block("no_stats")
            null = self.b.icmp_unsigned("==", self.stats, ir.Constant(PTR, None))
            self.b.cbranch(null, missing, start)
            self.b.position_at_end(missing)
            self.b.ret(I32(BPF_DROP))
            self.b.position_at_end(start)
            packet = self._packet()
        for rule in self.plan.rules:
            with self.line(rule.line):
                self._rule(rule, packet)
        self.frame.allocated_type = ir.ArrayType(I8, self.frame_size)
        return self.function

    def _packet(self) -> Packet:
        needs_packet = any(
            isinstance(value, v.Load | v.Found)
            for rule in self.plan.rules
            for value in (*guard_values(rule), *body_values(rule))
        ) or any(
            isinstance(edit, p.Store | p.Rebuild) for rule in self.plan.rules for edit in rule.edits
        )
        if not needs_packet:
            null = ir.Constant(PTR, None)
            return Packet(null, null)
        if not self.kernel_checks and finds_srh(self.plan):
            # Bytes that are not in the packet's linear part cannot be read otherwise.
            length = self.b.zext(self.b.load(self.context, align=4, typ=I32), I64)
            far = self.b.icmp_unsigned(">", length, number(MAX_OFFSET))
            most = self.b.select(far, number(MAX_OFFSET), length)
            self.call(h.PULL_DATA, self.context, most)
        pointers = []
        for offset in (SKB_DATA, SKB_DATA_END):
            raw = self.b.load(at(self.b, self.context, offset), align=4, typ=I32)
            pointers.append(self.b.inttoptr(self.b.zext(raw, I64), PTR))
        return Packet(pointers[0], pointers[1])

    def _rule(self, rule: p.Rule, packet: Packet) -> None:
        packet.pointers = {}
        following = None
        guard = guard_values(rule)
        self._prepare(guard, packet)
        if rule.guard is not None:
            matched, following = self.block(f"rule{rule.counter}"), self.block("next")
            branch(self, rule.guard, matched, following, packet)
            self.b.position_at_end(matched)
        self.count(rule.counter)
        with self._own_stack():
            if following is None:
                self._body(rule, packet)
            else:
                # What the body finds out is not known to the rules behind it.
                own = Packet(**{**packet.__dict__, "pointers": dict(packet.pointers)})
                self._body(rule, own)
                self.b.position_at_end(following)

    def _prepare(self, values: list[v.Value], packet: Packet) -> None:
        """Find, once and before they are used, the parts of the packet that values read."""
        loads = {x.region for x in values if isinstance(x, v.Load)}
        wants_tlv = any(isinstance(x, v.Found) for x in values)
        wants_srh = any(region.kind in ("srh", "segment") for region in loads)
        if (wants_srh or wants_tlv) and packet.srh is None:
            packet.srh = self._find_srh(packet)
        if wants_tlv and packet.tlvs is None:
            self.walk(packet)
        upper = {region.kind for region in loads if region.kind in UPPER}
        if upper and not packet.upper:
            packet.upper = find_upper(self, self._upper_headers())
        if any(isinstance(x, v.Clock) for x in values) and packet.clock is None:
            packet.clock = self.call(h.KTIME_TAI)
        if any(isinstance(x, v.Param) for x in values) and packet.params is None:
            packet.params = self._params()

    def _upper_headers(self) -> set[str]:
        """The headers behind the extension headers that any rule reads."""
        return {
            value.region.kind
            for rule in self.plan.rules
            for value in (*guard_values(rule), *body_values(rule))
            if isinstance(value, v.Load) and value.region.kind in UPPER
        }

    def walk(self, packet: Packet) -> None:
        """Walk the TLVs, once for the whole function."""
        assert packet.srh is not None
        tail = any(isinstance(e, p.Rebuild) for r in self.plan.rules for e in r.edits)
        # A zero of which the verifier knows nothing: with one that it knows it would keep apart
        # the rounds before the first TLV of a type, the second, and so on.
        (nothing,) = forget(self, [number(0)])
        packet.tlvs = walk_tlvs(
            self.b,
            nothing,
            packet.data,
            packet.end,
            packet.srh,
            self.plan.searches,
            self.target.max_tlvs,
            tail,
            self.kernel_checks,
        )
        self._forget_walk(packet)

    def memory(self) -> ir.Value:
        """This CPU's scratch memory, behind its counters."""
        return at(self.b, self.stats, self.plan.counter_count * 8)

    @property
    def kernel_checks(self) -> bool:
        """Whether the kernel has validated an SRH before the function runs."""
        return self.plan.hook == "endpoint"

    def _find_srh(self, packet: Packet) -> Srh:
        """Find the SRH; before a walk over TLVs, forget on which way it was found."""
        checked = self.kernel_checks
        srh = find_srh(self.b, packet.data, packet.end, self.memory(), checked=checked)
        if not self.plan.walks:
            return srh
        known = [srh.offset, srh.end, srh.tlvs, srh.behind, self.b.zext(srh.found, I64)]
        offset, end, tlvs, behind, found = forget(self, known)
        there, near, good, done = (
            self.block(f"srh.{name}") for name in ("known", "close", "again", "here")
        )
        start = self.b.block
        self.b.cbranch(self.b.icmp_unsigned("!=", found, number(0)), there, done)
        self.b.position_at_end(there)
        small = self.b.icmp_unsigned("<=", offset, number(MAX_SRH_START))
        self.b.cbranch(small, near, done)
        self.b.position_at_end(near)
        pointer = in_packet(self.b, packet.data, offset)
        fits = self.b.icmp_unsigned("<=", at(self.b, pointer, SRH_FIXED), packet.end)
        self.b.cbranch(fits, good, done)
        self.b.position_at_end(good)
        self.b.branch(done)
        self.b.position_at_end(done)
        again, where = self.b.phi(I1, "srh.known"), self.b.phi(PTR, "srh.pointer")
        again.add_incoming(I1(1), good)
        where.add_incoming(pointer, good)
        for block in (start, there, near):
            again.add_incoming(I1(0), block)
            where.add_incoming(packet.data, block)
        return Srh(again, where, offset, end, tlvs, behind)

    def _forget_walk(self, packet: Packet) -> None:
        srh, tlvs = packet.srh, packet.tlvs
        assert srh is not None and tlvs is not None
        # The SRH's end too: every round of the walk has told the verifier more of it.
        known = [srh.offset, srh.end, srh.tlvs, srh.behind]
        known += [tlvs.tail, tlvs.reached, tlvs.gaps, *tlvs.slots]
        offset, end, begin, behind, tail, reached, gaps, *slots = forget(self, known)
        packet.srh = Srh(srh.found, srh.pointer, offset, end, begin, behind)
        packet.tlvs = Tlvs(tuple(slots), tail, reached, gaps)

    def _params(self) -> ir.Value:
        """The copy of the params that is in force now (see nfc.manifest)."""
        base = self.globals.params
        active = self.b.and_(self.b.load(base, align=8, typ=I64), number(1))
        # Volatile would be the wrong tool: the word is read once, and that copy is used.
        offset = self.b.mul(active, number(self.plan.params_size))
        return at(self.b, at(self.b, base, offset), PARAMS_ACTIVE_SIZE)

    def evaluator(self, packet: Packet) -> Evaluator:
        """Computes values from what is known of the packet here."""
        return evaluator(self, packet)

    # ---- bodies -----------------------------------------------------------------------------

    def _body(self, rule: p.Rule, packet: Packet) -> None:
        values = body_values(rule)
        if any(isinstance(e, p.Rebuild) or _writes_srh(e) for e in rule.edits):
            if packet.srh is None:
                packet.srh = self._find_srh(packet)
            self.fail_unless(packet.srh.found, "no_srh")
            packet.pointers[v.SRH] = packet.srh.pointer
            unsigns = any(isinstance(e, p.Rebuild) and e.unsigns for e in rule.edits)
            if not unsigns and any(_touches_hmac(e) for e in rule.edits):
                flags = load_raw(self.b, packet.srh.pointer, 5, 1)
                signed = self.b.and_(flags, number(HMAC_FLAG))
                clear = self.b.icmp_unsigned("==", signed, number(0))
                self.fail_unless(clear, "hmac_protected")
        if self.kernel_checks and any(_changes_tlvs(e) for e in rule.edits):
            assert packet.srh is not None
            first = self.b.icmp_unsigned("==", packet.srh.behind, number(0))
            self.fail_unless(first, "not_first_srh")
        self._prepare(values, packet)
        for region in regions(values):
            self._require(region, packet)
        # First everything that reads the packet, then everything that changes it, then what can
        # still drop it, then what lasts.
        actions: list[Callable[[], None]] = []
        puts: list[Callable[[], None]] = []
        removals: list[Callable[[], None]] = []
        emits: list[Callable[[], None]] = []
        for edit in rule.edits:
            with self.line(edit.line):
                if isinstance(edit, p.Store):
                    actions.append(emit_store(self, edit, packet))
                elif isinstance(edit, p.Rebuild):
                    actions.append(emit_rebuild(self, edit, packet))
                elif isinstance(edit, p.Count):
                    emits.append(emit_count(self, edit, packet))
                elif isinstance(edit, p.SetMeta):
                    actions.append(emit_set_meta(self, edit, packet))
                elif isinstance(edit, p.Emit):
                    emits.append(emit_event(self, edit, packet))
                elif isinstance(edit, p.Put):
                    puts.append(emit_put(self, edit, packet))
                elif isinstance(edit, p.Delete):
                    removals.append(emit_delete(self, edit, packet))
                elif isinstance(edit, p.SetMember):
                    emits.append(emit_set_member(self, edit, packet))
                elif isinstance(edit, p.CountKey):
                    emits.append(emit_count_key(self, edit, packet))
        with self.line(rule.verdict.line):
            finish = emit_verdict(self, rule.verdict, packet)
        for act in actions:
            act()
        with self.line(rule.verdict.line):
            code = finish()
        for act in (*puts, *removals, *emits):
            act()
        with self.line(rule.verdict.line):
            self.b.ret(I32(code))

    def _require(self, region: v.Region, packet: Packet) -> None:
        """Make a region readable in a body, where its absence is an error."""
        if region in packet.pointers:
            return
        bad = self.block("unreadable")
        here = self.b.block
        reach(self, region, packet, bad)
        good = self.b.block
        assert good is not here
        self.b.position_at_end(bad)
        if region.kind not in STATE:  # which is always there
            self.count(self.plan.error_counter("header_unreadable"))
        self.b.ret(I32(BPF_DROP))
        self.b.position_at_end(good)


def _writes_srh(edit: p.Edit) -> bool:
    return isinstance(edit, p.Store) and edit.region == v.SRH


def _changes_tlvs(edit: p.Edit) -> bool:
    """Whether an edit makes the kernel look at the SRH again: it then takes the first routing
    header for it (bpf_lwt_seg6_store_bytes and bpf_lwt_seg6_adjust_srh, net/core/filter.c), and
    would write the length of one into the other."""
    if isinstance(edit, p.Rebuild):
        return True
    return isinstance(edit, p.Store) and edit.region.kind == "tlv"


def _touches_hmac(edit: p.Edit) -> bool:
    """Whether an edit would break an HMAC: it covers the flags (RFC 8754, section 2.1.2.1), and
    Linux looks for it in the last 40 bytes of the SRH (seg6_get_tlv_hmac, net/ipv6/seg6_hmac.c).
    """
    if isinstance(edit, p.Rebuild):
        return True
    return isinstance(edit, p.Store) and edit.region == v.SRH and edit.offset <= 5


class _Callee:
    """What IRBuilder.call wants of a function, for an address with a signature."""

    def __init__(self, address: Any, signature: ir.FunctionType) -> None:
        self.address = address
        self.function_type = signature
        self.type = PTR
        self.calling_convention = ""

    def get_reference(self) -> str:
        """How the address is written in IR."""
        return str(self.address.get_reference())
