"""Diagnostics of a document: what the command line says of the file, word for word.

Functions in which nothing was found are remembered by their text and by all that they can name,
so a change costs the function that it is in.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from nfc.codegen.target import Target
from nfc.compiler import check_target
from nfc.lsp.document import Document, Part, moved
from nfc.lsp.workspace import Workspace
from nfc.plan.lower import lower
from nfc.plan.passes import run
from nfc.sema.analyse import assemble, checked, claim, scope_of
from nfc.syntax import tree
from nfc.syntax.diagnostics import Diagnostic, Diagnostics
from nfc.syntax.parser import lex, parse_tokens
from nfc.syntax.source import MAX_SOURCE_BYTES, Source, Span

ByFile = dict[Path, list[Diagnostic]]


@dataclass(frozen=True)
class _Clean:
    """What checking a function without finding anything depended on and left behind: of the names
    in it and in declarations, those that are excused because what declares them has errors."""

    given: object
    excused: frozenset[str]
    more: frozenset[str]


@dataclass
class Memory:
    """The functions of a document that were checked, by part and by their number in it."""

    clean: dict[tuple[Part, int], _Clean] = field(default_factory=dict)


@dataclass(frozen=True)
class _Function:
    """A function's tree in its part; `part` None: in the document, as the part has errors."""

    item: tree.Function
    start: int
    part: Part | None
    number: int


def diagnose(
    workspace: Workspace,
    document: Document,
    target: Target,
    memory: Memory | None = None,
    near: range | None = None,
) -> ByFile:
    """All that `nfc check --kernel TARGET` would say of the source, by the file it is about; with
    `near`, only that of declarations and of functions that touch these characters."""
    steps = diagnosing(workspace, document, target, memory or Memory(), near)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: ByFile = end.value
            return found


def diagnosing(
    workspace: Workspace,
    document: Document,
    target: Target,
    memory: Memory,
    near: range | None = None,
) -> Generator[None, None, ByFile]:
    """As `diagnose`, with pauses behind each part and function; what it returns is the result."""
    source = Source(document.path.name, document.text.text)
    if len(source.text.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES:
        message = f"{source.name} is larger than {MAX_SOURCE_BYTES} bytes, which no program is"
        return {document.path: [Diagnostic("error", Span(source, 0, 0), message)]}
    sources: list[tuple[Source, Document]] = [(source, document)]

    def opener(path: Path, name: str, diagnostics: Diagnostics) -> tree.File:
        used = workspace.get(path)
        text = Source(used.path.name, used.text.text)
        sources.append((text, used))
        return used.tree(text, diagnostics, functions=False)

    diagnostics = Diagnostics()
    declared, functions, broken = yield from _parsed(document, source, diagnostics, near)
    file = tree.File(Span(source, 0, len(source.text)), declared, broken)
    scope = scope_of(file, document.path, diagnostics, opener, workspace.there)
    given = (target.name, scope.incomplete, *(used.declarations for _, used in sources))
    known = set[tuple[Part, int]]()
    declared_names = frozenset[str]().union(*(used.declared_names for _, used in sources))
    of_target = Diagnostics()
    plain = assemble(source.name, scope, ())
    for function in functions:
        yield
        key = (function.part, function.number) if function.part else None
        name = moved(function.item.name, source, function.start)
        claim(name, scope)
        kept = memory.clean.get(key) if key else None
        if key:
            known.add(key)
        names = declared_names | (function.part.names if function.part else frozenset())
        excused = names & scope.broken
        if key and kept and (kept.given, kept.excused) == (given, excused):
            scope.broken |= kept.more
            continue
        broken_before = frozenset(scope.broken)
        count = len(diagnostics.items), len(of_target.items)
        typed = checked(moved(function.item, source, function.start), scope)
        if typed is not None:
            check_target(typed, run(lower(typed, plain)), target, of_target)
        if key and count == (len(diagnostics.items), len(of_target.items)):
            memory.clean[key] = _Clean(given, excused, frozenset(scope.broken) - broken_before)
        elif key:
            memory.clean.pop(key, None)
    if near is None:
        memory.clean = {key: clean for key, clean in memory.clean.items() if key in known}
    if not diagnostics.has_errors:  # the command line comes to the target only then
        diagnostics.items += of_target.items
    by_file: ByFile = {document.path: []}
    for diagnostic in diagnostics.sorted():
        of = next(d for s, d in sources if s is diagnostic.span.source)
        by_file.setdefault(of.path, []).append(diagnostic)
    return by_file


def _parsed(
    document: Document, source: Source, diagnostics: Diagnostics, near: range | None
) -> Generator[None, None, tuple[tuple[tree.Item, ...], list[_Function], frozenset[str]]]:
    """The declarations of a document, its functions (with `near`, those in parts that touch it),
    and the names in what has errors; with a pause behind each part."""
    declared: list[tree.Item] = []
    functions: list[_Function] = []
    broken: frozenset[str] = frozenset()
    for start, part in document.parts:
        touches = near is None or (start <= near.stop and near.start <= start + len(part.text))
        if not touches and not part.declares:
            continue
        items, base = part.parsed, start
        if items is None:
            items, names = parse_tokens(lex(part.text, start), source, diagnostics)
            broken |= names
            base = 0
        for number, item in enumerate(items):
            if isinstance(item, tree.Function):
                known = None if part.parsed is None else part
                functions.append(_Function(item, base, known, number))
            else:
                declared.append(moved(item, source, base))
        yield
    return tuple(declared), functions, broken
