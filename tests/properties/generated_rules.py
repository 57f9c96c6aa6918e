"""Rules of generated programs."""

from __future__ import annotations

from collections.abc import Callable

from generated_values import Values
from generated_words import IP, LINKS, MAX_BUILT, MAX_ENCAP, MAX_XMIT, NEXTHOPS, TABLES, Table, Tlv


class Rules(Values):
    """Writes the rules of one program: edits, and a verdict."""

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
