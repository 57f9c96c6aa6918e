"""The first pass: from a typed function to a plan of single edits, names turned into places."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from nfc.plan.cells import Piece, cells
from nfc.plan.plan import (
    Action,
    Block,
    Count,
    Edit,
    Emit,
    EmitField,
    Encap,
    Plan,
    Resize,
    Return,
    Rule,
    Search,
    SetBits,
    SetMeta,
    Verdict,
)
from nfc.plan.uses import body_values
from nfc.plan.values import (
    SRH,
    Arith,
    Clock,
    Compare,
    Every,
    Found,
    Imm,
    InPrefix,
    Load,
    Logic,
    Meta,
    Not,
    NsToPtp,
    Param,
    PtpToNs,
    Region,
    Sample,
    Value,
)
from nfc.sema import typed, types
from nfc.sema.headers import HMAC_FLAG

BPF_OK, BPF_DROP = 0, 2  # uapi/linux/bpf.h
# uapi/linux/seg6_local.h
END_X, END_T, END_DT6 = 2, 3, 7
SRH_TYPE = 4  # IPV6_SRCRT_TYPE_4
PADN = 4  # RFC 8754, section 2.1.1.2


def lower(function: typed.Function, program: typed.Program) -> Plan:
    """The plan of a function, edits one by one as written."""
    lowering = _Lowering(function)
    rules = tuple(lowering.rule(i, rule) for i, rule in enumerate(function.rules))
    return Plan(
        name=function.name,
        hook=function.hook,
        line=function.span.line,
        searches=tuple(lowering.searches.values()),
        rules=rules,
        params_size=program.params_size,
        params_default=params_default(program),
        errors=_errors(rules),
        counters=tuple(lowering.counters),
        sites=lowering.sites,
    )


def params_default(program: typed.Program) -> bytes:
    """One copy of the params with their defaults: machine order, addresses in network order."""
    data = bytearray(program.params_size)
    for param in program.params:
        encoded = encode_value(param.type, param.default)
        data[param.offset : param.offset + len(encoded)] = encoded
    return bytes(data)


def encode_value(type_: types.Type, value: int) -> bytes:
    """A value as it lies in maps and events (BPF here is little-endian)."""
    size = types.memory_size(type_)
    return value.to_bytes(size, "big" if size > 8 else "little")


def _errors(rules: Sequence[Rule]) -> tuple[str, ...]:
    """The ways in which these rules can fail, each a counter."""
    found: set[str] = set()
    for rule in rules:
        for edit in rule.edits:
            match edit:
                case SetBits(_, region):
                    found |= {"srh_write_failed", "no_srh" if region == SRH else "not_first_srh"}
                case Resize():
                    found |= {"srh_write_failed", "srh_resize_failed", "srh_full", "no_srh"}
                    found |= {"hmac_protected", "not_first_srh"}
                case Emit():
                    found.add("events_lost")
        if writes_flags(rule):
            found.add("hmac_protected")
        match rule.verdict:
            case Action():
                found.add("action_failed")
            case Encap():
                found.add("encap_failed")
        if any(isinstance(v, Load) and v.region.kind != "tlv" for v in body_values(rule)):
            found.add("header_unreadable")
    return tuple(sorted(found))


class _Lowering:
    def __init__(self, function: typed.Function) -> None:
        self.function = function
        self.searches: dict[str, Search] = {}
        self.counters: dict[str, int] = {}
        self.sites = 0

    def slot(self, tlv: typed.Tlv) -> int:
        if tlv.name not in self.searches:
            self.searches[tlv.name] = Search(len(self.searches), tlv.number, tlv.size, tlv.name)
        return self.searches[tlv.name].slot

    def rule(self, index: int, rule: typed.Rule) -> Rule:
        guard = None if rule.guard is None else self.value(rule.guard)
        edits: list[Edit] = [self.edit(e) for e in rule.edits]
        verdict = self.verdict(rule.verdict)
        return Rule(rule.span.line, index, guard, tuple(edits), verdict)

    # ---- edits and verdicts -----------------------------------------------------------------

    def edit(self, edit: typed.Edit) -> Edit:
        line = edit.span.line
        match edit:
            case typed.SetHeader(_, field, value):
                region = Region(field.header)
                wire = self.wire(value, field.type)
                if field.name == "flags":
                    wire = _without_hmac(wire)
                return SetBits(line, region, field.bit_offset, wire)
            case typed.Count(_, name, amount):
                index = self.counters.setdefault(name, len(self.counters))
                return Count(line, name, index, self.value(amount))
            case typed.SetMeta(_, meta, value):
                assert meta.offset is not None
                return SetMeta(line, meta.name, meta.offset, self.value(value))
            case typed.SetTlv(_, tlv, field, value):
                region = Region("tlv", self.slot(tlv))
                return SetBits(line, region, field.bit_offset, self.wire(value, field.type))
            case typed.AddTlv(_, value, where, anchor):
                slot = self.slot(anchor) if anchor else None
                return Resize(line, where, slot, None, self.block(value))
            case typed.RemoveTlv(_, tlv):
                return Resize(line, "remove", self.slot(tlv), None, None)
            case typed.RemoveAll(_, tlv):
                return Resize(line, "remove_all", None, tlv.number, None)
            case typed.ReplaceTlv(_, tlv, value):
                return Resize(line, "replace", self.slot(tlv), None, self.block(value))
            case typed.Emit(_, event, values):
                fields = [
                    EmitField(f.offset, f.size, self.value(v))
                    for f, v in zip(event.fields, values, strict=True)
                ]
                return Emit(line, event.name, event.index, event.size, tuple(fields))

    def verdict(self, verdict: typed.Verdict) -> Verdict:
        line = verdict.span.line
        match verdict:
            case typed.Forward():
                return Return(line, BPF_OK)
            case typed.Drop():
                return Return(line, BPF_DROP)
            case typed.ForwardVia(_, nexthop):
                return Action(line, END_X, "End.X", self.value(nexthop))
            case typed.ForwardTable(_, table):
                return Action(line, END_T, "End.T table", Imm(32, table))
            case typed.DecapTable(_, table):
                return Action(line, END_DT6, "End.DT6 table", Imm(32, table))
            case typed.Encap(_, segments, tlvs):
                return self.encap(line, [self.value(s) for s in segments], tlvs, inline=False)
            case typed.Insert(_, segments, tlvs):
                # The kernel puts the packet's destination there (seg6_do_srh_inline,
                # net/ipv6/seg6_iptunnel.c).
                route = [*(self.value(s) for s in segments), Imm(128, 0)]
                return self.encap(line, route, tlvs, inline=True)

    def encap(
        self,
        line: int,
        segments: Sequence[Value],
        tlvs: Sequence[typed.TlvValue],
        *,
        inline: bool,
    ) -> Encap:
        """The SRH of RFC 8754, section 2; the kernel fills in the next header."""
        count = len(segments)
        used = 8 + 16 * count + sum(t.tlv.size for t in tlvs)
        length = used + padding(used)
        fixed = struct.pack(">BBBBBBH", 0, length // 8 - 1, SRH_TYPE, count - 1, count - 1, 0, 0)
        pieces = [Piece(0, 64, Imm(64, int.from_bytes(fixed, "big")))]
        # The segment list is written last segment first.
        for i, segment in enumerate(reversed(segments)):
            pieces.append(Piece(64 + 128 * i, 128, segment))
        at = 8 + 16 * count
        for tlv in tlvs:
            pieces += self.tlv(tlv, at * 8)
            at += tlv.tlv.size
        if length > used:
            pieces += pad(used * 8, length - used)
        return Encap(line, inline, length, cells(pieces))

    def block(self, value: typed.TlvValue) -> Block:
        """A TLV to be built."""
        return Block(value.tlv.size, cells(self.tlv(value, 0)))

    def tlv(self, value: typed.TlvValue, start: int) -> list[Piece]:
        """A TLV's pieces, from bit `start` on."""
        head = value.tlv.number << 8 | (value.tlv.size - 2)
        pieces = [Piece(start, 16, Imm(16, head))]
        for field, expr in value.values:
            wire = self.wire(expr, field.type)
            pieces.append(Piece(start + field.bit_offset, field.type.bits, wire))
        return pieces

    # ---- values -----------------------------------------------------------------------------

    def wire(self, expr: typed.Expr, type_: types.Type) -> Value:
        """A value in the form that a field of the packet has, in the field's width."""
        value = self.value(expr)
        if isinstance(type_, types.Timestamp):
            if isinstance(value, Imm) and value.value == 0:
                return Imm(64, 0)
            return NsToPtp(value)
        if value.bits < type_.bits:
            if isinstance(value, Imm):
                return Imm(type_.bits, value.value)
            return Arith(type_.bits, "+", value, Imm(type_.bits, 0))
        return value

    def value(self, expr: typed.Expr) -> Value:
        match expr:
            case typed.Const(_, type_, value):
                return Imm(type_.bits, value)
            case typed.ParamRead(_, type_, param):
                return Param(type_.bits, param.offset, param.name)
            case typed.HeaderRead(_, _, field):
                return Load(field.bits, Region(field.header), field.bit_offset)
            case typed.MetaRead(_, _, meta):
                return Meta(meta.name, meta.offset)
            case typed.SegmentRead(_, _, index):
                return Load(128, Region("segment", index), 0)
            case typed.Every(_, _, of):
                self.sites += 1
                return Every(self.sites - 1, self.value(of))
            case typed.TlvRead(_, type_, tlv, field):
                load = Load(type_.bits, Region("tlv", self.slot(tlv)), field.bit_offset)
                return PtpToNs(load) if isinstance(type_, types.Timestamp) else load
            case typed.Now():
                return Clock()
            case typed.Sample(_, _, of):
                return Sample(self.value(of))
            case typed.Arith(_, type_, op, left, right):
                return Arith(type_.bits, op, self.value(left), self.value(right))
            case typed.Compare(_, _, op, left, right):
                return Compare(op, self.value(left), self.value(right))
            case typed.InPrefix(_, _, value, address, length):
                return InPrefix(self.value(value), address, length)
            case typed.Not(_, _, value):
                return Not(self.value(value))
            case typed.Logic(_, _, op, left, right):
                return Logic(op, self.value(left), self.value(right))
            case typed.HasTlv(_, _, tlv):
                return Found(self.slot(tlv))
        raise TypeError(f"no lowering for {type(expr).__name__}")


def _without_hmac(flags: Value) -> Value:
    """A value for the flags, its H bit cleared (see `writes_flags`)."""
    kept = 0xFF & ~HMAC_FLAG
    if isinstance(flags, Imm):
        return Imm(8, flags.value & kept)
    return Arith(8, "&", flags, Imm(8, kept))


def writes_flags(rule: Rule) -> bool:
    """Whether a rule writes the SRH's flags, which an HMAC covers (RFC 8754, section 2.1.2.1)."""
    return any(isinstance(e, SetBits) and e.region == SRH and e.bit < 48 for e in rule.edits)


def padding(used: int) -> int:
    """Bytes of PadN that bring `used` bytes to a multiple of 8.

    Linux does not know the one-byte Pad1 (seg6_validate_srh reads a length byte behind every
    type byte), so a gap of one byte takes a PadN of nine.
    """
    gap = -used % 8
    return 9 if gap == 1 else gap


def pad(bit: int, length: int) -> list[Piece]:
    """A PadN of `length` bytes (2 or more) at bit `bit`."""
    pieces = [Piece(bit, 16, Imm(16, PADN << 8 | (length - 2)))]
    if length > 2:
        pieces.append(Piece(bit + 16, 8 * (length - 2), Imm(8 * (length - 2), 0)))
    return pieces
