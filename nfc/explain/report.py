"""An explanation of a function, as values that print themselves and go to JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nfc.bpf.facts import CONFIRMED
from nfc.bpf.link import link
from nfc.bpf.object import Object, Program
from nfc.bpf.reader import read_object
from nfc.bpf.version import KernelVersion
from nfc.compiler import Compilation, Compiled
from nfc.explain import sentences, words
from nfc.explain.cost import RuleCost
from nfc.explain.labels import labelled_costs
from nfc.explain.needs import Need, needs
from nfc.manifest import Manifest
from nfc.plan import plan as p
from nfc.plan import values as v
from nfc.sema import typed, types
from nfc.verify.checks import check_linked
from nfc.verify.report import Report

_NAMED = 3  # needs that a terminal gets
_INDENT = "   "


@dataclass(frozen=True)
class Merged:
    """Edits of a rule, by number from 1, that one helper call makes; `size` in bytes, 0 where
    that depends on the packet."""

    call: str
    size: int
    edits: tuple[int, ...]


@dataclass(frozen=True)
class RuleText:
    """A rule in words. `when` must all hold; none: it takes what is left. `packets` are those of
    a capture that took it; `cost` is None where no packet can take it."""

    line: int
    when: tuple[str, ...]
    edits: tuple[str, ...]
    verdict: str
    kind: str  # the verdict's class: Forward, Drop, …
    merged: tuple[Merged, ...]
    cost: RuleCost | None
    packets: int | None = None


@dataclass(frozen=True)
class Explanation:
    """A function in words, and what it costs. `members` are the names of params' defaults that
    are members of an enum; `seen` the packets of a capture that came to a rule, None without a
    capture."""

    function: str
    hook: str
    source: str
    line: int
    rules: tuple[RuleText, ...]
    needs: tuple[Need, ...]
    checked: Report
    manifest: Manifest
    members: Mapping[str, str] = field(default_factory=dict)
    seen: int | None = None

    @property
    def oldest(self) -> KernelVersion:
        """The oldest kernel that it runs on."""
        return self.needs[0].since

    def with_packets(self, packets: Counter[int]) -> Explanation:
        """The same with the packets of a capture, by the rule's place."""
        rules = tuple(replace(r, packets=packets[n]) for n, r in enumerate(self.rules))
        return replace(self, rules=rules, seen=sum(packets.values()))

    def share(self, rule: RuleText) -> str:
        """The part of a capture's packets that took a rule: 12.5 %; "" without a capture."""
        if rule.packets is None or self.seen is None:
            return ""
        if self.seen == 0:
            return "no packet came to the function"
        share = f"{100 * rule.packets / self.seen:.1f} %"
        if share == "0.0 %" and rule.packets:
            share = "less than 0.1 %"
        elif share == "100.0 %" and rule.packets < self.seen:
            share = "more than 99.9 %"
        return f"{share} of {self.seen} packet{'s' * (self.seen != 1)}"

    @property
    def _runs(self) -> str:
        if not self.checked.ok:
            return f"kernel {self.oldest} has all that it needs, but refuses it"
        return f"runs on kernel {self.oldest} and later"

    # ---- text -------------------------------------------------------------------------------

    def __str__(self) -> str:
        """For a terminal."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.function} ({self.hook}), {self.source}:{self.line}"
        yield _INDENT + sentences.HOOKS[self.hook]
        yield ""
        for number, rule in enumerate(self.rules, 1):
            yield from self._rule(number, rule)
            yield ""
        yield from self._cost()
        yield from self._declared()

    def _rule(self, number: int, rule: RuleText) -> Iterator[str]:
        share = self.share(rule)
        tail = f"  [{share}]" if share else ""
        head = f"{number:>2}. line {rule.line}: "
        if rule.when:
            yield f"{head}if {rule.when[0]}{tail}"
            for part in rule.when[1:]:
                yield f"{_INDENT}    and {part}"
        else:
            yield f"{head}{'all packets' if number == 1 else 'all other packets'}{tail}"
        for edit in rule.edits:
            yield f"{_INDENT}      - {edit}"
        yield f"{_INDENT}      → {rule.verdict}"
        for one in rule.merged:
            numbers = ", ".join(str(n) for n in one.edits)
            size = f" of {one.size} byte{'s' * (one.size > 1)}" if one.size else ""
            what = f"edits {numbers} are" if len(one.edits) > 1 else f"edit {numbers} is"
            yield f"{_INDENT}      ({what} one {one.call}{size})"
        yield f"{_INDENT}      costs {_cost_text(rule.cost)}"

    def _cost(self) -> Iterator[str]:
        report = self.checked
        yield (
            f"{_INDENT}{report.instructions} instructions, {report.stack} bytes of stack; "
            f"{self._runs}:"
        )
        for need in self.needs[:_NAMED]:
            yield f"{_INDENT}    {need}"
        for violation in report.violations:
            yield f"{_INDENT}    kernel {report.kernel}: {violation.message}"

    def _declared(self) -> Iterator[str]:
        m = self.manifest
        rows = []
        for x in m.params:
            name = self.members.get(x.field.name)
            default = f"= {x.default}" + (f" ({name})" if name is not None else "")
            rows.append(("param", x.field.name, x.field.type, default))
        for table in m.tables:
            if table.role == "state":
                cpu = "per cpu" if table.per_cpu else "shared"
                rows += [("state", f.name, f.type, cpu) for f in table.fields]
                continue
            keys = ", ".join(f"{k.name}: {k.type}" for k in table.keys)
            values = ", ".join(f"{k.name}: {k.type}" for k in table.fields)
            cpu = "per cpu " if table.per_cpu else ""
            kind = f"{cpu}{table.kind if table.role == 'table' else ''}[{table.entries}]"
            arrow = f"{{ {keys} }} to {{ {values} }}" if keys else f"{{ {values} }}"
            rows.append((table.role, table.name, kind, arrow))
        for event in m.events:
            fields = ", ".join(
                [f"{f.name}: {f.type}" for f in event.fields]
                + [f"packet[{event.packet_bytes}]"] * (event.packet_bytes > 0)
            )
            size = f"{event.size} bytes"
            if event.packet_bytes:
                size = f"up to {event.longest} bytes"
            rows.append(("event", event.name, size, f"{{ {fields} }}"))
        rows += [("counter", c.name, "", "") for c in m.counters if c.kind == "named"]
        errors = [c.name for c in m.counters if c.kind in ("error", "lost")]
        if rows:
            yield ""
        widths = [max((len(row[n]) for row in rows), default=0) for n in range(3)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)]
            yield f"{_INDENT}{'  '.join(cells)}".rstrip()
        if errors:
            yield ""
            yield f"{_INDENT}may fail, counted as: {', '.join(errors)}"

    # ---- JSON -------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The explanation as a JSON-ready object; docs/explain.md says what is in it."""
        return {
            "function": self.function,
            "hook": self.hook,
            "source": self.source,
            "line": self.line,
            "kernel": str(self.oldest),
            "needs": [{"since": str(n.since), "what": n.what, "line": n.line} for n in self.needs],
            "instructions": self.checked.instructions,
            "stack": self.checked.stack,
            "packets": self.seen,
            "rules": [_rule_json(rule) for rule in self.rules],
            "params": [
                {"name": x.field.name, "type": x.field.type, "default": x.default}
                for x in self.manifest.params
            ],
            "tables": [
                {
                    "name": t.name,
                    "role": t.role,
                    "kind": t.kind,
                    "per_cpu": t.per_cpu,
                    "entries": t.entries,
                    "keys": [{"name": k.name, "type": k.type} for k in t.keys],
                    "fields": [{"name": f.name, "type": f.type} for f in t.fields],
                }
                for t in self.manifest.tables
            ],
            "events": [
                {
                    "name": e.name,
                    "size": e.size,
                    "packet_bytes": e.packet_bytes,
                    "fields": [{"name": f.name, "type": f.type} for f in e.fields],
                }
                for e in self.manifest.events
            ],
            "counters": [
                {"name": c.name, "kind": c.kind} for c in self.manifest.counters if c.kind != "rule"
            ],
        }


def _rule_json(rule: RuleText) -> dict[str, Any]:
    cost = rule.cost
    return {
        "line": rule.line,
        "when": list(rule.when),
        "edits": list(rule.edits),
        "verdict": rule.verdict,
        "packets": rule.packets,
        "merged": [{"call": m.call, "size": m.size, "edits": list(m.edits)} for m in rule.merged],
        "cost": cost
        and {
            "instructions": cost.instructions,
            "loops": [{"instructions": x.instructions, "rounds": x.rounds} for x in cost.loops],
            "calls": list(cost.calls),
            "stack": cost.stack,
        },
    }


def _cost_text(cost: RuleCost | None) -> str:
    return "nothing: no packet can take it" if cost is None else str(cost)


def explain(compilation: Compilation, compiled: Compiled) -> Explanation:
    """Explain a compiled function. Raises ObjectError, which would be an error of nfc's."""
    function, manifest = compiled.function, compiled.manifest
    obj = read_object(compilation.object([compiled]))
    program = link(obj, function.name)
    costs = labelled_costs(compilation, compiled)
    rules = tuple(
        RuleText(
            rule.span.line,
            tuple(words.parts(rule.guard)),
            tuple(sentences.edit(e) for e in rule.edits),
            sentences.verdict(rule.verdict, function.hook),
            type(rule.verdict).__name__,
            tuple(_merged(rule, planned, compiled.plan)),
            cost,
        )
        for rule, planned, cost in zip(function.rules, compiled.plan.rules, costs, strict=True)
    )
    needed, checked = _oldest(obj, program, function.hook)
    return Explanation(
        function.name,
        function.hook,
        compilation.source.base_name,
        function.span.line,
        rules,
        needed,
        checked,
        manifest,
        {
            x.name: name
            for x in compilation.program.params
            if isinstance(x.type, types.Enum)
            for name, value in reversed(x.type.members)
            if value == x.default
        },
    )


def _oldest(obj: Object, program: Program, hook: str) -> tuple[tuple[Need, ...], Report]:
    """What a function needs, the newest first, and the check of the oldest kernel that has it. If
    that kernel's verifier refuses the function, a later one that nfc is tested on is looked for,
    and that is a need too."""
    found = needs(obj, program, hook)
    report = check_linked(obj, program, hook, found[0].since)
    if report.ok:
        return found, report
    for version in map(KernelVersion.parse, CONFIRMED):
        if version > found[0].since:
            later = check_linked(obj, program, hook, version)
            if later.ok:
                why = f"the verifier of {report.kernel} says: {report.violations[0].message}"
                return (Need(version, why), *found), later
    return found, report


_STRUCTURE = (
    typed.AddTlv,
    typed.RemoveTlv,
    typed.RemoveAll,
    typed.RemoveHmac,
    typed.ReplaceTlv,
)


def _merged(rule: typed.Rule, planned: p.Rule, plan: p.Plan) -> Iterator[Merged]:
    """Which edits the passes have put into one helper call (nfc.plan.passes)."""
    by_region: dict[v.Region, list[int]] = {}
    structure: list[int] = []
    for number, edit in enumerate(rule.edits, 1):
        if isinstance(edit, _STRUCTURE):
            structure.append(number)
        region = _region(edit, plan)
        if region is not None:
            by_region.setdefault(region, []).append(number)
    for one in planned.edits:
        if isinstance(one, p.Store):
            call = "bpf_lwt_seg6_store_bytes" if plan.hook == "endpoint" else "bpf_skb_store_bytes"
            yield Merged(call, one.length, tuple(by_region.get(one.region, ())))
        elif isinstance(one, p.Rebuild):
            size = 0
            if one.appends and one.last is not None:
                size = one.last.length
            yield Merged("bpf_lwt_seg6_adjust_srh and store", size, tuple(structure))


def _region(edit: typed.Edit, plan: p.Plan) -> v.Region | None:
    match edit:
        case typed.SetHeader(field=part):
            return v.Region(part.header)
        case typed.RemoveHmac():
            return v.SRH
        case typed.SetTlv(tlv=tlv):
            after: int | None = None
            for index in range(tlv.index + 1):
                after = next(
                    s.slot
                    for s in plan.searches
                    if s.name == tlv.name and (s.after == after if index else s.after is None)
                )
            assert after is not None
            return v.Region("tlv", after)
    return None
