"""What a program runs on: memory, context, packet, maps, clocks, random numbers.

Both engines work on one machine, and both call the same helpers with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from nfc.vm.buffers import RingMap
from nfc.vm.context import Context
from nfc.vm.fib import Fib
from nfc.vm.maps import VmMap
from nfc.vm.memory import (
    CODE,
    CTX,
    ELEMENT_MASK,
    FIRST_FRAME,
    FRAME_SIZE,
    MAP,
    MAPS,
    REGION_SHIFT,
    RESERVED,
    RESERVED_COUNT,
    STACK,
    FaultError,
    Memory,
    Region,
    address,
    element_of,
    nothing,
)
from nfc.vm.packet import ETH_P_IPV6, ETHERNET_SIZE, IPV6_SIZE, Skb

# XMIT_RECURSION_LIMIT, include/linux/netdevice.h: a function is called so often within itself, and
# once more (net/core/lwtunnel.c, 986ffb3a57c5: 6.14, and updates of older series since); a kernel
# without that commit lets its stack overflow.
DEEPEST = 8
BUDGET = 1 << 20  # instructions in loops; a verifier looks at a million altogether
MASK64 = (1 << 64) - 1
TOO_DEEP = "calls go more than 8 deep"
TOO_LONG = "loops for too many instructions"


class TailCallError(Exception):
    """Not an error: the program goes on as another one, and never comes back."""

    def __init__(self, program: str) -> None:
        """Keep the name."""
        super().__init__(program)
        self.program = program


@dataclass
class SrhState:
    """struct seg6_bpf_srh_state: where the SRH is, how long helpers made it, whether the packet
    still says so. `at` counts from the packet's end, so that it stays when the front moves."""

    there: bool = False
    at: int = 0
    length: int = 0  # bytes behind the first 8
    valid: bool = True


@dataclass
class Clock:
    """Nanoseconds of every clock, derived from TAI: how far the others are behind it."""

    tai: int = 0
    monotonic: int = 1_700_000_000_000_000_000  # so that boot was some time in 2023
    suspended: int = 0
    hz: int = 250


@dataclass
class Machine:
    """One CPU's state while a program runs."""

    hook: str
    fib: Fib
    maps: dict[str, VmMap]
    cpus: int
    failing: Mapping[int, int | None] = field(default_factory=dict)  # helper -> errno
    clock: Clock = field(default_factory=Clock)
    random: int = 1
    limit: int = BUDGET

    def __post_init__(self) -> None:
        """Wire memory, packet and maps together."""
        self.memory = Memory()
        self.skb = Skb(self.memory)
        self.context = Context(self.skb)
        self.memory.load_context = self.context.load
        self.memory.store_context = self.context.store
        self.skb.region.writable = self.hook == "xmit"
        self.map_list: dict[int, VmMap] = {}
        self.on_adopted: Callable[[VmMap], None] | None = None  # native code wants to know, too
        for one in self.maps.values():
            self.adopted(one)
        self.stack = self.memory.regions[STACK]
        self.srh = SrhState()
        self.cpu = 0
        self.link = ""  # where the packet goes, once a helper has looked that up
        self.route_error = 0  # what that lookup said, negative
        self.routed = False
        self.function = False  # whether the function lies on that route, too
        self.ipv4 = False  # whether that route is one of IPv4
        self.runs = 1  # how often the function has got the packet, this time included
        self.entered = ETH_P_IPV6  # the packet's protocol as the function got it
        self.redirect: tuple[int, int] | None = None  # bpf_redirect: interface, flags
        self.clones: list[tuple[str, bytes]] = []
        self.records: list[tuple[str, bytes]] = []
        self.stamps: list[int] = []  # which packet of a batch sent each record
        self.blocks: list[bytes] = []  # more of them, as native code has put them down
        self.packet = 0  # of a batch: its number, from 1
        self.printed: list[str] = []
        self.budget = self.limit
        self.tail_calls = 0
        self.reservations: dict[int, tuple[RingMap, int]] = {}  # region number -> ring, position
        self.serial = 0
        self.call: Callable[[int, tuple[int, ...]], int] | None = None  # a callback
        self.depth = 0
        self.arrival_mark = 0
        self.arrival_hash = 0  # what the flow's hash is; 0: made of its addresses
        self.network = 0  # bytes of link-layer header that bpf_skb_change_head has put before IP
        self.transport = 0  # where the kernel takes the transport header to be
        self.framed = 0  # bytes from the link-layer header to the network header
        self.encapsulated = False  # skb->encapsulation
        self.summed: int | None = None  # skb->csum_level, where somebody says the sums are right
        self.draws: list[int] = []  # random numbers that come before the generator's
        self.drawn = 0  # how often a program asked for one

    def begin(self) -> None:
        """Before a program runs on the packet that was put."""
        self.renew()
        self.restart()
        self.link, self.route_error, self.routed, self.function = "", 0, False, False

    def restart(self) -> None:
        """Before a program runs, whatever the packet has met before."""
        self.stack.data[:] = bytes(len(self.stack.data))
        self.stack.count = 1
        self.depth = 0
        self.budget = self.limit
        self.tail_calls = 0
        self.redirect = None

    def renew(self) -> None:
        """What only Python knows of a packet's run."""
        self.tail_calls = 0
        self.redirect = None
        self.ipv4 = False
        self.runs = 1
        self.entered = ETH_P_IPV6
        self.network = 0
        self.transport = IPV6_SIZE
        self.framed = ETHERNET_SIZE
        self.encapsulated = False
        self.summed = None

    @property
    def patience(self) -> int:
        """may_goto leaves a loop where less than this is left of the budget. The kernel's does
        after 8,388,608 rounds, or (6.15) a quarter of a second: no program can count on either."""
        return self.limit // 2

    def record(self, name: str, content: bytes) -> None:
        """Note what was sent to a ring or perf buffer."""
        self.records.append((name, content))
        self.stamps.append(self.packet - 1)

    def finish(self) -> None:
        """After it: whatever it reserved and did not submit is its fault."""
        if self.reservations:
            raise FaultError("ends with a ring buffer record that it has not submitted")

    def abandon(self) -> None:
        """After a fault: discard what is reserved."""
        left, self.reservations = self.reservations, {}
        for number, (ring, begin) in left.items():
            ring.commit(begin, None)
            self.memory.regions[number].count = 0

    def frame_top(self) -> int:
        """The address behind the current stack frame: r10."""
        return address(STACK, FIRST_FRAME + self.depth, FRAME_SIZE)

    def enter(self) -> None:
        """A call: one more stack frame, of zeros."""
        if self.depth + 1 >= len(self.stack.data) // FRAME_SIZE:
            raise FaultError(TOO_DEEP)
        self.depth += 1
        self.stack.count = self.depth + 1
        at = self.depth * FRAME_SIZE
        self.stack.data[at : at + FRAME_SIZE] = bytes(FRAME_SIZE)

    def leave(self) -> None:
        """Return from a call."""
        self.depth -= 1
        self.stack.count = self.depth + 1

    def spend(self, instructions: int) -> None:
        """Count a jump back, or a call. Raises FaultError when that was too much."""
        self.budget -= instructions
        if self.budget < 0:
            raise FaultError(TOO_LONG)

    def adopted(self, one: VmMap) -> int:
        """The address by which programs know a map, which is the machine's from here on."""
        known = self.map_list.setdefault(one.number, one)
        if known is not one:
            raise FaultError(f"maps {known.info.name} and {one.info.name} have the same number")
        regions = self.memory.regions
        regions += [nothing("nothing") for _ in range(one.region_number + 1 - len(regions))]
        if regions[one.region_number] is not one.region:
            regions[one.region_number] = one.region
            if self.on_adopted:
                self.on_adopted(one)
        return address(MAP, one.number)

    def map_at(self, handle: int) -> VmMap:
        """The map that an argument means. Raises FaultError."""
        number = element_of(handle)
        if handle >> REGION_SHIFT != MAP or number not in self.map_list:
            raise FaultError(f"gives {handle:#x} as a map")
        return self.map_list[number]

    def function_at(self, place: int) -> int:
        """The slot of a function that an argument means. Raises FaultError."""
        if place >> REGION_SHIFT != CODE:
            raise FaultError(f"gives {place:#x} as a function")
        return element_of(place)

    def need_context(self, argument: int) -> None:
        """Raise FaultError unless an argument is the context."""
        if argument != CTX << REGION_SHIFT:
            raise FaultError(f"gives {argument:#x} where the context has to be")

    def callback(self, slot: int, arguments: tuple[int, ...]) -> int:
        """Call a function of the program."""
        if self.call is None:
            raise FaultError("cannot call functions here")
        return self.call(slot, arguments)

    def resized(self) -> None:
        """The packet has changed its place or size."""
        self.skb.moved()
        self.context.resized()

    def _open(self, name: str, content: bytearray, size: int) -> int:
        """The number of a region for memory that a helper gives. Raises FaultError."""
        for number in range(RESERVED, RESERVED + RESERVED_COUNT):
            if not self.memory.regions[number].count:
                self.serial = (self.serial + 1) & ELEMENT_MASK
                self.memory.regions[number] = Region(name, content, 0, 0, size, self.serial, 1)
                return number
        raise FaultError(
            f"reserves more than {RESERVED_COUNT} records at once, more than the simulator takes"
        )

    def reserve(self, ring: RingMap, size: int) -> int:
        """The address of a new ring buffer record; 0: no room. Raises FaultError."""
        begin = ring.reserve(size)
        if begin is None:
            return 0
        number = self._open(f"record of {ring.info.name}", bytearray(max(size, 1)), size)
        self.reservations[number] = (ring, begin)
        return address(number, self.serial)

    @contextmanager
    def scratch(self, content: bytes) -> Iterator[int]:
        """The address of bytes that are there only for a while."""
        number = self._open("a key", bytearray(content), len(content))
        try:
            yield address(number, self.serial)
        finally:
            self.memory.regions[number].count = 0

    def submit(self, place: int, keep: bool) -> None:
        """Submit or discard a reserved record. Raises FaultError."""
        number = place >> REGION_SHIFT
        region = self.memory.regions[number] if number < MAPS else None
        if number not in self.reservations or region is None:
            raise FaultError(f"submits {place:#x}, which is no reserved record")
        if place != address(number, region.first):
            raise FaultError(f"submits {place:#x}, which is not the beginning of a record")
        ring, begin = self.reservations.pop(number)
        record = bytes(region.data[: region.limit])
        region.count = 0
        ring.commit(begin, record if keep else None)
        if keep:
            self.record(ring.info.name, record)

    def emit(self, ring: RingMap, record: bytes) -> bool:
        """Put a whole record into a ring; False: no room."""
        begin = ring.reserve(len(record))
        if begin is None:
            return False
        ring.commit(begin, record)
        self.record(ring.info.name, record)
        return True
