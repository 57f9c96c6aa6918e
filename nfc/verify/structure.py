"""What a kernel version has and has not: helpers, instructions, map types, sizes.

Found without following values, so all of it can be listed at once. Facts by kernel version are
tables in `nfc.bpf`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nfc.bpf.facts import HOOKS, ISA_SINCE, limits
from nfc.bpf.helper_names import helper_name
from nfc.bpf.helpers import HELPERS
from nfc.bpf.isa import Instruction, decode
from nfc.bpf.maptypes import MAP_TYPES, fault
from nfc.bpf.object import MapDef, Object, Program
from nfc.bpf.version import KernelVersion
from nfc.verify.report import Violation, violation_at

MAX_VIOLATIONS = 10


@dataclass(frozen=True)
class Structure:
    """A program with the functions it calls: instructions (8-byte slots), names of helpers, what
    the kernel version lacks."""

    program: Program
    instructions: int
    helpers: tuple[str, ...]
    violations: tuple[Violation, ...]


def inspect(obj: Object, program: Program, hook: str, version: KernelVersion) -> Structure:
    """Look at a program that `nfc.bpf.link` has put together, as a kernel of `version` would at
    `hook`; `obj` has its maps. Raises ObjectError where the code cannot be decoded.
    """
    code = dict(decode(program.code, f"program {program.name}"))
    found: list[Violation] = []
    if version < HOOKS[hook].since:
        found.append(Violation(f"hook '{hook}' came with kernel {HOOKS[hook].since}"))
    found += _instructions(program, code, version)
    if not limits(version).loops:
        found += _loops(program, code)
    numbers = {i.imm: slot for slot, i in reversed(code.items()) if i.calls_helper}
    helpers = dict(sorted(numbers.items(), key=lambda item: item[1]))
    found += _helpers(program, code, hook, version)
    found += _maps(obj.maps, version)
    total, most = len(program.code) // 8, limits(version).length
    if total > most:
        found.append(Violation(f"{total} instructions; kernel {version} takes {most}"))
    names = tuple(map(helper_name, helpers))
    return Structure(program, total, names, tuple(found[:MAX_VIOLATIONS]))


def _instructions(
    program: Program, code: Mapping[int, Instruction], version: KernelVersion
) -> Iterable[Violation]:
    extensions: dict[tuple[int, int, bool, int], str] = {}
    for slot, i in code.items():
        # What decides to which part of the instruction set it belongs.
        atomic = i.imm if i.opcode & 0xE7 == 0xC3 else 0
        key = (i.opcode, i.src if i.opcode == 0x85 else 0, i.off != 0, atomic)
        if key not in extensions:
            extensions[key] = i.extension
        extension = extensions[key]
        if extension and version < ISA_SINCE[extension]:
            yield violation_at(
                program, slot,
                f"'{i}' is of instruction set {extension}, "
                f"which came with kernel {ISA_SINCE[extension]}",
                "compile for an older instruction set: -mcpu=v1 to v3, or --kernel",
            )  # fmt: skip


def _loops(program: Program, code: Mapping[int, Instruction]) -> Iterable[Violation]:
    for slot, i in code.items():
        if i.jump is not None and i.jump < 0:
            yield violation_at(
                program, slot, "this jumps back: kernels before 5.3 take no loops",
                "unroll the loop",
            )  # fmt: skip


def _helpers(
    program: Program, code: Mapping[int, Instruction], hook: str, version: KernelVersion
) -> Iterable[Violation]:
    for slot, instruction in code.items():
        if not instruction.calls_helper:
            continue
        number = instruction.imm
        helper = HELPERS.get(number)
        since = helper.since_at(hook) if helper else None
        if helper is None:
            yield violation_at(program, slot, f"no hook of nfc may call {helper_name(number)}")
        elif since is None:
            allowed = ", ".join(helper.hooks)
            yield violation_at(
                program, slot, f"{helper.name} is not offered at {hook}, only at {allowed}"
            )
        elif version < since:
            yield violation_at(program, slot, f"{helper.name} came to {hook} with kernel {since}")
        elif gone := helper.withdrawn_at(hook, version):
            yield violation_at(
                program, slot, f"{helper.name} was taken from {hook} with kernel {gone}"
            )


def _maps(maps: Iterable[MapDef], version: KernelVersion) -> Iterable[Violation]:
    """All maps: a loader makes those that the program does not use too."""
    for definition in maps:
        kind = MAP_TYPES.get(definition.type)
        if kind is None:
            yield Violation(f"map '{definition.name}' is of the unknown type {definition.type}")
        elif version < kind.since:
            yield Violation(
                f"map '{definition.name}' is a {kind.name}, which came with kernel {kind.since}"
            )
        elif why := fault(definition):
            yield Violation(f"map '{definition.name}' ({kind.name}): {why}")
        if definition.inner is not None:
            yield from _maps((definition.inner,), version)
