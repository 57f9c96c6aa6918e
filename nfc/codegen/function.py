"""LLVM IR for one function from its plan.

The shape of every function: count the packet, try the rules in turn; a rule that matches reads
all it needs, then edits, then settles the packet's fate. Reads come first because helpers that
change the packet void every pointer into it.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from nfc.codegen.builder import BPF_DROP, FunctionBuilder, Packet
from nfc.codegen.conditions import STATE, branch, reach
from nfc.codegen.edits import emit_count, emit_event, emit_set_meta, emit_store
from nfc.codegen.parts import begin, prepare, srh_of
from nfc.codegen.rebuild import emit_rebuild
from nfc.codegen.tables import emit_count_key, emit_delete, emit_put, emit_set_member
from nfc.codegen.values import I32, load_raw, number
from nfc.codegen.verdicts import emit_verdict
from nfc.plan import plan as p
from nfc.plan import values as v
from nfc.plan.uses import body_values, guard_values, regions
from nfc.sema.headers import HMAC_FLAG


def emit_function(f: FunctionBuilder) -> ir.Function:
    """Emit all rules of a function that has just begun, and return it."""
    with f.line(f.plan.line):
        packet = begin(f)
    for rule in f.plan.rules:
        with f.line(rule.line):
            _rule(f, rule, packet)
    return f.finish()


def _rule(f: FunctionBuilder, rule: p.Rule, packet: Packet) -> None:
    packet.pointers = {}
    following = None
    guard = guard_values(rule)
    prepare(f, guard, packet)
    if rule.guard is not None:
        matched, following = f.block(f"rule{rule.counter}"), f.block("next")
        branch(f, rule.guard, matched, following, packet)
        f.b.position_at_end(matched)
    f.count(rule.counter)
    with f.own_stack():
        if following is None:
            _body(f, rule, packet)
        else:
            # What the body finds out is not known to the rules behind it.
            own = Packet(**{**packet.__dict__, "pointers": dict(packet.pointers)})
            _body(f, rule, own)
            f.b.position_at_end(following)


def _body(f: FunctionBuilder, rule: p.Rule, packet: Packet) -> None:
    values = body_values(rule)
    if any(isinstance(e, p.Rebuild) or _writes_srh(e) for e in rule.edits):
        srh = srh_of(f, packet)
        f.fail_unless(srh.found, "no_srh")
        packet.pointers[v.SRH] = srh.pointer
        unsigns = any(isinstance(e, p.Rebuild) and e.unsigns for e in rule.edits)
        if not unsigns and any(_touches_hmac(e) for e in rule.edits):
            flags = load_raw(f.b, srh.pointer, 5, 1)
            signed = f.b.and_(flags, number(HMAC_FLAG))
            clear = f.b.icmp_unsigned("==", signed, number(0))
            f.fail_unless(clear, "hmac_protected")
    if f.kernel_checks and any(_changes_tlvs(e) for e in rule.edits):
        assert packet.srh is not None
        first = f.b.icmp_unsigned("==", packet.srh.behind, number(0))
        f.fail_unless(first, "not_first_srh")
    prepare(f, values, packet)
    for region in regions(values):
        _require(f, region, packet)
    # First everything that reads the packet, then everything that changes it, then what can
    # still drop it, then what lasts.
    actions: list[Callable[[], None]] = []
    puts: list[Callable[[], None]] = []
    removals: list[Callable[[], None]] = []
    emits: list[Callable[[], None]] = []
    for edit in rule.edits:
        with f.line(edit.line):
            if isinstance(edit, p.Store):
                actions.append(emit_store(f, edit, packet))
            elif isinstance(edit, p.Rebuild):
                actions.append(emit_rebuild(f, edit, packet))
            elif isinstance(edit, p.Count):
                emits.append(emit_count(f, edit, packet))
            elif isinstance(edit, p.SetMeta):
                actions.append(emit_set_meta(f, edit, packet))
            elif isinstance(edit, p.Emit):
                emits.append(emit_event(f, edit, packet))
            elif isinstance(edit, p.Put):
                puts.append(emit_put(f, edit, packet))
            elif isinstance(edit, p.Delete):
                removals.append(emit_delete(f, edit, packet))
            elif isinstance(edit, p.SetMember):
                emits.append(emit_set_member(f, edit, packet))
            elif isinstance(edit, p.CountKey):
                emits.append(emit_count_key(f, edit, packet))
    with f.line(rule.verdict.line):
        finish = emit_verdict(f, rule.verdict, packet)
    for act in actions:
        act()
    with f.line(rule.verdict.line):
        code = finish()
    for act in (*puts, *removals, *emits):
        act()
    with f.line(rule.verdict.line):
        f.b.ret(I32(code))


def _require(f: FunctionBuilder, region: v.Region, packet: Packet) -> None:
    """Make a region readable in a body, where its absence is an error."""
    if region in packet.pointers:
        return
    bad = f.block("unreadable")
    here = f.b.block
    reach(f, region, packet, bad)
    good = f.b.block
    assert good is not here
    f.b.position_at_end(bad)
    if region.kind not in STATE:  # which is always there
        f.count(f.plan.error_counter("header_unreadable"))
    f.b.ret(I32(BPF_DROP))
    f.b.position_at_end(good)


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
