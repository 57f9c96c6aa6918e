"""Prints any frozen value of the front end as an indented outline (`--emit tree`, `typed`)."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from nfc.syntax.source import Span


def outline(value: Any, indent: int = 0, label: str = "") -> str:
    """One line a node: its class, its plain fields, its line; children below, indented."""
    pad = "  " * indent
    prefix = f"{pad}{label + ': ' if label else ''}"
    if not is_dataclass(value) or isinstance(value, type):
        return f"{prefix}{value!r}"
    plain, nested = [], []
    place = ""
    for field in fields(value):
        item = getattr(value, field.name)
        if isinstance(item, Span):
            place = f"  @{item.line}:{item.column}"
        elif isinstance(item, tuple):
            if any(is_dataclass(part) for part in item):
                nested += [(f"{field.name}[{i}]", part) for i, part in enumerate(item)]
            elif item:
                plain.append(f"{field.name}={item!r}")
        elif is_dataclass(item):
            text = getattr(item, "text", None)
            if isinstance(text, str):  # an identifier: its text says it all
                plain.append(f"{field.name}={text}")
            else:
                nested.append((field.name, item))
        elif item is not None:
            plain.append(f"{field.name}={item!r}")
    head = f"{prefix}{type(value).__name__}{' ' + ' '.join(plain) if plain else ''}{place}"
    return "\n".join([head, *(outline(part, indent + 1, name) for name, part in nested)])
