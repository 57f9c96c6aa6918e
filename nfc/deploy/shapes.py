"""Frozen dataclasses from JSON values, every type checked: a file on disk may hold anything."""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints


def build(shape: Any, value: Any, where: str = "") -> Any:
    """`value`, out of `json.loads`, as `shape`: a dataclass, `str`, `int`, `bool`, `None`, `Any`,
    or a tuple, list, dict or union of those.

    Raises ValueError, which says at which place something does not fit, for anything else: a
    missing or unknown key, a number for a text, a bool for a number.
    """
    origin = get_origin(shape)
    if shape is Any:
        return value
    if is_dataclass(shape):
        return _dataclass(shape, value, where)
    if origin in (tuple, list):
        _expect(isinstance(value, list), where, "a list")
        item = get_args(shape)[0]
        return origin(build(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        _expect(isinstance(value, dict), where, "an object")
        item = get_args(shape)[1]
        return {k: build(item, v, f"{where}.{k}") for k, v in value.items()}
    if origin in (Union, types.UnionType):
        wanted = get_args(shape)
        _expect(any(type(value) is kind for kind in wanted), where, str(shape))
        return value
    _expect(type(value) is shape, where, f"of type {shape.__name__}")
    return value


def _dataclass(shape: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), where, "an object")
    known = {f.name: f for f in fields(shape)}
    for name in value:
        _expect(name in known, f"{where}.{name}", "known")
    hints = _hints(shape)
    given = {n: build(hints[n], v, f"{where}.{n}") for n, v in value.items()}
    for name, field in known.items():
        _expect(name in given or field.default is not MISSING, f"{where}.{name}", "there")
    return shape(**given)


@cache
def _hints(shape: Any) -> dict[str, Any]:
    return get_type_hints(shape)


def _expect(holds: bool, where: str, what: str) -> None:
    if not holds:
        raise ValueError(f"{where.lstrip('.') or 'the whole'} is not {what}")
