"""From lark's tree to ours: one short method a rule of the grammar."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from lark import Token, Transformer, v_args
from lark.tree import Meta

from nfc.syntax import tree
from nfc.syntax.diagnostics import Diagnostics
from nfc.syntax.items import span_of
from nfc.syntax.source import Source, Span

_DURATION_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


def build(parsed: Any, source: Source, diagnostics: Diagnostics) -> tree.Item:
    """The item that lark has parsed. What is wrong with a literal goes to `diagnostics`."""
    item = _Builder(source, diagnostics).transform(parsed)
    assert isinstance(item, tree.Item)
    return item


def _present(children: list[Any]) -> tuple[Any, ...]:
    return tuple(c for c in children if c is not None)


@dataclass(frozen=True)
class _Source:
    """`from address` of an encap."""

    value: tree.Expr


def _segments_and_tlvs(
    children: list[Any],
) -> tuple[tuple[tree.Expr, ...], tuple[tree.TlvValue, ...]]:
    parts = _present(children)
    tlvs = tuple(p for p in parts if isinstance(p, tree.TlvValue))
    return tuple(p for p in parts if not isinstance(p, tree.TlvValue)), tlvs


@v_args(meta=True)
class _Builder(Transformer[Token, Any]):
    """Turns lark's tree into ours: one short method a rule of the grammar."""

    def __init__(self, source: Source, diagnostics: Diagnostics) -> None:
        super().__init__()
        self.source = source
        self.diagnostics = diagnostics

    def _at(self, meta: Meta) -> Span:
        if meta.empty:
            return Span(self.source, 0, 0)
        return Span(self.source, meta.start_pos, meta.end_pos)

    def _ident(self, token: Token) -> tree.Ident:
        return tree.Ident(span_of(self.source, token), str(token))

    def _int(self, token: Token) -> tree.Integer:
        span = span_of(self.source, token)
        if len(token) > 40:  # 2^128 has 39 digits; Python refuses to read very long ones
            self.diagnostics.error(span, "this number is longer than any value can be")
            return tree.Integer(span, 0)
        try:
            return tree.Integer(span, int(str(token), 0))
        except ValueError:
            self.diagnostics.error(
                span, f"'{token}' is not a number", "numbers: 10, 1_000, 0x1f, 0b101"
            )
            return tree.Integer(span, 0)

    # declarations

    def word(self, meta: Meta, c: list[Any]) -> Token:
        token: Token = c[0]
        return token

    def type(self, meta: Meta, c: list[Any]) -> tree.Ident:
        return self._ident(c[0])

    def use(self, meta: Meta, c: list[Any]) -> tree.Use:
        return tree.Use(self._at(meta), self._ident(c[0]))

    def const(self, meta: Meta, c: list[Any]) -> tree.Const:
        return tree.Const(self._at(meta), self._ident(c[0]), c[1], c[2])

    def param(self, meta: Meta, c: list[Any]) -> tree.Param:
        return tree.Param(self._at(meta), self._ident(c[0]), c[1], c[2])

    def choice(self, meta: Meta, c: list[Any]) -> tree.EnumMember:
        return tree.EnumMember(self._at(meta), self._ident(c[0]), c[1])

    def enum(self, meta: Meta, c: list[Any]) -> tree.Enum:
        return tree.Enum(self._at(meta), self._ident(c[0]), c[1], _present(c[2:]))

    def tlv_field(self, meta: Meta, c: list[Any]) -> tree.TlvField:
        return tree.TlvField(self._at(meta), self._ident(c[0]), c[1], c[2])

    def reserved(self, meta: Meta, c: list[Any]) -> tree.TlvField:
        return tree.TlvField(self._at(meta), None, c[0], None)

    def tlv(self, meta: Meta, c: list[Any]) -> tree.Tlv:
        return tree.Tlv(self._at(meta), self._ident(c[0]), self._int(c[1]), _present(c[2:]))

    def member(self, meta: Meta, c: list[Any]) -> tree.Member:
        return tree.Member(self._at(meta), self._ident(c[0]), c[1])

    def event_bytes(self, meta: Meta, c: list[Any]) -> tree.EventBytes:
        return tree.EventBytes(self._at(meta), self._ident(c[0]), self._int(c[1]))

    def event(self, meta: Meta, c: list[Any]) -> tree.Event:
        return tree.Event(self._at(meta), self._ident(c[0]), _present(c[1:]))

    def members(self, meta: Meta, c: list[Any]) -> tuple[tree.Member, ...]:
        return _present(c)

    def per_cpu(self, meta: Meta, c: list[Any]) -> bool:
        return True

    def counter(self, meta: Meta, c: list[Any]) -> tree.Counter:
        return tree.Counter(self._at(meta), self._ident(c[0]), c[1], c[2] or ())

    def table(self, meta: Meta, c: list[Any]) -> tree.Table:
        name, per_cpu, kind, entries, keys, fields = c
        span = self._at(meta)
        return tree.Table(
            span, self._ident(name), bool(per_cpu), self._ident(kind), entries, keys, fields
        )

    def state(self, meta: Meta, c: list[Any]) -> tree.State:
        return tree.State(self._at(meta), self._ident(c[0]), bool(c[1]), c[2])

    def argument(self, meta: Meta, c: list[Any]) -> tree.Argument:
        return tree.Argument(self._at(meta), self._ident(c[0]), c[1])

    def define(self, meta: Meta, c: list[Any]) -> tree.Define:
        name, *arguments, type_, value = _present(c)
        return tree.Define(self._at(meta), self._ident(name), tuple(arguments), type_, value)

    # functions

    def endpoint(self, meta: Meta, c: list[Any]) -> tree.Function:
        name = self._ident(c[0])
        span = self._at(meta)
        hook = tree.Ident(Span(self.source, span.start, span.start + 8), "endpoint")
        return tree.Function(span, name, hook, tuple(c[1:]))

    def hook(self, meta: Meta, c: list[Any]) -> tree.Ident:
        return self._ident(c[0])

    def transit(self, meta: Meta, c: list[Any]) -> tree.Function:
        return tree.Function(self._at(meta), self._ident(c[0]), c[1], tuple(c[2:]))

    def when(self, meta: Meta, c: list[Any]) -> tree.Rule:
        return tree.Rule(self._at(meta), c[0], c[1])

    def otherwise(self, meta: Meta, c: list[Any]) -> tree.Rule:
        return tree.Rule(self._at(meta), None, c[0])

    def body(self, meta: Meta, c: list[Any]) -> tuple[tree.Statement, ...]:
        return tuple(c)

    # statements

    def place(self, meta: Meta, c: list[Any]) -> tree.FieldRef:
        return tree.FieldRef(self._at(meta), self._ident(c[0]), self._ident(c[1]))

    def state_place(self, meta: Meta, c: list[Any]) -> tree.Name:
        return tree.Name(self._at(meta), str(c[0]))

    def key(self, meta: Meta, c: list[Any]) -> tuple[tree.Expr, ...]:
        return _present(c)

    def put(self, meta: Meta, c: list[Any]) -> tree.Put:
        return tree.Put(self._at(meta), self._ident(c[0]), c[1], _present(c[2:]))

    def remove_entry(self, meta: Meta, c: list[Any]) -> tree.RemoveEntry:
        return tree.RemoveEntry(self._at(meta), self._ident(c[0]), c[1])

    def value(self, meta: Meta, c: list[Any]) -> tree.Assign:
        return tree.Assign(self._at(meta), self._ident(c[0]), c[1])

    def tlv_value(self, meta: Meta, c: list[Any]) -> tree.TlvValue:
        return tree.TlvValue(self._at(meta), self._ident(c[0]), _present(c[1:]))

    def set(self, meta: Meta, c: list[Any]) -> tree.Set:
        return tree.Set(self._at(meta), c[0], c[1])

    def position(self, meta: Meta, c: list[Any]) -> tree.Position:
        anchor = self._ident(c[1]) if len(c) > 1 else None
        return tree.Position(self._at(meta), str(c[0]), anchor)

    def remove(self, meta: Meta, c: list[Any]) -> tree.Remove:
        return tree.Remove(self._at(meta), self._ident(c[0]))

    def remove_all(self, meta: Meta, c: list[Any]) -> tree.RemoveAll:
        return tree.RemoveAll(self._at(meta), self._ident(c[0]))

    def replace(self, meta: Meta, c: list[Any]) -> tree.Replace:
        return tree.Replace(self._at(meta), self._ident(c[0]), c[1])

    def add(self, meta: Meta, c: list[Any]) -> tree.Add:
        return tree.Add(self._at(meta), c[0], c[1])

    def emit(self, meta: Meta, c: list[Any]) -> tree.Emit:
        return tree.Emit(self._at(meta), self._ident(c[0]), _present(c[1:]))

    def count(self, meta: Meta, c: list[Any]) -> tree.Count:
        return tree.Count(self._at(meta), self._ident(c[0]), c[1] or (), c[2])

    def forward(self, meta: Meta, c: list[Any]) -> tree.Forward:
        return tree.Forward(self._at(meta))

    def forward_via(self, meta: Meta, c: list[Any]) -> tree.ForwardVia:
        return tree.ForwardVia(self._at(meta), c[0])

    def routes(self, meta: Meta, c: list[Any]) -> tree.Routes:
        return tree.Routes(span_of(self.source, c[0]), str(c[0]))

    def source_address(self, meta: Meta, c: list[Any]) -> _Source:
        return _Source(c[0])

    def forward_table(self, meta: Meta, c: list[Any]) -> tree.ForwardTable:
        return tree.ForwardTable(self._at(meta), c[0])

    def forward_link(self, meta: Meta, c: list[Any]) -> tree.ForwardLink:
        return tree.ForwardLink(self._at(meta), c[0], c[1], c[2])

    def decap_table(self, meta: Meta, c: list[Any]) -> tree.DecapTable:
        return tree.DecapTable(self._at(meta), c[0])

    def encap(self, meta: Meta, c: list[Any]) -> tree.Encap:
        source = next((part.value for part in c if isinstance(part, _Source)), None)
        parts = [part for part in c if not isinstance(part, _Source)]
        return tree.Encap(self._at(meta), *_segments_and_tlvs(parts), source)

    def insert(self, meta: Meta, c: list[Any]) -> tree.Insert:
        return tree.Insert(self._at(meta), *_segments_and_tlvs(c))

    def drop(self, meta: Meta, c: list[Any]) -> tree.Drop:
        return tree.Drop(self._at(meta))

    # expressions

    def integer(self, meta: Meta, c: list[Any]) -> tree.Integer:
        return self._int(c[0])

    def _address(self, span: Span, text: str) -> int:
        try:
            return int(ipaddress.IPv6Address(text))
        except ValueError as error:
            self.diagnostics.error(span, f"not an IPv6 address: {error}")
            return 0

    def ipv6(self, meta: Meta, c: list[Any]) -> tree.Address:
        return tree.Address(self._at(meta), self._address(self._at(meta), str(c[0])))

    def ipv4(self, meta: Meta, c: list[Any]) -> tree.Integer:
        span = self._at(meta)
        return tree.Integer(span, self._ipv4(span, str(c[0])))

    def _ipv4(self, span: Span, text: str) -> int:
        try:
            return int(ipaddress.IPv4Address(text))
        except ValueError:
            self.diagnostics.error(span, f"{text} is not an IPv4 address")
            return 0

    def duration(self, meta: Meta, c: list[Any]) -> tree.Duration:
        text = str(c[0])
        unit = text.lstrip("0123456789_")
        nanoseconds = int(text[: -len(unit)][:30]) * _DURATION_NS[unit]
        if nanoseconds >= 1 << 64:
            self.diagnostics.error(
                self._at(meta),
                "this is longer than a duration can be",
                "at most 584 years: 64 bits of nanoseconds",
            )
            nanoseconds = 0
        return tree.Duration(self._at(meta), nanoseconds)

    def true(self, meta: Meta, c: list[Any]) -> tree.Bool:
        return tree.Bool(self._at(meta), True)

    def false(self, meta: Meta, c: list[Any]) -> tree.Bool:
        return tree.Bool(self._at(meta), False)

    def name(self, meta: Meta, c: list[Any]) -> tree.Name:
        return tree.Name(self._at(meta), str(c[0]))

    def field(self, meta: Meta, c: list[Any]) -> tree.FieldRef:
        return tree.FieldRef(self._at(meta), self._ident(c[0]), self._ident(c[1]))

    def call(self, meta: Meta, c: list[Any]) -> tree.Call:
        return tree.Call(self._at(meta), self._ident(c[0]), _present(c[1:]))

    def element(self, meta: Meta, c: list[Any]) -> tree.Element:
        base, name = self._ident(c[0]), self._ident(c[1])
        return tree.Element(self._at(meta), base, name, self._int(c[2]))

    def sample(self, meta: Meta, c: list[Any]) -> tree.Sample:
        return tree.Sample(self._at(meta), self._int(c[0]), c[1])

    def binary(self, meta: Meta, c: list[Any]) -> tree.Binary:
        return tree.Binary(self._at(meta), str(c[1]), c[0], c[2])

    def compare(self, meta: Meta, c: list[Any]) -> tree.Compare:
        return tree.Compare(self._at(meta), str(c[1]), c[0], c[2])

    def in_prefix(self, meta: Meta, c: list[Any]) -> tree.InPrefix:
        span = self._at(meta)
        address, _, length = str(c[1]).partition("/")
        bits = int(length[:6])
        where = span_of(self.source, c[1])
        width, family = (32, "4") if c[1].type == "PREFIX4" else (128, "6")
        value = self._ipv4(where, address) if width == 32 else self._address(where, address)
        if bits > width:
            self.diagnostics.error(span, f"an IPv{family} prefix is at most {width} bits long")
        elif value & ((1 << (width - bits)) - 1):
            network = ipaddress.ip_network((value.to_bytes(width // 8, "big"), bits), strict=False)
            self.diagnostics.error(
                span_of(self.source, c[1]),
                "this prefix has bits set beyond its length",
                f"the prefix is {network}",
            )
        return tree.InPrefix(span, c[0], value, bits, width)

    def _logic(self, meta: Meta, c: list[Any], op: str) -> tree.Expr:
        return tree.Logic(self._at(meta), op, c[0], c[1])

    def or_(self, meta: Meta, c: list[Any]) -> tree.Expr:
        return self._logic(meta, c, "or")

    def and_(self, meta: Meta, c: list[Any]) -> tree.Expr:
        return self._logic(meta, c, "and")

    def not_(self, meta: Meta, c: list[Any]) -> tree.Not:
        return tree.Not(self._at(meta), c[0])

    def has(self, meta: Meta, c: list[Any]) -> tree.Has:
        index = self._int(c[2]) if c[2] is not None else None
        alias = self._ident(c[3]) if c[3] is not None else None
        return tree.Has(self._at(meta), self._ident(c[0]), self._ident(c[1]), index, alias)

    def has_entry(self, meta: Meta, c: list[Any]) -> tree.HasEntry:
        alias = self._ident(c[2]) if c[2] is not None else None
        return tree.HasEntry(self._at(meta), self._ident(c[0]), c[1], alias)
