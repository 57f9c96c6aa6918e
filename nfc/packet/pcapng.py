"""pcapng files, read and written as streams (draft-ietf-opsawg-pcapng, "PCAP Now Generic Dump File
Format"): both byte orders, several sections and interfaces, times of any resolution.

Reading trusts no length in the file: what does not fit is an error with its offset, and never
more than one packet is in memory. Blocks and options that nfc has no use for are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from nfc.errors import UsageError
from nfc.packet.base import PacketError
from nfc.packet.links import RAW
from nfc.packet.pcap import MAX_RECORD, Record
from nfc.packet.streams import Readable, exactly, skip

MAGIC: Final = b"\x0a\x0d\x0d\x0a"  # the type of a Section Header Block, the same both ways round
MAX_INTERFACES: Final = 65_536  # in a section; each takes memory
SECTION, INTERFACE, OBSOLETE, SIMPLE, ENHANCED = 0x0A0D0D0A, 1, 2, 3, 6
_ORDERS: Final = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
_END, _NAME, _TSRESOL, _TSOFFSET = 0, 2, 9, 14  # options
_FRAME: Final = 12  # bytes of a block besides its body: type, length, and the length again
_NS: Final = 1_000_000_000
_MICROSECONDS: Final = 6  # if_tsresol where there is none


@dataclass(frozen=True)
class Interface:
    """An interface of a section. `resolution` is the byte of if_tsresol: 10^-n seconds a unit, or
    2^-n with its highest bit set; `shift_s` is added to every time, in seconds."""

    linktype: int
    snaplen: int  # bytes; 0: no limit
    resolution: int = _MICROSECONDS
    shift_s: int = 0

    def nanoseconds(self) -> tuple[int, int, int, int]:
        """What makes nanoseconds of this interface's units: factor, bits to shift right after it,
        divisor, and what is added in the end."""
        power = self.resolution & 0x7F
        add = self.shift_s * _NS
        if self.resolution & 0x80:
            return _NS, power, 1, add
        return 10 ** max(0, 9 - power), 0, 10 ** max(0, power - 9), add

    def time_ns(self, units: int) -> int:
        """Nanoseconds since 1970 of a time in this interface's units, rounded down."""
        factor, shift, divisor, add = self.nanoseconds()
        return (units * factor >> shift) // divisor + add


class _Block:
    """The rest of one block's body; every read is held against the block's length."""

    def __init__(self, stream: Readable, offset: int, length: int, order: str) -> None:
        """`length` bytes of body follow in the stream; the block began at byte `offset`."""
        self.stream, self.start, self.order = stream, offset, order
        self.at, self.left = offset + 8, length

    def take(self, length: int, what: str) -> bytes:
        """The next bytes. Raises PacketError."""
        if length > self.left:
            raise PacketError(f"{what} takes {length} bytes, its block has {self.left}", self.at)
        data = exactly(self.stream, length, self.at, what)
        self.at += length
        self.left -= length
        return data

    def numbers(self, form: str, what: str) -> tuple[int, ...]:
        """The next bytes as numbers. Raises PacketError."""
        return struct.unpack(self.order + form, self.take(struct.calcsize(form), what))

    def pass_over(self, length: int, what: str) -> None:
        """Skip bytes. Raises PacketError."""
        if length > self.left:
            raise PacketError(f"{what} takes {length} bytes, its block has {self.left}", self.at)
        skip(self.stream, length, self.at, what)
        self.at += length
        self.left -= length

    def close(self) -> int:
        """Skip what is left, and the length that ends the block; where the next one begins."""
        whole = self.at + self.left - self.start + 4
        self.pass_over(self.left, "a block")
        (again,) = struct.unpack(self.order + "I", exactly(self.stream, 4, self.at, "a block"))
        if again != whole:
            raise PacketError(f"a block of {whole} bytes ends as one of {again}", self.at)
        return self.at + 4


def records(stream: Readable, begun: bytes = b"") -> Iterator[Record]:
    """The packets of a capture, one at a time; the stream need not seek. `begun`: its first
    bytes, where they were read already.

    A Simple Packet Block has no time: it gets that of the packet before it, 0 at first. Raises
    PacketError, with the offset in the file.
    """
    kind = begun + exactly(stream, 4 - len(begun), 0, "the file header", len(begun))
    if kind != MAGIC:
        raise PacketError(f"{kind.hex()} is not how a pcapng file begins", 0)
    section, offset = Section(), 0
    while kind:
        record, offset = section.block(stream, kind, offset)
        if record is not None:
            yield record
        kind = stream.read(1)
        if kind:
            kind += exactly(stream, 3, offset, "a block header", 1)


class Section:
    """What a file has said so far: the byte order, the interfaces, the time of its last packet."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.order = ""
        self.interfaces: list[Interface] = []
        self.last = 0

    def block(self, stream: Readable, kind: bytes, offset: int) -> tuple[Record | None, int]:
        """Read the rest of the block that begins at `offset` with `kind`, its type, as it lies in
        the file: the packet in it, if there is one, and where the next block begins. Raises
        PacketError."""
        size = exactly(stream, 4, offset, "a block header", 4)
        if kind == MAGIC:
            # Only the section's own magic, behind the length, says how the length is to be read.
            magic = exactly(stream, 4, offset + 8, "a section header")
            if magic not in _ORDERS:
                raise PacketError(f"{magic.hex()} is not the byte-order magic", offset + 8)
            self.order = _ORDERS[magic]
        (length,) = struct.unpack(self.order + "I", size)
        if length < _FRAME + (16 if kind == MAGIC else 0) or length % 4:
            raise PacketError(f"a block cannot be {length} bytes long", offset + 4)
        block = _Block(stream, offset, length - _FRAME, self.order)
        (number,) = struct.unpack(self.order + "I", kind)
        record = None
        if number == SECTION:
            block.at, block.left = block.at + 4, block.left - 4
            major, minor = block.numbers("HH", "a section header")
            if (major, minor) not in ((1, 0), (1, 2)):
                raise PacketError(
                    f"pcapng version {major}.{minor} where 1.0 should be", offset + 12
                )
            self.interfaces = []
        elif number == INTERFACE:
            if len(self.interfaces) == MAX_INTERFACES:
                raise PacketError(f"more than {MAX_INTERFACES} interfaces", offset)
            self.interfaces.append(_interface(block))
        elif number in (ENHANCED, OBSOLETE, SIMPLE):
            record = _packet(block, number, self.interfaces, self.last)
            self.last = record.time_ns
        return record, block.close()


def _interface(block: _Block) -> Interface:
    linktype, _, snaplen = block.numbers("HHI", "an interface")
    resolution, shift = _MICROSECONDS, 0
    while block.left >= 4:
        option, length = block.numbers("HH", "an option")
        if option == _END:
            break
        padded = length + -length % 4
        if option == _TSRESOL and length == 1:
            resolution = block.take(padded, "an option")[0]
        elif option == _TSOFFSET and length == 8:
            (shift,) = block.numbers("q", "an option")
        else:
            block.pass_over(padded, "an option")
    return Interface(linktype, snaplen, resolution, shift)


def _packet(block: _Block, kind: int, interfaces: list[Interface], before: int) -> Record:
    index = high = low = 0
    if kind == ENHANCED:
        index, high, low, captured, original = block.numbers("IIIII", "a packet block")
    elif kind == OBSOLETE:
        index, _, high, low, captured, original = block.numbers("HHIIII", "a packet block")
    else:
        (original,) = block.numbers("I", "a packet block")
        captured = original
    if index >= len(interfaces):
        raise PacketError(f"interface {index} is not described before its packet", block.start + 8)
    interface = interfaces[index]
    if kind == SIMPLE:
        captured = min(original, interface.snaplen or original, block.left)
    if captured > MAX_RECORD:
        raise PacketError(f"a packet of {captured} bytes is over {MAX_RECORD}", block.start)
    time = before if kind == SIMPLE else interface.time_ns(high << 32 | low)
    if not 0 <= time < 1 << 64:
        raise PacketError("the time is not one of 64 bits of nanoseconds since 1970", block.start)
    data = block.take(captured, "a packet")
    return Record(time, data, original, interface.linktype, block.start, index)


# ---- writing --------------------------------------------------------------------------------


class Writer:
    """Writes a pcapng file of one section, with times in nanoseconds."""

    def __init__(
        self, stream: BinaryIO, linktype: int = RAW, interfaces: Sequence[str] = ("",)
    ) -> None:
        """Write the section and the interfaces, all of one link type, by name ("": none)."""
        self.stream, self.linktype, self.interfaces = stream, linktype, len(interfaces)
        stream.write(_block(SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        for name in interfaces:
            options = _option(_NAME, name.encode()) if name else b""
            options += _option(_TSRESOL, b"\x09") + _option(_END, b"")
            head = struct.pack("<HHI", linktype, 0, MAX_RECORD)
            stream.write(_block(INTERFACE, head + options))

    def write(self, record: Record) -> None:
        """Write one packet. Raises UsageError for what a file cannot hold."""
        size = len(record.data)
        if size > MAX_RECORD or not 0 <= record.original_length < 1 << 32:
            raise UsageError(f"a packet of {size} of {record.original_length} bytes does not fit")
        if record.linktype != self.linktype:
            raise UsageError(f"a packet of link type {record.linktype} in one of {self.linktype}")
        if not 0 <= record.interface < self.interfaces:
            raise UsageError(f"interface {record.interface} of {self.interfaces}")
        if not 0 <= record.time_ns < 1 << 64:
            raise UsageError(f"a time of {record.time_ns} ns does not fit a pcapng packet")
        self.stream.write(packet_block(record))


def write(stream: BinaryIO, packets: Iterable[Record], linktype: int = RAW) -> int:
    """Write a capture, and return how many packets it has. Raises as `Writer.write`."""
    writer = Writer(stream, linktype)
    count = 0
    for count, record in enumerate(packets, start=1):  # noqa: B007
        writer.write(record)
    return count


def packet_block(record: Record) -> bytes:
    """An Enhanced Packet Block, little-endian, of an interface that counts nanoseconds."""
    size = len(record.data)
    head = struct.pack(
        "<IIIII", record.interface, record.time_ns >> 32, record.time_ns & 0xFFFF_FFFF, size,
        record.original_length,
    )  # fmt: skip
    return _block(ENHANCED, head + record.data + bytes(-size % 4))


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", _FRAME + len(body))
    return struct.pack("<I", kind) + length + body + length


def _option(number: int, value: bytes) -> bytes:
    return struct.pack("<HH", number, len(value)) + value + bytes(-len(value) % 4)
