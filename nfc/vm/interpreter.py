"""The plain engine: every instruction becomes a small function, called one after the other.

Semantics: RFC 9669, sections 4 and 5. It exists to be read and believed; `jit` is the fast one, and
the two are compared on generated programs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nfc.bpf import isa
from nfc.bpf.isa import CMPXCHG, FETCH, LOAD_ACQUIRE, STORE_RELEASE, XCHG, Instruction
from nfc.vm import helpers
from nfc.vm.image import Image
from nfc.vm.machine import MASK64, Machine
from nfc.vm.memory import CTX, PACKET, REGION_SHIFT, FaultError, address

MASK32 = 0xFFFFFFFF
SIGN32, SIGN64 = 1 << 31, 1 << 63
DONE = -1
NOT_ATOMIC = "works atomically on the context or the packet, which it may not"

Registers = list[int]
Operation = Callable[[Registers], int]  # gives the next slot


@dataclass(frozen=True, slots=True)
class Step:
    """An instruction that was executed: its slot, and the eleven registers before it."""

    slot: int
    registers: tuple[int, ...]


def signed(value: int, bits: int) -> int:
    """An unsigned number of so many bits, read as a signed one."""
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def _shift_right(a: int, b: int, bits: int) -> int:
    return signed(a, bits) >> (b & (bits - 1))


def _divide(a: int, b: int, _: int) -> int:
    return a // b if b else 0


def _modulo(a: int, b: int, _: int) -> int:
    return a % b if b else a


def _signed_divide(a: int, b: int, bits: int) -> int:
    x, y = signed(a, bits), signed(b, bits)
    if not y:
        return 0
    quotient = abs(x) // abs(y)
    return -quotient if (x < 0) != (y < 0) else quotient


def _signed_modulo(a: int, b: int, bits: int) -> int:
    x, y = signed(a, bits), signed(b, bits)
    if not y:
        return a
    rest = abs(x) % abs(y)
    return -rest if x < 0 else rest


# RFC 9669, section 4.1, by the high four bits; (a, b, bits) -> number, to be cut to its width.
ALU: dict[int, Callable[[int, int, int], int]] = {
    0x00: lambda a, b, _: a + b,
    0x10: lambda a, b, _: a - b,
    0x20: lambda a, b, _: a * b,
    0x30: _divide,
    0x40: lambda a, b, _: a | b,
    0x50: lambda a, b, _: a & b,
    0x60: lambda a, b, bits: a << (b & (bits - 1)),
    0x70: lambda a, b, bits: a >> (b & (bits - 1)),
    0x80: lambda a, _, __: -a,
    0x90: _modulo,
    0xA0: lambda a, b, _: a ^ b,
    0xB0: lambda _, b, __: b,
    0xC0: _shift_right,
}
SIGNED_ALU = {0x30: _signed_divide, 0x90: _signed_modulo}

# Section 4.3: (a, b, a signed, b signed)
JUMPS: dict[int, Callable[[int, int, int], bool]] = {
    0x10: lambda a, b, _: a == b,
    0x20: lambda a, b, _: a > b,
    0x30: lambda a, b, _: a >= b,
    0x40: lambda a, b, _: a & b != 0,
    0x50: lambda a, b, _: a != b,
    0x60: lambda a, b, bits: signed(a, bits) > signed(b, bits),
    0x70: lambda a, b, bits: signed(a, bits) >= signed(b, bits),
    0xA0: lambda a, b, _: a < b,
    0xB0: lambda a, b, _: a <= b,
    0xC0: lambda a, b, bits: signed(a, bits) < signed(b, bits),
    0xD0: lambda a, b, bits: signed(a, bits) <= signed(b, bits),
}

# Section 5.3, by the immediate without its fetch bit
ATOMICS: dict[int, Callable[[int, int], int]] = {
    0x00: lambda a, b: a + b,
    0x40: lambda a, b: a | b,
    0x50: lambda a, b: a & b,
    0xA0: lambda a, b: a ^ b,
}


class Interpreter:
    """Runs one image on one machine."""

    def __init__(self, image: Image, machine: Machine) -> None:
        """Make the functions of all instructions."""
        self.image = image
        self.machine = machine
        self.returns: list[tuple[int, Registers]] = []
        self.steps: list[Step] | None = None
        self.operations = [self._operation(slot) for slot in range(len(image.code))]
        self.operations.append(_faulty(image.problem(len(image.code))))

    def run(self) -> int:
        """Run the program on the machine's packet: r0. Raises FaultError, TailCallError."""
        machine = self.machine
        machine.call = self._callback
        self.returns = []
        return self._execute(0, [0, address(CTX), 0, 0, 0, 0, 0, 0, 0, 0, machine.frame_top()])

    def _execute(self, slot: int, registers: Registers) -> int:
        operations, steps = self.operations, self.steps
        floor = len(self.returns)
        at = slot
        try:
            while True:
                while slot >= 0:
                    at = slot
                    if steps is not None:
                        steps.append(Step(slot, tuple(registers)))
                    slot = operations[slot](registers)
                if len(self.returns) == floor:
                    return registers[0]
                slot, saved = self.returns.pop()
                registers[1:11] = (0, 0, 0, 0, 0, *saved)
                self.machine.leave()
        except FaultError as error:
            if error.slot < 0:
                error.slot = at
            raise

    def _callback(self, slot: int, arguments: tuple[int, ...]) -> int:
        if slot not in self.image.functions:
            raise FaultError("calls back what is no function")
        machine = self.machine
        machine.enter()
        registers = [0, *arguments, 0, 0, 0, 0, machine.frame_top()]
        try:
            return self._execute(slot, registers)
        finally:
            machine.leave()

    # ---- instructions ----------------------------------------------------------------------------

    def _operation(self, slot: int) -> Operation:
        insn = self.image.code[slot]
        problem = self.image.problem(slot)
        if problem or insn is None:
            return _faulty(problem)
        if insn.cls in (isa.ALU, isa.ALU64):
            return self._alu(insn, slot + 1)
        if insn.cls in (isa.JMP, isa.JMP32):
            return self._jump(insn, slot)
        if insn.cls == isa.LDX:
            return self._load(insn, slot + 1)
        if insn.cls == isa.LD:
            return self._load_constant(insn, slot)
        if insn.cls == isa.STX and insn.opcode & 0xE0 == isa.MODE_ATOMIC:
            return self._atomic(insn, slot + 1)
        return self._store(insn, slot + 1)

    def _alu(self, i: Instruction, following: int) -> Operation:
        bits = 64 if i.cls == isa.ALU64 else 32
        mask = MASK64 if bits == 64 else MASK32
        code, dst, src = i.opcode & 0xF0, i.dst, i.src
        by_register = bool(i.opcode & isa.REGISTER)
        if code == 0xD0:
            return _swap(i, following)
        if code == 0xB0 and by_register and i.off:
            return _extended_move(i, mask, following)
        function = SIGNED_ALU[code] if i.off == 1 else ALU[code]
        if by_register:

            def operate(registers: Registers) -> int:
                left, right = registers[dst] & mask, registers[src] & mask
                registers[dst] = function(left, right, bits) & mask
                return following

            return operate
        constant = i.imm & mask

        def operate_constant(registers: Registers) -> int:
            registers[dst] = function(registers[dst] & mask, constant, bits) & mask
            return following

        return operate_constant

    def _jump(self, i: Instruction, slot: int) -> Operation:
        following = slot + 1
        if i.opcode == isa.EXIT:
            return lambda registers: DONE
        if i.opcode == isa.CALL:
            return self._call(i, slot)
        assert i.jump is not None
        target = following + i.jump
        cost = slot - target + 1
        spend = self.machine.spend
        if i.opcode in (isa.GOTO, isa.GOTOL):

            def go(registers: Registers) -> int:
                if cost > 0:
                    spend(cost)
                return target

            return go
        if i.opcode == isa.MAY_GOTO:
            machine = self.machine

            def leave(registers: Registers) -> int:
                if machine.budget >= machine.patience:
                    return following
                if cost > 0:
                    spend(cost)
                return target

            return leave
        bits = 64 if i.cls == isa.JMP else 32
        mask = MASK64 if bits == 64 else MASK32
        compare, dst, src, constant = JUMPS[i.opcode & 0xF0], i.dst, i.src, i.imm & mask
        by_register = bool(i.opcode & isa.REGISTER)

        def branch(registers: Registers) -> int:
            right = registers[src] & mask if by_register else constant
            if not compare(registers[dst] & mask, right, bits):
                return following
            if cost > 0:
                spend(cost)
            return target

        return branch

    def _call(self, i: Instruction, slot: int) -> Operation:
        machine, following = self.machine, slot + 1
        if i.calls_helper:
            number, call = i.imm, helpers.call

            def call_helper(registers: Registers) -> int:
                registers[0] = call(machine, number, *registers[1:6])
                registers[1:6] = (0, 0, 0, 0, 0)  # a verifier lets nobody read them
                return following

            return call_helper
        target = following + i.imm
        cost = max(1, slot - target + 1)

        def call_local(registers: Registers) -> int:
            machine.spend(cost)
            machine.enter()
            self.returns.append((following, registers[6:11]))
            registers[0] = 0
            registers[6:10] = (0, 0, 0, 0)
            registers[10] = machine.frame_top()
            return target

        return call_local

    def _load(self, i: Instruction, following: int) -> Operation:
        load, dst, src, off, size = self.machine.memory.load, i.dst, i.src, i.off, i.size
        if i.opcode & 0xE0 == isa.MODE_MEMSX:
            bits = 8 * size

            def load_signed(registers: Registers) -> int:
                registers[dst] = signed(load(registers[src] + off & MASK64, size), bits) & MASK64
                return following

            return load_signed

        def load_unsigned(registers: Registers) -> int:
            registers[dst] = load(registers[src] + off & MASK64, size)
            return following

        return load_unsigned

    def _load_constant(self, i: Instruction, slot: int) -> Operation:
        dst, value = i.dst, self.image.constants[slot]

        def load(registers: Registers) -> int:
            registers[dst] = value
            return slot + 2

        return load

    def _store(self, i: Instruction, following: int) -> Operation:
        store, dst, src, off, size = self.machine.memory.store, i.dst, i.src, i.off, i.size
        if i.cls == isa.STX:

            def store_register(registers: Registers) -> int:
                store(registers[dst] + off & MASK64, size, registers[src])
                return following

            return store_register
        constant = i.imm & MASK64

        def store_constant(registers: Registers) -> int:
            store(registers[dst] + off & MASK64, size, constant)
            return following

        return store_constant

    def _atomic(self, i: Instruction, following: int) -> Operation:
        memory, dst, src, off, size, imm = (
            self.machine.memory, i.dst, i.src, i.off, i.size, i.imm,
        )  # fmt: skip
        mask = (1 << 8 * size) - 1

        def operate(registers: Registers) -> int:
            if imm == LOAD_ACQUIRE:
                registers[dst] = memory.load(registers[src] + off & MASK64, size)
                return following
            place = registers[dst] + off & MASK64
            if imm == STORE_RELEASE:
                memory.store(place, size, registers[src])
                return following
            _plain_memory(place)
            data, at = memory.place(place, size, True)
            old = int.from_bytes(data[at : at + size], "little")
            value = registers[src] & mask
            if imm == CMPXCHG:
                new = value if old == registers[0] & mask else old
                registers[0] = old
            elif imm == XCHG:
                new = value
                registers[src] = old
            else:
                new = ATOMICS[imm & ~FETCH](old, value) & mask
                if imm & FETCH:
                    registers[src] = old
            data[at : at + size] = new.to_bytes(size, "little")
            return following

        return operate


def _plain_memory(place: int) -> None:
    """Atomic operations work on memory only (check_atomic, kernel/bpf/verifier.c)."""
    if place >> REGION_SHIFT in (CTX, PACKET):
        raise FaultError(NOT_ATOMIC)


def _faulty(message: str) -> Operation:
    def fault(registers: Registers) -> int:
        raise FaultError(message)

    return fault


def _extended_move(i: Instruction, mask: int, following: int) -> Operation:
    dst, src, bits = i.dst, i.src, i.off

    def move(registers: Registers) -> int:
        registers[dst] = signed(registers[src] & ((1 << bits) - 1), bits) & mask
        return following

    return move


def _swap(i: Instruction, following: int) -> Operation:
    dst, size = i.dst, i.imm // 8
    # ALU: to little endian (nothing but a cut here) or to big endian; ALU64: swap always.
    swap = i.cls == isa.ALU64 or bool(i.opcode & isa.REGISTER)
    mask = (1 << i.imm) - 1

    def operate(registers: Registers) -> int:
        value = registers[dst] & mask
        if swap:
            value = int.from_bytes(value.to_bytes(size, "little"), "big")
        registers[dst] = value
        return following

    return operate
