"""Changes to a packet, in the words of the language: set, add, remove, replace."""

from __future__ import annotations

from dataclasses import replace

from nfc.errors import UsageError
from nfc.nft import tree
from nfc.nft.draft import KINDS, Draft, free_tlv, padded, to_wire, without_hmac, without_padding
from nfc.nft.fields import assign, declared_tlv, make_tlv
from nfc.nft.pattern import Free, settled
from nfc.nft.values import Values
from nfc.packet import SRH, IPv6, Packet, PacketError, decode
from nfc.packet.tlvs import AnyTLV, tlv
from nfc.sema.types import Ipv6
from nfc.syntax.diagnostics import nearest
from nfc.syntax.tree import Ident


def change(values: Values, one: tree.Change, draft: Draft) -> bool:
    """Make a change; False after an error."""
    match one:
        case tree.SetPayload(data=data):
            draft.payload = data
            return True
        case tree.Set():
            return _set(values, one, draft)
    return _tlvs(values, one, draft)


def _set(values: Values, one: tree.Set, draft: Draft) -> bool:
    name = one.header.text
    if name in KINDS or name == "inner":
        class_, known, _ = KINDS["ip" if name == "inner" else name]
        fits = [i for i, h in enumerate(draft.headers) if type(h) is class_]
        number = one.index + (name == "inner")
        if number >= len(fits):
            values.error(one.header.span, f"this packet has no {_which(name, one.index)}")
            return False
        at = fits[number]
        if one.element is not None:
            return _set_segment(values, one, draft, at)
        found = values.fields((tree.Assign(one.field, one.value),), known, name)
        return found is not None and assign(values, draft, at, found, one.span)
    if name not in values.scope.tlvs:
        known_names = [*KINDS, "inner", *values.scope.tlvs]
        hint = nearest(name, known_names) or f"headers: {', '.join([*KINDS, 'inner'])}"
        values.error(one.header.span, f"there is no header or TLV '{name}'", hint)
        return False
    place = _find(values, one.header, one.index, draft)
    if place is None:
        return False
    at, index = place
    declared = values.scope.tlvs[name]
    known_fields = {f.name: f.type for f in declared.fields if f.name is not None}
    found = values.fields((tree.Assign(one.field, one.value),), known_fields, name)
    if found is None:
        return False
    part = declared.field(one.field.text)
    assert part is not None
    header = draft.headers[at]
    assert isinstance(header, SRH)
    data = header.tlvs[index].encode()
    if len(data) < declared.size:
        values.error(one.header.span, f"this packet's {name} is too short to have fields")
        return False
    wanted = found[one.field.text]
    shift = 8 * len(data) - part.bit_offset - part.type.bits
    mask = (1 << part.type.bits) - 1 << shift
    value = to_wire(wanted.low if wanted.exact else 0, part.type) << shift
    word = int.from_bytes(data, "big") & ~mask | value
    data = word.to_bytes(len(data), "big")
    tlvs = list(header.tlvs)
    tlvs[index] = tlv(data[0], data[2:])
    draft.headers[at] = replace(header, tlvs=tuple(tlvs))
    if not wanted.exact:
        draft.free.append(free_tlv(at, index, declared, part, wanted))
    return True


def _set_segment(values: Values, one: tree.Set, draft: Draft, at: int) -> bool:
    """`set srh.segment_list[n]`, counted as RFC 8754 does: 0 is the last of the path."""
    header = draft.headers[at]
    if not isinstance(header, SRH) or one.field.text != "segment_list" or one.element is None:
        values.error(one.field.span, f"{one.header.text}.{one.field.text} is no list")
        return False
    place = len(header.segments) - 1 - one.element
    if place < 0:
        values.error(one.field.span, f"this packet has {len(header.segments)} segments")
        return False
    wanted = values.wanted(one.value, Ipv6(), "a segment")
    if wanted is None:
        return False
    if not wanted.exact:
        draft.free.append(Free(at, f"segments[{place}]", 128, wanted.low, wanted.high))
        return True
    segments = list(header.segments)
    segments[place] = type(segments[place])(wanted.low)
    draft.headers[at] = replace(header, segments=tuple(segments))
    return True


def _tlvs(values: Values, one: tree.Add | tree.Remove | tree.Replace, draft: Draft) -> bool:
    """Change which TLVs there are: those that are left stand close, with as little padding as
    makes the SRH a multiple of 8 bytes."""
    at = next((i for i, h in enumerate(draft.headers) if isinstance(h, SRH)), None)
    if at is None:
        values.error(one.span, "this packet has no srh")
        return False
    header = draft.headers[at]
    assert isinstance(header, SRH)
    own: list[AnyTLV] = without_padding(header.tlvs)
    if any(f.tlv is not None and f.header == at for f in draft.free):
        values.error(one.span, "TLVs are added and removed before their fields are left open")
        return False
    flags = header.flags
    aside = Draft()
    match one:
        case tree.Remove(name=name) if name.text == "hmac":
            own, flags = without_hmac(own), flags & ~0x08
        case tree.Remove(name=name, all=True):
            declared = declared_tlv(values, name)
            if declared is None:
                return False
            own = [t for t in own if t.encode()[0] != declared.number]
        case tree.Remove(name=name, index=index):
            found = _index(values, name, index, own)
            if found is None:
                return False
            del own[found]
        case tree.Replace(name=name, index=index, tlv=put):
            found = _index(values, name, index, own)
            made = make_tlv(values, put, aside, at, found or 0)
            if found is None or made is None:
                return False
            own[found] = made
        case tree.Add(tlv=put, where=where, anchor=anchor):
            place: int | None = 0 if where == "first" else len(own)
            if anchor is not None:
                place = _index(values, anchor, 0, own)
            if place is None:
                return False
            place += where == "after"
            made = make_tlv(values, put, aside, at, place)
            if made is None:
                return False
            own.insert(place, made)
    draft.free += aside.free
    if at in draft.more:
        draft.more[at] = len(own)
    try:
        draft.headers[at] = replace(header, tlvs=padded(own), flags=flags)
    except UsageError as error:
        values.error(one.span, error.message.removeprefix("SRH: "))
        return False
    return True


def _find(values: Values, name: Ident, index: int, draft: Draft) -> tuple[int, int] | None:
    """Which SRH and which of its TLVs is meant."""
    for at, header in enumerate(draft.headers):
        if isinstance(header, SRH):
            found = _index(values, name, index, header.tlvs)
            return None if found is None else (at, found)
    values.error(name.span, "this packet has no srh")
    return None


def _index(
    values: Values, name: Ident, index: int, tlvs: list[AnyTLV] | tuple[AnyTLV, ...]
) -> int | None:
    declared = declared_tlv(values, name)
    if declared is None:
        return None
    fits = [i for i, t in enumerate(tlvs) if t.encode()[0] == declared.number]
    if index >= len(fits):
        values.error(name.span, f"this packet has no {_which(name.text, index)}")
        return None
    return fits[index]


def _which(name: str, index: int) -> str:
    return f"{name}[{index}]" if index else name


# ---- what the kernel makes of a packet ------------------------------------------------------


def advanced(data: bytes) -> bytes:
    """The packet with its segment advanced (RFC 8754, section 4.3.1.1); as it is without an SRH
    that has segments left."""
    found = settled(data)
    if found is None:
        return data
    headers, payload, trailer = found
    for at, header in enumerate(headers):
        if isinstance(header, SRH) and 0 < header.segments_left <= len(header.segments):
            left = header.segments_left - 1
            headers[at] = replace(header, segments_left=left)
            outer = headers[0]
            assert isinstance(outer, IPv6)
            headers[0] = replace(outer, dst=header.segments[-1 - left])
            return Packet(tuple(headers), payload, trailer).encode()
        if isinstance(header, IPv6) and at:
            break
    return data


def forwarded(data: bytes) -> bytes:
    """The packet with its hop limit one lower."""
    return data[:7] + bytes([max(data[7] - 1, 0)]) + data[8:] if len(data) >= 40 else data


def decapsulated(data: bytes) -> bytes | None:
    """The IPv6 packet inside, with its hop limit one lower; None where there is none."""
    try:
        packet = decode(data)
    except PacketError:
        return None
    at = 0
    for number, header in enumerate(packet.headers):
        if number and isinstance(header, IPv6):
            return forwarded(data[at:])
        at += len(header.encode())
    return None
