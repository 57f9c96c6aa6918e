"""Source text of well-typed programs, drawn by hypothesis: a declaration of every kind, and one
function. What comes first in a choice is the simplest, so that failing programs shrink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import TypeVar

from generated_packets import NUMBERS, PORTS, SECOND
from hypothesis import strategies as st

T = TypeVar("T")
HOOKS = ("endpoint", "endpoint", "endpoint", "endpoint", "in", "in", "out", "xmit")
ADDRESSES = ("fd20::1", "fd30::1", "fd2f::7", "fd20:9::1", "fd00:1::1", "2001:db8::1", "fd99::1")
PREFIXES = (
    "fd20::/16",
    "fd30::/16",
    "::/0",
    "fd20::1/128",
    "fd00::/8",
    "2001:db8::/32",
    "fc00::/7",
)
LINKS = ("h2", "h3")
NEXTHOPS = ("fd00:3::2", "fd00:2::2", "fd30::9", "fd99::1")
TABLES = ("main", "100", "107", "T", "default", "4000000")
IP = (
    ("traffic_class", 8),
    ("flow_label", 20),
    ("payload_length", 16),
    ("next_header", 8),
    ("hop_limit", 8),
)
SRH = (
    ("tag", 16),
    ("flags", 8),
    ("segments_left", 8),
    ("next_header", 8),
    ("length", 8),
    ("last_entry", 8),
    ("protected", 1),
    ("oam", 1),
    ("alert", 1),
    ("hmac", 1),
)
UPPER = {
    "ipv4": (
        ("dscp", 6),
        ("total_length", 16),
        ("ttl", 8),
        ("protocol", 8),
        ("src", 32),
        ("dst", 32),
    ),
    "udp": (("src_port", 16), ("dst_port", 16), ("length", 16), ("checksum", 16)),
    "tcp": (
        *(("src_port", 16), ("dst_port", 16), ("sequence", 32), ("acknowledgment", 32)),
        *(("syn", 1), ("ack", 1), ("fin", 1), ("rst", 1), ("psh", 1), ("window", 16)),
    ),
    "icmp6": (("type", 8), ("code", 8), ("identifier", 16), ("sequence", 16)),
}
META = (("length", 32), ("mark", 32), ("priority", 32), ("ingress", 32), ("cpu", 32))
NUMBERS_OF_TLVS = (200, 201, 202, 6, 7, 131, 255, 1)
DM = (
    "DM",
    7,
    48,
    (("version", "u4"), ("response", "u1"), ("session", "u24"), ("sent", "timestamp")),
)
ROUTED = (("fd20::", 16), ("fd20::1", 128), ("fd00::", 8), ("::", 0), ("2001:db8::", 32))
ROUTED4 = ((0, 0), (0, 8), (255 << 24, 8), (0xFFFFFFFF, 32), (0, 32))
PREFIXES4 = ("0.0.0.0/0", "0.0.0.0/8", "255.0.0.0/8", "255.255.255.255/32", "0.0.0.7/32")
MAX_BUILT = 200
MAX_ENCAP = 300
MAX_XMIT = 200


@dataclass(frozen=True)
class Tlv:
    """A declared TLV: type, size in bytes with type and length, named fields with types."""

    name: str
    number: int
    size: int
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A declared table or counter with keys; fields and keys with types."""

    name: str
    kind: str
    per_cpu: bool
    keys: tuple[str, ...]
    fields: tuple[tuple[str, str], ...]


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


@dataclass
class _Writer:
    """Writes one program."""

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

    # ---- declarations -----------------------------------------------------------------------

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

    def bits(self, type_: str) -> int:
        named = {"bool": 1, "ipv6": 128, "timestamp": 64, "duration": 64}
        if type_ in named:
            return named[type_]
        if type_.startswith("bytes"):
            return 8 * int(type_[5:])
        return self.enums[type_][0] if type_ in self.enums else int(type_[1:])

    # ---- known values -----------------------------------------------------------------------

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

    # ---- rules ------------------------------------------------------------------------------

    def rule(self, *, last: bool) -> tuple[str, str]:
        """What stands before the brace, and what stands in it."""
        self.bound = {}
        self.entries = {}
        guard = "otherwise" if last else f"when {self.guard()}"
        room = MAX_BUILT
        edits: list[str] = []
        if self.hook == "endpoint":
            edits, room = self.srh_edits()
        elif self.hook == "xmit":
            edits = self.fields_in_place()
        if self.maybe(15):
            edits.append(f"set packet.mark = {self.one(('7', '1', self.number(32)))}")
        if self.maybe(10):
            edits.append(f"set packet.priority = {self.number(32)}")
        for name in self.counters:
            if self.maybe(30):
                edits.append(f"count {name}" + f" by {self.number(64)}" * self.maybe(50))
        edits += self.lasting()
        for name, fields in self.events.items():
            if self.maybe(35):
                inside = ", ".join(f"{n} = {self.value(t)}" for n, t in fields)
                edits.append(f"emit {name} {{ {inside} }}")
        body = "\n".join(f"    {line}" for line in (*edits, self.verdict(room)))
        return guard, body

    def lasting(self) -> list[str]:
        """Edits of tables, state and counters with keys."""
        edits: list[str] = []
        for table in self.keyed:
            if self.maybe(40):
                amount = f" by {self.number(64)}" * self.maybe(40)
                edits.append(f"count {table.name} {self.key(table)}{amount}")
        for name, (type_, per_cpu) in self.states.items():
            if (per_cpu or not self.torn(type_)) and self.maybe(40):
                edits.append(f"set {name} = {self.new_value(name, type_, per_cpu)}")
        for table in self.tables:
            bound = [a for a, t in self.entries.items() if t == table]
            kind = self.upto(9)
            if kind in (4, 5, 6) and bound:
                for name, type_ in table.fields:
                    if self.torn(type_) and not table.per_cpu:
                        continue
                    place = f"{bound[0]}.{name}"
                    if self.maybe(60):
                        value = self.new_value(place, type_, table.per_cpu)
                        edits.append(f"set {place} = {value}")
            elif kind == 7 or (kind == 8 and table.kind == "array"):
                edits.append(self.put(table))
            elif kind == 8:
                edits.append(f"remove {table.name} {self.key(table)}")
            elif kind == 9:
                edits.append(self.put(table))
                if table.kind != "array" and self.maybe(50):
                    edits.append(f"remove {table.name} {self.key(table)}")
        return edits

    def torn(self, type_: str) -> bool:
        """Whether a value takes several writes."""
        raw = type_ == "ipv6" or type_.startswith("bytes")
        return raw and self.bits(type_) not in (8, 16, 32, 64)

    def put(self, table: Table) -> str:
        given = [(n, t) for n, t in table.fields if self.maybe(70)]
        inside = ", ".join(f"{n} = {self.value(t)}" for n, t in given)
        return f"put {table.name} {self.key(table)} {{ {inside} }}"

    def new_value(self, place: str, type_: str, per_cpu: bool) -> str:
        """What something that lasts is set to: where CPUs share it, nothing made of its old value
        but in one step."""
        if per_cpu:
            return self.value(type_)
        if type_ in ("u32", "u64") and self.maybe(60):
            op = self.one(("+", "+", "-", "&", "|", "^"))
            other = self.without(place, type_, lambda: self.number(int(type_[1:]), 1))
            if op in ("+", "|") and self.maybe(20):
                return f"{other} {op} {place}"
            return f"{place} {op} {other}"
        return self.without(place, type_, lambda: self.value(type_))

    def without(self, place: str, type_: str, make: Callable[[], str]) -> str:
        """A value that does not read that place."""
        text = make()
        return text if place not in text else self.constant(type_)

    def built(self, tlv: Tlv) -> str:
        given = [(n, t) for n, t in tlv.fields if self.maybe(70)]
        inside = ", ".join(f"{n} = {self.value(t)}" for n, t in given)
        return f"{tlv.name} {{ {inside} }}"

    def srh_edits(self) -> tuple[list[str], int]:
        edits: list[str] = []
        room = MAX_BUILT
        if self.maybe(30):
            edits.append(f"set srh.tag = {self.number(16)}")
        kind = self.upto(9)
        if kind == 7:
            edits.append(f"set srh.flags = {self.variable(8)}")
        elif kind > 7:
            for name in ("oam", "alert", "protected"):
                if self.maybe(50):
                    edits.append(f"set srh.{name} = {self.number(1)}")
        gone: set[str] = set()
        for alias, tlv in self.bound.items():
            kind = self.upto(9)
            if kind in (5, 6):
                for name, type_ in tlv.fields:
                    if self.maybe(50):
                        edits.append(f"set {alias}.{name} = {self.value(type_)}")
            elif kind == 7:
                edits.append(f"remove {alias}")
                gone.add(tlv.name)
            elif kind == 8:
                other = self.one(self.tlvs)
                edits.append(f"replace {alias} with {self.built(other)}")
                room -= other.size
                gone.add(tlv.name)
            elif kind == 9:
                edits.append(f"remove all {tlv.name}")
                gone.add(tlv.name)
        for tlv in self.tlvs:
            if tlv.name.lower() not in self.bound and self.maybe(8):
                edits.append(f"remove all {tlv.name}")
            if self.maybe(20) and room >= tlv.size:
                room -= tlv.size
                places = ["", "last", "first"]
                places += [f"{w} {a}" for a in self.bound for w in ("before", "after")]
                edits.append(f"add {self.built(tlv)} {self.one(places)}".rstrip())
        if self.maybe(6) and not any(e.startswith("set srh.flags") for e in edits):
            edits.append("remove hmac")
        if self.maybe(50):
            edits.reverse()
        return edits, room

    def fields_in_place(self) -> list[str]:
        """What can be set where nothing can be resized."""
        edits = []
        for name, bits in IP:
            if name in ("traffic_class", "hop_limit") and self.maybe(20):
                edits.append(f"set ip.{name} = {self.number(bits)}")
        if self.maybe(20):  # the lower bits tell packets apart
            upper = self.one(("0xf0000", "(ip.hop_limit << 16 & 0xf0000)"))
            edits.append(f"set ip.flow_label = ip.flow_label {self.one('^|')} {upper}")
        if self.maybe(25):
            edits.append(f"set srh.tag = {self.number(16)}")
        if self.maybe(15):
            edits.append(f"set srh.flags = {self.variable(8)}")
        else:
            for name in ("oam", "alert", "protected"):
                if self.maybe(10):
                    edits.append(f"set srh.{name} = {self.number(1)}")
        for alias, tlv in self.bound.items():
            for name, type_ in tlv.fields:
                if self.maybe(40):
                    edits.append(f"set {alias}.{name} = {self.value(type_)}")
        if self.maybe(50):
            edits.reverse()
        return edits

    def verdict(self, room: int) -> str:
        kind = self.upto(19)
        if kind < 8:
            return "forward"
        if kind < 10:
            return "drop"
        if self.hook == "out" or (self.hook == "xmit" and self.maybe(20)):
            return "forward"
        if self.hook == "xmit" and self.maybe(25):
            link = self.one((*(f"to_{name}" for name in LINKS), "0xffffff"))
            peer, own = (self.one(("0x02000000000a", *self.typed("bytes6"))) for _ in range(2))
            return f"forward to {link} via {peer} from {own}"
        if kind < 14 or self.hook == "xmit":
            verb = self.one(("encap", "insert")) if self.hook != "xmit" else "encap"
            segments = [self.segment() for _ in range(self.upto(4, 1))]
            size = 24 + 16 * len(segments)
            tlvs = []
            for tlv in self.tlvs:
                most = MAX_XMIT if self.hook == "xmit" else MAX_ENCAP
                if self.maybe(40) and size + tlv.size <= min(most, room + 100):
                    tlvs.append(self.built(tlv))
                    size += tlv.size
            tail = f" from {self.address()}" if self.hook == "xmit" else ""
            tail += f" with {', '.join(tlvs)}" if tlvs else ""
            return f"{verb} segments [{', '.join(segments)}]{tail}"
        if self.hook == "in":
            return "forward"
        if kind < 16:
            options = [*NEXTHOPS, *self.typed("ipv6"), "ip.dst"]
            return f"forward via {self.one(options)}"
        return f"{self.one(('decap', 'forward'))} to table {self.one(TABLES)}"

    def segment(self) -> str:
        return self.one(("fd20::1", "fd30::1", "ip.dst", self.address()))


assert SECOND
