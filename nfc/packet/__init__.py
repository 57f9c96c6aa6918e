"""IPv6, SRH, TLV, IPv4, UDP, TCP and ICMPv6 as values and bytes, and captures of them.

Start at `build` to write packets, `chain` to read them, `view` to look at them, `capture` for
files. Segments are in TRAVEL ORDER everywhere (see `segments`).
"""

from nfc.packet.base import AUTO, Address, PacketError, address
from nfc.packet.build import icmp, ip, packet, srh, udp
from nfc.packet.chain import Header, Packet, decode, encode
from nfc.packet.ipv4 import IPv4
from nfc.packet.ipv6 import Extension, Fragment, IPv6
from nfc.packet.segments import SRH
from nfc.packet.tlvs import HMAC, TLV, AnyTLV, Junk, Pad1, PadN, padding, tlv
from nfc.packet.transport import TCP, UDP, ICMPv6
from nfc.packet.view import Field, Known, TlvNames, diff, fields, show

__all__ = [
    "AUTO",
    "HMAC",
    "SRH",
    "TCP",
    "TLV",
    "UDP",
    "Address",
    "AnyTLV",
    "Extension",
    "Field",
    "Fragment",
    "Header",
    "ICMPv6",
    "IPv4",
    "IPv6",
    "Junk",
    "Known",
    "Packet",
    "PacketError",
    "Pad1",
    "PadN",
    "TlvNames",
    "address",
    "decode",
    "diff",
    "encode",
    "fields",
    "icmp",
    "ip",
    "packet",
    "padding",
    "show",
    "srh",
    "tlv",
    "udp",
]
