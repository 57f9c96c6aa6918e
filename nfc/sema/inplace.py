"""How much an expression comes to once its definitions are put in place.

Definitions multiply: forty of two calls each come to 2^40 values. So an expression is measured
before anything is put in place, in time and stack that the limits bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

from nfc.sema import typed
from nfc.syntax import tree

MAX_VALUES = 4000  # of all calls in a rule
MAX_NESTING = 64  # of one call: later stages walk expressions by recursion

_Size = tuple[int, int]  # values, and how deep they nest


class _TooMuch(Exception):
    """A limit is reached."""


def measure(
    call: tree.Call,
    definitions: Mapping[str, tree.Define],
    local: Mapping[str, typed.Expr],
    within: tuple[str, ...],
    room: int,
) -> int | None:
    """The values that a call comes to; None if more than `room`, or nested too deeply.

    `local` are the arguments of the definition that the call stands in, `within` the definitions
    that are being put in place; a call of one of those is another error, and counts as one value.
    """
    meter = _Meter(definitions, room)
    try:
        meter.of(call, dict.fromkeys(local, (1, 1)), frozenset(within), MAX_NESTING)
    except _TooMuch:
        return None
    return room - meter.left


class _Meter:
    """Counts down from the number of values allowed."""

    def __init__(self, definitions: Mapping[str, tree.Define], left: int) -> None:
        self.definitions = definitions
        self.left = left

    def of(
        self, expr: tree.Node, local: Mapping[str, _Size], within: frozenset[str], room: int
    ) -> _Size:
        """The size of an expression in which names stand for arguments of these sizes."""
        own = local.get(expr.name, (1, 1)) if isinstance(expr, tree.Name) else (1, 1)
        self.left -= own[0]
        if self.left < 0 or own[1] > room:
            raise _TooMuch
        parts = [self.of(part, local, within, room - 1) for part in _operands(expr)]
        if isinstance(expr, tree.Call):
            name = expr.function.text
            definition = self.definitions.get(name)
            if definition is not None and name not in within:
                names = (a.name.text for a in definition.arguments)
                given = dict(zip(names, parts, strict=False))
                parts = [self.of(definition.value, given, within | {name}, room - 1)]
        values = own[0] + sum(size for size, _ in parts)
        return values, own[1] + max((deep for _, deep in parts), default=0)


def _operands(expr: tree.Node) -> Iterator[tree.Node]:
    for field in fields(expr):
        value = getattr(expr, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, tree.Node) and not isinstance(part, tree.Ident):
                yield part
