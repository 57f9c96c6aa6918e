"""Source text of well-typed programs, drawn by hypothesis: a declaration of every kind, and one
function. What comes first in a choice is the simplest, so that failing programs shrink."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address

from generated_packets import NUMBERS
from generated_rules import Rules
from generated_words import (
    ADDRESSES,
    DM,
    HOOKS,
    LINKS,
    NUMBERS_OF_TLVS,
    ROUTED,
    ROUTED4,
    Table,
    Tlv,
)
from hypothesis import strategies as st


@dataclass(frozen=True)
class Generated:
    """A program, what its packets should carry, values for some params, and what is in its
    tables when the first packet comes: by name, (key, row), see nfc.oracle.Memory."""

    source: str
    hook: str
    tlvs: tuple[tuple[int, int], ...]
    params: dict[str, int]
    tables: dict[str, dict[tuple[int, ...], tuple[int, ...]]]


@st.composite
def programs(draw: st.DrawFn) -> Generated:
    """A program with one function `f`."""
    return _Writer(draw).program()


class _Writer(Rules):
    """Writes one program: what it declares, and its function."""

    def program(self) -> Generated:
        self.hook = self.one(HOOKS)
        self.mode = self.one(("", "", "clock", "sample", "every"))
        if self.maybe(15):
            self.lines.append("use dm")
            self.tlvs.append(Tlv(*DM))
        self.enums_()
        self.constants()
        values = self.params_()
        if self.hook == "endpoint" or self.maybe(40):
            for i in range(self.upto(3)):
                self.tlv(i)
        for i in range(self.upto(2)):
            fields = tuple((f"e{n}", self.type()) for n in range(self.upto(4)))
            self.events[f"ev{i}"] = fields
            parts = [f"{n}: {t}" for n, t in fields]
            if self.maybe(20):
                parts.append(f"packet[{self.one((1, 40, 64, 300, 2048))}]")
            inside = ", ".join(parts)
            self.lines.append(f"event ev{i} {{ {inside} }}")
        for i in range(self.upto(2)):
            self.counters.append(f"c{i}")
            self.lines.append(f"counter c{i}")
        for i in range(self.upto(1)):
            self.define(i)
        if self.maybe(50):
            self.remembered()
        bodies = [self.rule(last=False) for _ in range(self.upto(4))] + [self.rule(last=True)]
        text = "\n".join(guard + body for guard, body in bodies)
        for link in LINKS:  # which have other indexes each time
            if f"to_{link}" in text:
                self.lines.append(f"param to_{link}: u32 = 0")
        clock = ""
        if "now()" in text:
            self.lines.append("event clock { at: timestamp }")
            clock = " emit clock { at = now() }\n"
        drawn = "sample(" in text
        if drawn:  # so that it can be told which rule was drawn
            self.lines.append("event took { rule: u8 }")
        head = "endpoint f" if self.hook == "endpoint" else f"transit f at {self.hook}"
        rules = ""
        for number, (guard, body) in enumerate(bodies):
            took = f"    emit took {{ rule = {number} }}\n" if drawn else ""
            rules += f"  {guard} {{\n{clock}{took}{body}\n  }}\n"
        source = "\n".join([*self.lines, f"{head} {{", f"{rules}}}", ""])
        shapes = tuple((t.number, t.size) for t in self.tlvs)
        return Generated(source, self.hook, shapes, values, self.rows)

    def enums_(self) -> None:
        for i in range(self.upto(1)):
            bits = self.one((8, 4, 1, 16, 3, 40))
            members = tuple(f"M{i}{n}" for n in range(self.upto(3, 1)))
            shown = ", ".join(f"{m} = {self.literal(bits)}" for m in members)
            self.enums[f"E{i}"] = bits, members
            self.lines.append(f"enum E{i}: u{bits} {{ {shown} }}")

    def constants(self) -> None:
        self.lines.append("const T: u32 = 100")
        for i in range(self.upto(2)):
            type_ = self.one(("u8", "u16", "u33", "u64", "ipv6", "duration", "bool"))
            self.lines.append(f"const K{i}: {type_} = {self.constant(type_)}")
            self.consts[f"K{i}"] = type_

    def params_(self) -> dict[str, int]:
        values: dict[str, int] = {}
        for i in range(self.upto(3)):
            type_ = self.type(params=True)
            self.lines.append(f"param p{i}: {type_} = {self.constant(type_)}")
            self.params[f"p{i}"] = type_
            if type_.startswith("u") and self.maybe(40):
                values[f"p{i}"] = int(self.literal(int(type_[1:])), 0)
        return values

    def tlv(self, i: int) -> None:
        name, number = f"A{i}", NUMBERS_OF_TLVS[i]
        if self.maybe(15):
            number = self.one(NUMBERS_OF_TLVS[3:])
        if any(t.number == number for t in self.tlvs):
            number = 210 + i
        fields: list[tuple[str, str]] = []
        shown: list[str] = []
        bit = 0
        for n in range(self.upto(5)):
            type_ = self.type(tlv=True)
            if (type_ == "ipv6" or type_.startswith("bytes")) and bit % 8:
                type_ = f"u{8 - bit % 8}"
            bits = self.bits(type_)
            if self.maybe(12) and type_.startswith("u"):
                shown.append(f"reserved: {type_}")
            else:
                default = ""
                if type_ != "timestamp" and self.maybe(30):
                    default = f" = {self.constant(type_)}"
                fields.append((f"f{n}", type_))
                shown.append(f"f{n}: {type_}{default}")
            bit += bits
        if bit % 8:
            shown.append(f"reserved: u{8 - bit % 8}")
            bit += 8 - bit % 8
        self.tlvs.append(Tlv(name, number, 2 + bit // 8, tuple(fields)))
        self.lines.append(f"tlv {name} = {number} {{ {', '.join(shown)} }}")

    def remembered(self) -> None:
        """Tables, state, counters with keys."""
        for i in range(self.upto(2)):
            kind = self.one(("hash", "array", "lru", "prefix"))
            per_cpu = kind != "prefix" and self.maybe(30)
            fields = tuple(
                (f"v{n}", self.one(("u64", "u32", *[self.type(params=True)] * 3)))
                for n in range(self.upto(3, 1))
            )
            keys: tuple[str, ...] = tuple(self.type(params=True) for _ in range(self.upto(2, 1)))
            size = self.one((4, 1, 16, 200))
            if kind == "lru":
                size = self.one((2048, 4, 16))  # some that the kernel begins to forget in
            if kind == "prefix":
                keys = (self.one(("ipv6", "u32")),)
            if kind == "array":
                keys = ("u32",)
            table = Table(f"t{i}", kind, per_cpu, keys, fields)
            shown = ", ".join(f"k{n}: {t}" for n, t in enumerate(keys))
            inside = f" {{ {shown} }}" if kind != "array" else ""
            values = ", ".join(f"{n}: {t}" for n, t in fields)
            prefix = "per cpu " if per_cpu else ""
            self.lines.append(f"table t{i}: {prefix}{kind}[{size}]{inside} to {{ {values} }}")
            self.tables.append(table)
            self.rows[table.name] = self.filled(table, size)
        for i in range(self.upto(2)):
            per_cpu = self.maybe(40)
            type_ = self.one(("u64", "u32", "u8", "duration", self.type(params=True)))
            prefix = "per cpu " if per_cpu else ""
            self.lines.append(f"state s{i}: {prefix}{type_}")
            self.states[f"s{i}"] = type_, per_cpu
        for i in range(self.upto(1)):
            keys = tuple(self.type(params=True) for _ in range(self.upto(2, 1)))
            shown = ", ".join(f"k{n}: {t}" for n, t in enumerate(keys))
            self.lines.append(f"counter q{i}[{self.one((4, 64))}] {{ {shown} }}")
            self.keyed.append(Table(f"q{i}", "hash", True, keys, ()))

    def filled(self, table: Table, size: int) -> dict[tuple[int, ...], tuple[int, ...]]:
        """Some entries, few enough to fit."""
        found: dict[tuple[int, ...], tuple[int, ...]] = {}
        for _ in range(min(self.upto(3), size)):
            row = tuple(self.known(t) for _, t in table.fields)
            if table.kind == "array":
                found[(self.upto(size - 1),)] = row
            elif table.kind == "prefix" and table.keys == ("ipv6",):
                address, length = self.one(ROUTED)
                found[length, int(IPv6Address(address))] = row
            elif table.kind == "prefix":
                number, length = self.one(ROUTED4)
                found[length, number] = row
            else:
                found[tuple(self.known(t) for t in table.keys)] = row
        return found

    def known(self, type_: str) -> int:
        """A number that a value of that type may be."""
        if type_ in self.enums or type_ == "bool":
            return self.upto(1)
        if type_ == "ipv6":
            return int(IPv6Address(self.one(ADDRESSES)))
        bits = self.bits(type_)
        value = self.one(NUMBERS) if self.maybe(80) else self.draw(st.integers(0, (1 << 64) - 1))
        return value & ((1 << bits) - 1)

    def define(self, i: int) -> None:
        widths = tuple(self.one((8, 16, 24, 32, 64)) for _ in range(self.upto(2, 1)))
        width = max(widths)
        names = [f"a{n}" for n in range(len(widths))]
        op = self.one(("+", "-", "*", "/", "%", "|", "^", ">>", "<<"))
        other = names[-1] if len(names) > 1 else self.literal(width)
        shown = ", ".join(f"{n}: u{w}" for n, w in zip(names, widths, strict=True))
        self.lines.append(f"define d{i}({shown}): u{width} = ({names[0]} {op} {other})")
        self.defines[f"d{i}"] = widths, width

    def type(self, *, params: bool = False, tlv: bool = False) -> str:
        """A type: of an event's field, of a param, or of a TLV's field."""
        kind = self.upto(19)
        if kind < 6:
            return self.one(("u8", "u16", "u32", "u64"))
        if kind < 13:
            return f"u{self.upto(64, 1)}"
        if kind < 14 and self.enums:
            return self.one(sorted(self.enums))
        if kind < 15:
            return "bool"
        if kind < 16:
            return f"bytes{self.upto(16, 1)}"
        if kind < 17:
            return "ipv6"
        if kind < 18 and not tlv:
            return "duration"
        return "timestamp" if not params else "u64"
