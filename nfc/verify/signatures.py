"""Global functions and their arguments, from the object's type information.

A function with external linkage is verified by itself, for any arguments of its types, and its
callers only see that it returns some number (btf_prepare_func_args, kernel/bpf/btf.c).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nfc.bpf.btf import LINKAGE_GLOBAL, Btf, Kind, parse_btf

NUMBER, CONTEXT, OTHER = "a number", "the context", "a pointer that the check does not follow"
CONTEXT_TYPE: Final = "__sk_buff"  # of all four hooks: bpf_ctx_convert, kernel/bpf/btf.c

Signature = tuple[str, ...]


def global_functions(raw: bytes, ids: Iterable[int]) -> dict[int, Signature]:
    """What the arguments are of those functions among `ids` (of BTF FUNC types) that are global.

    Raises ObjectError where `raw` is not BTF.
    """
    btf = parse_btf(raw)
    found = {}
    for number in ids:
        if not 0 < number < len(btf.types):
            continue
        function = btf.types[number]
        if function.kind is not Kind.FUNC or function.extra != LINKAGE_GLOBAL:
            continue
        prototype = btf.types[function.type]
        found[number] = tuple(_argument(btf, member.type) for member in prototype.members)
    return found


def returning_numbers(raw: bytes, ids: Iterable[int]) -> frozenset[int]:
    """Those of BTF FUNC types that return an integer of at most 8 bytes, or an enumerator
    (check_btf_func, kernel/bpf/verifier.c). Raises ObjectError where `raw` is not BTF."""
    btf = parse_btf(raw)
    found = set()
    for number in ids:
        if 0 < number < len(btf.types) and btf.types[number].kind is Kind.FUNC:
            result = btf.resolve(btf.types[btf.types[number].type].type)
            if result.kind in (Kind.ENUM, Kind.ENUM64) or (
                result.kind is Kind.INT and result.size <= 8
            ):
                found.add(number)
    return frozenset(found)


def _argument(btf: Btf, number: int) -> str:
    kind = btf.resolve(number)
    if kind.kind in (Kind.INT, Kind.ENUM, Kind.ENUM64):
        return NUMBER
    if kind.kind is Kind.PTR and btf.resolve(kind.type).name == CONTEXT_TYPE:
        return CONTEXT
    return OTHER
