"""TLVs by their declarations: what a trace shows instead of a TLV's bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass

from nfc.oracle.values import from_wire
from nfc.oracle.wire import bits
from nfc.run.explain import show
from nfc.sema import typed
from nfc.syntax.source import Span


def declared(functions: Iterable[typed.Function]) -> dict[int, typed.Tlv]:
    """The TLVs that functions match or make, by type."""
    found: dict[int, typed.Tlv] = {}
    waiting: list[object] = list(functions)
    while waiting:
        item = waiting.pop()
        if isinstance(item, typed.Tlv):
            found[item.number] = item
        elif isinstance(item, tuple):
            waiting.extend(item)
        elif is_dataclass(item) and not isinstance(item, Span):
            waiting.extend(getattr(item, f.name) for f in fields(item))
    return found


def dissect(known: Mapping[int, typed.Tlv], data: bytes) -> list[tuple[str, int, str]]:
    """The fields of a TLV, given all of its bytes, as name, value and text; [] if it is none that
    is known, or has another size. What is reserved, or behind the fields, is shown if not zero."""
    tlv = known.get(data[0])
    if tlv is None or len(data) != tlv.size:
        return []
    found = []
    for number, part in enumerate(tlv.fields):
        raw = bits(data, part.bit_offset, part.type.bits)
        if part.name is not None:
            value = from_wire(raw, part.type)
            found.append((part.name, value, show(part.type, value)))
        else:
            found.append((f"reserved[{number}]", raw, str(raw)))
    return found
