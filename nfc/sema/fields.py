"""Fields that statements give values to: each is there, and each is given one value."""

from __future__ import annotations

from nfc.sema import typed, types
from nfc.sema.expressions import Checker
from nfc.sema.scope import Scope
from nfc.syntax import tree
from nfc.syntax.diagnostics import nearest


def shown(statement: tree.Set) -> str:
    """What a statement sets, as written."""
    place = statement.place
    if isinstance(place, tree.Name):
        return place.name
    return f"{place.base.text}.{place.name.text}"


def once(statement: tree.Set, key: object, scope: Scope, seen: dict[object, int]) -> bool:
    """Whether this is the rule's first edit of that thing; an error if it is not."""
    if key in seen:
        scope.diagnostics.error(
            statement.span,
            f"{shown(statement)} is set twice in one rule",
            f"first in line {seen[key]}; edits have no order, so it is not clear which is meant",
        )
        return False
    seen[key] = statement.span.line
    return True


def assignments(
    fields: tuple[tree.Assign, ...],
    known: dict[str, types.Type],
    owner: str,
    checker: Checker,
    scope: Scope,
) -> dict[str, typed.Expr | None]:
    """The values of `{ field = value, … }` by name; those with errors are None or left out."""
    given: dict[str, typed.Expr | None] = {}
    for assign in fields:
        name = assign.name.text
        if name not in known:
            scope.diagnostics.error(
                assign.name.span,
                f"{owner} has no field '{name}'",
                nearest(name, known) or f"its fields: {', '.join(known)}",
            )
        elif name in given:
            scope.diagnostics.error(assign.name.span, f"'{name}' is given twice")
        else:
            given[name] = checker.check(assign.value, known[name])
    return given
