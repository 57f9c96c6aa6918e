"""Gives the fields of headers and TLVs the values that are written for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from nfc.errors import UsageError
from nfc.nft import tree
from nfc.nft.draft import ATTRIBUTES, FLAGS, KINDS_BY_CLASS, Draft, free_tlv, to_wire
from nfc.nft.pattern import Free
from nfc.nft.values import Values, Wanted
from nfc.packet import SRH, ICMPv6, IPv6
from nfc.packet.tlvs import AnyTLV, tlv
from nfc.sema import typed
from nfc.syntax.diagnostics import nearest
from nfc.syntax.source import Span
from nfc.syntax.tree import Ident


def make_tlv(values: Values, part: tree.Tlv, draft: Draft, at: int, place: int) -> AnyTLV | None:
    """A TLV; what may be anything in it goes to the draft. None after an error."""
    if part.name is None:
        return tlv(part.number, part.body)
    declared = declared_tlv(values, part.name)
    if declared is None:
        return None
    known = {f.name: f.type for f in declared.fields if f.name is not None}
    found = values.fields(part.fields, known, declared.name)
    if found is None:
        return None
    word = declared.number << 8 | declared.size - 2
    word <<= 8 * (declared.size - 2)
    for one in declared.fields:
        wanted = found.get(one.name) if one.name else None
        value = one.default if wanted is None else wanted.low if wanted.exact else 0
        shift = 8 * declared.size - one.bit_offset - one.type.bits
        word |= to_wire(value, one.type) << shift
        if wanted is not None and not wanted.exact:
            draft.free.append(free_tlv(at, place, declared, one, wanted))
    data = word.to_bytes(declared.size, "big")
    return tlv(data[0], data[2:])


def declared_tlv(values: Values, name: Ident) -> typed.Tlv | None:
    """The TLV of that name; None after an error."""
    found = values.scope.tlvs.get(name.text)
    if found is None and not values.scope.excused(name.text):
        known = values.scope.tlvs
        hint = nearest(name.text, known) or "'use tlvs' takes those of RFC 8754"
        values.error(name.span, f"there is no TLV '{name.text}'", hint)
    return found


def assign(values: Values, draft: Draft, at: int, found: Mapping[str, Wanted], span: Span) -> bool:
    """Give a header's fields their values."""
    good = True
    flags = {n: w for n, w in found.items() if n in FLAGS and type(draft.headers[at]) is SRH}
    for name, wanted in found.items():
        if name in flags:
            continue
        good = _set_one(values, draft, at, name, wanted, span) and good
    for name, wanted in flags.items():
        header = draft.headers[at]
        assert isinstance(header, SRH)
        if not wanted.exact:
            values.error(span, f"{name} is one bit of flags: leave flags open as a whole")
            return False
        bits = header.flags | FLAGS[name] if wanted.low else header.flags & ~FLAGS[name]
        draft.headers[at] = replace(header, flags=bits)
    return good


def _set_one(values: Values, draft: Draft, at: int, name: str, wanted: Wanted, span: Span) -> bool:
    header: Any = draft.headers[at]
    if isinstance(header, ICMPv6) and name in ("identifier", "sequence"):
        first = 0 if name == "identifier" else 2
        if not wanted.exact:
            draft.free.append(Free(at, name, 16, wanted.low, wanted.high))
        raw = (wanted.low if wanted.exact else 0).to_bytes(2, "big")
        draft.payload = draft.payload[:first] + raw + draft.payload[first + 2 :]
        return True
    attribute = ATTRIBUTES.get(name, {}).get(type(header), name)
    draft.free = [f for f in draft.free if (f.header, f.field) != (at, attribute)]
    if not wanted.exact:
        bits = KINDS_BY_CLASS[type(header)][name].bits
        draft.free.append(Free(at, attribute, bits, wanted.low, wanted.high))
        return True
    value: Any = wanted.low
    if name in ("src", "dst"):
        value = IPv6Address(value) if isinstance(header, IPv6) else IPv4Address(value)
    try:
        draft.headers[at] = replace(header, **{attribute: value})
    except UsageError as error:
        values.error(span, error.message)
        return False
    return True
