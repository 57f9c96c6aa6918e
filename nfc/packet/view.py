"""A packet's bytes as a flat list of named fields; `show` and `diff` are two readings of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from nfc.packet.base import AUTO, Layout, PacketError, size, unpack
from nfc.packet.chain import Header, Packet, decode, true_checksum
from nfc.packet.ipv4 import IPv4
from nfc.packet.ipv6 import PROTOCOL_NAMES, Extension, Fragment
from nfc.packet.segments import SRH
from nfc.packet.tlvs import HMAC, AnyTLV, Junk, Pad1
from nfc.packet.transport import TCP

TLV_LAYOUT: Final[Layout] = (("type", 8), ("length", 8))
HMAC_LAYOUT: Final[Layout] = (("d", 1), ("reserved", 15), ("key_id", 32))


@dataclass(frozen=True)
class Field:
    """One field: the header it is in, its place (`offset`, `length` in bytes), its value.

    Fields narrower than a byte share it: `offset` is the byte where they begin, and `length`
    the bytes they touch. `value` is the number, or the bytes of a variable field.
    """

    header: str
    name: str
    offset: int
    length: int
    value: int | bytes
    text: str


@dataclass(frozen=True)
class TlvNames:
    """What a TLV is called and made of: the fields behind type and length, in wire order, each
    with its name, its width in bits, and how its value reads."""

    name: str
    fields: tuple[tuple[str, int, Callable[[int], str]], ...]


MORE_FRAGMENTS: Final = 1  # in the flags of IPv4 (RFC 791, section 3.1)
Known = Mapping[int, TlvNames]  # by the TLV's type


def fields(packet: Packet, known: Known | None = None) -> tuple[Field, ...]:
    """Every field of the packet in wire order; between them they cover every byte.

    TLVs of a `known` type that are long enough are taken apart.
    """
    data = packet.encode()
    found: list[Field] = []
    seen: dict[str, int] = {}
    offset = 0
    for header in packet.headers:
        seen[header.KIND] = seen.get(header.KIND, 0) + 1
        title = header.KIND if seen[header.KIND] == 1 else f"{header.KIND} #{seen[header.KIND]}"
        offset = _header(found, title, header, data, offset, known or {})
    true = true_checksum(packet.headers, packet.payload)
    if true != AUTO and not any(map(_goes_on, packet.headers)):
        # In TCP, other fields stand behind it.
        at = next(n for n in reversed(range(len(found))) if found[n].name == "checksum")
        if found[at].value != true:
            note = f"{found[at].text} (wrong: should be {true:#06x})"
            found[at] = replace(found[at], text=note)
    for name, rest in (("payload", packet.payload), ("trailer", packet.trailer)):
        if rest:
            found.append(_bytes(name, "bytes", rest, offset))
            offset += len(rest)
    return tuple(found)


def _goes_on(header: Header) -> bool:
    """Whether other packets have the rest of what a checksum covers."""
    if isinstance(header, Fragment):
        return bool(header.more)
    return isinstance(header, IPv4) and bool(header.flags & MORE_FRAGMENTS)


def hexdump(data: bytes, base: int = 0) -> Iterator[str]:
    """Lines of 16 bytes with their offset, in hexadecimal."""
    for at in range(0, len(data), 16):
        yield f"{base + at:5d}  {data[at : at + 16].hex(' ')}"


def show(data: bytes, known: Known | None = None) -> str:
    """A dissection to read: a line a field, headers set off by their names and places.

    Works on any bytes: what is not a packet is dumped in hexadecimal, with the reason.
    """
    try:
        packet = decode(data)
    except PacketError as error:
        return "\n".join([f"not an IPv6 packet ({len(data)} bytes): {error}", *hexdump(data)])
    lines = []
    header = ""
    for field in fields(packet, known):
        if field.header != header:
            header = field.header
            lines.append(f"{header} @{field.offset}")
        if isinstance(field.value, bytes) and len(field.value) > 16:
            lines.append(f"  {field.name:<15} {len(field.value)} bytes")
            lines.extend(f"    {line}" for line in hexdump(field.value, field.offset))
        else:
            lines.append(f"  {field.name:<15} {field.text}")
    if packet.problem:
        lines.append(f"problem: {packet.problem}")
    return "\n".join(lines)


def diff(expected: bytes, got: bytes, known: Known | None = None) -> str:
    """How two packets differ, field by field; "" if, and only if, they are the same bytes."""
    if expected == got:
        return ""
    left, right = _by_name(expected, known), _by_name(got, known)
    lines = []
    other = {  # TLVs of another type: there is nothing to compare in them
        name.removesuffix(" type")
        for name in left.keys() & right.keys()
        if name.endswith("] type") and left[name].value != right[name].value
    }
    for key in [*left, *(key for key in right if key not in left)]:
        want, have = left.get(key), right.get(key)
        if not key.endswith("] type") and any(key.startswith(f"{title} ") for title in other):
            continue
        if want is not None and have is not None:
            if want.value == have.value:
                continue
            place = _first_difference(want, have)
            lines += [f"{key}{place}", f"  expected {want.text}", f"  got      {have.text}"]
        elif want is not None:
            lines.append(f"{key} is missing: expected {want.text}")
        elif have is not None:
            lines.append(f"{key} is not expected: got {have.text}")
    if len(expected) != len(got):
        lines.append(f"length: expected {len(expected)} bytes, got {len(got)}")
    return "\n".join(lines)


def _by_name(data: bytes, known: Known | None) -> dict[str, Field]:
    try:
        return {f"{f.header} {f.name}": f for f in fields(decode(data), known)}
    except PacketError:
        return {"bytes": _bytes("bytes", "", data, 0)}


def _first_difference(want: Field, have: Field) -> str:
    """Where two long values part, in bytes from the start of each."""
    if not isinstance(want.value, bytes) or not isinstance(have.value, bytes):
        return ""
    pairs = zip(want.value, have.value, strict=False)
    shorter = min(len(want.value), len(have.value))
    return f", from its byte {next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)}"


def _header(
    found: list[Field], title: str, header: Header, data: bytes, offset: int, known: Known
) -> int:
    """Append the fields of one header; returns where the next begins."""
    offset = _layout(found, title, header.LAYOUT, data, offset)
    if isinstance(header, Extension):
        found.append(_bytes(title, "body", header.body, offset))
        return offset + len(header.body)
    if isinstance(header, IPv4 | TCP) and header.options:
        found.append(_bytes(title, "options", header.options, offset))
        return offset + len(header.options)
    if not isinstance(header, SRH):
        return offset
    for index in range(len(header.segments)):
        segment = header.segments[-1 - index]
        active = "  <- segments_left" if index == header.segments_left else ""
        text = f"{segment}{active}"
        found.append(Field(title, f"segment[{index}]", offset, 16, int(segment), text))
        offset += 16
    for index, item in enumerate(header.tlvs):
        offset = _tlv(found, f"{title} TLV[{index}]", item, data, offset, known)
    return offset


def _tlv(
    found: list[Field], title: str, item: AnyTLV, data: bytes, offset: int, known: Known
) -> int:
    stop = offset + len(item.encode())
    names = None if isinstance(item, Pad1 | Junk) else known.get(data[offset])
    if names is not None and stop - offset >= 2 + sum(bits for _, bits, _ in names.fields) // 8:
        found.append(
            Field(title, "type", offset, 1, data[offset], f"{data[offset]} ({names.name})")
        )
        found.append(Field(title, "length", offset + 1, 1, data[offset + 1], str(data[offset + 1])))
        word, bit = int.from_bytes(data[offset:stop], "big"), 16
        for name, bits, reads in names.fields:
            value = word >> 8 * (stop - offset) - bit - bits & (1 << bits) - 1
            first, last = offset + bit // 8, offset + (bit + bits - 1) // 8
            found.append(Field(title, name, first, last - first + 1, value, reads(value)))
            bit += bits
        if stop > offset + bit // 8:
            found.append(_bytes(title, "rest", data[offset + bit // 8 : stop], offset + bit // 8))
        return stop
    if isinstance(item, Pad1):
        found.append(Field(title, "type", offset, 1, 0, "0 (Pad1)"))
    elif isinstance(item, Junk):
        found.append(_bytes(title, "not a TLV", item.data, offset))
    else:
        offset = _layout(found, title, TLV_LAYOUT, data, offset)
        name = "value"
        if isinstance(item, HMAC):
            offset = _layout(found, title, HMAC_LAYOUT, data, offset)
            name = "digest"
        if stop > offset:
            found.append(_bytes(title, name, data[offset:stop], offset))
    return stop


def _layout(found: list[Field], title: str, layout: Layout, data: bytes, offset: int) -> int:
    """Append the fields of a layout; returns the offset behind it."""
    bit = 0
    for name, value in unpack(layout, data, offset).items():
        bits = dict(layout)[name]
        first, last = offset + bit // 8, offset + (bit + bits - 1) // 8
        text = str(IPv4Address(value)) if bits == 32 and name in _ADDRESSES else _text(name, value)
        found.append(Field(title, name, first, last - first + 1, value, text))
        bit += bits
    return offset + size(layout)


def _text(name: str, value: int) -> str:
    return _FORMAT.get(name, str)(value)


def _bytes(header: str, name: str, value: bytes, offset: int) -> Field:
    text = f"{len(value)} bytes: {value[:32].hex(' ')}{' ...' if len(value) > 32 else ''}"
    return Field(header, name, offset, len(value), value, text)


def _hex(value: int) -> str:
    return f"{value:#06x}"


def _protocol(value: int) -> str:
    return f"{value} ({PROTOCOL_NAMES[value]})" if value in PROTOCOL_NAMES else str(value)


def _address(value: int) -> str:
    return str(IPv6Address(value))


_ADDRESSES: Final = ("src", "dst")
# How a number reads; by field name, since a name means one thing in every layout.
_FORMAT: Final[dict[str, Callable[[int], str]]] = {
    "src": _address,
    "dst": _address,
    "next_header": _protocol,
    "protocol": _protocol,
    "traffic_class": lambda value: f"{value:#04x}",
    "flow_label": lambda value: f"{value:#07x}",
    "flags": lambda value: f"{value:#04x}",
    "tag": _hex,
    "checksum": _hex,
    "key_id": lambda value: f"{value:#010x}",
}
