"""What tshark, which nobody here wrote, makes of packets.

Measured with tshark 4.0.17: it does NOT look into the TLVs of an SRH. A TLV area of garbage, a
PadN, a DM (7), a URO (131) and an HMAC all read the same: the fields stop at the segment list
and nothing is flagged. It does flag, as malformed, a header or segment list that runs over, and,
as a warning, a segments_left beyond the list, a wrong checksum, and a payload length that does
not fit. So "tshark has no complaint" says that the SRH's own fields and everything around it
fit; about its TLVs ask `nfc.packet.decode`, where what is not a TLV becomes `Junk`.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final, SupportsBytes
from xml.etree import ElementTree

from nfc.errors import KernelError, UsageError
from nfc.packet import pcap

_WARNING: Final = 0x600000  # PI_WARN, epan/proto.h; PI_ERROR is above, PI_NOTE below
_SRH: Final = "ipv6.routing.srh."


@dataclass(frozen=True)
class SegmentRouting:
    """The fields of one SRH as tshark reads them; `segments` in TRAVEL ORDER, `length` in bytes
    of the whole header."""

    segments_left: int
    last_entry: int
    flags: int
    tag: int
    segments: tuple[IPv6Address, ...]
    length: int


@dataclass(frozen=True)
class Dissection:
    """One packet: protocols from the outside in (`ipv6`, `ipv6.routing`, `udp`, ...), its SRHs,
    and `complaints`: what tshark calls malformed, and its warnings and errors."""

    protocols: tuple[str, ...]
    srhs: tuple[SegmentRouting, ...]
    complaints: tuple[str, ...]


def dissect(packets: Iterable[bytes | SupportsBytes], timeout: float = 60.0) -> list[Dissection]:
    """What tshark says about each packet (bytes from the IPv6 header on).

    It takes some 0.2 s however many there are. UDP checksums are verified. A payload on a
    well-known port is dissected too, and may be complained about. Raises UsageError if tshark
    is not installed, KernelError if it fails or takes over `timeout` seconds.
    """
    program = shutil.which("tshark")
    if program is None:
        raise UsageError("tshark is not installed", hint="apt-get install tshark")
    capture = io.BytesIO()
    count = pcap.write(capture, (bytes(p) for p in packets))
    command = [program, "-n", "-r", "-", "-T", "pdml", "-o", "udp.check_checksum:TRUE"]
    try:
        done = subprocess.run(
            command, input=capture.getvalue(), capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise KernelError(f"tshark took over {timeout} s") from error
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode:
        raise KernelError(f"tshark failed with status {done.returncode}", log=said)
    try:
        found = [_packet(p) for p in ElementTree.fromstring(done.stdout).iter("packet")]
    except (ElementTree.ParseError, ValueError) as error:
        raise KernelError(f"tshark's output cannot be read: {error}", log=said) from error
    if len(found) != count:
        raise KernelError(f"tshark dissected {len(found)} of {count} packets", log=said)
    return found


def _packet(packet: ElementTree.Element) -> Dissection:
    names = [p.get("name", "") for p in packet.iter("proto")]
    return Dissection(
        tuple(n for n in names if n not in ("geninfo", "frame", "raw", "fake-field-wrapper")),
        tuple(_srhs(packet)),
        tuple(dict.fromkeys(_complaints(packet))),
    )


def _complaints(packet: ElementTree.Element) -> Iterator[str]:
    for proto in packet.iter("proto"):
        if proto.get("name") == "_ws.malformed":
            yield proto.get("showname", "")
    for expert in packet.iter("field"):
        if expert.get("name") == "_ws.expert":
            severity = _shown(expert, "_ws.expert.severity")
            if not severity or int(severity[0]) >= _WARNING:
                yield expert.get("showname", "")


def _srhs(packet: ElementTree.Element) -> Iterator[SegmentRouting]:
    for header in packet.iter("proto"):
        if header.get("name") != "ipv6.routing" or not _shown(header, _SRH + "last_entry"):
            continue
        listed = [IPv6Address(a) for a in _shown(header, _SRH + "addr")]
        yield SegmentRouting(
            segments_left=int(_one(header, "ipv6.routing.segleft")),
            last_entry=int(_one(header, _SRH + "last_entry")),
            flags=int(_one(header, _SRH + "flags"), 16),
            tag=int(_one(header, _SRH + "tag").replace(":", ""), 16),
            segments=tuple(reversed(listed)),
            length=int(header.get("size", "0")),
        )


def _shown(element: ElementTree.Element, name: str) -> list[str]:
    return [f.get("show", "") for f in element.iter("field") if f.get("name") == name]


def _one(element: ElementTree.Element, name: str) -> str:
    """The field's text, or "0" in a header that was cut short before it."""
    return next(iter(_shown(element, name)), "0")
