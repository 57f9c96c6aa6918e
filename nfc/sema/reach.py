"""Rules that no packet can take: warnings, because the program still means something."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import fields

from nfc.sema import typed
from nfc.syntax.diagnostics import Diagnostics

_COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def check_reach(function: typed.Function, diagnostics: Diagnostics) -> None:
    """Warn of each rule that cannot be taken, and of one that leaves nothing to those behind it.

    A rule is found if its condition is known to be false, or if all that an earlier rule asks for
    is among what it asks for itself. Only what is the same every time is compared: not sample()
    and every().
    """
    shapes = _Shapes()
    earlier: list[tuple[frozenset[int], int]] = []
    for rule in function.rules:
        if rule.guard is None:
            continue
        parts = tuple(_conjuncts(rule.guard))
        answers = [known(part) for part in parts]
        if all(answers):
            diagnostics.warning(
                rule.guard.span,
                "this always holds: no packet gets to the rules behind it",
                "write 'otherwise' here, or take the rule out",
            )
            return
        if False in answers:
            diagnostics.warning(rule.guard.span, "this never holds: no packet takes the rule")
            continue
        numbers = [shapes.number(part) for part in parts]
        asked = frozenset(n for n in numbers if n is not None)
        line = next((line for needed, line in earlier if needed <= asked), None)
        if line is not None:
            diagnostics.warning(
                rule.guard.span,
                "no packet takes this rule",
                f"the rule of line {line} takes them all: the first rule that matches counts",
            )
        elif None not in numbers:
            earlier.append((asked, rule.span.line))


def known(guard: typed.Expr) -> bool | None:
    """Whether a condition holds, if that does not depend on the packet."""
    match guard:
        case typed.Const(value=value):
            return bool(value)
        case typed.Compare(op=op, left=typed.Const(value=left), right=typed.Const(value=right)):
            return bool(_COMPARE[op](left, right))
        case typed.InPrefix(
            value=typed.Const(value=value), address=address, length=length, width=width
        ):
            return value >> (width - length) == address >> (width - length)
        case typed.Not(value=inner):
            holds = known(inner)
            return None if holds is None else not holds
        case typed.Logic(op=op, left=a, right=b):
            both = (known(a), known(b))
            decides = op == "or"
            return decides if decides in both else None if None in both else not decides
    return None


def _conjuncts(guard: typed.Expr) -> Iterator[typed.Expr]:
    if isinstance(guard, typed.Logic) and guard.op == "and":
        yield from _conjuncts(guard.left)
        yield from _conjuncts(guard.right)
    else:
        yield guard


class _Shapes:
    """Numbers for expressions: the same number where the same is written. Remembers what it has
    seen, since a definition's argument can stand in many places."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._seen: dict[int, tuple[typed.Expr, int | None]] = {}

    def number(self, expr: typed.Expr) -> int | None:
        """The number of an expression; None if it may not get the same answer each time."""
        known = self._seen.get(id(expr))
        if known is not None:
            return known[1]
        parts: list[object] = [type(expr)]
        for field in fields(expr):
            value = getattr(expr, field.name)
            if isinstance(value, typed.Expr):
                value = self.number(value)
                if value is None:
                    parts.clear()
                    break
            if field.name != "span":
                parts.append(value)
        steady = parts and not isinstance(expr, typed.Sample | typed.Every)
        number = self._numbers.setdefault(tuple(parts), len(self._numbers)) if steady else None
        self._seen[id(expr)] = (expr, number)  # the expression too, so that its id stays its own
        return number
