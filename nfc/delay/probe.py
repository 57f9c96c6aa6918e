"""From an event of `end_dm` to the report that a collector gets.

The event holds the first bytes of the packet as the function saw it: after the kernel has
advanced it, so the SID is one segment before the active one. The packet came from the network:
nothing in it is taken for granted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from nfc.delay.wire import (
    BAD_VERSION,
    DESTINATION_TYPE,
    DM_TYPE,
    MESSAGE_SIZE,
    NS,
    PTP,
    SOURCE_TYPE,
    SUCCESS,
    URO_TYPE,
    VERSION,
)
from nfc.errors import ObjectError, UsageError
from nfc.manifest import Manifest

EVENT: Final = "delay_sample"
_IPV6, _ROUTING, _SRH = 40, 43, 4  # header size; next header and routing type numbers
_OPTIONS: Final = (0, 60)  # hop-by-hop and destination options (RFC 8200, section 4)
_URO_SIZE: Final = 20
_ADDRESS_HEAD: Final = (bytes((SOURCE_TYPE, 18, 0, 2)), bytes((DESTINATION_TYPE, 18, 0, 2)))
_TIME = struct.Struct("!II")
_INDEX = struct.Struct("<Q")

Target = tuple[bytes, int]  # address (16 bytes), port
NO_TARGET: Final[Target] = (bytes(16), 0)


def decoder(manifest: Manifest) -> Callable[[bytes], tuple[bytes, Target]]:
    """A function from a ring buffer record of this deployed function to `report`'s answer; it
    raises ObjectError for a record that is none.

    Raises UsageError if the function has no event `delay_sample` with a time `received` and the
    packet's first bytes.
    """
    event = next((e for e in manifest.events if e.name == EVENT and e.packet_bytes), None)
    fields = event.fields if event is not None else ()
    time = next((f for f in fields if f.name == "received" and f.type == "timestamp"), None)
    if event is None or time is None:
        raise UsageError(
            f"{manifest.function} has no event {EVENT} with a time 'received' and packet[n]",
            hint="end_dm of stdlib/delay.nf has one",
        )
    index, at, received = event.index, event.size, struct.Struct(f"<{time.offset}xQ")

    def decode(record: bytes) -> tuple[bytes, Target]:
        if len(record) < at + 8 or _INDEX.unpack_from(record)[0] != index:
            raise ObjectError(f"a record of {len(record)} bytes is no {EVENT}")
        copied = int.from_bytes(record[at + 4 : at + 8], "little")
        return report(record[at + 8 : at + 8 + copied], received.unpack_from(record)[0])

    return decode


def report(packet: bytes, received: int) -> tuple[bytes, Target]:
    """The report on a packet that carries a DM TLV, and where its URO TLV wants it sent
    (`NO_TARGET` if it has none). `received` is in nanoseconds of TAI.

    The DM TLV is as on the wire, with what a response has set and what came behind its 48 bytes.
    Raises ObjectError where the TLV is not in the bytes that there are.
    """
    start, end, sid = _tlv_area(packet)
    dm, uro = -1, -1
    while start + 2 <= end:
        type_, after = packet[start], start + 2 + packet[start + 1]
        if type_ == 0:  # Pad1
            start += 1
            continue
        if after > end:
            break
        if type_ == DM_TYPE and dm < 0 and after - start >= MESSAGE_SIZE:
            dm = start
        elif type_ == URO_TYPE and uro < 0 and after - start >= _URO_SIZE:
            uro = start
        start = after
    if dm < 0:
        raise ObjectError(f"no whole DM TLV in the packet's first {len(packet)} bytes")
    control = SUCCESS if packet[dm + 4] >> 4 == VERSION else BAD_VERSION
    payload = b"".join(
        (
            packet[dm : dm + 4],
            bytes((packet[dm + 4] | 0x08, control)),
            packet[dm + 6 : dm + 8],
            bytes((packet[dm + 8] & 0xF0 | PTP,)),
            packet[dm + 9 : dm + 24],
            _TIME.pack(received // NS & 0xFFFFFFFF, received % NS),
            packet[dm + 32 : dm + 2 + packet[dm + 1]],
            _ADDRESS_HEAD[0],
            packet[8:24],
            _ADDRESS_HEAD[1],
            sid,
        )
    )
    if uro < 0:
        return payload, NO_TARGET
    return payload, (packet[uro + 4 : uro + 20], packet[uro + 2] << 8 | packet[uro + 3])


def _tlv_area(packet: bytes) -> tuple[int, int, bytes]:
    """Where the TLVs of the SRH begin and end, and the SID whose turn it was.

    Raises ObjectError where no whole SRH is.
    """
    if len(packet) < _IPV6 or packet[0] >> 4 != 6:
        raise ObjectError("not an IPv6 packet", where="byte 0")
    kind, at, size = packet[6], _IPV6, len(packet)
    while kind in _OPTIONS and at + 2 <= size:
        kind, at = packet[at], at + 8 + 8 * packet[at + 1]
    if kind != _ROUTING or at + 8 > size or packet[at + 2] != _SRH:
        raise ObjectError("no SRH", where=f"byte {at}")
    left, last = packet[at + 3], packet[at + 4]
    start, end = at + 24 + 16 * last, at + 8 + 8 * packet[at + 1]
    if start > end or end > size or left >= last:
        raise ObjectError(f"an SRH that is not in {size} bytes", where=f"byte {at}")
    here = at + 24 + 16 * left
    return start, end, packet[here : here + 16]
