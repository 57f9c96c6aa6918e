"""Classic pcap files, read and written as streams (draft-ietf-opsawg-pcap, "PCAP Capture File
Format"): either byte order, microseconds or nanoseconds. `nfc.packet.capture` reads pcapng too.

Reading trusts no length in the file: a record over `MAX_RECORD` bytes or past the end of the
file is an error with its offset, and never more than one record is in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

from nfc.errors import UsageError
from nfc.packet import links
from nfc.packet.base import PacketError
from nfc.packet.streams import Readable, exactly

LINKTYPE_ETHERNET: Final = links.ETHERNET
LINKTYPE_RAW: Final = links.RAW
MAX_RECORD: Final = 262_144  # bytes; libpcap's own MAXIMUM_SNAPLEN
TIME_LIMIT: Final = 2**32 * 1_000_000_000  # nanoseconds since 1970: in 2106 the seconds are used up

# The first four bytes of a file -> (byte order, nanoseconds a unit of the fraction).
_MAGIC: Final[dict[bytes, tuple[Literal["<", ">"], int]]] = {
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
_PACKED: Final = (b"\x1f\x8b", b"\x28\xb5", b"BZ", b"\xfd7")  # gzip, zstd, bzip2, xz
HEADER_SIZE: Final = 24
RECORD_SIZE: Final = 16


@dataclass(frozen=True)
class Record:
    """One captured packet: `data` as captured, `original_length` bytes long on the wire.

    `time_ns` is nanoseconds since 1970, `offset` the record's place in the file in bytes (-1:
    it did not come from a file), `interface` which of the capture's interfaces saw it, from 0.
    """

    time_ns: int
    data: bytes
    original_length: int
    linktype: int = LINKTYPE_RAW
    offset: int = -1
    interface: int = 0

    def ipv6(self) -> bytes | None:
        """The IPv6 packet inside, VLAN tags taken off; None if it holds something else.

        Raises PacketError for a link type that `nfc.packet.links` does not know.
        """
        form = links.FORMS.get(self.linktype)
        if form is None:
            known = ", ".join(f"{name} ({n})" for n, name in links.NAMES.items())
            raise PacketError(f"link type {self.linktype} is none of {known}", max(self.offset, 0))
        return form.ipv6(self.data)


@dataclass(frozen=True)
class Header:
    """How a file's records are written: byte order, nanoseconds a unit of the fraction of a second,
    link type. `data` is the header itself."""

    order: Literal["<", ">"]
    unit: int
    linktype: int
    data: bytes


def read_header(stream: Readable, begun: bytes = b"") -> Header:
    """The header of a file; `begun`: its first bytes, where they were read already. Raises
    PacketError."""
    head = begun + exactly(stream, HEADER_SIZE - len(begun), 0, "the file header", len(begun))
    if head[:4] not in _MAGIC:
        packed = ", it seems to be compressed: unpack it first" if head[:2] in _PACKED else ""
        said = f"{head[:4].hex()} is not the magic number of a pcap or pcapng file{packed}"
        raise PacketError(said, 0)
    order, unit = _MAGIC[head[:4]]
    major, minor, _, _, _, link = struct.unpack(f"{order}HHiIII", head[4:])
    if (major, minor) != (2, 4):
        raise PacketError(f"pcap version {major}.{minor} where 2.4 should be", 4)
    # The bits above tell of a frame check sequence.
    return Header(order, unit, link & 0xFFFF, head)


def records(stream: Readable, begun: bytes = b"") -> Iterator[Record]:
    """The records of a capture, one at a time; the stream need not seek. `begun`: its first bytes,
    where they were read already.

    Raises PacketError, with the offset in the file, for an unknown magic number or version, a
    record that is too long, or a file that ends in the middle of something.
    """
    header = read_header(stream, begun)
    offset = HEADER_SIZE
    while first := stream.read(1):
        record = read_record(stream, header, offset, first)
        yield record
        offset += RECORD_SIZE + len(record.data)


def read_record(stream: Readable, header: Header, offset: int, begun: bytes = b"") -> Record:
    """The record at `offset`; `begun`: its first bytes. Raises PacketError."""
    more = RECORD_SIZE - len(begun)
    head = begun + exactly(stream, more, offset, "a record header", len(begun))
    seconds, fraction, captured, original = struct.unpack(f"{header.order}IIII", head)
    if captured > MAX_RECORD:
        raise PacketError(f"a record of {captured} bytes is over {MAX_RECORD}", offset + 8)
    data = exactly(stream, captured, offset + RECORD_SIZE, "a record")
    time_ns = seconds * 1_000_000_000 + fraction * header.unit
    return Record(time_ns, data, original, header.linktype, offset)


def read(path: str | Path) -> Iterator[Record]:
    """The records of the file at `path`; raises as `records` does, and OSError from the file."""
    with open(path, "rb") as stream:
        yield from records(stream)


class Writer:
    """Writes a pcap file of one link type; `nano` false: times in microseconds, rounded down."""

    def __init__(
        self,
        stream: BinaryIO,
        linktype: int = LINKTYPE_RAW,
        *,
        order: Literal["<", ">"] = "<",
        nano: bool = True,
    ) -> None:
        """Write the file header at once."""
        self.stream, self.linktype, self.order = stream, linktype, order
        self.unit = 1 if nano else 1000
        magic = next(m for m, known in _MAGIC.items() if known == (order, self.unit))
        stream.write(magic + struct.pack(f"{order}HHiIII", 2, 4, 0, 0, MAX_RECORD, linktype))

    def write(self, record: Record) -> None:
        """Write one record. Raises UsageError if it is over `MAX_RECORD` bytes, of another link
        type, or if its original length or seconds do not fit 32 bits."""
        if len(record.data) > MAX_RECORD:
            raise UsageError(f"a record of {len(record.data)} bytes is over {MAX_RECORD}")
        if record.linktype != self.linktype:
            raise UsageError(f"a record of link type {record.linktype} in one of {self.linktype}")
        if not 0 <= record.original_length < 2**32:
            raise UsageError(f"an original length of {record.original_length} bytes does not fit")
        if not 0 <= record.time_ns < TIME_LIMIT:
            raise UsageError(f"a time of {record.time_ns} ns does not fit a pcap record")
        seconds, rest = divmod(record.time_ns, 1_000_000_000)
        sizes = len(record.data), record.original_length
        head = struct.pack(f"{self.order}IIII", seconds, rest // self.unit, *sizes)
        self.stream.write(head + record.data)


def write(
    stream: BinaryIO,
    packets: Iterable[Record | bytes],
    *,
    linktype: int = LINKTYPE_RAW,
    order: Literal["<", ">"] = "<",
    nano: bool = True,
) -> int:
    """Write a capture, and return how many records it has. Bare bytes get time 0. Raises as
    `Writer.write`."""
    writer = Writer(stream, linktype, order=order, nano=nano)
    count = 0
    for item in packets:
        record = item if isinstance(item, Record) else Record(0, item, len(item), linktype)
        writer.write(record)
        count += 1
    return count
