"""What every header is built on: bit layouts, addresses, the one error, the AUTO mark.

A layout is a table: the fields of a header in wire order with their widths in bits. Encoding,
decoding, range checks and printing all read the same table, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from nfc.errors import ObjectError, UsageError

# In a header's field: "`Packet` works this out". Never on the wire, never in a decoded packet.
AUTO: Final = -1

Layout = tuple[tuple[str, int], ...]
Address = IPv6Address | str | bytes


class PacketError(ObjectError):
    """Bytes that are not the packet or capture they should be; `offset` is where, in bytes."""

    def __init__(self, message: str, offset: int) -> None:
        """Keep `offset`, counted from the start of the packet or capture file."""
        super().__init__(message, where=f"byte {offset}")
        self.offset = offset


def address(value: Address) -> IPv6Address:
    """An IPv6 address from text, 16 bytes in network order, or itself.

    Raises UsageError for anything else, and for a scope (`%eth0`), which no header can carry.
    """
    try:
        result = IPv6Address(value)
    except (AddressValueError, ValueError, TypeError) as error:
        raise UsageError(f"{value!r} is not an IPv6 address") from error
    if result.scope_id is not None:
        raise UsageError(f"{value!r} has a scope, which is not part of the address on the wire")
    return result


def size(layout: Layout) -> int:
    """The bytes that a layout takes; every layout is a whole number of them."""
    return sum(bits for _, bits in layout) // 8


def check(kind: str, layout: Layout, values: Mapping[str, object]) -> None:
    """Raise UsageError unless each field that `layout` names fits its width (or is AUTO)."""
    for name, bits in layout:
        value = values.get(name)
        if bits == 128:
            if not isinstance(value, IPv6Address):
                raise UsageError(f"{kind}: {name} must be an IPv6Address, not {value!r}")
        elif isinstance(value, int) and value != AUTO and not 0 <= value < 1 << bits:
            raise UsageError(f"{kind}: {name} = {value} does not fit in {bits} bits")


def pack(kind: str, layout: Layout, values: Mapping[str, object]) -> bytes:
    """The header's bytes, network byte order. Raises UsageError where a field is still AUTO."""
    word = 0
    for name, bits in layout:
        value = values[name]
        number = int(value) if isinstance(value, (int, IPv4Address, IPv6Address)) else AUTO
        if number == AUTO:
            raise UsageError(f"{kind}: {name} is not known outside a packet; use packet(...)")
        word = word << bits | number
    return word.to_bytes(size(layout), "big")


def unpack(layout: Layout, data: bytes, offset: int) -> dict[str, int]:
    """The fields at `offset`, which must have `size(layout)` bytes behind it (callers check)."""
    length = size(layout)
    word = int.from_bytes(data[offset : offset + length], "big")
    values = {}
    left = length * 8
    for name, bits in layout:
        left -= bits
        values[name] = word >> left & ((1 << bits) - 1)
    return values
