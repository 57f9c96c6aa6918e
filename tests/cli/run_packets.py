"""Packets and captures for tests of `nfc run`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nfc.packet import Packet, capture, ip, packet, pcap, srh, tlv, udp
from nfc.resources import data_dir

Nfc = Callable[..., tuple[int, str, str]]

STDLIB = data_dir("stdlib")
TIME = 1_700_000_000_123_456_789
SID, H1, H2 = "fd00:b::d", "fd00:1::1", "fd00:3::2"
INNER = (ip(H1, H2), udp(1000, 2000), b"hello")


def sid(*more: Any, tag: int = 0, **options: Any) -> Packet:
    """A packet on its way over the SID to H2."""
    return packet(ip("fd00::1", SID), srh([SID, H2], tag=tag, **options), *(more or INNER))


def query(control: int, version: int = 1) -> Packet:
    value = bytearray(46)
    value[2:4] = version << 4, control
    value[6:9] = b"\0\0\x03"
    value[9:10] = b"\x07"
    return sid(tlvs=[tlv(7, bytes(value))])


def write(path: Path, packets: Iterable[Packet | bytes | pcap.Record]) -> Path:
    """A capture, a millisecond between packets."""
    with path.open("wb") as stream:
        writer = capture.writer(stream, path.name)
        for number, one in enumerate(packets):
            data = one if isinstance(one, pcap.Record) else bytes(one)
            if isinstance(data, bytes):
                data = pcap.Record(TIME + number * 1_000_000, data, len(data))
            writer.write(data)
    return path


def read(path: Path) -> list[pcap.Record]:
    with path.open("rb") as stream:
        return list(capture.records(stream))


def summary(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.splitlines()[-1])["summary"]
    return found


def write_mixed(folder: Path) -> Path:
    """Two that the function sees, one of them cut short; and what it does not see."""
    whole = bytes(sid(tag=7))
    return write(
        folder / "mixed.pcap",
        [
            sid(tag=1),
            packet(*INNER),
            b"\x45" + bytes(30),
            pcap.Record(TIME, whole[:-3], len(whole)),
            bytes(sid())[:60],
        ],
    )
