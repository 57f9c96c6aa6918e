"""What each rule costs, where several rules stand on one line too, and its own part of the stack.

The function is compiled once more with other line numbers: its rules' conditions, and their
bodies, have a line each. The code is the same, and BTF then says whose each instruction is.
"""

from __future__ import annotations

from dataclasses import replace

from nfc.bpf.link import link
from nfc.bpf.object import Program
from nfc.bpf.reader import read_object
from nfc.codegen.module import Unit, frames
from nfc.compiler import Compilation, Compiled, all_params
from nfc.explain.cost import RuleCost, rule_costs
from nfc.manifest import Manifest
from nfc.plan.plan import Plan
from nfc.syntax.source import Source


def labelled_costs(compilation: Compilation, compiled: Compiled) -> tuple[RuleCost | None, ...]:
    """The cost of each rule of a compiled function, in order; None for one whose code LLVM has
    left out. `stack` is what the rule has its buffers in, with those that all rules share."""
    manifest = compiled.manifest
    found = rule_costs(labelled(compilation, compiled), _labels(manifest))
    stack = frames(
        Unit(compiled.plan, manifest),
        all_params(compilation.program),
        compilation.source,
        compilation.target,
    )
    return tuple(
        cost and replace(cost, line=rule.span.line, stack=size)
        for cost, rule, size in zip(found, compiled.function.rules, stack, strict=True)
    )


def labelled(compilation: Compilation, compiled: Compiled) -> Program:
    """The linked program with a line for each rule's condition and one for each body."""
    plan = _relabel(compiled.plan)
    source = Source(compilation.source.name, "\n" * body_line(len(plan.rules)))
    made = replace(compilation, source=source)
    obj = read_object(made.object([replace(compiled, plan=plan)]))
    return link(obj, compiled.function.name)


def _condition(index: int) -> int:
    return 2 * index + 2


def body_line(index: int) -> int:
    """The line that a rule's body has in the labelled program."""
    return 2 * index + 3


def _relabel(plan: Plan) -> Plan:
    rules = []
    for index, rule in enumerate(plan.rules):
        line = body_line(index)
        edits = tuple(replace(edit, line=line) for edit in rule.edits)
        verdict = replace(rule.verdict, line=line)
        rules.append(replace(rule, line=_condition(index), edits=edits, verdict=verdict))
    return replace(plan, line=1, rules=tuple(rules))


def _labels(manifest: Manifest) -> Manifest:
    """The manifest with the lines of the labelled program; rules' counters come first."""
    counters = tuple(
        replace(counter, line=_condition(index)) if counter.kind == "rule" else counter
        for index, counter in enumerate(manifest.counters)
    )
    return replace(manifest, counters=counters)
