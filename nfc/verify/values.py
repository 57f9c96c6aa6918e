"""What a register or a stack slot holds: a number, or a pointer to something.

`Reg` objects are never changed, except that a number is marked `precise` once its value has
mattered: it was added to a pointer, decided a branch, or said how many bytes a helper touches.
`deps` are the numbers from which it was made, which then have mattered too. Two states that
differ only in numbers that never mattered are the same to the rest of the program, so the second
one need not be followed (the kernel's mark_chain_precision, by walking a graph of values
forwards-made instead of instructions backwards).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from nfc.bpf.object import MapDef
from nfc.verify.scalar import UNKNOWN, ZERO, Scalar, constant

# Kinds: enum bpf_reg_type, linux/bpf.h, as far as programs at the four hooks meet them
(
    NOT_INIT, SCALAR, CTX, STACK, PACKET, PACKET_END, MAP, VALUE, VALUE_OR_NULL, MEM, MEM_OR_NULL,
    FUNCTION, SOCK_OR_NULL, SOCK, OPAQUE, MAP_KEY,
) = range(16)  # fmt: skip

NAMES: Final = {
    NOT_INIT: "nothing", SCALAR: "a number", CTX: "the context (skb)", STACK: "the stack",
    PACKET: "the packet", PACKET_END: "the packet's end", MAP: "a map",
    VALUE: "a map's value", VALUE_OR_NULL: "a map's value, or null",
    MEM: "memory", MEM_OR_NULL: "memory, or null", FUNCTION: "a function",
    SOCK_OR_NULL: "a socket, or null", SOCK: "a socket", OPAQUE: "a kernel object",
    MAP_KEY: "a map's key",
}  # fmt: skip
NULLABLE: Final = {VALUE_OR_NULL: VALUE, MEM_OR_NULL: MEM, SOCK_OR_NULL: SOCK}
NEVER_NULL: Final = frozenset((VALUE, MEM, SOCK, MAP, MAP_KEY))

# The `range` of a packet pointer behind a comparison that showed it to be at or beyond the end
AT_END, BEYOND_END = -1, -2


class Map(NamedTuple):
    """A map as the program sees it. `content` is that of a frozen read-only data section."""

    definition: MapDef
    content: bytes | None = None
    writable: bool = True
    readable: bool = True
    obstacle: str = ""  # why the check does not follow its values
    inner: Map | None = None  # of a map of maps: one that is in it


class Reg:
    """One value.

    `kind` is one of the names above; `number` a scalar's value or a pointer's variable offset;
    `off` a pointer's fixed offset in bytes. `id` tells apart, or ties together, values of one
    origin. `about`: bytes known to be in the packet (PACKET), the `Map` (MAP, VALUE …), the size
    in bytes (MEM), the frame's number (STACK), the first slot (FUNCTION), or for a
    number what was added since it got its id, and whether in 64 bits (None: nothing). `ref` is a
    reference that must be given back.
    """

    __slots__ = ("about", "deps", "id", "kind", "number", "off", "precise", "ref")

    def __init__(
        self,
        kind: int,
        number: Scalar = ZERO,
        off: int = 0,
        id: int = 0,
        about: object = None,
        ref: int = 0,
        deps: tuple[Reg, ...] = (),
    ) -> None:
        """A value; numbers begin as not precise."""
        self.kind = kind
        self.number = number
        self.off = off
        self.id = id
        self.about = about
        self.ref = ref
        self.deps = deps
        self.precise = False

    def __str__(self) -> str:
        """For people."""
        if self.kind == SCALAR:
            return str(self.number)
        text = NAMES[self.kind]
        if self.kind == STACK:
            text = "the stack" if self.about == 0 else f"the stack of frame {self.about}"
        if isinstance(self.about, Map):
            text = f"{text} ({self.about.definition.name})"
        variable = self.number is not ZERO
        if self.off or self.kind in (STACK, PACKET):
            text += f" {'-' if self.off < 0 else '+'} {abs(self.off)}"
        if variable:
            text += f" + ({self.number})"
        if self.kind == PACKET and isinstance(self.about, int) and self.about >= 0:
            text += f", of which {self.about} bytes are known to be there"
        return text


NOTHING: Final = Reg(NOT_INIT)


def number(value: Scalar, *deps: Reg) -> Reg:
    """A number."""
    return Reg(SCALAR, value, deps=deps)


def known(value: int) -> Reg:
    """A number that is known."""
    return Reg(SCALAR, constant(value))


def unknown(*deps: Reg) -> Reg:
    """A number of which nothing is known."""
    return Reg(SCALAR, UNKNOWN, deps=deps)


def is_zero(reg: Reg) -> bool:
    """Whether it is the number 0, which is also the null pointer."""
    return reg.kind == SCALAR and reg.number is ZERO


def mark_precise(reg: Reg) -> None:
    """The value of this number has mattered, and with it of those that it was made from."""
    waiting = [reg]
    while waiting:
        one = waiting.pop()
        if not one.precise and one.kind == SCALAR:
            one.precise = True
            waiting.extend(one.deps)


def replaced(reg: Reg, value: Scalar, *deps: Reg) -> Reg:
    """The same number after more is known of it."""
    return Reg(SCALAR, value, 0, reg.id, reg.about, 0, deps)
