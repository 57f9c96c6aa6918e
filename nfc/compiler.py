"""The compiler as one call: from a file and a target to objects with their manifests."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfc.codegen.target import DEFAULT, Target, parse_target
from nfc.errors import UsageError
from nfc.manifest import Counter, Event, Field, Manifest, Param, Table
from nfc.plan import values as v
from nfc.plan.lower import lower
from nfc.plan.passes import run
from nfc.plan.plan import Plan
from nfc.plan.uses import body_values, guard_values
from nfc.sema import tables, typed, types
from nfc.sema.analyse import analyse_tree
from nfc.syntax import tree
from nfc.syntax.diagnostics import Diagnostic, Diagnostics, SourceErrors, nearest
from nfc.syntax.parser import parse
from nfc.syntax.source import Source, Span


@dataclass(frozen=True)
class Compiled:
    """One function, planned for a target and described."""

    function: typed.Function
    plan: Plan
    manifest: Manifest


@dataclass(frozen=True)
class Compilation:
    """A whole file: its tree, its typed program, its functions, its warnings."""

    source: Source
    target: Target
    tree: tree.File
    program: typed.Program
    functions: tuple[Compiled, ...]
    warnings: tuple[Diagnostic, ...]

    def llvm(self, functions: Sequence[Compiled]) -> str:
        """LLVM IR of functions at different hooks, as text."""
        return str(self._module(functions))

    def object(self, functions: Sequence[Compiled]) -> bytes:
        """The ELF object of functions at different hooks: same source, target and version of
        nfc, same bytes."""
        from nfc.bpf.strip import strip
        from nfc.codegen.emit import emit_object

        data = strip(emit_object(self._module(functions), self.target))
        self._check_stack(functions, data)
        return data

    def _check_stack(self, functions: Sequence[Compiled], data: bytes) -> None:
        """Refuse a function that needs more stack than a program has. Raises SourceErrors."""
        from nfc.bpf.facts import STACK_SIZE
        from nfc.bpf.reader import read_object
        from nfc.bpf.stack import stack_depth

        diagnostics = Diagnostics()
        obj = read_object(data)
        for compiled in functions:
            depth = stack_depth(obj.program(compiled.function.name))
            if depth > STACK_SIZE:
                diagnostics.error(
                    compiled.function.span,
                    f"{compiled.function.name} needs {depth} bytes of stack; "
                    f"a BPF program has {STACK_SIZE}",
                    "let its rules build smaller TLVs, or put some into a function of their own",
                )
        diagnostics.check()

    def _module(self, functions: Sequence[Compiled]) -> Any:
        from nfc.codegen.module import Unit, build_module  # llvmlite is slow to import

        units = [Unit(f.plan, f.manifest) for f in functions]
        return build_module(units, all_params(self.program), self.source, self.target)

    def objects(self) -> list[tuple[Compiled, ...]]:
        """The functions as they go into objects that stock tools can load: all in one while
        each has a hook of its own, else each in its own."""
        hooks = [f.function.hook for f in self.functions]
        if len(set(hooks)) == len(hooks):
            return [self.functions] if self.functions else []
        return [(f,) for f in self.functions]

    def function(self, name: str | None) -> Compiled:
        """The function of that name; None: the only one. Raises UsageError."""
        names = [f.function.name for f in self.functions]
        if name is None:
            if len(self.functions) == 1:
                return self.functions[0]
            if not names:
                raise UsageError(f"{self.source.name} declares no function")
            raise UsageError(
                f"{self.source.name} has {len(names)} functions: {', '.join(names)}",
                hint="say which with --function",
            )
        for function in self.functions:
            if function.function.name == name:
                return function
        raise UsageError(
            f"{self.source.name} has no function '{name}'",
            hint=nearest(name, names) or f"its functions: {', '.join(names) or 'none'}",
        )


LOST = ("events_lost", "counts_lost")  # something was not recorded; the packet went on


def compile_file(path: Path, kernel: str = DEFAULT, wanted: str | None = None) -> Compilation:
    """Compile a file for a kernel version. What the kernel does not have is an error in the
    function that is `wanted`; None: in any. Raises SourceErrors, NfcError, UsageError."""
    target = parse_target(kernel)
    source = Source.read(path)
    diagnostics = Diagnostics()
    file = parse(source, diagnostics)
    program = analyse_tree(file, path, diagnostics)
    if program is None:
        raise SourceErrors(diagnostics.sorted())
    functions = []
    for function in program.functions:
        plan = run(lower(function, program))
        if wanted in (None, function.name):
            check_target(function, plan, target, diagnostics)
        manifest = make_manifest(program, function, plan, target)
        functions.append(Compiled(function, plan, manifest))
    diagnostics.check()
    return Compilation(source, target, file, program, tuple(functions), tuple(diagnostics.sorted()))


def check_target(
    function: typed.Function, plan: Plan, target: Target, diagnostics: Diagnostics
) -> None:
    """Refuse at its source line what the target kernel does not have."""
    for rule, planned in zip(function.rules, plan.rules, strict=True):
        values = (*guard_values(planned), *body_values(planned))
        if any(isinstance(x, v.Clock) for x in values) and not target.has_tai:
            diagnostics.error(
                _span_of(rule, typed.Now),
                f"kernel {target.name} has no clock that routers can share",
                "now() reads TAI, which programs can from kernel 6.1 on (bpf_ktime_get_tai_ns)",
            )
        swaps = [
            e
            for e in rule.edits
            if isinstance(e, typed.SetEntry | typed.SetState) and e.atomic in ("&", "|", "^")
        ]
        if swaps and not target.has_atomics:
            diagnostics.error(
                swaps[0].span,
                f"kernel {target.name} can change shared memory in one step by + and - only",
                "& | ^ came with kernel 5.12",
            )
        emits = [e for e in rule.edits if isinstance(e, typed.Emit)]
        if emits and not target.has_ringbuf:
            diagnostics.error(
                emits[0].span,
                f"kernel {target.name} has no ring buffer to emit events into",
                "ring buffers came with kernel 5.8",
            )


def _span_of(rule: typed.Rule, kind: type) -> Span:
    """Where a kind of expression first stands in a rule."""
    waiting: list[object] = [rule]
    found: list[Span] = []
    while waiting:
        item = waiting.pop()
        if isinstance(item, kind):
            found.append(item.span)  # type: ignore[attr-defined]
        if isinstance(item, Sequence) and not isinstance(item, str | bytes):
            waiting.extend(item)
        elif hasattr(item, "__dataclass_fields__") and not isinstance(item, Span):
            waiting.extend(getattr(item, name) for name in item.__dataclass_fields__)
    return min(found, key=lambda s: s.start) if found else rule.span


def all_params(program: typed.Program) -> tuple[Param, ...]:
    """A file's params with their places; every function of it has the same layout."""
    return tuple(
        Param(
            Field(p.name, type_name(p.type), p.offset, types.memory_size(p.type)),
            value_text(p.type, p.default),
        )
        for p in program.params
    )


def make_manifest(
    program: typed.Program, function: typed.Function, plan: Plan, target: Target
) -> Manifest:
    """What deploying, setting params and decoding events need to know."""
    emitted = {e.event.name for r in function.rules for e in r.edits if isinstance(e, typed.Emit)}
    used = {
        value.name
        for rule in plan.rules
        for value in (*guard_values(rule), *body_values(rule))
        if isinstance(value, v.Param)
    }
    params = tuple(p for p in all_params(program) if p.field.name in used)
    events = tuple(
        Event(
            e.name,
            e.index,
            _fields(e.fields),
            e.size,
            e.packet_bytes,
        )
        for e in program.events
        if e.name in emitted
    )
    rules = [
        Counter(f"rule_{i + 1}_line_{rule.span.line}", "rule", _drops(rule), rule.span.line)
        for i, rule in enumerate(function.rules)
    ]
    errors = [
        Counter(name, "lost" if name in LOST else "error", name not in LOST, 0)
        for name in plan.errors
    ]
    named = [Counter(name, "named", False, 0) for name in plan.counters]
    sites = [Counter(f"every_{i + 1}", "hidden", False, 0) for i in range(plan.sites)]
    return Manifest(
        function=function.name,
        hook=function.hook,
        source=program.name,
        kernel=target.name,
        params=params,
        params_size=program.params_size,
        events=events,
        counters=(*rules, *errors, *named, *sites),
        tables=tuple(_table(t, program) for t in tables.used(function.rules)),
    )


def _fields(members: Sequence[typed.Member]) -> tuple[Field, ...]:
    return tuple(Field(m.name, type_name(m.type), m.offset, m.size) for m in members)


def _table(table: typed.Table, program: typed.Program) -> Table:
    keyed = any(table.name == name for name in program.counters)
    state = table.name in ("state", "state_per_cpu")
    return Table(
        table.name,
        f"{table.name}_table",
        "counter" if keyed else "state" if state else "table",
        table.kind,
        table.per_cpu,
        table.entries,
        _fields(table.keys),
        table.key_size,
        _fields(table.fields),
        table.value_size,
    )


def _drops(rule: typed.Rule) -> bool:
    return isinstance(rule.verdict, typed.Drop)


def type_name(type_: types.Type) -> str:
    """A type's name outside the language: enums are plain integers there."""
    return f"u{type_.bits}" if isinstance(type_, types.Enum) else str(type_)


def value_text(type_: types.Type, value: int) -> str:
    """A value as an operator writes it."""
    match type_:
        case types.Ipv6():
            return str(ipaddress.IPv6Address(value))
        case types.Bytes(count):
            return f"0x{value:0{2 * count}x}"
        case types.Bool():
            return "true" if value else "false"
        case types.Duration():
            for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
                if value and value % size == 0:
                    return f"{value // size}{unit}"
            return f"{value}ns"
    return str(value)
