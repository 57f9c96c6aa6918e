"""Values known at compile time: of consts, defaults and enum members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nfc.sema import typed, types

if TYPE_CHECKING:
    from nfc.sema.scope import Scope
from nfc.syntax import tree


def evaluate(expr: tree.Expr, type_: types.Type, scope: Scope) -> int | None:
    """The value of a constant expression of that type, or None after an error."""
    from nfc.sema.expressions import Checker  # declarations and expressions need each other

    value = Checker(scope, hook=None).check(expr, type_)
    if value is None:
        return None
    if not isinstance(value, typed.Const):
        scope.diagnostics.error(expr.span, "this value must be known when the file is compiled")
        return None
    return value.value


def fold(op: str, left: int, right: int, bits: int) -> int:
    """Unsigned arithmetic in `bits` bits, wrapping; x / 0 = 0, x % 0 = x (RFC 9669, section 4.1).

    A shift by `bits` or more gives 0.
    """
    mask = (1 << bits) - 1
    match op:
        case "+":
            return (left + right) & mask
        case "-":
            return (left - right) & mask
        case "*":
            return (left * right) & mask
        case "/":
            return left // right if right else 0
        case "%":
            return left % right if right else left
        case "&":
            return left & right
        case "|":
            return left | right
        case "^":
            return left ^ right
        case "<<":
            return (left << right) & mask if right < bits else 0
        case ">>":
            return left >> right if right < bits else 0
    raise ValueError(op)
