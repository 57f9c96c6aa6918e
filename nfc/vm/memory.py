"""Addresses that programs see, and the memory behind them.

An address names a region, an element of it, and a byte in the element:

    bit 63      52        28         0
        +--------+---------+---------+
        | region | element | offset  |
        +--------+---------+---------+

So every load and store can be checked by what the address says alone, and a pointer that leaves its
element never reaches another one's bytes. Address 0 is in region 0, which holds nothing. The native
engine checks the same descriptors (`Descriptor`), with the same results.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field

OFFSET_BITS, ELEMENT_BITS = 28, 24
OFFSET_MASK, ELEMENT_MASK = (1 << OFFSET_BITS) - 1, (1 << ELEMENT_BITS) - 1
REGION_SHIFT = OFFSET_BITS + ELEMENT_BITS

NULL, STACK, CTX, PACKET, MAP, CODE = range(6)
RESERVED = 6  # the first of the regions of ring buffer records that are not submitted yet
RESERVED_COUNT = 16
MAPS = RESERVED + RESERVED_COUNT  # the first map's values
MAX_REGIONS = MAPS + 64

FRAMES, FRAME_SIZE = 8, 512  # MAX_CALL_FRAMES, MAX_BPF_STACK
FIRST_FRAME = 8  # its element, so that what lies below a frame is in the stack's region, too


def address(region: int, element: int = 0, offset: int = 0) -> int:
    """The address of a byte."""
    return region << REGION_SHIFT | element << OFFSET_BITS | offset


def element_of(place: int) -> int:
    """The element that an address names."""
    return place >> OFFSET_BITS & ELEMENT_MASK


class FaultError(Exception):
    """The program did what a verifier would refuse, or the machine does not model.

    `slot` is the instruction, once known.
    """

    def __init__(self, message: str, slot: int = -1) -> None:
        """Keep the message and the slot (-1: not known yet)."""
        super().__init__(message)
        self.message = message
        self.slot = slot


class Descriptor(ctypes.Structure):
    """A region as the native engine reads it."""

    _fields_ = [
        ("base", ctypes.c_uint64),  # host address of element `first`
        ("stride", ctypes.c_uint64),  # bytes from one element to the next
        ("limit", ctypes.c_uint32),  # bytes of an element that may be touched
        ("first", ctypes.c_uint32),  # the first element that is there
        ("count", ctypes.c_uint32),  # how many are
        ("writable", ctypes.c_uint32),
    ]


@dataclass(slots=True)
class Region:
    """Elements of one size in `data`, from byte `base` on, `stride` bytes apart."""

    name: str
    data: bytearray = field(default_factory=bytearray)
    base: int = 0
    stride: int = 0
    limit: int = 0
    first: int = 0
    count: int = 0
    writable: bool = True

    def describe(self, descriptor: Descriptor) -> None:
        """Fill in what the native engine reads."""
        descriptor.base = host_address(self.data) + self.base if self.data else 0
        descriptor.stride = self.stride
        descriptor.limit = self.limit
        descriptor.first = self.first
        descriptor.count = self.count
        descriptor.writable = self.writable


def host_address(data: bytearray) -> int:
    """Where a buffer lies in this process; it must not be resized any more."""
    return ctypes.addressof(ctypes.c_char.from_buffer(data))


def nothing(name: str) -> Region:
    """A region whose addresses can be handed around but not followed."""
    return Region(name)


class Memory:
    """All regions of a machine; loads and stores by address. Integers are little endian."""

    def __init__(self) -> None:
        """Only what can never be followed, and the stack."""
        self.regions = [
            nothing("null"),
            Region(
                "stack", bytearray(FRAMES * FRAME_SIZE), 0, FRAME_SIZE, FRAME_SIZE, FIRST_FRAME, 1
            ),
            nothing("context"),
            Region("packet"),
            nothing("map"),
            nothing("function"),
            *(nothing("ring buffer record") for _ in range(RESERVED_COUNT)),
        ]
        self.load_context: Callable[[int, int], int] | None = None
        self.store_context: Callable[[int, int, int], None] | None = None

    def place(self, address: int, size: int, write: bool) -> tuple[bytearray, int]:
        """The buffer and the byte in it that `size` bytes at an address are. Raises FaultError."""
        number = address >> REGION_SHIFT
        if number < len(self.regions):
            region = self.regions[number]
            element = (address >> OFFSET_BITS & ELEMENT_MASK) - region.first
            offset = address & OFFSET_MASK
            if 0 <= element < region.count and offset + size <= region.limit:
                if write and not region.writable:
                    raise FaultError(f"writes to {region.name}, which it may not")
                return region.data, region.base + element * region.stride + offset
        raise FaultError(self.complaint(address, size, write))

    def complaint(self, address: int, size: int, write: bool) -> str:
        """What is wrong with an access that is not allowed."""
        what = "writes" if write else "reads"
        number = address >> REGION_SHIFT
        if address == 0 or number == NULL:
            return f"{what} {size} bytes through a null pointer ({address:#x})"
        if number >= len(self.regions):
            return f"{what} {size} bytes through {address:#x}, which is no pointer"
        region = self.regions[number]
        offset = address & OFFSET_MASK
        if offset >= 1 << (OFFSET_BITS - 1):
            offset -= 1 << OFFSET_BITS
        if number == STACK:
            offset -= FRAME_SIZE
            return f"{what} {size} bytes at {offset:+d} from the top of the stack frame"
        return f"{what} {size} bytes at {offset:+d} in {region.name} of {region.limit} bytes"

    def load(self, address: int, size: int) -> int:
        """An unsigned integer. Raises FaultError."""
        if address >> REGION_SHIFT == CTX and self.load_context:
            return self.load_context(address - (CTX << REGION_SHIFT), size)
        data, at = self.place(address, size, False)
        return int.from_bytes(data[at : at + size], "little")

    def store(self, address: int, size: int, value: int) -> None:
        """Store the low `size` bytes of a non-negative integer. Raises FaultError."""
        if address >> REGION_SHIFT == CTX and self.store_context:
            self.store_context(address - (CTX << REGION_SHIFT), size, value)
            return
        data, at = self.place(address, size, True)
        data[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")

    def read(self, address: int, size: int) -> bytes:
        """Bytes, e.g. a helper's argument. Raises FaultError."""
        if not size:
            return b""
        data, at = self.place(address, size, False)
        return bytes(data[at : at + size])

    def write(self, address: int, content: bytes) -> None:
        """Put bytes there, e.g. a helper's result. Raises FaultError."""
        if content:
            data, at = self.place(address, len(content), True)
            data[at : at + len(content)] = content
