"""Values and conditions of generated programs. What comes first in a choice is the simplest, so
that failing programs shrink."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from generated_packets import NUMBERS, PORTS
from generated_words import ADDRESSES, IP, META, PREFIXES, PREFIXES4, SRH, UPPER, Table, Tlv
from hypothesis import strategies as st

T = TypeVar("T")


@dataclass
class Values:
    """Writes values and conditions of one program; its fields are what the program has so far."""

    draw: st.DrawFn
    hook: str = ""
    mode: str = ""  # what is not the same each time: "", "clock", "sample", "every"
    lines: list[str] = field(default_factory=list)
    consts: dict[str, str] = field(default_factory=dict)  # name -> type
    params: dict[str, str] = field(default_factory=dict)
    enums: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    tlvs: list[Tlv] = field(default_factory=list)
    events: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    counters: list[str] = field(default_factory=list)
    defines: dict[str, tuple[tuple[int, ...], int]] = field(default_factory=dict)
    bound: dict[str, Tlv] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    keyed: list[Table] = field(default_factory=list)
    states: dict[str, tuple[str, bool]] = field(default_factory=dict)  # type, per CPU
    entries: dict[str, Table] = field(default_factory=dict)
    rows: dict[str, dict[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    # ---- choices ----------------------------------------------------------------------------

    def one(self, options: Sequence[T]) -> T:
        return options[self.draw(st.integers(0, len(options) - 1))]

    def upto(self, most: int, least: int = 0) -> int:
        return self.draw(st.integers(least, most))

    def maybe(self, percent: int) -> bool:
        return self.draw(st.integers(0, 99)) >= 100 - percent

    # ---- known values -----------------------------------------------------------------------

    def bits(self, type_: str) -> int:
        named = {"bool": 1, "ipv6": 128, "timestamp": 64, "duration": 64}
        if type_ in named:
            return named[type_]
        if type_.startswith("bytes"):
            return 8 * int(type_[5:])
        return self.enums[type_][0] if type_ in self.enums else int(type_[1:])

    def literal(self, bits: int) -> str:
        """A number of at most that many bits, in some spelling."""
        value = self.one(NUMBERS) if self.maybe(75) else self.draw(st.integers(0, (1 << 64) - 1))
        value &= (1 << bits) - 1
        return (hex(value), str(value))[self.upto(9) > 0]

    def constant(self, type_: str) -> str:
        if type_ in self.enums:
            return self.one(self.enums[type_][1])
        match type_:
            case "bool":
                return self.one(("false", "true"))
            case "ipv6":
                return self.one(ADDRESSES)
            case "duration":
                return self.one(("5ns", "1s", "10us", "500ms", "1_000s", "0ns", "18446744073s"))
        if type_.startswith("bytes"):
            return hex(self.draw(st.integers(0, (1 << self.bits(type_)) - 1)))
        return self.literal(self.bits(type_))

    # ---- values -----------------------------------------------------------------------------

    def places(self) -> list[tuple[str, int]]:
        """Everything that is a plain number, with its bits."""
        found = [(f"ip.{n}", b) for n, b in IP]
        if self.hook == "endpoint" or self.maybe(30):
            found += [(f"srh.{n}", b) for n, b in SRH]
        found += [(n, int(t[1:])) for n, t in self.params.items() if t[0] == "u"]
        for alias, tlv in self.bound.items():
            numbers = [(f"{alias}.{n}", int(t[1:])) for n, t in tlv.fields if t[0] == "u"]
            found += numbers * 3
        for alias, table in self.entries.items():
            numbers = [(f"{alias}.{n}", int(t[1:])) for n, t in table.fields if t[0] == "u"]
            found += numbers * 5
        found += [(n, int(t[1:])) for n, (t, _) in self.states.items() if t[0] == "u"] * 2
        if self.maybe(25):
            header = self.one(("udp", "inner", "ipv4", "tcp", "icmp6", "packet"))
            fields = {"inner": IP, "packet": META}.get(header) or UPPER[header]
            found = [(f"{header}.{n}", b) for n, b in fields]
            if header == "packet":
                found.append(("(packet.hash & 0)", 1))
        return found

    def typed(self, type_: str) -> list[str]:
        """Names of values of exactly that type."""
        found = [n for n, t in (*self.consts.items(), *self.params.items()) if t == type_]
        for alias, tlv in self.bound.items():
            found += [f"{alias}.{n}" for n, t in tlv.fields if t == type_] * 2
        for alias, table in self.entries.items():
            found += [f"{alias}.{n}" for n, t in table.fields if t == type_] * 2
        return found + [n for n, (t, _) in self.states.items() if t == type_]

    def value(self, type_: str, depth: int = 2) -> str:
        """A value for a place of that type."""
        if type_ in self.enums:
            return self.one([*self.enums[type_][1], *self.typed(type_)])
        match type_:
            case "bool":
                options = ["false", "true", *self.typed("bool")]
                if self.maybe(60):
                    return self.one(options)
                mode, self.mode = self.mode, ""  # what is drawn stands in conditions only
                text = f"({self.test(1)})"
                self.mode = mode
                return text
            case "ipv6":
                return self.address()
            case "timestamp":
                return self.time(depth)
            case "duration":
                return self.duration(depth)
        if type_.startswith("bytes"):
            return self.one([self.constant(type_), *self.typed(type_) * 3])
        if self.enums and self.maybe(8):
            fitting = [m for b, ms in self.enums.values() for m in ms if b <= self.bits(type_)]
            if fitting:
                return self.one(fitting)
        return self.number(self.bits(type_), depth)

    def number(self, bits: int, depth: int = 2) -> str:
        """A plain number of at most `bits` bits."""
        kind = self.upto(9)
        if kind < 2:
            known = [n for n, t in self.consts.items() if t[0] == "u" and int(t[1:]) <= bits]
            return self.one([self.literal(bits), self.literal(bits), *known])
        if kind < 6 or depth == 0:
            return self.variable(bits)
        if kind == 7:
            fitting = [(n, w) for n, (w, b) in self.defines.items() if b <= bits]
            if fitting:
                name, widths = self.one(fitting)
                return f"{name}({', '.join(self.number(w, depth - 1) for w in widths)})"
        if kind == 8 and bits == 64 and self.maybe(50):
            return f"({self.duration(depth - 1)} / {self.duration(0, known=False)})"
        op = self.one(("+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"))
        left = self.variable(bits) if self.maybe(60) else self.number_of_packet(bits, depth - 1)
        right = self.number(min(bits, 64), depth - 1)
        if op in ("<<", ">>") and self.maybe(60):
            right = str(self.one((1, 3, 7, 8, 16, 63, 64, 100, 0)))
        if op not in ("<<", ">>") and self.maybe(8):
            left, right = self.literal(bits), left
        return f"({left} {op} {right})"

    def number_of_packet(self, bits: int, depth: int) -> str:
        """A number that is not known when the file is compiled."""
        if depth == 0:
            return self.variable(bits)
        op = self.one(("+", "-", "*", "/", "%", "&", "|", "^"))
        return f"({self.variable(bits)} {op} {self.number(bits, depth - 1)})"

    def variable(self, bits: int) -> str:
        """A field or param, cut down to `bits` bits if need be."""
        text, has = self.one(self.places())
        if has <= bits:
            return text
        mask = (1 << bits) - 1
        return f"({text} & {mask:#x})" if self.maybe(80) else f"({mask} & {text})"

    def address(self) -> str:
        options = ["ip.dst", "ip.src", self.one(ADDRESSES), *self.typed("ipv6")]
        if self.hook == "endpoint" or self.maybe(15):
            options += [f"srh.segment_list[{n}]" for n in (0, 1)]
            options += [f"srh.segment_list[{self.one((2, 4, 126))}]"] * self.maybe(20)
        options += ["inner.src", "inner.dst"] * self.maybe(15)
        return self.one(options)

    def time(self, depth: int) -> str:
        times = self.typed("timestamp") + ["now()"] * (self.mode == "clock")
        base = self.one(times) if times else "0"
        if base == "0" or depth == 0 or self.maybe(60):
            return base
        return f"({base} {self.one(('+', '-'))} {self.duration(depth - 1)})"

    def duration(self, depth: int, *, known: bool = True) -> str:
        times = self.typed("timestamp") + ["now()"] * (self.mode == "clock")
        params = [n for n, t in self.params.items() if t == "duration"]
        kind = self.upto(9) if depth else 0
        if kind >= 7 and times:
            return f"({self.one(times)} - {self.one(times)})"
        if kind >= 4 and params:
            base = self.one(params)
            op = self.one(("*", "/", "+", "-", "%"))
            other = self.number(32, 0) if op in "*/" else self.duration(0)
            return f"({base} {op} {other})"
        if params and (not known or self.maybe(50)):
            return self.one(params)
        if not known and times:
            return f"({self.one(times)} - {self.one(times)})"
        names = [n for n, t in self.consts.items() if t == "duration"]
        return self.one([self.constant("duration"), *names])

    # ---- conditions -------------------------------------------------------------------------

    def guard(self) -> str:
        """A rule's condition, joined by `and` where it binds TLVs."""
        parts = []
        if self.tlvs and (self.hook == "endpoint" or self.maybe(50)):
            for tlv in self.tlvs:
                if self.maybe(45):
                    alias = tlv.name.lower()
                    which = self.one(("", "", "", "[0]", "[1]", "[2]"))
                    parts.append(f"srh has {tlv.name}{which} as {alias}")
                    self.bound[alias] = tlv
        for i, table in enumerate(self.tables):
            if self.maybe(60):
                parts.append(f"{table.name} has {self.key(table)} as x{i}")
                self.entries[f"x{i}"] = table
        for _ in range(self.upto(2, 0 if parts else 1)):
            part = self.condition(2)
            parts.append(f"({part})" if " or " in part else part)
        return " and ".join(parts)

    def key(self, table: Table) -> str:
        if table.kind == "array":
            index = self.variable(32) if self.maybe(50) else str(self.upto(17))
            return f"[{index}]"
        if table.kind == "prefix" and table.keys == ("u32",):
            options = ["ipv4.src", "ipv4.dst", self.number(32)]
            return f"[{self.one(options)}]"
        return f"[{', '.join(self.value(t, 1) for t in table.keys)}]"

    def condition(self, depth: int) -> str:
        kind = self.upto(9)
        if depth == 0 or kind < 6:
            return self.test(depth)
        if kind < 7:
            return f"not ({self.condition(depth - 1)})"
        op = "or" if kind < 9 else "and"
        return f"({self.condition(depth - 1)}) {op} ({self.condition(depth - 1)})"

    def test(self, depth: int) -> str:
        """One comparison or the like."""
        kind = self.upto(21)
        if kind < 10:
            return self.compare(depth)
        if kind < 12:
            op = self.one(("==", "!="))
            return f"{self.variable_address()} {op} {self.address()}"
        if kind < 14:
            if self.maybe(15):
                return f"ipv4.{self.one(('src', 'dst'))} in {self.one(PREFIXES4)}"
            return f"{self.variable_address()} in {self.one(PREFIXES)}"
        if kind < 16 and self.tlvs:
            which = self.one(("", "", "[1]"))
            return f"(srh has {self.one(self.tlvs).name}{which})"
        if kind < 16 and self.tables:
            table = self.one(self.tables)
            return f"({table.name} has {self.key(table)})"
        if kind < 18 and self.mode == "sample":
            return f"sample(1 in {self.one(('2', '3', '1', '0', self.number(32, 0)))})"
        if kind < 18 and self.mode == "every":
            return f"every({self.one(('2', '3', '1', '0', self.number(32, 0)))})"
        if kind < 19:
            names = [n for n, t in self.bytes_()]
            if names and self.maybe(50):
                name = self.one(names)
                type_ = dict(self.bytes_())[name]
                return f"{name} {self.one(('==', '!='))} {self.value(type_)}"
            flags = self.typed("bool")
            if flags:
                op = self.one(("==", "!="))
                return self.one((self.one(flags), f"{self.one(flags)} {op} true"))
        if kind < 20:
            return self.compare_times()
        if kind < 21 and self.enums:
            name = self.one(sorted(self.enums))
            values = [v for v in self.typed(name) if v not in self.consts]
            if values:
                op = self.one(("==", "!=", "<", ">="))
                return f"{self.one(values)} {op} {self.one(self.enums[name][1])}"
        if kind == 21:
            port = self.one((*PORTS, 64))
            place = self.one(("udp.dst_port", "tcp.dst_port", "inner.hop_limit", "udp.length"))
            bits = 8 if place.startswith("inner") else 16
            return f"{place} {self.one(('==', '!=', '>='))} {port & ((1 << bits) - 1)}"
        return self.compare(depth)

    def bytes_(self) -> list[tuple[str, str]]:
        """Everything of a type bytesN, but consts."""
        found = [(n, t) for n, t in self.params.items() if t.startswith("bytes")]
        for alias, tlv in self.bound.items():
            found += [(f"{alias}.{n}", t) for n, t in tlv.fields if t.startswith("bytes")]
        for alias, table in self.entries.items():
            found += [(f"{alias}.{n}", t) for n, t in table.fields if t.startswith("bytes")]
        return found

    def variable_address(self) -> str:
        found = self.address()
        return found if ":" not in found and found not in self.consts else "ip.src"

    def compare(self, depth: int) -> str:
        op = self.one(("==", "!=", "<", "<=", ">", ">="))
        text, bits = self.one(self.places())
        if self.maybe(70):
            known = int(self.literal(bits), 0)
            return f"{text} {op} {known}" if self.maybe(80) else f"{known} {op} {text}"
        return f"{text} {op} {self.number_of_packet(64, max(depth - 1, 1))}"

    def compare_times(self) -> str:
        op = self.one(("<", ">", "<=", ">=", "==", "!="))
        times = self.typed("timestamp") + ["now()"] * (self.mode == "clock")
        if times and self.maybe(50):
            return f"{self.one(times)} {op} {self.time(1)}"
        left = self.duration(2, known=False)
        return f"{left} {op} {self.duration(1)}" if "(" in left else self.compare(1)
