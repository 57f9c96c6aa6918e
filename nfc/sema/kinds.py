"""What kinds of values there are, in words and by operator."""

from __future__ import annotations

from nfc.sema import typed, types
from nfc.syntax import tree
from nfc.syntax.diagnostics import nearest


def fields_hint(name: str, fields: object) -> str:
    """What to say of a field that there is not: the nearest one, or all."""
    names = list(fields) if isinstance(fields, dict) else []
    return nearest(name, names) or f"its fields: {', '.join(names)}"


def example(name: str, tlv: typed.Tlv) -> str | None:
    """How a field of a TLV is named."""
    first = next((f.name for f in tlv.fields if f.name), None)
    return f"{name}.{first}" if first else None


def article(type_: types.Type) -> str:
    """A type with its article."""
    return f"{'an' if isinstance(type_, types.Ipv6) else 'a'} {type_}"


def a_kind(value: typed.Expr) -> str:
    """What kind of value this is, for a message."""
    if isinstance(value, typed.Const) and isinstance(value.type, types.Int):
        return "a number"
    return article(value.type)


def beside(other: typed.Expr | None, op: str) -> types.Type | None:
    """The type of a literal beside `other`: its type, except that times are multiplied and
    divided by plain numbers."""
    if other is None or isinstance(other.type, types.Int) or op in ("*", "/"):
        return None
    return other.type


def is_literal(expr: tree.Expr) -> bool:
    """Whether an expression takes the type that its place asks for."""
    return isinstance(expr, tree.Integer | tree.Name)


def arith_type(op: str, left: types.Type, right: types.Type) -> types.Type | None:
    """The type of `left op right`, or None where it has no meaning."""
    match left, right:
        case types.Int(a), types.Int(b):
            return types.Int(a) if op in ("<<", ">>") else types.Int(max(a, b))
        case types.Timestamp(), types.Timestamp() if op == "-":
            return types.Duration()
        case types.Timestamp(), types.Duration() if op in ("+", "-"):
            return types.Timestamp()
        case types.Duration(), types.Timestamp() if op == "+":
            return types.Timestamp()
        case types.Duration(), types.Duration() if op in ("+", "-", "%"):
            return types.Duration()
        case types.Duration(), types.Duration() if op == "/":
            return types.Int(64)
        case types.Duration(), types.Int() if op in ("*", "/"):
            return types.Duration()
        case types.Int(), types.Duration() if op == "*":
            return types.Duration()
    return None
