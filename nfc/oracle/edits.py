"""What edits make of the SRH: docs/language.md, "What can be changed"."""

from __future__ import annotations

from collections.abc import Sequence

from nfc.oracle import wire
from nfc.oracle.values import MAX_TLVS, Context, to_wire
from nfc.sema import typed
from nfc.sema.headers import HMAC_FLAG, HMAC_TLV

MAX_SRH = 2048  # bytes: 8 times the most that Hdr Ext Len can say, and 1
_STRUCTURE = (
    typed.AddTlv,
    typed.RemoveTlv,
    typed.RemoveAll,
    typed.RemoveHmac,
    typed.ReplaceTlv,
)
_FLAGS = range(40, 48)  # bits of the SRH


def built(value: typed.TlvValue, context: Context) -> bytes:
    """A TLV to be built. Raises AbsentError."""
    data = bytes([value.tlv.number, value.tlv.size - 2]) + bytes(value.tlv.size - 2)
    for part, expr in value.values:
        if part.name is not None:
            number = to_wire(context.value(expr), part.type)
            data = wire.with_bits(data, part.bit_offset, part.type.bits, number)
    return data


def refusals(edits: Sequence[typed.Edit], context: Context) -> frozenset[str]:
    """The reasons for which the packet is dropped before anything changes."""
    touching = [
        e
        for e in edits
        if isinstance(e, (typed.SetTlv, *_STRUCTURE))
        or (isinstance(e, typed.SetHeader) and e.field.header == "srh")
    ]
    if not touching:
        return frozenset()
    if context.srh is None:
        return frozenset({"no_srh"})
    srh = context.srh
    found = set()
    structure = any(isinstance(e, _STRUCTURE) for e in touching)
    sets_flags = any(
        isinstance(e, typed.SetHeader) and e.field.bit_offset in _FLAGS for e in touching
    )
    signed = context.data[srh.at + 5] & HMAC_FLAG
    unsigns = any(isinstance(e, typed.RemoveHmac) for e in touching)
    if (structure or sets_flags) and signed and not unsigns:
        found.add("hmac_protected")
    if not srh.first and any(not isinstance(e, typed.SetHeader) for e in touching):
        found.add("not_first_srh")
    if structure and len(context.tlvs()) > MAX_TLVS:
        found.add("srh_full")
    return frozenset(found)


def edited(edits: Sequence[typed.Edit], context: Context) -> bytes | None:
    """The packet with its SRH as it leaves, None if it would be too long. Raises AbsentError.

    Every value reads the packet as it arrived, and none of `refusals` holds.
    """
    data = context.data
    srh = context.srh
    for edit in edits:
        if isinstance(edit, typed.SetHeader):
            value = context.value(edit.value)
            start = 0
            if edit.field.header == "srh":
                assert srh is not None
                start = srh.at * 8
            if edit.field.name == "flags":
                value &= ~HMAC_FLAG
            data = wire.with_bits(data, start + edit.field.bit_offset, edit.field.bits, value)
        if isinstance(edit, typed.RemoveHmac):
            assert srh is not None
            data = wire.with_bits(data, srh.at * 8 + _FLAGS[4], 1, 0)
    changes = [e for e in edits if isinstance(e, (typed.SetTlv, *_STRUCTURE))]
    if not changes:
        return data
    assert srh is not None
    tlvs = _tlvs(changes, context)
    if any(isinstance(e, _STRUCTURE) for e in changes):
        tlvs += wire.padding(len(tlvs))
    size = srh.tlvs_at - srh.at + len(tlvs)
    if size > MAX_SRH:
        return None
    head = data[: srh.at + 1] + bytes([size // 8 - 1]) + data[srh.at + 2 : srh.tlvs_at]
    whole = head + tlvs + data[srh.end :]
    changed = len(whole) != len(data)
    return whole[:4] + (len(whole) - 40).to_bytes(2, "big") + whole[6:] if changed else whole


def _tlvs(changes: Sequence[typed.Edit], context: Context) -> bytes:
    """The TLVs that leave, before padding."""
    old = context.tlvs()
    new: list[bytes] = list(old)
    before: dict[int, list[bytes]] = {}
    after: dict[int, list[bytes]] = {}
    first: list[bytes] = []
    last: list[bytes] = []
    gone: set[int] = set()
    moved = False
    for edit in changes:
        moved |= isinstance(edit, _STRUCTURE)
        match edit:
            case typed.SetTlv(tlv=tlv, field=part, value=value):
                at = context.index(tlv)
                number = to_wire(context.value(value), part.type)
                new[at] = wire.with_bits(new[at], part.bit_offset, part.type.bits, number)
            case typed.AddTlv(value=made, where=where, anchor=anchor):
                place = {"first": first, "last": last}.get(where)
                if place is None:
                    assert anchor is not None
                    beside = before if where == "before" else after
                    place = beside.setdefault(context.index(anchor), [])
                place.append(built(made, context))
            case typed.RemoveTlv(tlv=tlv):
                gone.add(context.index(tlv))
            case typed.RemoveAll(tlv=tlv):
                gone |= {i for i, found in enumerate(old) if found[0] == tlv.number}
            case typed.RemoveHmac():
                gone |= {i for i, found in enumerate(old) if found[0] == HMAC_TLV}
            case typed.ReplaceTlv(tlv=tlv, value=made):
                new[context.index(tlv)] = built(made, context)
    out = first
    for at, found in enumerate(new):
        out += before.get(at, [])
        if at not in gone and not (moved and old[at][0] == wire.PADN):
            out.append(found)
        out += after.get(at, [])
    return b"".join(out + last)
