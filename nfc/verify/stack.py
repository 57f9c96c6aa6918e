"""Reading and writing the stack (the check_stack_* functions, kernel/bpf/verifier.c)."""

from __future__ import annotations

from typing import Final

from nfc.bpf.facts import STACK_SIZE
from nfc.verify import arith
from nfc.verify.machine import Machine
from nfc.verify.refusal import Refused
from nfc.verify.scalar import S64_MAX, S64_MIN, ZERO
from nfc.verify.state import (
    ALL_SPILL,
    EMPTY,
    INVALID,
    MISC,
    SPILL,
    ZEROED,
    Frame,
    Slot,
)
from nfc.verify.values import NOTHING, SCALAR, STACK, Reg, is_zero, known, mark_precise, unknown

MAX_OFFSET: Final = 1 << 29  # BPF_MAX_VAR_OFF, linux/bpf_verifier.h
_SCRUBBED: Final = bytes((INVALID, MISC, ZEROED, MISC))  # what becomes of a byte's kind


def bounds(m: Machine, pointer: Reg, off: int, size: int, direct: bool) -> tuple[int, int]:
    """The lowest and the highest byte offset at which an access begins; the frame's depth grows.

    `off` includes the pointer's own fixed offset. Raises Refused outside the stack.
    """
    offset = pointer.number
    if offset.mask:
        if offset.smax >= MAX_OFFSET or offset.smin <= -MAX_OFFSET:
            raise Refused("this reaches the stack at an offset without bounds")
        if direct and not m.rules.variable_stack:
            raise Refused("this kernel takes no access to the stack at an offset that varies")
    least, most = offset.smin + off, offset.smax + off
    if least < -STACK_SIZE or most + size > 0 or least > -1:
        raise Refused(
            f"this reaches byte {least} of the stack, of {size} bytes; the stack has the bytes "
            f"from -{STACK_SIZE} to -1"
        )
    m.grow_stack(pointer.about, -least)
    return least, most


def read(m: Machine, pointer: Reg, off: int, size: int) -> Reg:
    """What `size` bytes of stack hold."""
    least, most = bounds(m, pointer, off, size, direct=True)
    frame: Frame = m.state.frames[pointer.about]  # type: ignore[call-overload]
    if pointer.number.mask:
        initialized(m, frame, least, most + size)
        return _bytes(m, frame, least, most + size)
    spi = (-least - 1) >> 3
    slot = frame.stack.get(spi, EMPTY)
    m.state.read((frame.depth, spi))
    kinds, reg = slot
    if kinds[7] != SPILL:
        initialized(m, frame, least, least + size)
        return _bytes(m, frame, least, least + size)
    if size == 8 and kinds == ALL_SPILL:
        return reg
    if reg.kind != SCALAR:
        raise Refused("only a part of a pointer is read back from the stack")
    spilled = kinds.count(SPILL)
    if size <= spilled and least % 8 == 0 and (m.rules.narrow_fill or size == spilled):
        fits = reg.number.umax < 1 << size * 8
        return reg if fits or not reg.id else Reg(SCALAR, reg.number, deps=(reg,))
    first = (-least - 1) % 8
    parts = [kinds[(first - n) % 8] for n in range(size)]
    if INVALID in parts and not m.rules.uninitialised_stack:
        raise Refused("this reads bytes of the stack that nothing was written to")
    if all(p == SPILL for p in parts) and is_zero(reg):
        mark_precise(reg)
        return known(0)
    return known(0) if all(p == ZEROED for p in parts) else unknown()


def _bytes(m: Machine, frame: Frame, least: int, end: int) -> Reg:
    zero = all(
        frame.stack.get((-i - 1) >> 3, EMPTY).kinds[(-i - 1) & 7] == ZEROED
        for i in range(least, end)
    )
    return known(0) if zero else unknown()


def initialized(m: Machine, frame: Frame, least: int, end: int) -> None:
    """Bytes are read, as such. Raises Refused if nothing was written to one of them."""
    for i in range(least, end):
        spi, place = (-i - 1) >> 3, (-i - 1) & 7
        if place == 7 or i == least:
            m.state.read((frame.depth, spi))
        if frame.stack.get(spi, EMPTY).kinds[place] == INVALID and not _may_be_read(m, frame, spi):
            raise Refused(
                f"this reads byte {i} of the stack, which nothing was written to",
                "initialise the variable before it is used",
            )


def _may_be_read(m: Machine, frame: Frame, spi: int) -> bool:
    """Whether bytes that nothing was written to may be read: before 6.8 those only above which
    something lower was written, because only writing made the stack grow (allocated_stack)."""
    if not m.rules.uninitialised_stack:
        return False
    return m.rules.reading_grows or spi <= max(frame.stack, default=-1)


def write(m: Machine, pointer: Reg, off: int, size: int, value: Reg | None, constant: bool) -> None:
    """Write `size` bytes: a register (`constant`: a number in the instruction), or None for bytes
    that a helper writes, of which nothing is known."""
    least, most = bounds(m, pointer, off, size, direct=True)
    frame = m.state.frames[pointer.about]  # type: ignore[call-overload]
    if pointer.number.mask:
        _write_somewhere(m, frame, least, most + size, value)
        return
    first = -least - 1
    spi = first >> 3
    old = frame.stack.get(spi, EMPTY)
    if size == 8:
        m.state.written.add((frame.depth, spi))
    if value is not None and value.kind == SCALAR:
        if least % 8 == 0 and m.rules.spills(value.number, size, constant):
            frame.put(spi, _spilled(m, old, value, size, constant))
            return
    elif value is not None:
        if size != 8 or least % 8:
            raise Refused("only a part of a pointer is stored on the stack")
        if value.kind == STACK and frame is not m.frame:
            raise Refused("a pointer to the stack is stored in the caller's stack")
        frame.put(spi, Slot(ALL_SPILL, value))
        return
    kind = MISC
    if value is not None and is_zero(value):
        mark_precise(value)
        kind = ZEROED
    kinds = bytearray(old.kinds.translate(_TABLE) if old.kinds[7] == SPILL else old.kinds)
    for n in range(size):
        kinds[(first - n) & 7] = kind
    frame.put(spi, Slot(bytes(kinds), NOTHING))


def _spilled(m: Machine, old: Slot, value: Reg, size: int, constant: bool) -> Slot:
    if value.id and value.number.umax >> size * 8:
        value = Reg(SCALAR, value.number, deps=(value,))  # what is cut off is tied to nothing
    if size == 8:
        return Slot(ALL_SPILL, value)
    rest = bytes(
        k if k in (ZEROED, INVALID) and m.rules.uninitialised_stack else MISC
        for k in old.kinds[: 8 - size]
    )
    return Slot(rest + ALL_SPILL[:size], value)


def _write_somewhere(m: Machine, frame: Frame, least: int, end: int, value: Reg | None) -> None:
    """At an offset that varies: any of the bytes may have been written."""
    zero = value is not None and is_zero(value)
    for i in range(least, end):
        spi, place = (-i - 1) >> 3, (-i - 1) & 7
        slot = frame.stack.get(spi, EMPTY)
        kind = slot.kinds[place]
        if zero and kind == SPILL and is_zero(slot.reg):
            mark_precise(slot.reg)
            continue
        if kind == INVALID and not m.rules.uninitialised_stack:
            raise Refused("this may write to bytes of the stack that nothing was written to")
        kinds = bytearray(slot.kinds.translate(_TABLE) if slot.kinds[7] == SPILL else slot.kinds)
        kinds[place] = ZEROED if zero and kind == ZEROED else MISC
        frame.put(spi, Slot(bytes(kinds), NOTHING))
    if zero and value is not None:
        mark_precise(value)


def clobber(frame: Frame, least: int, end: int) -> None:
    """A helper may change what is there: nothing is known of it any more."""
    for spi in {(-i - 1) >> 3 for i in range(least, end)}:
        slot = frame.stack.get(spi, EMPTY)
        kinds = bytearray(slot.kinds.translate(_TABLE))
        for i in range(least, end):
            if (-i - 1) >> 3 == spi and kinds[(-i - 1) & 7] in (ZEROED, INVALID):
                kinds[(-i - 1) & 7] = MISC
        frame.put(spi, Slot(bytes(kinds), NOTHING))


_TABLE: Final = _SCRUBBED + bytes(range(4, 256))


def fill(value: Reg, size: int, signed: bool) -> Reg:
    """What a load of `size` bytes makes of what memory held."""
    if value.kind != SCALAR or size == 8:
        return value
    found = (
        arith.extend(value.number, size * 8, wide=True)
        if signed
        else arith.load(value.number, size)
    )
    if found is value.number:
        return value
    return Reg(SCALAR, found, 0, 0 if signed else value.id, value.about, 0, (value,))


def fixed(pointer: Reg) -> bool:
    """Whether a pointer has no part that varies."""
    return pointer.number is ZERO or (
        not pointer.number.mask and S64_MIN < pointer.number.smin < S64_MAX
    )
