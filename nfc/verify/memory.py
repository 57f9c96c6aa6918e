"""Loads, stores and atomic operations: may this pointer be used so, and what comes back."""

from __future__ import annotations

from typing import Final

from nfc.bpf import context
from nfc.bpf.isa import LOAD_ACQUIRE, STORE_RELEASE
from nfc.verify import stack
from nfc.verify.machine import Machine
from nfc.verify.program import Insn
from nfc.verify.refusal import Refused
from nfc.verify.scalar import ZERO, constant, tnum_add
from nfc.verify.values import (
    CTX,
    MAP_KEY,
    MEM,
    NAMES,
    NOT_INIT,
    NULLABLE,
    PACKET,
    PACKET_END,
    SCALAR,
    SOCK,
    SOCK_OR_NULL,
    STACK,
    VALUE,
    Map,
    Reg,
    mark_precise,
    unknown,
)

RDONLY_PROG, WRONLY_PROG = 1 << 7, 1 << 8  # BPF_F_*_PROG, uapi/linux/bpf.h
CMPXCHG: Final = 0xF1


def _same_use(m: Machine, i: Insn, pointer: Reg) -> None:
    """An access to the context is rewritten by the kernel, so the instruction cannot be one to
    other memory on another path (save_aux_ptr_type)."""
    kind = pointer.kind if pointer.kind in (CTX, SOCK) else 0
    if m.touched.setdefault(i.slot, kind) != kind:
        raise Refused(
            "this accesses the context, or a socket, on one path and other memory on another",
            "the compiler merged two accesses: make them different, e.g. by a barrier between",
        )


def step_load(m: Machine, i: Insn) -> int:
    """*(size *)(src + off), extended by zeros or (MEMSX) by its sign."""
    pointer = m.operand(i.src)
    if i.dst == 10:
        raise Refused("r10, the frame pointer, cannot be changed")
    m.regs[i.dst] = load(m, pointer, i.src, i.off, i.size, i.op & 0xE0 == 0x80)
    _same_use(m, i, pointer)
    return i.next


def step_store(m: Machine, i: Insn) -> int:
    """*(size *)(dst + off) = src or a constant."""
    if i.op & 7 == 3:
        value, is_constant = m.operand(i.src), False
    else:
        value, is_constant = Reg(SCALAR, constant(i.imm)), True
    pointer = m.operand(i.dst)
    if pointer.kind == STACK and not is_constant and m.rules.unbounded_spills:
        # What is spilled whole stays tied to its register (assign_scalar_id_before_mov).
        aligned = not pointer.number.mask and not (pointer.off + pointer.number.smin + i.off) % 8
        if aligned and value.kind == SCALAR and value.number.umax < 1 << i.size * 8:
            m.regs[i.src] = value = m.with_id(value)
    store(m, pointer, i.dst, i.off, i.size, value, is_constant)
    _same_use(m, i, pointer)
    return i.next


def step_atomic(m: Machine, i: Insn) -> int:
    """A load and a store that nothing comes between."""
    if i.imm in (LOAD_ACQUIRE, STORE_RELEASE):
        return _ordered(m, i)
    m.operand(i.src)
    pointer = m.operand(i.dst)
    if i.imm == CMPXCHG:
        m.operand(0)
    if pointer.kind in (CTX, PACKET, PACKET_END):
        raise Refused(f"{NAMES[pointer.kind]} takes no atomic operations", registers=(i.dst,))
    if i.imm & 1 and (i.src if i.imm != CMPXCHG else 0) == 10:
        raise Refused("r10, the frame pointer, cannot be changed")
    found = load(m, pointer, i.dst, i.off, i.size, False, aligned=True)
    if i.imm & 1:
        m.regs[0 if i.imm == CMPXCHG else i.src] = found
        pointer = m.operand(i.dst)
    store(m, pointer, i.dst, i.off, i.size, None, False, aligned=True)
    return i.next


def _ordered(m: Machine, i: Insn) -> int:
    """A load or a store with an order to others (check_atomic_load, check_atomic_store)."""
    loads = i.imm == LOAD_ACQUIRE
    register = i.src if loads else i.dst
    pointer = m.operand(register)
    if pointer.kind in (CTX, PACKET, PACKET_END, SOCK):
        raise Refused(f"{NAMES[pointer.kind]} takes no atomic operations", registers=(register,))
    if loads:
        if i.dst == 10:
            raise Refused("r10, the frame pointer, cannot be changed")
        m.regs[i.dst] = load(m, pointer, i.src, i.off, i.size, False, aligned=True)
    else:
        store(m, pointer, i.dst, i.off, i.size, m.operand(i.src), False, aligned=True)
    return i.next


def load(
    m: Machine,
    pointer: Reg,
    register: int,
    off: int,
    size: int,
    signed: bool,
    *,
    aligned: bool = False,
) -> Reg:
    """The value that is read. Raises Refused."""
    kind = pointer.kind
    if kind == STACK:
        _aligned(pointer, off, size)
        found = stack.read(m, pointer, pointer.off + off, size)
        return stack.fill(found, size, signed)
    if aligned:
        _aligned(pointer, off, size)
    if kind == PACKET:
        packet(pointer, register, pointer.off + off, size)
    elif kind == CTX:
        found = _context(m, pointer, register, off, size, write=False)
        if signed and found.kind != SCALAR:
            raise Refused("a pointer is read from the context as a signed number", "", (register,))
        return stack.fill(found, size, signed)
    elif kind == VALUE:
        found_ = value(pointer, register, pointer.off + off, size, write=False)
        if found_ is not None:
            low = int.from_bytes(found_, "little", signed=signed)
            return stack.fill(Reg(SCALAR, constant(low)), size, signed)
    elif kind == MEM:
        assert isinstance(pointer.about, int)
        region(pointer, register, pointer.off + off, size, pointer.about)
    elif kind == MAP_KEY:
        assert isinstance(pointer.about, Map)
        region(pointer, register, pointer.off + off, size, pointer.about.definition.key_size)
    elif kind == SOCK and pointer.number is ZERO:
        if why := context.sock_access(pointer.off + off, size):
            raise Refused(why, registers=(register,))
    else:
        raise _wrong(pointer, register, "read")
    return stack.fill(unknown(), size, signed)


def store(
    m: Machine,
    pointer: Reg,
    register: int,
    off: int,
    size: int,
    written: Reg | None,
    is_constant: bool,
    *,
    aligned: bool = False,
) -> None:
    """A value is written, None: one of which nothing is known. Raises Refused."""
    kind = pointer.kind
    if kind == STACK:
        _aligned(pointer, off, size)
        stack.write(m, pointer, pointer.off + off, size, written, is_constant)
        return
    if aligned:
        _aligned(pointer, off, size)
    if kind == PACKET:
        if not m.hook.writable:
            raise Refused(
                f"programs at {m.hook.name} may not write to the packet directly",
                "use a helper, e.g. bpf_lwt_seg6_store_bytes at endpoint",
                (register,),
            )
        packet(pointer, register, pointer.off + off, size)
    elif kind == CTX:
        _context(m, pointer, register, off, size, write=True)
    elif kind == VALUE:
        value(pointer, register, pointer.off + off, size, write=True)
    elif kind == MEM:
        assert isinstance(pointer.about, int)
        region(pointer, register, pointer.off + off, size, pointer.about)
    else:
        raise _wrong(pointer, register, "written")


def _wrong(pointer: Reg, register: int, verb: str) -> Refused:
    if pointer.kind in NULLABLE:
        return Refused(
            f"r{register} may be null here, and is {verb} through",
            "compare it with 0 first",
            (register,),
        )
    if pointer.kind == SCALAR:
        return Refused(
            f"memory is {verb} through r{register}, which is a number and no pointer",
            "if it was a pointer into the packet: helpers that move the packet void those; "
            "read skb->data and compare with skb->data_end again",
            (register,),
        )
    what = "nothing" if pointer.kind == NOT_INIT else NAMES[pointer.kind]
    return Refused(f"{what} (in r{register}) cannot be {verb} so", registers=(register,))


def _aligned(pointer: Reg, off: int, size: int) -> None:
    if size == 1:
        return
    v, mask = tnum_add(
        pointer.number.value, pointer.number.mask, (pointer.off + off) & ((1 << 64) - 1), 0
    )
    if (v | mask) & (size - 1):
        raise Refused(
            f"{size} bytes at an offset that is no multiple of {size}",
            "the stack, and atomic operations everywhere, need aligned accesses",
        )


# ---- kinds of memory ------------------------------------------------------------------------


def packet(pointer: Reg, register: int, off: int, size: int, zero_allowed: bool = False) -> None:
    """Bytes of the packet: only those shown to be there (check_packet_access)."""
    known = pointer.about
    assert isinstance(known, int)
    if pointer.number.smin < 0:
        raise Refused(
            f"r{register} may point before the packet",
            "make the offset unsigned, or compare it with 0",
            (register,),
        )
    if not (off >= 0 and (size > 0 or zero_allowed) and 0 <= off + size <= known):
        raise Refused(
            f"bytes {off} to {off + size - 1} behind r{register} are not known to be in the "
            f"packet, {max(known, 0)} bytes are",
            f"compare r{register} + {max(off, 0) + size} with skb->data_end before the access, "
            "and go on only where it is not beyond",
            (register,),
        )


def region(
    pointer: Reg, register: int, off: int, size: int, total: int, zero_allowed: bool = False
) -> None:
    """Bytes of memory of a known size (check_mem_region_access)."""
    offset = pointer.number
    if offset.smin < 0 and offset.smin + off < 0:
        raise Refused(
            f"r{register} may point before the memory that it is for",
            "make the offset unsigned, or compare it with 0",
            (register,),
        )
    small = size > 0 or (zero_allowed and size == 0)
    for at in (offset.smin + off, offset.umax + off):
        if offset.umax >= stack.MAX_OFFSET or at < 0 or not small or at + size > total:
            reach = "any byte" if offset.umax >= stack.MAX_OFFSET else f"byte {at + size - 1}"
            raise Refused(
                f"r{register} reaches {reach} of {total}",
                f"compare the offset so that it is at most {max(total - size - off, 0)}",
                (register,),
            )


def value(
    pointer: Reg, register: int, off: int, size: int, *, write: bool, zero_allowed: bool = False
) -> bytes | None:
    """Bytes of a map's value; those of read-only data as they are."""
    of = pointer.about
    assert isinstance(of, Map)
    if of.obstacle:
        raise Refused(f"map '{of.definition.name}': {of.obstacle}", registers=(register,))
    if write and not of.writable:
        raise Refused(f"map '{of.definition.name}' is read-only for programs", "", (register,))
    if not write and not of.readable:
        raise Refused(f"map '{of.definition.name}' is write-only for programs", "", (register,))
    region(pointer, register, off, size, of.definition.value_size, zero_allowed)
    if write or of.content is None or pointer.number.mask:
        return None
    at = off + pointer.number.smin
    return of.content[at : at + size]


def _context(m: Machine, pointer: Reg, register: int, off: int, size: int, *, write: bool) -> Reg:
    if pointer.off or pointer.number is not ZERO:
        raise Refused(
            f"r{register} points into the context; it is accessed from its start only",
            "read the field from the pointer that the program was given",
            (register,),
        )
    field, why = context.access(off, size, write, m.rules.version)
    if why or field is None:
        raise Refused(why, registers=(register,))
    if write:
        return unknown()
    if field.meaning == context.PACKET:
        return Reg(PACKET, about=0)
    if field.meaning == context.PACKET_END:
        return Reg(PACKET_END)
    if field.meaning == context.SOCKET:
        return Reg(SOCK_OR_NULL, id=m.new_id())
    return unknown()


# ---- memory that helpers touch --------------------------------------------------------------


def helper_access(
    m: Machine, register: int, size: int, *, write: bool, zero_allowed: bool, fresh: bool = False
) -> None:
    """A helper reads or writes at most `size` bytes (check_helper_mem_access).

    `fresh`: it writes all of them, so they need not hold anything yet. Raises Refused.
    """
    pointer = m.regs[register]
    kind = pointer.kind
    if kind == STACK:
        _helper_stack(m, pointer, size, write, zero_allowed, fresh)
    elif kind == PACKET:
        packet(pointer, register, pointer.off, size, zero_allowed)
        if write:
            raise Refused("a helper writes to the packet", registers=(register,))
    elif kind == VALUE:
        value(pointer, register, pointer.off, size, write=write, zero_allowed=zero_allowed)
    elif kind == MEM:
        assert isinstance(pointer.about, int)
        region(pointer, register, pointer.off, size, pointer.about, zero_allowed)
    elif kind == MAP_KEY and not write:
        assert isinstance(pointer.about, Map)
        region(pointer, register, pointer.off, size, pointer.about.definition.key_size)
    elif not (zero_allowed and size == 0 and kind == SCALAR and pointer.number is ZERO):
        raise _wrong(pointer, register, "used")
    else:
        mark_precise(pointer)


def _helper_stack(
    m: Machine, pointer: Reg, size: int, write: bool, zero_allowed: bool, fresh: bool
) -> None:
    if size == 0:
        if not zero_allowed:
            raise Refused("a helper is given 0 bytes of memory")
        stack.bounds(m, pointer, pointer.off, 0, direct=False)
        return
    least, most = stack.bounds(m, pointer, pointer.off, size, direct=False)
    frame = m.state.frames[pointer.about]  # type: ignore[call-overload]
    if fresh and not pointer.number.mask:
        for at in range(least, least + size):
            stack.write(m, pointer, pointer.off + at - least, 1, None, False)
        for spi in range((-least - size) >> 3, (-least - 1) >> 3):
            if -8 * (spi + 1) >= least and -8 * spi <= least + size:
                m.state.written.add((frame.depth, spi))
        return
    stack.initialized(m, frame, least, most + size)
    if write or not m.rules.reads_keep:
        stack.clobber(frame, least, most + size)
