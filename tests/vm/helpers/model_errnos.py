"""Which errnos the simulator's own code can give, read from it: for every helper, those that the
functions name that it reaches."""

from __future__ import annotations

import ast
import errno
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from nfc.vm import buffers, maps
from nfc.vm.fib import Fib
from nfc.vm.helpers import table
from nfc.vm.helpers.failures import ENOTSUPP

# Methods by which helpers reach other modules, and whose they are.
METHODS: dict[str, tuple[type, ...]] = {
    "program_update": (maps.VmMap,),
    "program_delete": (maps.VmMap,),
    "insert": (maps.ArrayMap, maps.HashMap, maps.TrieMap),
    "remove": (maps.ArrayMap, maps.HashMap, maps.TrieMap),
    "_prefix": (maps.TrieMap,),
    "push": (buffers.QueueMap,),
    "hop": (Fib,),
}


def _names(function: Callable[..., Any]) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function))))


@cache
def _errnos(function: Callable[..., Any]) -> frozenset[int]:
    found: set[int] = set()
    seen: set[Callable[..., Any]] = set()
    waiting = [function]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        known = inspect.unwrap(one).__globals__
        for node in _names(one):
            if isinstance(node, ast.Name):
                target = known.get(node.id)
                if node.id == "ENOTSUPP":
                    found.add(ENOTSUPP)
                elif inspect.isfunction(target) and target.__module__.startswith("nfc.vm"):
                    waiting.append(target)
            elif isinstance(node, ast.Attribute):
                if isinstance(node.value, ast.Name) and node.value.id == "errno":
                    found.add(getattr(errno, node.attr))
                of_packet = isinstance(node.value, ast.Attribute) and node.value.attr == "skb"
                kinds = () if of_packet else METHODS.get(node.attr, ())
                waiting += [getattr(kind, node.attr) for kind in kinds]
    return frozenset(found)


def model_errnos() -> dict[int, frozenset[int]]:
    """By helper."""
    return {number: _errnos(function) for number, function in table().items()}
