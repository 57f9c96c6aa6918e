"""What tests have covered of a program: its rules, its conditions, its instructions.

Where each number comes from:

- Rules: the function's own counters, so the bytecode that ran says it.
- Conditions: each test that `and`, `or` and `not` join. The reference semantics (nfc.oracle)
  works them out for the same packet with the same params, tables and clock. Where the rule that it
  arrives at is not the one that was counted, nothing is recorded, and `unsure` counts it.
- Instructions: those that the simulator executed, by the lines that the object's BTF gives them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from nfc.compiler import Compiled
from nfc.nft.scene import Scene
from nfc.nft.step import Step
from nfc.nft.subject import Subject
from nfc.observe.tables import Entries
from nfc.oracle import Arrival, Memory, MoreDraws, Router
from nfc.oracle.outcomes import Rows
from nfc.oracle.run import reached
from nfc.oracle.values import AbsentError, Context
from nfc.sema import typed
from nfc.syntax.source import Source, Span

if TYPE_CHECKING:
    from nfc.nft.machine import Session

# Only the MTU counts, and only where packets are refused for it.
_ROUTER = Router((), frozenset(), (), IPv6Address("::"), 65535)
MAX_DRAWS = 8  # samples of one packet whose outcomes are tried
MAX_ROWS = 4096  # of a table that is read before each packet


@dataclass
class Test:
    """A test within a rule's condition, and how often it held, did not, or had nothing to read."""

    __test__ = False  # pytest is not to take it for one of its own

    span: Span
    true: int = 0
    false: int = 0
    absent: int = 0

    @property
    def covered(self) -> bool:
        """Whether it was seen both ways; what is not there does not hold."""
        return self.true > 0 and self.false + self.absent > 0

    @property
    def missing(self) -> str:
        """The way in which it was never seen; "" if there is none."""
        if self.covered:
            return ""
        if not self.true + self.false + self.absent:
            return "never asked"
        return "never true" if not self.true else "never false"

    @property
    def text(self) -> str:
        """As it is written."""
        return " ".join(self.span.source.text[self.span.start : self.span.end].split())


@dataclass
class Rule:
    """A rule: how many packets took it, its tests, its instructions: how many there are in its
    lines, and how many were executed."""

    span: Span
    packets: int = 0
    tests: list[Test] = field(default_factory=list)
    instructions: int = 0
    executed: int = 0


@dataclass
class Function:
    """A function and its rules."""

    name: str
    source: Source
    rules: list[Rule]
    unsure: int = 0

    @property
    def tests(self) -> list[Test]:
        """The tests of all its rules."""
        return [t for rule in self.rules for t in rule.tests]


class Cover:
    """Collects; told of every packet before it is sent, and after."""

    def __init__(self) -> None:
        """Nothing is covered."""
        self._functions: dict[tuple[str, str], Function] = {}
        self._leaves: dict[int, Test] = {}
        self._keep: list[Subject] = []  # so that ids of expressions stay theirs
        self._arrival: Arrival | None = None

    def begin(self, subject: Subject) -> None:
        """Take note of all functions of a program: also of those without tests."""
        if any(s is subject for s in self._keep):
            return
        self._keep.append(subject)
        for compiled in subject.compilation.functions:
            key = (str(subject.path), compiled.function.name)
            rules = []
            for rule in compiled.function.rules:
                made = Rule(rule.span)
                for leaf in leaves(rule.guard):
                    test = Test(leaf.span)
                    self._leaves[id(leaf)] = test
                    made.tests.append(test)
                rules.append(made)
            source = subject.compilation.source
            self._functions[key] = Function(compiled.function.name, source, rules)

    @property
    def functions(self) -> list[Function]:
        """What was found, in the order of files."""
        return list(self._functions.values())

    # ---- packets ----------------------------------------------------------------------------

    def before(self, scene: Scene, packet: bytes, meta: Mapping[str, int]) -> None:
        """Remember what the function has before a packet."""
        session = scene.session
        assert session is not None
        self._arrival = Arrival(
            packet,
            dict(scene.values.params),
            session.now(),
            (),
            _memory(scene.compiled, session, meta.get("cpu", 0)),
            **meta,
        )

    def after(self, scene: Scene, step: Step) -> None:
        """Take note of what the packet has shown."""
        function = self._functions[str(scene.subject.path), scene.compiled.function.name]
        if not step.rules or self._arrival is None:
            return
        for rule in step.rules:
            function.rules[rule].packets += 1
        function.unsure += len(step.rules) > 1  # what it met on later rounds
        typed_function = scene.compiled.function
        for draws in _draws(typed_function, self._arrival):
            context = reached(typed_function, replace(self._arrival, draws=draws), _ROUTER)
            if context is None:
                continue
            seen: list[tuple[typed.Expr, bool | None]] = []
            if _rule(typed_function, context, seen) in step.rules:
                for leaf, value in seen:
                    self._note(leaf, value)
                return
        function.unsure += len(step.rules) == 1

    def _note(self, leaf: typed.Expr, value: bool | None) -> None:
        test = self._leaves[id(leaf)]
        test.true += value is True
        test.false += value is False
        test.absent += value is None

    def executed(
        self, subject: Subject, name: str, code: Mapping[int, int], slots: set[int]
    ) -> None:
        """Take note of instructions: `code` are the lines of all, by slot, `slots` those that were
        executed."""
        function = self._functions[str(subject.path), name]
        for rule in function.rules:
            first, last = rule.span.line, Span(rule.span.source, rule.span.end, rule.span.end).line
            mine = {slot for slot, line in code.items() if first <= line <= last}
            rule.instructions = len(mine)
            rule.executed = len(mine & slots)


def leaves(guard: typed.Expr | None) -> Iterator[typed.Expr]:
    """The tests that `and`, `or` and `not` join; what is known beforehand is none."""
    match guard:
        case None | typed.Const():
            return
        case typed.Not(value=inner):
            yield from leaves(inner)
        case typed.Logic(left=left, right=right):
            yield from leaves(left)
            yield from leaves(right)
        case _:
            yield guard


def _rule(
    function: typed.Function, context: Context, seen: list[tuple[typed.Expr, bool | None]]
) -> int:
    """The rule that takes the packet, with every test that was asked on the way."""
    for number, rule in enumerate(function.rules):
        if rule.guard is None or _decides(rule.guard, True, context, seen):
            return number
    return -1


def _decides(
    guard: typed.Expr,
    want: bool,
    context: Context,
    seen: list[tuple[typed.Expr, bool | None]],
) -> bool:
    """As Context.decides, and writes down what was asked."""
    match guard:
        case typed.Not(value=inner):
            return _decides(inner, not want, context, seen)
        case typed.Logic(op=op, left=left, right=right):
            first = _decides(left, want, context, seen)
            if (op == "and") == want:
                return first and _decides(right, want, context, seen)
            return first or _decides(right, want, context, seen)
        case typed.Const(value=value):
            return bool(value) == want
    try:
        held = bool(context.value(guard))
    except AbsentError:
        seen.append((guard, None))
        return False
    seen.append((guard, held))
    return held == want


def _draws(function: typed.Function, arrival: Arrival) -> Iterator[tuple[bool, ...]]:
    """Every way in which this packet's samples can come out."""
    waiting: list[tuple[bool, ...]] = [()]
    while waiting:
        draws = waiting.pop(0)
        context = reached(function, replace(arrival, draws=draws), _ROUTER)
        if context is None:
            return
        try:
            _rule(function, context, [])
        except MoreDraws:
            if len(draws) < MAX_DRAWS:
                waiting += [(*draws, False), (*draws, True)]
            continue
        yield draws


def _memory(compiled: Compiled, session: Session, cpu: int) -> Memory:
    """What lasts from packet to packet, as it is now."""
    manifest = compiled.manifest
    tables: dict[str, Rows] = {}
    for table in manifest.tables:
        found: dict[tuple[int, ...], tuple[int, ...]] = {}
        for key, rows in Entries(session.maps[table.map], table).items():
            row = rows[cpu] if table.per_cpu and cpu < len(rows) else rows[0]
            if any(row) or table.kind != "array":
                found[key] = row
            if len(found) > MAX_ROWS:
                break
        tables[table.name] = found
    slots = session.maps[manifest.stats_map].lookup_percpu(bytes(4)) or ()
    counted: dict[int, int] = {}
    if cpu < len(slots):
        sites = [i for i, c in enumerate(manifest.counters) if c.kind == "hidden"]
        for site, index in enumerate(sites):
            raw = slots[cpu][8 * index : 8 * index + 8]
            counted[site] = int.from_bytes(raw, "little")
    return Memory(counted, tables)


# ---- as a table -----------------------------------------------------------------------------


def table(functions: list[Function]) -> str:
    """The coverage as lines: a function each, then what is missing."""
    rows = [("", "rules", "conditions", "instructions")]
    for function in functions:
        rows.append((f"{function.source.name} {function.name}", *counts([function])))
    if len(functions) > 1:
        rows.append(("all", *counts(functions)))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        f"{row[0]:<{widths[0]}}  " + "  ".join(f"{row[i]:>{widths[i]}}" for i in (1, 2, 3))
        for row in rows
    ]
    for function in functions:
        lines += missing(function)
    lines += [
        "rules: counted by the functions; conditions: by the reference semantics on the same "
        "packets; instructions: executed in the simulator"
    ]
    return "\n".join(lines)


def missing(function: Function) -> Iterator[str]:
    """What no test has covered of a function."""
    for rule in function.rules:
        if not rule.packets:
            yield f"{function.source.name}:{rule.span.line}: no packet took this rule"
        for test in rule.tests:
            if test.missing:
                yield f"{function.source.name}:{test.span.line}: {test.text}: {test.missing}"
    if function.unsure:
        yield f"{function.name}: {function.unsure} packets whose conditions nobody can tell"


def counts(functions: list[Function]) -> tuple[str, str, str]:
    """Rules, conditions and instructions of functions, in words."""
    rules = [r for f in functions for r in f.rules]
    tests = [t for f in functions for t in f.tests]
    taken = sum(r.packets > 0 for r in rules)
    both = sum(t.covered for t in tests)
    code, executed = sum(r.instructions for r in rules), sum(r.executed for r in rules)
    share = f"{100 * executed // code} %" if code else "-"
    conditions = f"{both} of {len(tests)}" if tests else "-"
    return f"{taken} of {len(rules)}", conditions, share


def to_json(functions: list[Function]) -> list[dict[str, object]]:
    """The coverage as JSON-ready objects."""
    return [
        {
            "file": f.source.name,
            "function": f.name,
            "unsure": f.unsure,
            "rules": [
                {
                    "line": r.span.line,
                    "packets": r.packets,
                    "instructions": r.instructions,
                    "executed": r.executed,
                    "conditions": [
                        {
                            "line": t.span.line,
                            "column": t.span.column,
                            "text": t.text,
                            "true": t.true,
                            "false": t.false,
                            "absent": t.absent,
                        }
                        for t in r.tests
                    ],
                }
                for r in f.rules
            ],
        }
        for f in functions
    ]
