"""Calls of helpers, by their prototypes.

check_func_arg, check_helper_call (kernel/bpf/verifier.c).
"""

from __future__ import annotations

from typing import Final

from nfc.bpf import prototypes as p
from nfc.bpf.helper_names import helper_name
from nfc.bpf.prototypes import HELPER_MAPS, MAP_HELPERS, PROTOTYPES, Prototype
from nfc.verify import memory
from nfc.verify.functions import CLEARED, LOOP, callback, require_nothing_reserved
from nfc.verify.jumps import forget_packet, forget_reference
from nfc.verify.machine import Machine
from nfc.verify.program import Insn
from nfc.verify.refusal import Refused
from nfc.verify.scalar import ZERO
from nfc.verify.stack import MAX_OFFSET
from nfc.verify.values import (
    CTX,
    FUNCTION,
    MAP,
    MAP_KEY,
    MEM,
    MEM_OR_NULL,
    NOTHING,
    NULLABLE,
    PACKET,
    SCALAR,
    STACK,
    VALUE,
    VALUE_OR_NULL,
    Map,
    Reg,
    is_zero,
    mark_precise,
    unknown,
)

TAIL_CALL, FOR_EACH = 12, 164
INNER_MAP: Final = 1 << 12  # BPF_F_INNER_MAP: another number of entries may be in its place
WRITES_MAP: Final = frozenset((2, 3, 87, 88))
_MEMORY: Final = frozenset((STACK, PACKET, VALUE, MEM, MAP_KEY))
_GPL: Final = frozenset(  # license_is_gpl_compatible, linux/license.h
    ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
)


def step_helper(m: Machine, i: Insn) -> int:
    """A helper is called."""
    number = i.imm
    prototype = PROTOTYPES.get(number)
    name = helper_name(number)
    if prototype is None:
        raise Refused(f"{name}: the check does not follow this helper")
    if prototype.gpl and m.license not in _GPL:
        raise Refused(f"{name} is for GPL programs only", "say so in section license")
    arguments = _Arguments(m, name, number, prototype)
    arguments.check()
    return _result(m, i, prototype, arguments)


class _Arguments:
    """The arguments of one call, looked at in order."""

    def __init__(self, m: Machine, name: str, number: int, prototype: Prototype) -> None:
        self.m = m
        self.name = name
        self.number = number
        self.prototype = prototype
        self.map: Map | None = None
        self.key_is: int | None = None  # a constant key
        self.reserved = 0
        self.released = 0
        self.function = -1

    def check(self) -> None:
        """Raises Refused for the first that does not fit."""
        kinds = self.prototype.arguments
        for n, kind in enumerate(kinds, 1):
            reg = self.m.operand(n)
            if kind == p.ANY:
                continue
            if reg.kind == PACKET and not self.prototype.packet:
                raise self._wrong(n, "which may not be in the packet", "copy it to the stack first")
            getattr(self, _CHECKS[kind])(n, reg, kind)

    def _wrong(self, n: int, why: str, advice: str = "") -> Refused:
        return Refused(f"{self.name}: argument {n} is {self.m.regs[n]}, {why}", advice, (n,))

    def _context(self, n: int, reg: Reg, kind: str) -> None:
        if reg.kind != CTX or reg.off or reg.number is not ZERO:
            raise self._wrong(n, "not the context that the program was given")

    def _map(self, n: int, reg: Reg, kind: str) -> None:
        if reg.kind != MAP or reg.off or reg.number is not ZERO:
            raise self._wrong(n, "not a map")
        assert isinstance(reg.about, Map)
        self.map = reg.about
        definition = reg.about.definition
        kinds = HELPER_MAPS.get(self.number)
        helpers = MAP_HELPERS.get(definition.type)
        if (kinds and definition.type not in kinds) or (
            helpers is not None and self.number not in helpers
        ):
            raise self._wrong(n, f"a map of a type that {self.name} does not work on")
        if self.number in WRITES_MAP and not reg.about.writable:
            raise self._wrong(n, "which is read-only for programs")
        if reg.about.obstacle:
            raise self._wrong(n, reg.about.obstacle)

    def _sized_by_map(self, n: int, reg: Reg, kind: str) -> None:
        if self.map is None:
            raise self._wrong(n, "and there is no map")
        definition = self.map.definition
        size = definition.key_size if kind == p.KEY else definition.value_size
        self._require_memory(n, reg)
        if kind == p.KEY and not definition.flags & INNER_MAP:
            self.key_is = self.m.constant_at(reg, size)
        out = kind == p.VALUE_OUT
        memory.helper_access(self.m, n, size, write=out, zero_allowed=False, fresh=out)

    def _require_memory(self, n: int, reg: Reg) -> None:
        if reg.kind not in _MEMORY:
            if reg.kind in NULLABLE:
                raise self._wrong(n, "not memory for certain", "compare it with 0 first")
            raise self._wrong(n, "not memory")

    def _memory(self, n: int, reg: Reg, kind: str) -> None:
        if kind == p.MEM_NULL and is_zero(reg):
            mark_precise(reg)
            return
        self._require_memory(n, reg)

    def _size(self, n: int, reg: Reg, kind: str) -> None:
        zero_allowed = kind == p.SIZE_ZERO
        if reg.kind != SCALAR:
            raise self._wrong(n, "not a number of bytes")
        size = reg.number
        if size.smin < 0:
            raise self._wrong(n, "which may be negative", "mask it: n & 0xff")
        if size.umin == 0 and not zero_allowed:
            raise self._wrong(n, "which may be 0 bytes", "go on only where it is more than 0")
        if size.umax >= MAX_OFFSET:
            raise self._wrong(n, "a size without an upper bound", "mask it: n & 0xff")
        out = self.prototype.arguments[n - 2] == p.MEM_OUT
        memory.helper_access(
            self.m, n - 1, size.umax, write=out, zero_allowed=zero_allowed,
            fresh=out and not size.mask,
        )  # fmt: skip
        mark_precise(reg)

    def _long(self, n: int, reg: Reg, kind: str) -> None:
        self._require_memory(n, reg)
        memory.helper_access(self.m, n, 8, write=True, zero_allowed=False, fresh=True)
        if (reg.off | reg.number.value | reg.number.mask) & 7:
            raise self._wrong(n, "not aligned to 8 bytes")

    def _bytes(self, n: int, reg: Reg, kind: str) -> None:
        if reg.kind != SCALAR or reg.number.mask:
            raise self._wrong(n, "a size that is not known", "reserve a constant number of bytes")
        mark_precise(reg)
        self.reserved = reg.number.value & 0xFFFFFFFF

    def _reserved(self, n: int, reg: Reg, kind: str) -> None:
        if reg.kind != MEM or not reg.ref or reg.off or reg.number is not ZERO:
            raise self._wrong(n, "not what bpf_ringbuf_reserve gave, or not from its start")
        self.released = reg.ref

    def _function(self, n: int, reg: Reg, kind: str) -> None:
        if reg.kind != FUNCTION or reg.off or reg.number is not ZERO:
            raise self._wrong(n, "not a function of the program")
        assert isinstance(reg.about, int)
        self.function = reg.about

    def _text(self, n: int, reg: Reg, kind: str) -> None:
        """A string (check_reg_const_str)."""
        of = reg.about
        content = of.content if reg.kind == VALUE and isinstance(of, Map) else None
        if content is None or reg.number.mask:
            raise self._wrong(n, "not text in read-only data", "make it a static const char[]")
        at = reg.off + reg.number.smin
        if not 0 <= at < len(content) or 0 not in content[at:]:
            raise self._wrong(n, "text that does not end")

    def _stack_or_null(self, n: int, reg: Reg, kind: str) -> None:
        if is_zero(reg):
            mark_precise(reg)
        elif reg.kind != STACK:
            raise self._wrong(n, "neither a pointer to the stack nor null")


_CHECKS: Final = {
    p.CTX: "_context", p.MAP: "_map", p.KEY: "_sized_by_map", p.VALUE: "_sized_by_map",
    p.VALUE_OUT: "_sized_by_map", p.MEM: "_memory", p.MEM_NULL: "_memory", p.MEM_OUT: "_memory",
    p.LONG_OUT: "_long", p.SIZE: "_size", p.SIZE_ZERO: "_size", p.BYTES: "_bytes",
    p.RESERVED: "_reserved", p.FUNC: "_function", p.STACK_NULL: "_stack_or_null",
    p.TEXT: "_text",
}  # fmt: skip


def _result(m: Machine, i: Insn, prototype: Prototype, arguments: _Arguments) -> int:
    """After the call: r0, what is void now, and where a callback goes."""
    state, number = m.state, i.imm
    if arguments.released:
        if not any(ref == arguments.released for ref, _ in state.refs):
            raise Refused("this was given back before, or in another function")
        state.refs = tuple(r for r in state.refs if r[0] != arguments.released)
        forget_reference(state, arguments.released, unknown)
    if number == TAIL_CALL:
        require_nothing_reserved(m)
        if m.frame.depth:
            _require_tail_call_from_here(m)
    if number in (LOOP, FOR_EACH):
        callback(m, i, m.code.by_start[arguments.function], arguments.map)
    regs = m.regs
    regs[0:6] = CLEARED
    regs[0] = _returned(m, prototype, arguments)
    if prototype.moves:
        forget_packet(state, unknown)
    if number == TAIL_CALL and m.frame.depth:
        _returns_instead(m, i)
    return i.next


def _require_tail_call_from_here(m: Machine) -> None:
    """Raises Refused where a function other than the main one may not do a tail call."""
    function = m.code.functions[m.frame.function]
    if not m.rules.tail_calls_in_functions:
        raise Refused("tail calls and calls of functions together came with kernel 5.10")
    if m.frame.callback:
        raise Refused("the check does not follow tail calls in callbacks")
    if not function.returns_number:
        raise Refused(
            "a tail call in a function that does not return an int, or without type information",
            "compile with -g, and let the function return int",
        )
    m.tail_calls = True


def _returns_instead(m: Machine, i: Insn) -> None:
    """The other program, in the place of this function, returns to the caller with any number."""
    other = m.push_to(m.code.at(m.frame.callsite).next, i)
    other.frames.pop()
    other.frames[-1].regs[0] = unknown()
    forget_packet(other, unknown)


def _returned(m: Machine, prototype: Prototype, arguments: _Arguments) -> Reg:
    if prototype.result == p.NUMBER:
        return unknown()
    if prototype.result == p.NOTHING:
        return NOTHING
    if prototype.result == p.VALUE_NULL:
        assert arguments.map is not None
        key, definition = arguments.key_is, arguments.map.definition
        if key is not None and key < definition.max_entries and definition.type in (2, 6):
            return Reg(VALUE, about=arguments.map)
        return Reg(VALUE_OR_NULL, id=m.new_id(), about=arguments.map)
    id_ = m.new_id()
    m.state.refs = (*m.state.refs, (id_, m.frame.depth))
    return Reg(MEM_OR_NULL, id=id_, about=arguments.reserved, ref=id_)
