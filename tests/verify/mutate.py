"""Programs that differ from a good one in one or two instructions, and what the kernel says.

A mutant keeps the maps of its base, so these are made once.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from nfc.bpf.facts import HOOKS
from nfc.bpf.link import link
from nfc.bpf.object import Object, Program
from nfc.closing import Closing
from nfc.kernel import loader, syscall
from nfc.kernel.fill import fill
from nfc.kernel.maps import Map

_INSN = struct.Struct("<BBhi")
NOP = (0x05, 0, 0, 0)  # goto +0
Raw = tuple[int, int, int, int]  # opcode, registers, offset, immediate

ALU_OPS = [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0, 0xB0, 0xC0]
JUMP_OPS = [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0]
NUMBERS = [0, 1, 2, 4, 7, 8, 15, 16, 31, 40, 63, 64, 127, 255, 256, 511, 512, 4095, 65535, -1, -8]


@dataclass(frozen=True)
class Base:
    """A program to start from; `name` says where it is from."""

    name: str
    object: Object
    program: Program  # linked
    hook: str


def base(name: str, obj: Object, program: str, hook: str) -> Base:
    """A base, linked."""
    return Base(name, obj, link(obj, program), hook)


class Kernel(Closing):
    """The running kernel, with the maps of one object made. Not to be shared."""

    def __init__(self, obj: Object) -> None:
        self._stack = ExitStack()
        self._license = obj.license
        self._btf: syscall.Fd | None = None
        if obj.btf:
            self._btf = loader._load_btf(obj.btf)
            if self._btf is not None:
                self._stack.enter_context(self._btf)
        fds = {}
        for definition in obj.maps:
            one = self._stack.enter_context(Map.create(definition, btf=self._btf))
            fds[definition.name] = one.fd.fileno()
        for section in obj.data:
            one = self._stack.enter_context(loader._data_map(section, {}))
            fds[section.name] = one.fd.fileno()
        self._fds = fds

    def close(self) -> None:
        self._stack.close()

    def accepts(self, program: Program, hook: str) -> bool:
        """Whether it takes a linked program."""
        return self.asks(program, hook, 0)[0]

    def asks(self, program: Program, hook: str, level: int = 2) -> tuple[bool, str]:
        """The same, with its log at a level."""
        import ctypes

        filled = fill(replace(program, raw_line_info=b""), self._fds)
        code = syscall.buffer_of(filled.code)
        gpl = syscall.buffer_of(self._license.encode() + b"\0")
        funcs = syscall.buffer_of(filled.func_info)
        count = len(filled.func_info) // 8 if self._btf else 0
        log = ctypes.create_string_buffer(1 << 24) if level else None
        attr = struct.pack(
            "=IIQQIIQII16sIIIIQIIQI",
            *(HOOKS[hook].program_type, len(filled.code) // 8, syscall.address(code)),
            *(syscall.address(gpl), level, len(log) if log else 0, syscall.address(log), 0, 0),
            *(b"mutant", 0, 0, self._btf.fileno() if self._btf and count else 0),
            *(8 if count else 0, syscall.address(funcs) if count else 0, count),
            *(0, 0, 0),
        )
        try:
            syscall.Fd(syscall.attempt(syscall.PROG_LOAD, attr)).close()
            taken = True
        except OSError:
            taken = False
        return taken, log.value.decode(errors="replace") if log else ""


def mutants(one: Base, chance: random.Random) -> Iterator[tuple[str, Base]]:
    """Mutants without end, with what was changed."""
    original = list(_INSN.iter_unpack(one.program.code))
    second = {n + 1 for n, insn in enumerate(original) if insn[0] == 0x18}
    places = [n for n in range(len(original)) if n not in second]
    while True:
        slots = list(original)
        done = []
        for _ in range(chance.choice((1, 1, 1, 2))):
            at = chance.choice(places)
            change = chance.choice(CHANGES)
            said = change(slots, at, places, chance)
            if said:
                done.append(f"{at}: {said}")
        if slots == original:
            continue
        wide = {n for n, insn in enumerate(slots) if insn[0] == 0x18 and n in places}
        kept = tuple(r for r in one.program.relocations if r.offset // 8 in wide)
        for relocation in kept:  # the loader sets the source register itself
            op, registers, off, imm = slots[relocation.offset // 8]
            slots[relocation.offset // 8] = (op, registers & 15, off, imm)
        code = b"".join(_INSN.pack(*s) for s in slots)
        changed = replace(one.program, code=code, relocations=kept)
        yield ", ".join(done), replace(one, program=changed)


def _register(slots: list[Raw], at: int, places: list[int], chance: random.Random) -> str:
    op, registers, off, imm = slots[at]
    half = chance.choice((0, 4))
    new = registers & (0xF0 >> half) | chance.randrange(11) << half
    slots[at] = (op, new, off, imm)
    return f"registers {registers:#x} to {new:#x}"


def _immediate(slots: list[Raw], at: int, places: list[int], chance: random.Random) -> str:
    op, registers, off, imm = slots[at]
    if op in (0x85, 0x18) and chance.random() < 0.7:
        return ""
    new = chance.choice([imm + 1, imm - 1, imm + 8, imm - 8, imm * 2, *NUMBERS])
    if not -(1 << 31) <= new < 1 << 31:
        return ""
    slots[at] = (op, registers, off, new)
    return f"imm {imm} to {new}"


def _offset(slots: list[Raw], at: int, places: list[int], chance: random.Random) -> str:
    op, registers, off, imm = slots[at]
    if op & 7 in (4, 7, 0):
        return ""
    new = off + chance.choice([1, -1, 2, -2, 4, -4, 8, -8, 16, -16, 40])
    if not -(1 << 15) <= new < 1 << 15:
        return ""
    slots[at] = (op, registers, new, imm)
    return f"off {off} to {new}"


def _operation(slots: list[Raw], at: int, places: list[int], chance: random.Random) -> str:
    op, registers, off, imm = slots[at]
    kind = op & 7
    if kind in (4, 7) and op & 0xF0 in ALU_OPS:
        new = op & 0x0F | chance.choice(ALU_OPS)
    elif kind in (5, 6) and op & 0xF0 in JUMP_OPS:
        new = op & 0x0F | chance.choice(JUMP_OPS)
    elif kind in (1, 2, 3):
        new = op & 0xE7 | chance.choice((0x00, 0x08, 0x10, 0x18))
    else:
        return ""
    slots[at] = (new, registers, off, imm)
    return f"opcode {op:#x} to {new:#x}"


def _width(slots: list[Raw], at: int, places: list[int], chance: random.Random) -> str:
    op, registers, off, imm = slots[at]
    new = {4: op ^ 3, 7: op ^ 3, 5: op ^ 3, 6: op ^ 3}.get(op & 7)
    if new is None or op in (0x85, 0x95, 0x05):
        return ""
    slots[at] = (new, registers, off, imm)
    return f"opcode {op:#x} to {new:#x}"


def _remove(slots: list[Raw], at: int, places: list[int], chance: random.Random) -> str:
    if slots[at][0] in (0x95, 0x18):
        return ""
    slots[at] = NOP
    return "removed"


def _always(slots: list[Raw], at: int, places: list[int], chance: random.Random) -> str:
    """A check whose outcome no longer matters."""
    checks = [n for n in places if slots[n][0] & 7 in (5, 6) and slots[n][0] & 0xF0 in JUMP_OPS]
    if not checks:
        return ""
    n = chance.choice(checks)
    off = slots[n][2]
    slots[n] = chance.choice((NOP, (0x05, 0, off, 0)))
    return f"check at {n} replaced by {slots[n]}"


def _swap(slots: list[Raw], at: int, places: list[int], chance: random.Random) -> str:
    if at + 1 not in places or slots[at][0] == 0x18 or slots[at + 1][0] == 0x18:
        return ""
    slots[at], slots[at + 1] = slots[at + 1], slots[at]
    return "swapped with the next"


def _copy(slots: list[Raw], at: int, places: list[int], chance: random.Random) -> str:
    other = chance.choice(places)
    if 0x18 in (slots[at][0], slots[other][0]):
        return ""
    slots[at] = slots[other]
    return f"replaced by that at {other}"


CHANGES = (
    *(_register, _immediate, _offset, _operation, _width, _remove, _always, _swap, _copy),
    *(_always, _immediate, _remove),
)
