"""The front end as one step: from a file to a typed program, or to all its errors."""

from __future__ import annotations

from pathlib import Path

from nfc.sema import modules, typed
from nfc.sema.declare import check_definitions, declare
from nfc.sema.functions import check_function
from nfc.sema.reach import check_reach
from nfc.sema.scope import Scope
from nfc.syntax import tree
from nfc.syntax.diagnostics import Diagnostics
from nfc.syntax.parser import parse
from nfc.syntax.source import Source

# A BPF program's name; the kernel keeps 15 characters of it (BPF_OBJ_NAME_LEN), ours are longer.
MAX_NAME = 64


def analyse(source: Source, path: Path, diagnostics: Diagnostics) -> typed.Program | None:
    """The typed program of `source`, which was read from `path` (where `use` looks first).

    Errors and warnings go to `diagnostics`; None when there were errors.
    """
    file = parse(source, diagnostics)
    return analyse_tree(file, path, diagnostics)


def analyse_tree(
    file: tree.File, path: Path, diagnostics: Diagnostics, opener: modules.Opener = modules.read
) -> typed.Program | None:
    """As `analyse`, of a file that is parsed already; `opener` reads those that it uses."""
    before = len(diagnostics.items)
    used = modules.load(path, file, diagnostics, opener)
    scope = declare([file, *used], diagnostics, incomplete=len(diagnostics.items) > before)
    check_definitions(scope)
    functions = []
    for item in file.items:
        if isinstance(item, tree.Function):
            claimed = _claim(item, scope)
            function = check_function(item, scope)
            if function is not None and claimed:
                functions.append(function)
                check_reach(function, diagnostics)
    if diagnostics.has_errors:
        return None
    return typed.Program(
        file.span.source.base_name,
        tuple(scope.params.values()),
        scope.params_size,
        tuple(scope.events.values()),
        (*scope.tables.values(), *scope.keyed.values(), *_state_tables(scope)),
        tuple(scope.keyed),
        tuple(functions),
    )


def _state_tables(scope: Scope) -> list[typed.Table]:
    return list({s.table.name: s.table for s in scope.states.values()}.values())


def _claim(item: tree.Function, scope: Scope) -> bool:
    if len(item.name.text) > MAX_NAME:
        scope.diagnostics.error(item.name.span, f"a name has at most {MAX_NAME} characters")
        return False
    if item.name.text.endswith(("_stats", "_table")):
        scope.diagnostics.error(
            item.name.span, "functions are not called …_stats or …_table: nfc's maps are"
        )
        return False
    return scope.claim(item.name, "function")
