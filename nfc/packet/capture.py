"""Captures of either form: pcap or pcapng, told apart by their first bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol

from nfc.packet import pcap, pcapng
from nfc.packet.links import RAW
from nfc.packet.pcap import Record
from nfc.packet.streams import Readable, exactly


class Writer(Protocol):
    """Writes packets to a file, one at a time."""

    def write(self, record: Record) -> None:
        """Write one packet. Raises UsageError for what the file cannot hold."""


def records(stream: Readable) -> Iterator[Record]:
    """The packets of a capture, one at a time, in bounded memory; the stream need not seek.

    Raises PacketError, with the offset in the file, where it is none or is damaged.
    """
    begun = exactly(stream, 4, 0, "the file header")
    yield from (pcapng if begun == pcapng.MAGIC else pcap).records(stream, begun)


def form(name: str) -> str:
    """The form that a file's name asks for: pcapng if it ends so, else pcap."""
    return "pcapng" if name.endswith(".pcapng") else "pcap"


def writer(stream: BinaryIO, name: str, linktype: int = RAW) -> Writer:
    """What writes a capture in the form that the file's name asks for, with times in
    nanoseconds."""
    made = pcapng.Writer if form(name) == "pcapng" else pcap.Writer
    return made(stream, linktype)
