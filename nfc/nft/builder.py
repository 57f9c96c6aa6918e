"""From lark's tree to ours: literals become numbers and bytes; what cannot be one is an error."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from lark import Token, Tree

from nfc.nft import tree
from nfc.syntax.diagnostics import Diagnostics
from nfc.syntax.items import span_of
from nfc.syntax.source import Source, Span
from nfc.syntax.tree import Ident, Use

MAX_PACKET = 9000  # bytes: what a link of the lab takes
MAX_TIMES = 10_000
_UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "0": b"\0", '"': b'"', "\\": b"\\"}
_ESCAPE = re.compile(r"\\x([0-9A-Fa-f]{2})|\\(.)|([^\\]+)")
_ROUTES = 254  # RT_TABLE_MAIN


def build(
    item: Tree[Token] | Token, source: Source, diagnostics: Diagnostics
) -> Use | tree.Const | tree.LetPacket | tree.Test | None:
    """The item; None if it holds an error, which is noted."""
    before = len(diagnostics.items)
    assert isinstance(item, Tree)
    made = _Builder(source, diagnostics).item(item)
    return made if len(diagnostics.items) == before else None


class _Builder:
    """One item's worth of building; methods are named after what they build."""

    def __init__(self, source: Source, diagnostics: Diagnostics) -> None:
        self.source = source
        self.diagnostics = diagnostics

    def error(self, span: Span, message: str, hint: str | None = None) -> None:
        self.diagnostics.error(span, message, hint)

    def span(self, node: Any) -> Span:
        """Where a node stands; an empty one has no place of its own."""
        if isinstance(node, Token):
            return span_of(self.source, node)
        meta = node.meta
        start = getattr(meta, "start_pos", 0)
        return Span(self.source, start, getattr(meta, "end_pos", start))

    def item(self, node: Tree[Token]) -> Use | tree.Const | tree.LetPacket | tree.Test:
        span = self.span(node)
        match node.data:
            case "use":
                return Use(span, self.word(node.children[0]))
            case "const":
                return tree.Const(span, self.word(node.children[0]), self.value(node.children[1]))
            case "packet":
                return tree.LetPacket(
                    span, self.word(node.children[0]), self.chain(node.children[1])
                )
        name, function, *statements = node.children
        head = self.span(name)
        return tree.Test(
            Span(self.source, span.start, head.end),
            self.text(name).decode("utf-8", "replace"),
            self.word(function) if function else None,
            tuple(self.statement(s) for s in statements),
        )

    # ---- literals ---------------------------------------------------------------------------

    def word(self, node: Any) -> Ident:
        token = node if isinstance(node, Token) else node.children[0]
        return Ident(self.span(token), str(token))

    def number(self, token: Any, limit: int = 1 << 128) -> int:
        """A number below `limit`."""
        text = str(token)
        span = self.span(token)
        if len(text) > 600:
            self.error(span, "this number has too many digits")
            return 0
        if text[:1] == "0" and text[1:2].isdigit():
            self.error(span, "a number does not begin with 0", "0x begins a hexadecimal one")
            return 0
        value = int(text.replace("_", ""), 0)
        if value >= limit:
            self.error(span, f"{text} is too large here: at most {limit - 1}")
            return 0
        return value

    def text(self, token: Any) -> bytes:
        """A text's bytes, in UTF-8; \\xNN is one byte."""
        found = b""
        for match in _ESCAPE.finditer(str(token)[1:-1]):
            if match[1]:
                found += bytes.fromhex(match[1])
            elif match[2]:
                if match[2] not in _ESCAPES:
                    said = f"a text has no \\{match[2]}"
                    self.error(self.span(token), said, 'there are \\n \\r \\t \\0 \\" \\\\ \\xNN')
                found += _ESCAPES.get(match[2], b"")
            else:
                found += match[3].encode("utf-8", "surrogatepass")
        return found

    def hexadecimal(self, token: Any) -> bytes:
        """The bytes of 0x…."""
        text = str(token).replace("_", "")
        if not text.startswith("0x") or len(text) % 2:
            said = f"{token} is no bytes"
            self.error(self.span(token), said, "two hexadecimal digits a byte: 0x0a0b")
            return b""
        return bytes.fromhex(text[2:])

    def pieces(self, nodes: list[Any]) -> bytes:
        """Bytes, one piece after the other."""
        found = b""
        for node in nodes:
            if node.data == "zeros":
                found += bytes(self.number(node.children[0], MAX_PACKET + 1))
                continue
            token = node.children[0]
            found += self.text(token) if token.type == "STRING" else self.hexadecimal(token)
            if len(found) > MAX_PACKET:
                self.error(self.span(node), f"a packet has at most {MAX_PACKET} bytes")
                return b""
        return found

    # ---- values -----------------------------------------------------------------------------

    def value(self, node: Any) -> tree.Value:
        span = self.span(node)
        match node.data:
            case "any":
                return tree.Anything(span)
            case "integer":
                token = node.children[0]
                return tree.Number(span, self.number(token), str(token).replace("_", ""))
            case "ipv6" | "ipv4":
                return self.address(span, str(node.children[0]))
            case "duration":
                return tree.Duration(span, self.duration(node.children[0]))
            case "true" | "false":
                return tree.Truth(span, node.data == "true")
            case "now":
                return tree.Now(span)
            case "name":
                return tree.Name(span, str(node.children[0]))
            case "between":
                return tree.Between(
                    span, self.value(node.children[0]), self.value(node.children[1])
                )
            case "prefix":
                return self.prefix(node.children[0])
        return self.sum(node)

    def sum(self, node: Any) -> tree.Value:
        """A chain of + and -, as long as it may be: without recursion to the left."""
        waiting = []
        while node.data == "sum":
            left, op, right = node.children
            waiting.append((node, str(op), right))
            node = left
        found = self.value(node)
        for whole, op, right in reversed(waiting):
            found = tree.Sum(self.span(whole), op, found, self.value(right))
        if len(waiting) > 16:
            self.error(found.span, "this sum is too long")
        return found

    def address(self, span: Span, text: str) -> tree.Value:
        try:
            found = ipaddress.ip_address(text)
        except ValueError:
            self.error(span, f"{text} is not an address")
            return tree.Address(span, 0, 128)
        return tree.Address(span, int(found), found.max_prefixlen)

    def prefix(self, token: Any) -> tree.Prefix:
        span = self.span(token)
        try:
            found = ipaddress.ip_network(str(token), strict=False)
        except ValueError:
            self.error(span, f"{token} is not a prefix")
            return tree.Prefix(span, 0, 0, 128)
        return tree.Prefix(span, int(found.network_address), found.prefixlen, found.max_prefixlen)

    def duration(self, token: Any) -> int:
        text = str(token).replace("_", "")
        unit = next(u for u in ("ns", "us", "ms", "s") if text.endswith(u))
        digits = text[: -len(unit)]
        value = int(digits) * _UNITS[unit] if len(digits) < 30 else 1 << 64
        if value >= 1 << 64:
            self.error(self.span(token), f"{token} is more nanoseconds than 64 bits hold")
            return 0
        return value

    def assigns(self, node: Any) -> tuple[tree.Assign, ...]:
        """The fields within braces; none where there are no braces."""
        given = [n for n in node.children if n is not None] if node is not None else []
        return tuple(self.assign(n) for n in given)

    def assign(self, node: Any) -> tree.Assign:
        return tree.Assign(self.word(node.children[0]), self.value(node.children[1]))

    # ---- packets ----------------------------------------------------------------------------

    def chain(self, node: Any) -> tree.Chain:
        return tree.Chain(self.span(node), tuple(self.part(n) for n in node.children))

    def part(self, node: Any) -> tree.Part:
        span = self.span(node)
        match node.data:
            case "named":
                return tree.Named(span, self.word(node.children[0]), ())
            case "changed":
                name, changes = node.children
                made = tuple(self.change(c) for c in changes.children)
                return tree.Named(span, self.word(name), made)
            case "payload":
                return tree.Payload(span, self.pieces(node.children))
            case "rest":
                return tree.Rest(span)
            case "srh":
                segments, fields, *tlvs = node.children
                listed = [self.segment(s) for s in segments.children if s is not None]
                if sum(s.current for s in listed) > 1:
                    self.error(span, "two segments are marked as the current one")
                made_tlvs = tuple(self.tlv(t) for t in tlvs if t is not None)
                for tlv in made_tlvs[:-1]:
                    if tlv.more:
                        self.error(tlv.span, "'*' stands for all that follow: it is the last")
                return tree.Srh(span, tuple(listed), self.assigns(fields), made_tlvs)
            case "options":
                name, *pieces = node.children
                return tree.Options(span, str(name.children[0]), self.pieces(pieces))
        name, ends, fields = node.children
        first = second = None
        if ends is not None:
            if ends.data == "from_to":
                first = self.value(ends.children[0])
                second = self.value(ends.children[1]) if ends.children[1] is not None else None
            else:
                second = self.value(ends.children[0])
        kind = str(name.children[0])
        return tree.Header(span, kind, first, second, self.assigns(fields))

    def segment(self, node: Any) -> tree.Segment:
        mark, value = node.children
        return tree.Segment(self.value(value), mark is not None)

    def tlv(self, node: Any) -> tree.Tlv:
        span = self.span(node)
        match node.data:
            case "declared_tlv":
                name, fields = node.children
                return tree.Tlv(span, self.word(name), self.assigns(fields))
            case "raw_tlv":
                number, *pieces = node.children
                body = self.pieces(pieces)
                if len(body) > 255:
                    self.error(span, f"a TLV's value has at most 255 bytes, not {len(body)}")
                return tree.Tlv(span, number=self.number(number, 256), body=body[:255])
            case "padding":
                before = len(self.diagnostics.items)
                size = self.number(node.children[0], 258)
                if size < 2 and len(self.diagnostics.items) == before:
                    said = "a PadN has 2 bytes or more"
                    self.error(span, said, "one byte of padding is written pad1")
                return tree.Tlv(span, number=4, body=bytes(max(size - 2, 0)))
            case "more_tlvs":
                return tree.Tlv(span, more=True)
        return tree.Tlv(span)

    def change(self, node: Any) -> tree.Change:
        span = self.span(node)
        match node.data:
            case "set":
                header, index, field, element, value = node.children
                return tree.Set(
                    span,
                    self.word(header),
                    self.index(index),
                    self.word(field),
                    None if element is None else self.index(element),
                    self.value(value),
                )
            case "set_payload":
                return tree.SetPayload(span, self.pieces(node.children))
            case "add":
                tlv, position = node.children
                words = position.children if position is not None else ["last"]
                anchor = self.word(words[1]) if len(words) > 1 else None
                return tree.Add(span, self.tlv(tlv), str(words[0]), anchor)
            case "remove":
                name, index = node.children
                return tree.Remove(span, self.word(name), self.index(index), False)
            case "remove_all":
                return tree.Remove(span, self.word(node.children[0]), 0, True)
        name, index, tlv = node.children
        return tree.Replace(span, self.word(name), self.index(index), self.tlv(tlv))

    def index(self, node: Any) -> int:
        return 0 if node is None else self.number(node.children[0], 128)

    # ---- statements -------------------------------------------------------------------------

    def key(self, node: Any) -> tuple[tree.Value, ...]:
        given = [n for n in node.children if n is not None] if node is not None else []
        return tuple(self.value(n) for n in given)

    def statement(self, node: Any) -> tree.Statement:
        span, rest = self.span(node), node.children
        match node.data:
            case "param":
                return tree.SetParam(span, self.word(rest[0]), self.value(rest[1]))
            case "state":
                return tree.SetState(span, self.word(rest[0]), self.value(rest[1]))
            case "put":
                return tree.Put(span, self.word(rest[0]), self.key(rest[1]), self.assigns(rest[2]))
            case "remove_entry":
                return tree.Forget(span, self.word(rest[0]), self.key(rest[1]))
            case "clock":
                return tree.Clock(span, self.value(rest[0]))
            case "wait":
                return tree.Wait(span, self.value(rest[0]))
            case "route":
                table = _ROUTES if rest[1] is None else self.number(rest[1], 1 << 32)
                return tree.Route(span, self.prefix(rest[0]), table, self.word(rest[2]))
            case "seed":
                return tree.Seed(span, self.number(rest[0], 1 << 64))
            case "draws":
                return tree.Draws(span, tuple(self.draw(n.children[0]) for n in rest))
            case "fail":
                error = None if rest[1] is None else self.word(rest[1])
                return tree.Fail(span, self.word(rest[0]), error)
            case "packet":
                return tree.LetPacket(span, self.word(rest[0]), self.chain(rest[1]))
            case "send":
                times, chain, *meta = rest
                count = 1 if times is None else self.number(times, MAX_TIMES + 1)
                given = tuple(self.assign(m) for m in meta if m is not None)
                return tree.Send(span, count, self.chain(chain), given)
        return self.expect(node, span, rest)

    def draw(self, token: Any) -> int | bool:
        if token in ("true", "false"):
            return bool(token == "true")
        return self.number(token, 1 << 32)

    def expect(self, node: Any, span: Span, rest: list[Any]) -> tree.Statement:
        match node.data:
            case "expect_packet":
                link = None if rest[1] is None else self.word(rest[1])
                return tree.ExpectPacket(span, self.chain(rest[0]), link)
            case "expect_drop":
                reason = None if rest[0] is None else self.word(rest[0])
                return tree.ExpectFate(span, "drop", reason)
            case "expect_refused" | "expect_lost":
                return tree.ExpectFate(span, str(node.data).removeprefix("expect_"), None)
            case "expect_event":
                chain = None if rest[2] is None else self.chain(rest[2])
                return tree.ExpectEvent(span, self.word(rest[0]), self.assigns(rest[1]), chain)
            case "expect_no_event":
                return tree.ExpectNoEvent(span)
            case "expect_count":
                name, key, value = rest
                return tree.ExpectCount(span, self.word(name), self.key(key), self.value(value))
            case "expect_state":
                return tree.ExpectState(span, self.word(rest[0]), self.value(rest[1]))
            case "expect_entry":
                table, key, fields = rest
                name = self.word(table)
                return tree.ExpectEntry(span, name, self.key(key), self.assigns(fields), True)
            case "expect_no_entry":
                return tree.ExpectEntry(span, self.word(rest[0]), self.key(rest[1]), (), False)
            case "expect_rule":
                return tree.ExpectRule(span, self.number(rest[0], 1000))
        return tree.ExpectMeta(span, str(node.data).removeprefix("expect_"), self.value(rest[0]))
