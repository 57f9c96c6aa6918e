"""The packet of a machine, struct sk_buff as far as programs and helpers see it."""

from __future__ import annotations

from nfc.vm.memory import CTX, ELEMENT_MASK, PACKET, REGION_SHIFT, FaultError, Memory, address

HEADROOM = 2048  # bytes before a packet that comes in
SIZE = HEADROOM + (1 << 16) + 4096
MAX_LENGTH = 1 << 16  # bytes that the machine lets a packet grow to

IPV6_SIZE, ETHERNET_SIZE = 40, 14
LONGEST = 65_575  # bytes: no IPv6 packet without a jumbogram option is longer
HOP_BY_HOP, IPV4, TCP, UDP, IPV6, ROUTING, FRAGMENT = 0, 4, 6, 17, 41, 43, 44
AUTHENTICATION, ICMP6, NO_NEXT, OPTIONS = 51, 58, 59, 60
EXTENSIONS = frozenset((HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, NO_NEXT, OPTIONS))
ETH_P_IPV6, ETH_P_IP = 0x86DD, 0x0800


class Skb:
    """The bytes of a packet, in a buffer with room before and behind them.

    A change of place or size makes a new element of the memory's packet region, so that pointers
    into the old one are void, as a verifier has it. `beyond` is what the kernel finds of an IPv6
    header behind the end of a packet that ends within it, as bytes of a whole header: in a kernel
    it is whatever was in that memory before, here zeros unless somebody knows better.
    """

    def __init__(self, memory: Memory) -> None:
        """No packet yet."""
        self.buffer = bytearray(SIZE)
        self.region = memory.regions[PACKET]
        self.region.data = self.buffer
        self.region.count = 1
        self.start = self.end = HEADROOM
        self.generation = 0
        self.beyond = bytes(IPV6_SIZE)

    def put(self, data: bytes) -> None:
        """A new packet. Raises ValueError if it is too long."""
        if len(data) > MAX_LENGTH:
            raise ValueError(f"{len(data)} bytes are more than a packet may have ({MAX_LENGTH})")
        self.start = HEADROOM
        self.end = HEADROOM + len(data)
        self.buffer[self.start : self.end] = data
        self.moved()

    def __len__(self) -> int:
        """The length in bytes."""
        return self.end - self.start

    def moved(self) -> None:
        """Void pointers into the packet."""
        self.generation = (self.generation + 1) & ELEMENT_MASK
        self.region.first = self.generation
        self.region.base = self.start
        self.region.limit = self.end - self.start

    def read(self, at: int = 0, size: int | None = None) -> bytes:
        """Bytes of the packet from `at` on; all of them without a size."""
        begin = self.start + at
        return bytes(self.buffer[begin : self.end if size is None else begin + size])

    def header(self, at: int = 0) -> bytes:
        """The IPv6 header as the kernel reads it, which does not look where the packet ends."""
        there = self.read(at, min(max(len(self) - at, 0), IPV6_SIZE))
        return there + self.beyond[len(there) :]

    def set(self, at: int, content: bytes) -> None:
        """Overwrite bytes, which must be there."""
        begin = self.start + at
        self.buffer[begin : begin + len(content)] = content

    def push(self, at: int, size: int) -> None:
        """Make room for `size` zero bytes at `at`, moving what is before it. Raises FaultError."""
        if len(self) + size > MAX_LENGTH:
            raise FaultError(
                f"makes the packet {len(self) + size} bytes long; the simulator has packets of "
                f"{MAX_LENGTH}"
            )
        if self.start < size:  # no room before it: move it to the end of the buffer
            shift = SIZE - self.end
            self.buffer[self.start + shift : self.end + shift] = self.buffer[self.start : self.end]
            self.start += shift
            self.end += shift
        head = self.buffer[self.start : self.start + at]
        self.start -= size
        self.buffer[self.start : self.start + at] = head
        self.buffer[self.start + at : self.start + at + size] = bytes(size)
        self.moved()

    def pop(self, at: int, size: int) -> None:
        """Take `size` bytes at `at` out, moving what is before them."""
        head = self.buffer[self.start : self.start + at]
        self.start += size
        self.buffer[self.start : self.start + at] = head
        self.moved()

    def resize(self, size: int) -> None:
        """Cut the end off, or put zeros behind it."""
        if size > len(self):
            self.buffer[self.end : self.start + size] = bytes(size - len(self))
        self.end = self.start + size
        self.moved()

    @property
    def data(self) -> int:
        """The address of the first byte."""
        return address(PACKET, self.generation)

    @property
    def data_end(self) -> int:
        """The address behind the last byte."""
        return address(PACKET, self.generation, len(self))


CTX_ADDRESS = CTX << REGION_SHIFT


def find_header(data: bytes | bytearray, target: int, *, skip_done: bool = False) -> int | None:
    """Where the first header of a protocol begins, after extension headers only; None if there is
    none, or the way to it is cut off. `skip_done`: routing headers without segments left are not
    meant. ipv6_find_hdr, net/ipv6/exthdrs_core.c."""
    if len(data) < IPV6_SIZE:
        return None
    protocol, at = data[6], IPV6_SIZE
    while True:
        found = protocol == target
        if protocol not in EXTENSIONS or protocol == NO_NEXT:
            return at if found else None
        if len(data) < at + 2:
            return None
        if protocol == ROUTING:
            if len(data) < at + 4:
                return None
            if skip_done and data[at + 3] == 0:
                found = False
        if protocol == FRAGMENT:
            if len(data) < at + 4:
                return None
            if int.from_bytes(data[at + 2 : at + 4], "big") & ~7:
                return at if found else None
            size = 8
        elif protocol == AUTHENTICATION:
            size = (data[at + 1] + 2) * 4
        else:
            size = (data[at + 1] + 1) * 8
        if found:
            return at
        protocol, at = data[at], at + size
