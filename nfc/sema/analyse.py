"""The front end as one step: from a file to a typed program, or to all its errors."""

from __future__ import annotations

from collections.abc import Sequence
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
    scope = scope_of(file, path, diagnostics, opener)
    functions = []
    for item in file.items:
        if isinstance(item, tree.Function):
            claimed = claim(item.name, scope)
            function = checked(item, scope)
            if function is not None and claimed:
                functions.append(function)
    if diagnostics.has_errors:
        return None
    return assemble(file.span.source.base_name, scope, functions)


def scope_of(
    file: tree.File,
    path: Path,
    diagnostics: Diagnostics,
    opener: modules.Opener = modules.read,
    there: modules.There = Path.is_file,
) -> Scope:
    """What a file and those that it uses declare, except for functions."""
    before = len(diagnostics.items)
    used = modules.load(path, file, diagnostics, opener, there)
    scope = declare([file, *used], diagnostics, incomplete=len(diagnostics.items) > before)
    check_definitions(scope)
    return scope


def checked(item: tree.Function, scope: Scope) -> typed.Function | None:
    """A function, typed, or None after an error; warns of rules that no packet takes."""
    function = check_function(item, scope)
    if function is not None:
        check_reach(function, scope.diagnostics)
    return function


def assemble(name: str, scope: Scope, functions: Sequence[typed.Function]) -> typed.Program:
    """The program of a file of that name."""
    return typed.Program(
        name,
        tuple(scope.params.values()),
        scope.params_size,
        tuple(scope.events.values()),
        (*scope.tables.values(), *scope.keyed.values(), *_state_tables(scope)),
        tuple(scope.keyed),
        tuple(functions),
    )


def _state_tables(scope: Scope) -> list[typed.Table]:
    return list({s.table.name: s.table for s in scope.states.values()}.values())


def claim(name: tree.Ident, scope: Scope) -> bool:
    """Take a name for a function; an error if it cannot be one."""
    if len(name.text) > MAX_NAME:
        scope.diagnostics.error(name.span, f"a name has at most {MAX_NAME} characters")
        return False
    if name.text.endswith(("_stats", "_table")):
        scope.diagnostics.error(
            name.span, "functions are not called …_stats or …_table: nfc's maps are"
        )
        return False
    return scope.claim(name, "function")
