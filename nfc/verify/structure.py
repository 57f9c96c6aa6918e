"""What can be said of a program without following its values: sizes, helpers, maps, stack, jumps.

Facts by kernel version are tables in `nfc.bpf`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nfc.bpf.facts import HOOKS, ISA_SINCE, STACK_SIZE, limits
from nfc.bpf.helpers import HELPERS
from nfc.bpf.isa import EXIT, GOTO, GOTOL, LDX, ST, STX, Instruction, decode
from nfc.bpf.maptypes import MAP_TYPES
from nfc.bpf.object import MapDef, Object, Program, RelocationKind
from nfc.bpf.version import KernelVersion
from nfc.verify.report import Violation

FRAME_POINTER = 10
MAX_FRAMES = 8  # MAX_CALL_FRAMES, linux/bpf_verifier.h
_MOV64_REG, _ADD64_IMM, _MOV64_IMM = 0xBF, 0x07, 0xB7
MAX_VIOLATIONS = 10


@dataclass(frozen=True)
class Structure:
    """A program and the functions it calls: instructions (8-byte slots), bytes of stack on the
    deepest chain of calls, names of helpers, violations."""

    instructions: int
    stack: int
    helpers: tuple[str, ...]
    violations: tuple[Violation, ...]


def inspect(obj: Object, program: Program, hook: str, version: KernelVersion) -> Structure:
    """Look at a program of an object as a kernel of `version` would at `hook`.

    Raises ObjectError where the code cannot be decoded.
    """
    functions = {p.name: p for p in obj.programs}
    reached = _reached(program, functions)
    found: list[Violation] = []
    helpers: dict[int, None] = {}
    depths: dict[str, int] = {}
    total = 0
    if version < HOOKS[hook].since:
        found.append(Violation(f"hook '{hook}' came with kernel {HOOKS[hook].since}"))
    for function in reached:
        code = dict(decode(function.code))
        total += len(function.code) // 8
        found += _instructions(function, code, version)
        found += _jumps(function, code, limits(version).loops)
        found += _helpers(function, code, hook, version, helpers)
        depths[function.name] = _stack_depth(code)
        found += [
            _at(function, slot, f"byte {at} of the stack: a program has {STACK_SIZE} bytes of it")
            for slot, at in _stack_accesses(code)
            if not 0 < at <= STACK_SIZE
        ]
    found += _maps(obj, reached, version)
    most = limits(version).length
    if total > most:
        found.append(Violation(f"{total} instructions; kernel {version} takes {most}"))
    stack, chain = _deepest(program.name, functions, depths, ())
    if chain > MAX_FRAMES:
        found.append(Violation(f"calls nest {chain} deep; the limit is {MAX_FRAMES}"))
    if stack > STACK_SIZE:
        found.append(Violation(f"{stack} bytes of stack; a program has {STACK_SIZE}"))
    names = tuple(HELPERS[n].name if n in HELPERS else f"helper {n}" for n in helpers)
    return Structure(total, stack, names, tuple(found[:MAX_VIOLATIONS]))


def _calls(program: Program) -> list[str]:
    kinds = (RelocationKind.CALL, RelocationKind.FUNC)
    return [r.symbol for r in program.relocations if r.kind in kinds]


def _reached(program: Program, functions: Mapping[str, Program]) -> list[Program]:
    order = [program]
    seen = {program.name}
    for function in order:  # grows while it is walked
        for name in _calls(function):
            if name in functions and name not in seen:
                seen.add(name)
                order.append(functions[name])
    return order


def _deepest(
    name: str, functions: Mapping[str, Program], depths: Mapping[str, int], path: tuple[str, ...]
) -> tuple[int, int]:
    """Bytes of stack and number of frames on the deepest chain of calls from a function."""
    if name in path or len(path) > MAX_FRAMES or name not in functions:
        return 0, len(path)
    # Frames are rounded up to 32 bytes (round_up_stack_depth, kernel/bpf/verifier.c).
    own = -(-max(depths[name], 1) // 32) * 32
    below = [_deepest(c, functions, depths, (*path, name)) for c in set(_calls(functions[name]))]
    deepest = max((b for b, _ in below), default=0)
    return own + deepest if below else depths[name], max(
        (c for _, c in below), default=len(path) + 1
    )


def _at(program: Program, slot: int, message: str) -> Violation:
    """A violation at an instruction, with the source line that it was made from."""
    before = [line for line in program.line_info if line.offset <= slot * 8]
    line = max(before, key=lambda info: info.offset, default=None)
    if line is None:
        return Violation(message, slot)
    return Violation(message, slot, f"{line.file}:{line.line}", line.text.strip())


def _instructions(
    program: Program, code: Mapping[int, Instruction], version: KernelVersion
) -> Iterable[Violation]:
    for slot, instruction in code.items():
        extension = instruction.extension
        if not extension:
            yield _at(program, slot, f"{instruction}")
        elif version < ISA_SINCE[extension]:
            yield _at(
                program, slot,
                f"'{instruction}' is of instruction set {extension}, "
                f"which came with kernel {ISA_SINCE[extension]}",
            )  # fmt: skip


def _jumps(program: Program, code: Mapping[int, Instruction], loops: bool) -> Iterable[Violation]:
    if not code:
        yield Violation(f"{program.name} is empty")
        return
    last = max(code)
    if code[last].opcode not in (EXIT, GOTO, GOTOL):
        yield _at(program, last, "the program runs off its end")
    for slot, instruction in code.items():
        jump = instruction.jump
        if jump is None:
            continue
        target = slot + instruction.slots + jump
        if target not in code:
            yield _at(program, slot, f"'{instruction}' jumps out of the program")
        elif target <= slot and not loops:
            yield _at(program, slot, "this jumps back: kernels before 5.3 take no loops")


def _helpers(
    program: Program,
    code: Mapping[int, Instruction],
    hook: str,
    version: KernelVersion,
    seen: dict[int, None],
) -> Iterable[Violation]:
    for slot, instruction in code.items():
        if not instruction.calls_helper:
            continue
        number = instruction.imm
        seen[number] = None
        helper = HELPERS.get(number)
        since = helper.since_at(hook) if helper else None
        if helper is None:
            yield _at(program, slot, f"no hook of nfc may call helper {number}")
        elif since is None:
            allowed = ", ".join(helper.hooks)
            yield _at(program, slot, f"{helper.name} is not offered at {hook}, only at {allowed}")
        elif version < since:
            yield _at(program, slot, f"{helper.name} came to {hook} with kernel {since}")
        elif gone := helper.withdrawn_at(hook, version):
            yield _at(program, slot, f"{helper.name} was taken from {hook} with kernel {gone}")


def _maps(obj: Object, reached: Iterable[Program], version: KernelVersion) -> Iterable[Violation]:
    used = {r.symbol for p in reached for r in p.relocations if r.kind is RelocationKind.MAP}
    known: dict[str, MapDef] = {m.name: m for m in obj.maps}
    for name in sorted(used):
        if name not in known:
            yield Violation(f"the object has no map '{name}'")
            continue
        kind = MAP_TYPES.get(known[name].type)
        if kind is None:
            yield Violation(f"map '{name}' is of the unknown type {known[name].type}")
        elif version < kind.since:
            yield Violation(f"map '{name}' is a {kind.name}, which came with kernel {kind.since}")


def stack_depth(program: Program) -> int:
    """Bytes of stack that a program's own instructions reach below its frame pointer."""
    return _stack_depth(dict(decode(program.code)))


def _stack_depth(code: Mapping[int, Instruction]) -> int:
    return max((at for _, at in _stack_accesses(code) if at > 0), default=0)


def _stack_accesses(code: Mapping[int, Instruction]) -> Iterable[tuple[int, int]]:
    """(slot, bytes below the frame pointer) of accesses and addresses made from it directly."""
    previous: tuple[int, Instruction] | None = None
    for slot, instruction in code.items():
        base = instruction.src if instruction.cls == LDX else instruction.dst
        if instruction.cls in (LDX, ST, STX) and base == FRAME_POINTER:
            yield slot, -instruction.off
        if (
            previous is not None
            and instruction.opcode == _ADD64_IMM
            and previous[1].opcode == _MOV64_REG
            and previous[1].src == FRAME_POINTER
            and previous[1].dst == instruction.dst
            and previous[0] + 1 == slot
        ):
            yield slot, -instruction.imm
        previous = (slot, instruction)
