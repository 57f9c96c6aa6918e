"""Arithmetic on values that are known at compile time."""

from __future__ import annotations


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
