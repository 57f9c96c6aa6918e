"""Bytecode to LLVM IR.

Every function of a program becomes a native one: of the state (`nfc.vm.native`) and five arguments.
Registers are variables that LLVM turns into real ones. Each load and store checks its address
against the regions, or goes to `nfc_slow_load` and `nfc_slow_store` (`nfc.vm.runtime`), which know
the context and faults. A fault is noted in the state, and every function returns.

Semantics: RFC 9669; the twin is `nfc.vm.interpreter`.
"""

from __future__ import annotations

from nfc.bpf import isa
from nfc.bpf.helpers import HELPERS
from nfc.bpf.isa import Instruction
from nfc.vm import fast, ir
from nfc.vm.emit import BY_SIZE, I32, I64, C, Code, State, V, Var, part
from nfc.vm.image import Image
from nfc.vm.machine import Machine
from nfc.vm.memory import (
    ELEMENT_MASK,
    FIRST_FRAME,
    FRAME_SIZE,
    OFFSET_BITS,
    OFFSET_MASK,
    PACKET,
    REGION_SHIFT,
    STACK,
    Descriptor,
    address,
)
from nfc.vm.native import (
    FAULT_ATOMIC,
    FAULT_BUDGET,
    FAULT_SAID,
)

RFC_SHIFTS = {0x60: "shl", 0x70: "lshr", 0xC0: "ashr"}
PLAIN = {0x00: "add", 0x10: "sub", 0x20: "mul", 0x40: "or", 0x50: "and", 0xA0: "xor"}
COMPARES = {
    0x10: "eq", 0x20: "ugt", 0x30: "uge", 0x50: "ne", 0xA0: "ult", 0xB0: "ule",
    0x60: "sgt", 0x70: "sge", 0xC0: "slt", 0xD0: "sle",
}  # fmt: skip
ATOMICS = {0x00: "add", 0x40: "or", 0x50: "and", 0xA0: "xor"}


class Function(Code):
    """One function of a program, being translated."""

    def __init__(self, image: Image, machine: Machine, module: ir.Module, entry: int) -> None:
        """Translate all that can be reached from a slot."""
        super().__init__(module, f"f{entry}", 6, internal=False)
        self.image, self.machine = image, machine
        self.s = State(self, self.arguments[0])
        self.registers = [Var(self, 0) for _ in range(10)]
        for register, argument in zip(self.registers[1:6], self.arguments[1:], strict=True):
            register.set(argument)
        depth = self.s.get("depth")
        self.top = (depth << OFFSET_BITS) + address(STACK, FIRST_FRAME, FRAME_SIZE)
        self.host_top = self.s.get("stack") + (depth * FRAME_SIZE + FRAME_SIZE)
        self.exit = self.function.append_basic_block("exit")
        self.blocks: dict[int, ir.Block] = {}
        self.waiting: list[int] = []
        self.leaders = _leaders(image)
        self.b.branch(self.block(entry))
        while self.waiting:
            self.translate(self.waiting.pop())
        self.b.position_at_end(self.exit)
        self.give(0)

    def block(self, slot: int) -> ir.Block:
        """The block that begins at a slot."""
        if slot not in self.blocks:
            self.blocks[slot] = self.function.append_basic_block(f"at{slot}")
            self.waiting.append(slot)
        return self.blocks[slot]

    def translate(self, slot: int) -> None:
        """The instructions of a block."""
        self.b.position_at_end(self.blocks[slot])
        begin = slot
        while True:
            if slot != begin and slot in self.leaders:
                self.b.branch(self.block(slot))
                return
            insn = self.image.code[slot] if slot < len(self.image.code) else None
            if self.image.problem(slot) or insn is None:
                self.fault(FAULT_SAID, slot)
                return
            if insn.cls in (isa.JMP, isa.JMP32) and insn.opcode != isa.CALL:
                self.jump(insn, slot)
                return
            self.instruction(insn, slot)
            slot += insn.slots

    # ---- faults ----------------------------------------------------------------------------------

    def fault(self, kind: int, slot: int, place: V | int = 0, size: int = 0) -> None:
        """Note a fault, and end the function."""
        self.call("nfc_fault", self.s.place, kind, slot, place, size)
        self.b.branch(self.exit)

    def check(self, slot: int | None = None) -> None:
        """End the function if something that it called has noted a fault."""
        on = self.function.append_basic_block("on")
        failed = self.function.append_basic_block("failed") if slot is not None else self.exit
        self.b.cbranch((self.s.get("fault") == 0).value, on, failed)
        if slot is not None:
            self.b.position_at_end(failed)
            self.call("nfc_note", self.s.place, slot)
            self.b.branch(self.exit)
        self.b.position_at_end(on)

    def spend(self, cost: int, slot: int) -> None:
        """Count a jump back."""
        left = self.s.get("budget") - cost
        self.s.set("budget", left)
        on = self.function.append_basic_block("on")
        over = self.function.append_basic_block("over")
        self.b.cbranch(left.negative().value, over, on)
        self.b.position_at_end(over)
        self.fault(FAULT_BUDGET, slot)
        self.b.position_at_end(on)

    # ---- registers -------------------------------------------------------------------------------

    def get(self, register: int) -> V:
        """A register's value."""
        return self.top if register == 10 else self.registers[register].get()

    def set(self, register: int, value: V | int) -> None:
        """Set a register."""
        self.registers[register].set(value)

    def cut(self, value: V, bits: int) -> ir.Value:
        """The low bits."""
        return value.value if bits == 64 else self.b.trunc(value.value, f"i{bits}")

    def widened(self, value: ir.Value, *, signed: bool = False) -> V:
        """64 bits of a narrower number."""
        if value.type == I64:
            return V(self, value)
        return V(self, (self.b.sext if signed else self.b.zext)(value, I64))

    # ---- instructions ----------------------------------------------------------------------------

    def instruction(self, i: Instruction, slot: int) -> None:
        """Any but a jump."""
        if i.cls in (isa.ALU, isa.ALU64):
            self.set(i.dst, self.alu(i))
        elif i.opcode == isa.CALL:
            self.calls(i, slot)
        elif i.cls == isa.LD:
            self.set(i.dst, self.image.constants[slot])
        elif i.cls == isa.LDX:
            value = self.load_checked(i.src, i.off, i.size, slot)
            if i.opcode & 0xE0 == isa.MODE_MEMSX:
                value = self.widened(self.cut(value, 8 * i.size), signed=True)
            self.set(i.dst, value)
        elif i.cls == isa.STX and i.opcode & 0xE0 == isa.MODE_ATOMIC:
            self.atomic(i, slot)
        else:
            value = self.get(i.src) if i.cls == isa.STX else self.number(i.imm)
            self.store_checked(i.dst, i.off, i.size, value, slot)

    def alu(self, i: Instruction) -> V:
        """The result of an arithmetic instruction."""
        bits = 64 if i.cls == isa.ALU64 else 32
        kind = I64 if bits == 64 else I32
        code = i.opcode & 0xF0
        by_register = bool(i.opcode & isa.REGISTER)
        if code == 0xD0:
            return self.swap(i)
        a = self.cut(self.get(i.dst), bits)
        b = (
            self.cut(self.get(i.src), bits)
            if by_register
            else ir.Value(kind, str(i.imm & (1 << bits) - 1))
        )
        if code == 0xB0:
            if i.off:
                narrow = self.b.trunc(self.get(i.src).value, f"i{i.off}")
                b = self.b.sext(narrow, kind) if i.off < bits else narrow
            return self.widened(b)
        if code == 0x80:
            return self.widened(self.b.neg(a))
        if code in PLAIN:
            return self.widened(self.b.op(PLAIN[code], a, b))
        if code in RFC_SHIFTS:
            masked = self.b.op("and", b, ir.Value(kind, str(bits - 1)))
            return self.widened(self.b.op(RFC_SHIFTS[code], a, masked))
        return self.widened(self.divide(code, a, b, kind, signed=i.off == 1))

    def divide(self, code: int, a: ir.Value, b: ir.Value, kind: str, *, signed: bool) -> ir.Value:
        """Division by zero is zero, and its rest the dividend; the least number by -1 wraps."""
        zero, one = ir.Value(kind, "0"), ir.Value(kind, "1")
        none = self.b.icmp("eq", b, zero)
        division = code == 0x30
        if not signed:
            safe = self.b.select(none, one, b)
            found = self.b.op("udiv" if division else "urem", a, safe)
            return self.b.select(none, zero if division else a, found)
        minus = self.b.icmp("eq", b, ir.Value(kind, "-1"))
        safe = self.b.select(self.b.op("or", none, minus), one, b)
        found = self.b.op("sdiv" if division else "srem", a, safe)
        found = self.b.select(minus, self.b.neg(a) if division else zero, found)
        return self.b.select(none, zero if division else a, found)

    def swap(self, i: Instruction) -> V:
        """le, be, bswap."""
        turn = i.cls == isa.ALU64 or bool(i.opcode & isa.REGISTER)
        value = self.get(i.dst)
        if turn:
            return self.swapped(value, i.imm // 8)
        return self.widened(self.cut(value, i.imm))

    # ---- memory ----------------------------------------------------------------------------------

    def direct(self, register: int, off: int, size: int) -> V | None:
        """The host address of a place in this function's stack frame, if that is known now."""
        if register == 10 and off >= -FRAME_SIZE and off + size <= 0:
            return self.host_top + off
        return None

    def checked(self, place: V, size: int, *, write: bool, atomic: bool = False) -> tuple[C, V]:
        """Whether memory may be touched, and its host address."""
        region = place >> REGION_SHIFT
        descriptor = self.s.entry("regions", Descriptor, region & 0xFFF)

        def field(name: str) -> V:
            return self.load(descriptor + part(Descriptor, name)[0], part(Descriptor, name)[1])

        element = (place >> OFFSET_BITS & ELEMENT_MASK) - field("first")
        offset = place & OFFSET_MASK
        good = (element < field("count")) & (offset + size <= field("limit"))
        if write:
            good = good & (field("writable") != 0)
        if atomic:
            good = good & (region != PACKET)
        return good, field("base") + element * field("stride") + offset

    def load_checked(self, register: int, off: int, size: int, slot: int) -> V:
        """A load."""
        direct = self.direct(register, off, size)
        if direct is not None:
            return self.load(direct, size)
        place = self.get(register) + off
        good, at = self.checked(place, size, write=False)
        found = Var(self, 0)
        fast_, slow, on = (self.function.append_basic_block(n) for n in ("fast", "slow", "on"))
        self.b.cbranch(good.value, fast_, slow)
        self.b.position_at_end(fast_)
        found.set(self.load(at, size))
        self.b.branch(on)
        self.b.position_at_end(slow)
        found.set(self.call("nfc_slow_load", self.s.place, place, size, slot))
        self.b.cbranch((self.s.get("fault") == 0).value, on, self.exit)
        self.b.position_at_end(on)
        return found.get()

    def store_checked(self, register: int, off: int, size: int, value: V, slot: int) -> None:
        """A store."""
        direct = self.direct(register, off, size)
        if direct is not None:
            self.store(direct, size, value)
            return
        place = self.get(register) + off
        good, at = self.checked(place, size, write=True)
        fast_, slow, on = (self.function.append_basic_block(n) for n in ("fast", "slow", "on"))
        self.b.cbranch(good.value, fast_, slow)
        self.b.position_at_end(fast_)
        self.store(at, size, value)
        self.b.branch(on)
        self.b.position_at_end(slow)
        self.call("nfc_slow_store", self.s.place, place, size, slot, value)
        self.b.cbranch((self.s.get("fault") == 0).value, on, self.exit)
        self.b.position_at_end(on)

    def atomic(self, i: Instruction, slot: int) -> None:
        """One packet at a time runs, so that load and store are one."""
        if i.imm == isa.LOAD_ACQUIRE:
            self.set(i.dst, self.load_checked(i.src, i.off, i.size, slot))
            return
        if i.imm == isa.STORE_RELEASE:
            self.store_checked(i.dst, i.off, i.size, self.get(i.src), slot)
            return
        place = self.get(i.dst) + i.off
        good, at = self.checked(place, i.size, write=True, atomic=True)
        fast_, bad = (self.function.append_basic_block(n) for n in ("fast", "bad"))
        self.b.cbranch(good.value, fast_, bad)
        self.b.position_at_end(bad)
        self.fault(FAULT_ATOMIC, slot, place, i.size)
        self.b.position_at_end(fast_)
        old = self.load(at, i.size)
        kind = BY_SIZE[i.size]
        value = self.widened(self.cut(self.get(i.src), 8 * i.size))
        if i.imm == isa.CMPXCHG:
            expected = self.widened(self.cut(self.get(0), 8 * i.size))
            self.store(at, i.size, self.select(old == expected, value, old))
            self.set(0, old)
        elif i.imm == isa.XCHG:
            self.store(at, i.size, value)
            self.set(i.src, old)
        else:
            new = self.b.op(ATOMICS[i.imm & ~isa.FETCH], old.value, value.value)
            self.store(at, i.size, V(self, new))
            if i.imm & isa.FETCH:
                self.set(i.src, old)
        assert kind

    # ---- jumps and calls -------------------------------------------------------------------------

    def jump(self, i: Instruction, slot: int) -> None:
        """The end of a block."""
        if i.opcode == isa.EXIT:
            self.give(self.get(0))
            return
        assert i.jump is not None
        target = slot + 1 + i.jump
        cost = slot - target + 1
        if i.opcode in (isa.GOTO, isa.GOTOL):
            if cost > 0:
                self.spend(cost, slot)
            self.b.branch(self.block(target))
            return
        bits = 64 if i.cls == isa.JMP else 32
        a = self.cut(self.get(i.dst), bits)
        by_register = bool(i.opcode & isa.REGISTER)
        b = (
            self.cut(self.get(i.src), bits)
            if by_register
            else ir.Value(a.type, str(i.imm & (1 << bits) - 1))
        )
        code = i.opcode & 0xF0
        if i.opcode == isa.MAY_GOTO:
            left = ir.Value(I64, str(self.machine.patience))
            hit = self.b.icmp("slt", self.s.get("budget").value, left)
        elif code == 0x40:
            hit = self.b.icmp("ne", self.b.op("and", a, b), ir.Value(a.type, "0"))
        else:
            hit = self.b.icmp(COMPARES[code], a, b)
        if cost <= 0:
            self.b.cbranch(hit, self.block(target), self.block(slot + 1))
            return
        back = self.function.append_basic_block("back")
        self.b.cbranch(hit, back, self.block(slot + 1))
        self.b.position_at_end(back)
        self.spend(cost, slot)
        self.b.branch(self.block(target))

    def calls(self, i: Instruction, slot: int) -> None:
        """A call of a helper, or of a function of the program."""
        arguments = [self.get(n) for n in range(1, 6)]
        if i.calls_helper:
            number = i.imm & 0xFFFFFFFF
            known = HELPERS.get(number)
            native = known is not None and self.machine.hook in known.hooks
            if native and number in fast.NUMBERS and number not in self.machine.failing:
                found = self.call(f"nfc_helper_{number}", self.s.place, *arguments)
            else:
                found = self.call("nfc_python", self.s.place, number, *arguments)
            self.check(slot)
        else:
            target = slot + 1 + i.imm
            self.spend(max(1, slot - target + 1), slot)
            entered = self.call("nfc_enter", self.s.place, slot)
            on = self.function.append_basic_block("on")
            self.b.cbranch((entered != 0).value, on, self.exit)
            self.b.position_at_end(on)
            found = self.call(f"f{target}", self.s.place, *arguments)
            self.check()
            self.call("nfc_leave", self.s.place)
        self.set(0, found)
        for register in range(1, 6):
            self.set(register, 0)


def _leaders(image: Image) -> frozenset[int]:
    found = set(image.functions)
    for slot, insn in enumerate(image.code):
        if insn is not None and insn.jump is not None and insn.opcode != isa.CALL:
            found.add(slot + 1 + insn.jump)
            found.add(slot + 1)
    return frozenset(found)
