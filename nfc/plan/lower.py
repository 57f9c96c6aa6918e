"""The first pass: from a typed function to a plan of single edits, names turned into places."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace

from nfc.plan.cells import Piece, cells
from nfc.plan.plan import (
    Action,
    Block,
    Count,
    CountKey,
    Delete,
    Edit,
    Emit,
    Encap,
    Plan,
    Put,
    Redirect,
    Resize,
    Return,
    Rule,
    Search,
    SetBits,
    SetMember,
    SetMeta,
    Verdict,
)
from nfc.plan.uses import body_values
from nfc.plan.values import (
    IP,
    SRH,
    Arith,
    Clock,
    Compare,
    Every,
    Found,
    Imm,
    InPrefix,
    Key,
    Load,
    Logic,
    Lookup,
    Member,
    Meta,
    Not,
    NsToPtp,
    Param,
    Placed,
    PtpToNs,
    Region,
    Sample,
    Value,
)
from nfc.sema import typed, types
from nfc.sema.headers import HMAC_FLAG, HMAC_TLV
from nfc.sema.tables import PREFIX_LENGTH

BPF_OK, BPF_DROP = 0, 2  # uapi/linux/bpf.h
# uapi/linux/seg6_local.h
END_X, END_T, END_DT6 = 2, 3, 7
IPV6_SIZE, ETHERNET_SIZE = 40, 14  # bytes
ETHERTYPE_IPV6 = 0x86DD  # RFC 2464, section 3
ROUTING_HEADER, IPV6_IN_IPV6 = 43, 41  # IANA protocol numbers
SRH_TYPE = 4  # IPV6_SRCRT_TYPE_4
_HMAC_BIT = 44  # of the SRH: the flag H
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
        errors=_errors(rules, function.hook),
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
    return value.to_bytes(size, "big" if types.is_raw(type_) else "little")


def _errors(rules: Sequence[Rule], hook: str) -> tuple[str, ...]:
    """The ways in which these rules can fail, each a counter."""
    found: set[str] = set()
    for rule in rules:
        for edit in rule.edits:
            match edit:
                case SetBits(_, region) if region == IP:
                    found |= {"ip_write_failed", "header_unreadable"}
                case SetBits(_, region):
                    found |= {"srh_write_failed", "no_srh" if region == SRH else "not_first_srh"}
                case Resize():
                    found |= {"srh_write_failed", "srh_resize_failed", "srh_full", "no_srh"}
                    found |= {"hmac_protected", "not_first_srh"}
                case Emit():
                    found.add("events_lost")
                case CountKey():
                    found.add("counts_lost")
                case Put():
                    found.add("put_failed")
        if writes_flags(rule):
            found |= {"hmac_protected", "no_srh"}
        match rule.verdict:
            case Action() | Redirect():
                found.add("action_failed")
            case Encap():
                found.add("encap_failed")
        if any(isinstance(v, Load) and v.region.kind != "tlv" for v in body_values(rule)):
            found.add("header_unreadable")
    if hook != "endpoint":
        found.discard("not_first_srh")  # of the kernel's SRv6 helpers, which endpoints call
    return tuple(sorted(found))


class _Lowering:
    def __init__(self, function: typed.Function) -> None:
        self.function = function
        self.searches: dict[tuple[str, int], Search] = {}
        self.counters: dict[str, int] = {}
        self.sites = 0

    def slot(self, tlv: typed.Tlv) -> int:
        key = (tlv.name, tlv.index)
        if key not in self.searches:
            after = self.slot(replace(tlv, index=tlv.index - 1)) if tlv.index else None
            self.searches[key] = Search(len(self.searches), tlv.number, tlv.size, tlv.name, after)
        return self.searches[key].slot

    def rule(self, index: int, rule: typed.Rule) -> Rule:
        guard = None if rule.guard is None else self.value(rule.guard)
        edits: list[Edit] = [planned for e in rule.edits for planned in self.edits(e)]
        verdict = self.verdict(rule.verdict, edits)
        return Rule(rule.span.line, index, guard, tuple(edits), verdict)

    # ---- edits and verdicts -----------------------------------------------------------------

    def edits(self, edit: typed.Edit) -> list[Edit]:
        if isinstance(edit, typed.RemoveHmac):
            line = edit.span.line
            clear = SetBits(line, SRH, _HMAC_BIT, Imm(1, 0))
            return [clear, Resize(line, "remove_all", None, HMAC_TLV, None)]
        return [self.edit(edit)]

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
                fields = self.placed(event.fields, values)
                return Emit(line, event.name, event.index, event.size, fields, event.packet_bytes)
            case typed.SetEntry(_, entry, member, value, atomic):
                (place,) = self.placed((member,), (value,))
                return SetMember(line, Region("entry", entry.number), place, atomic)
            case typed.SetState(_, state, value, atomic):
                (place,) = self.placed((state.member,), (value,))
                return SetMember(line, Region(state.table.name), place, atomic)
            case typed.Put(_, table, key, values):
                fields = self.placed(table.fields, values)
                return Put(line, self.key(table, key), table.value_size, fields)
            case typed.RemoveEntry(_, table, key):
                return Delete(line, self.key(table, key))
            case typed.CountKey(_, table, key, amount):
                return CountKey(line, self.key(table, key), self.value(amount))
        raise TypeError(f"no lowering for {type(edit).__name__}")

    def verdict(self, verdict: typed.Verdict, edits: Sequence[Edit]) -> Verdict:
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
            case typed.ForwardLink(_, link, peer, own):
                pieces = [Piece(0, 48, self.wire(peer, peer.type))]
                pieces.append(Piece(48, 48, self.wire(own, own.type)))
                pieces.append(Piece(96, 16, Imm(16, ETHERTYPE_IPV6)))
                return Redirect(line, self.value(link), ETHERNET_SIZE, cells(pieces))
            case typed.DecapTable(_, table):
                return Action(line, END_DT6, "End.DT6 table", Imm(32, table))
            case typed.Encap(_, segments, tlvs, source):
                route = [self.value(s) for s in segments]
                encap = self.encap(line, route, tlvs, inline=False)
                if source is None:
                    return encap
                ip = {e.bit: e.value for e in edits if isinstance(e, SetBits) and e.region == IP}
                return _with_outer(encap, route[0], self.value(source), ip)
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

    def placed(
        self, members: Sequence[typed.Member], values: Sequence[typed.Expr]
    ) -> tuple[Placed, ...]:
        """Values as they lie in memory."""
        return tuple(
            Placed(m.offset, m.size, types.is_raw(m.type), self.value(v))
            for m, v in zip(members, values, strict=True)
        )

    def key(self, table: typed.Table, values: Sequence[typed.Expr]) -> Key:
        """A table's key. That of a prefix table is a whole address, with its length before it."""
        parts = self.placed(table.keys, values)
        if table.kind == "prefix":
            (part,) = parts
            length = Placed(0, PREFIX_LENGTH, False, Imm(32, 8 * part.size))
            parts = (length, replace(part, raw=True))
        return Key(table.name, table.key_size, parts)

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
                return Param(type_.bits, param.offset, param.name, types.is_raw(type_))
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
            case typed.InPrefix(_, _, value, address, length, width):
                return InPrefix(self.value(value), address, length, width)
            case typed.HasEntry(_, _, entry):
                return Lookup(entry.number, self.key(entry.table, entry.key))
            case typed.EntryRead(_, type_, entry, member):
                region = Region("entry", entry.number)
                return Member(type_.bits, region, member.offset, member.size, types.is_raw(type_))
            case typed.StateRead(_, type_, state):
                region, member = Region(state.table.name), state.member
                return Member(type_.bits, region, member.offset, member.size, types.is_raw(type_))
            case typed.Not(_, _, value):
                return Not(self.value(value))
            case typed.Logic(_, _, op, left, right):
                return Logic(op, self.value(left), self.value(right))
            case typed.HasTlv(_, _, tlv):
                return Found(self.slot(tlv))
        raise TypeError(f"no lowering for {type(expr).__name__}")


def _with_outer(encap: Encap, first: Value, source: Value, ip: Mapping[int, Value]) -> Encap:
    """The SRH behind an outer IPv6 header (RFC 8200, section 3), which has the packet's traffic
    class, flow label and hop limit, as those that the kernel makes; `ip`: by bit, what the rule
    sets these to."""

    def field(bit: int, bits: int) -> Piece:
        return Piece(bit, bits, ip.get(bit, Load(bits, IP, bit)))

    length = Arith(
        16, "+", Arith(32, "&", Meta("length", 0), Imm(32, 0xFFFF)), Imm(16, encap.length)
    )
    pieces = [
        *(field(bit, bits) for bit, bits in ((0, 4), (4, 8), (12, 20))),
        Piece(32, 16, length),
        Piece(48, 8, Imm(8, ROUTING_HEADER)),
        field(56, 8),
        Piece(64, 128, source),
        Piece(192, 128, first),
    ]
    srh = [
        replace(piece, bit=piece.bit + 8 * IPV6_SIZE)
        for cell in encap.cells
        for piece in cell.pieces
    ]
    # The SRH's first 8 bytes are known; its next header is the packet's IPv6 header.
    assert isinstance(srh[0].value, Imm)
    srh[0] = replace(srh[0], value=Imm(64, srh[0].value.value | IPV6_IN_IPV6 << 56))
    return Encap(encap.line, False, encap.length + IPV6_SIZE, cells([*pieces, *srh]), outer=True)


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
