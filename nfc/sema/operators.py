"""Values calculated, compared, and taken for values of another type."""

from __future__ import annotations

from dataclasses import replace

from nfc.sema import typed, types
from nfc.sema.constants import fold
from nfc.sema.kinds import a_kind, arith_type, article
from nfc.sema.place import Place
from nfc.syntax import tree

_ORDER = {"<", "<=", ">", ">="}


def binary(
    place: Place, expr: tree.Binary, left: typed.Expr | None, right: typed.Expr | None
) -> typed.Expr | None:
    """A calculation; of known values its result."""
    if left is None or right is None:
        return None
    type_ = arith_type(expr.op, left.type, right.type)
    if type_ is None:
        place.error(
            expr.span,
            f"'{expr.op}' does not work on {a_kind(left)} and {a_kind(right)}",
            "what works: timestamp - timestamp, timestamp + duration, duration * number"
            if {type(left.type), type(right.type)} & {types.Timestamp, types.Duration}
            else None,
        )
        return None
    if isinstance(left, typed.Const) and isinstance(right, typed.Const):
        if not (left.exact and right.exact):
            value = fold(expr.op, left.value, right.value, type_.bits)
            return typed.Const(expr.span, type_, value, exact=False)
        # Known values are exact; they are held against a width where they are used.
        value = fold(expr.op, left.value, right.value, 64)
        if isinstance(type_, types.Int):
            type_ = types.Int(max(1, value.bit_length()))
        return typed.Const(expr.span, type_, value)
    if expr.op == "&" and isinstance(type_, types.Int):
        # x & 0xff has 8 bits: the way to cut a value down.
        for side in (left, right):
            if isinstance(side, typed.Const):
                type_ = types.Int(max(1, min(type_.bits, side.value.bit_length())))
    return typed.Arith(expr.span, type_, expr.op, left, right)


def compare(
    place: Place, expr: tree.Compare, left: typed.Expr | None, right: typed.Expr | None
) -> typed.Expr | None:
    """A comparison of two values that can be compared, and may be equal."""
    if left is None or right is None:
        return None
    same = type(left.type) is type(right.type) or (
        {type(left.type), type(right.type)} <= {types.Int, types.Enum}
    )
    if isinstance(left.type, types.Bytes):
        same = left.type == right.type
    if not same:
        place.error(
            expr.span,
            f"{a_kind(left)} cannot be compared with {a_kind(right)}",
            "how long ago a time was: now() - time"
            if {type(left.type), type(right.type)} == {types.Timestamp, types.Duration}
            else None,
        )
        return None
    if (
        isinstance(left.type, types.Enum)
        and isinstance(right.type, types.Enum)
        and left.type != right.type
    ):
        place.error(expr.span, f"{left.type} and {right.type} are different enums")
        return None
    if expr.op in _ORDER and isinstance(left.type, types.Ipv6 | types.Bytes | types.Bool):
        place.error(
            expr.span,
            f"{a_kind(left)} has no order",
            "use == or !=, or 'in' with a prefix" if left.type.bits > 1 else None,
        )
        return None
    if _never_equal(place, expr, left, right) or _never_equal(place, expr, right, left):
        return None
    return typed.Compare(expr.span, types.Bool(), expr.op, left, right)


def _never_equal(place: Place, expr: tree.Compare, value: typed.Expr, const: typed.Expr) -> bool:
    if (
        isinstance(const, typed.Const)
        and not isinstance(value, typed.Const)
        and isinstance(value.type, types.Int | types.Enum)
        and const.value.bit_length() > value.type.bits
    ):
        limit = (1 << value.type.bits) - 1
        place.error(
            const.span,
            f"{const.value} is more than this {value.type} can hold (at most {limit})",
        )
        return True
    return False


def convert(place: Place, value: typed.Expr, wanted: types.Type) -> typed.Expr | None:
    """The value as one of type `wanted`, or None after an error."""
    have = value.type
    if have == wanted:
        return value
    if isinstance(have, types.Int) and isinstance(wanted, types.Int):
        if isinstance(value, typed.Const) and value.value.bit_length() <= wanted.bits:
            return replace(value, type=wanted)
        if have.bits <= wanted.bits:
            return value
        place.error(
            value.span,
            f"a {have} does not fit a {wanted}",
            f"cut it with '& {hex((1 << wanted.bits) - 1)}', or widen what it goes into",
        )
        return None
    if isinstance(have, types.Enum) and isinstance(wanted, types.Int) and have.bits <= wanted.bits:
        return value
    place.error(value.span, f"{article(wanted)} is needed here, this is {a_kind(value)}")
    return None
