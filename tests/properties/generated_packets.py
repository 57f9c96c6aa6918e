"""Packets for a generated function, each made of one number: valid, borderline and malformed.

They carry what the function asks for more often than chance would: its TLVs, and numbers out of
the same small set as its literals.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from random import Random

SID = IPv6Address("fd00:a::d")
TRANSIT = IPv6Address("fd2f::1")
GOOD = [IPv6Address(a) for a in ("fd20::1", "fd30::1", "fd20::2", "fd20:9::1", "fd2f::7")]
BAD = [IPv6Address(a) for a in ("fd99::1", "fd00:a::1", "::")]
SOURCES = [IPv6Address(a) for a in ("fd00:1::1", "fd11::1", "2001:db8::1")]
ODD_SOURCES = [IPv6Address(a) for a in ("::1", "::", "ff0e::1", "::ffff:1.2.3.4", "fe80::1")]
ODD_OPTIONS = (0, 1, 1, 0x1E, 0x5E, 0x9E, 0xDE, 5, 7, 49, 194)
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 53, 64, 80, 127, 128, 255, 256, 4000, 65535, 1 << 31)
PORTS = (0, 53, 80, 4000, 65535)
SECOND = 1_000_000_000


@dataclass(frozen=True)
class Wanted:
    """What a function looks at: its hook, and its TLVs' types and sizes (2 bytes more than the
    length byte says)."""

    hook: str
    tlvs: tuple[tuple[int, int], ...]


def make_packet(seed: int, wanted: Wanted, label: int) -> bytes:
    """The packet of that number; its flow label, and that of the one inside, is `label`."""
    packet = _Maker(Random(seed), wanted, label).packet()
    return _odd(packet, Random(seed ^ 1 << 40))


def _odd(packet: bytes, random: Random) -> bytes:
    """One in twenty gets a source that nobody has, or other Hop-by-Hop options."""
    kind = random.randrange(60)
    if kind == 0:
        return packet[:8] + random.choice(ODD_SOURCES).packed + packet[24:]
    if kind > 2 or len(packet) < 48:
        return packet
    size = random.choice((6, 6, 14, 22))
    options = b""
    while len(options) < size:
        length = min(random.choice((0, 2, 4, 4, 12)), size - len(options) - 2)
        option = bytes((random.choice(ODD_OPTIONS), max(length, 0))) + bytes(max(length, 0))
        options += b"\0" if length < 0 or random.randrange(4) == 0 else option
    body = bytes((packet[6], (size + 2) // 8 - 1)) + options + packet[40:]
    return packet[:4] + len(body).to_bytes(2, "big") + b"\0" + packet[7:40] + body


class _Maker:
    """Draws one packet."""

    def __init__(self, random: Random, wanted: Wanted, label: int) -> None:
        self.random = random
        self.wanted = wanted
        self.label = label

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def number(self, bits: int) -> int:
        """A number of that many bits, often one that a literal may be."""
        if self.chance(60):
            return self.random.choice(NUMBERS) & ((1 << bits) - 1)
        return self.random.getrandbits(bits)

    def filling(self, count: int) -> bytes:
        """Bytes that are often small numbers, or all zero or one."""
        kind = self.random.randrange(4)
        if kind == 0:
            return bytes(count)
        if kind == 1:
            return self.number(8 * count if count else 8).to_bytes(max(count, 1), "big")[:count]
        if kind == 2:
            return b"\xff" * count
        return self.random.randbytes(count)

    def address(self, good: int = 90) -> IPv6Address:
        return self.random.choice(GOOD if self.chance(good) else BAD)

    # ---- headers ----------------------------------------------------------------------------

    def packet(self) -> bytes:
        first, body = self.chain()
        source = self.random.choice(SOURCES)
        target = SID if self.wanted.hook == "endpoint" else TRANSIT
        packet = self.ipv6(first, body, source, target)
        kind = self.random.randrange(100)
        if kind < 4:  # cut short
            packet = packet[: self.random.randrange(40, len(packet) + 1)]
            if self.chance(80):
                packet = packet[:4] + (len(packet) - 40).to_bytes(2, "big") + packet[6:]
        elif kind < 6:  # the length lies
            length = max(0, len(packet) - 40 + self.random.choice((-9, -8, -1, 1, 8)))
            packet = packet[:4] + length.to_bytes(2, "big") + packet[6:]
        elif kind < 8:
            packet += self.random.randbytes(self.random.randrange(1, 9))
        return packet

    def ipv6(self, first: int, body: bytes, source: IPv6Address, target: IPv6Address) -> bytes:
        head = (6 << 28 | self.number(8) << 20 | self.label).to_bytes(4, "big")
        hops = self.random.choice((64, 255, 2, 3, 64, 64, 1 if self.chance(15) else 64))
        rest = len(body).to_bytes(2, "big") + bytes([first, hops])
        return head + rest + source.packed + target.packed + body

    def chain(self) -> tuple[int, bytes]:
        """What follows the IPv6 header."""
        number, body = self.upper()
        if self.chance(8):
            number, body = self.extension(number, body, self.random.choice((60, 60, 51)))
        if self.wanted.hook == "endpoint" and not self.chance(2):
            number, body = 43, self.srh(number) + body
            if self.chance(4):  # one that is done, or of another type, stands before it
                number, body = self.done(number, body)
        elif self.chance(60):
            number, body = 43, self.srh(number) + body
        if self.chance(12):
            many = 10 if self.chance(8) else 2
            for _ in range(self.random.randrange(1, many)):
                kind = self.random.choice((60, 60, 60, 51, 44))
                number, body = self.extension(number, body, kind)
        if self.chance(4):
            number, body = 0, bytes([number, 0, 1, 4, 0, 0, 0, 0]) + body
        return number, body

    def extension(self, number: int, body: bytes, kind: int) -> tuple[int, bytes]:
        if kind == 44:
            offset = 8 if self.chance(20) else 0
            return 44, bytes([number, self.random.getrandbits(8), 0, offset, 1, 2, 3, 4]) + body
        if kind == 51:
            words = self.random.choice((1, 1, 4, 2))
            size = (words + 2) * 4
            return 51, bytes([number, words]) + self.random.randbytes(size - 2) + body
        units = self.random.choice((0, 0, 0, 1, 4))
        return 60, bytes([number, units]) + bytes((1, 4 + 8 * units)) + bytes(4 + 8 * units) + body

    def done(self, number: int, body: bytes) -> tuple[int, bytes]:
        kind = 4 if self.chance(70) else 2
        # Not one of GOOD: where the destination is its segment, nobody can tell whether the
        # kernel has advanced this one or the next (docs/language.md, "What can be read").
        segment = SID.packed
        return 43, bytes([number, 2, kind, 0, 0, 0, 0, 0]) + segment + body

    def srh(self, following: int) -> bytes:
        count = self.random.choice((2, 2, 2, 3, 4, 5, 1))
        if self.chance(3):
            count = self.random.choice((20, 60, 127))
        segments = [self.address() for _ in range(count)]
        left = count - 1
        kind = self.random.randrange(100)
        if kind < 4:
            left = 0
        elif kind < 12:
            left = count  # reduced: the segment it is at is not in the list
        elif kind < 14:
            left = self.random.choice((count + 1, 255))
        elif kind < 30:
            left = self.random.randrange(count) or 1
        last = count - 1
        if self.chance(2):
            last = self.random.choice((0, count, 255))
        tlvs = self.tlvs()
        room = 2048 - 8 - 16 * count
        tlvs = tlvs[: room - room % 8] if len(tlvs) > room else tlvs
        flags = 0
        if self.chance(30):
            flags = self.random.getrandbits(8) & (0xFF if self.chance(40) else 0xF7)
        units = (16 * count + len(tlvs)) // 8
        if self.chance(2):
            units = max(0, min(255, units + self.random.choice((-2, -1, 1, 2))))
        tag = self.number(16).to_bytes(2, "big")
        head = bytes([following, units, 4, left, last, flags]) + tag
        return head + b"".join(s.packed for s in segments) + tlvs

    def tlvs(self) -> bytes:
        count = self.random.choice((0, 1, 1, 2, 3, 5))
        if self.chance(8):
            count = self.random.randrange(25, 41)
        data = b"".join(self.tlv() for _ in range(count))
        gap = -len(data) % 8
        if gap == 1:
            gap = 9
        if gap and not self.chance(2):
            data += bytes([4, gap - 2]) + bytes(gap - 2)
        elif gap:
            data += self.random.randbytes(gap)
        if self.chance(8):
            size = self.random.choice((8, 16))
            data += bytes([4, size - 2]) + bytes(size - 2)
        if self.chance(3):
            data += bytes([5, 38]) + self.random.randbytes(38)
        if data and self.chance(2):
            data = data[:1] + self.random.randbytes(1) + data[2:]
        return data

    def tlv(self) -> bytes:
        kind = self.random.randrange(100)
        if kind < 65 and self.wanted.tlvs:
            number, size = self.random.choice(self.wanted.tlvs)
            length = size - 2
            if self.chance(15):
                length = max(0, min(255, length + self.random.choice((-1, 1, 5, -2))))
            return bytes([number, length]) + self.filling(length)
        if kind < 80:
            length = self.random.randrange(9)
            return bytes([4, length]) + bytes(length)
        number = self.random.choice((0, 1, 5, 99, 200, 255))
        length = self.random.choice((0, 1, 2, 6, 18, 40))
        return bytes([number, length]) + self.filling(length)

    # ---- what is carried --------------------------------------------------------------------

    def upper(self) -> tuple[int, bytes]:
        kind = self.random.randrange(100)
        if kind < 45:
            number, body = self.transport()
            if self.chance(12):
                extension = self.random.choice((60, 44, 51))
                number, body = self.extension(number, body, extension)
            inside = self.ipv6(number, body, self.random.choice(SOURCES), self.address())
            if self.chance(2):
                inside = inside[: self.random.randrange(40, len(inside) + 1)]
            return 41, inside
        if kind < 55:
            number, body = self.transport()
            words = self.random.choice((5, 5, 5, 6, 15, 2))
            fragment = self.number(13) if self.chance(10) else 0
            head = bytes([0x40 | words, self.number(8)]) + (words * 4 + len(body)).to_bytes(
                2, "big"
            )
            head += bytes(2) + (0x4000 | fragment).to_bytes(2, "big")
            head += bytes([self.number(8), number, 0, 0]) + self.filling(4) + self.filling(4)
            return 4, head + bytes(max(0, words * 4 - 20)) + body
        return self.transport()

    def transport(self) -> tuple[int, bytes]:
        kind = self.random.randrange(5)
        ports = self.random.choice(PORTS).to_bytes(2, "big") + self.random.choice(PORTS).to_bytes(
            2, "big"
        )
        if kind < 2:
            size = self.random.randrange(17)
            body = ports + (8 + size).to_bytes(2, "big") + self.filling(2) + self.filling(size)
            number = 17
        elif kind == 2:
            body = ports + self.filling(4) + self.filling(4) + b"\x50" + self.filling(7)
            number = 6
        elif kind == 3:
            body = self.filling(2) + bytes(2) + self.filling(4) + b"ping"
            number = 58
        else:
            body = self.filling(self.random.randrange(12))
            number = self.random.choice((59, 132, 50))
        if self.chance(5):
            body = body[: self.random.randrange(len(body) + 1)]
        return number, body
