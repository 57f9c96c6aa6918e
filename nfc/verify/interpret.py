"""From a program of an object to the verdict of a kernel version."""

from __future__ import annotations

import gc
import threading
from dataclasses import dataclass

from nfc.bpf.facts import HOOKS, STACK_SIZE
from nfc.bpf.isa import CALL, SRC_FUNC
from nfc.bpf.link import link
from nfc.bpf.maps import MAPS_OF_MAPS
from nfc.bpf.object import DataSection, MapDef, Object, Program, RelocationKind
from nfc.bpf.version import KernelVersion
from nfc.verify import scalar
from nfc.verify.machine import Machine
from nfc.verify.memory import RDONLY_PROG, WRONLY_PROG
from nfc.verify.program import Code, Malformed, prepare
from nfc.verify.refusal import Refused
from nfc.verify.rules import Rules, rules_of
from nfc.verify.signatures import global_functions, returning_numbers
from nfc.verify.values import NOT_INIT, Map
from nfc.verify.walk import Effort, follow

_NONE = Effort(0, 0)
_ONE_AT_A_TIME = threading.Lock()  # what is known of numbers is remembered for all
MAX_USED_MAPS = 64  # linux/bpf_verifier.h
ARRAY = 2  # BPF_MAP_TYPE_ARRAY
# Of the callers of a function with a tail call (check_max_stack_depth); taken of the whole here
MAX_STACK_BEFORE_TAIL_CALL = 256


@dataclass(frozen=True)
class Verdict:
    """What a kernel would say. `slot` counts 8-byte instructions of the linked `program`.

    `path` holds the decisions on the way: (slot of the jump, whether it was taken). `registers`
    are those that matter, with what they hold.
    """

    program: Program
    message: str = ""
    advice: str = ""
    slot: int | None = None
    registers: tuple[tuple[int, str], ...] = ()
    path: tuple[tuple[int, bool], ...] = ()
    effort: Effort = _NONE
    stack: int = 0

    @property
    def accepted(self) -> bool:
        """Whether nothing was found."""
        return not self.message


def judge(obj: Object, name: str, hook: str, version: KernelVersion) -> Verdict:
    """Follow every path of a program as a kernel of `version` would at `hook`.

    Raises ObjectError where the object cannot be linked.
    """
    return judge_linked(obj, link(obj, name), hook, version)


def judge_linked(obj: Object, program: Program, hook: str, version: KernelVersion) -> Verdict:
    """The same for a program that `nfc.bpf.link` has put together; `obj` has its maps."""
    with _ONE_AT_A_TIME:
        return _judge(obj, program, hook, version)


def _judge(obj: Object, program: Program, hook: str, version: KernelVersion) -> Verdict:
    rules = rules_of(version)
    scalar.begin(rules.deduced_halves, rules.overlapping_ranges)
    try:
        types = [info.type_id for info in program.func_info] if len(program.func_info) > 1 else []
        signatures = global_functions(obj.btf, types) if types and rules.global_functions else {}
        numbers = returning_numbers(obj.btf, types) if types else frozenset()
        code = prepare(program, signatures, numbers)
        machine = Machine(code, HOOKS[hook], rules, _maps(obj, program), obj.license)
    except Malformed as refused:
        return Verdict(program, refused.message, refused.advice, refused.slot)
    collecting = gc.isenabled()
    gc.disable()  # values make no cycles, and there are many of them
    try:
        effort = follow(machine)
    except Refused as refused:
        return _refused(program, machine, refused)
    finally:
        if collecting:
            gc.enable()
    stack, frames, at = _deepest(code, machine.depths, rules)
    message = ""
    if frames > 8:
        message = "calls nest deeper than 8 functions"
    elif stack > STACK_SIZE:
        message = f"{stack} bytes of stack with all functions that are called; there are 512"
    elif machine.tail_calls and stack >= MAX_STACK_BEFORE_TAIL_CALL:
        message = f"tail calls in functions, and {stack} bytes of stack: fewer than 256 are allowed"
    return Verdict(program, message, slot=at if message else None, effort=effort, stack=stack)


def _refused(program: Program, machine: Machine, refused: Refused) -> Verdict:
    state = machine.state
    path: list[tuple[int, bool]] = []
    step = state.path
    while step is not None and len(path) < 1000:
        path.append((step.slot, step.taken))
        step = step.before
    shown = refused.registers or tuple(
        n for n, reg in enumerate(machine.regs) if reg.kind != NOT_INIT and n < 10
    )
    return Verdict(
        program,
        refused.message,
        refused.advice,
        state.slot,
        tuple((n, str(machine.regs[n])) for n in shown),
        tuple(reversed(path)),
        Effort(machine.processed, machine.states),
        max(machine.depths),
    )


def _maps(obj: Object, program: Program) -> dict[int, tuple[Map, int | None]]:
    """The maps that a linked program loads, by slot; for data, the byte offset too."""
    maps = {definition.name: _map(definition) for definition in obj.maps}
    data = {section.name: _data(section) for section in obj.data}
    found: dict[int, tuple[Map, int | None]] = {}
    if len({relocation.symbol for relocation in program.relocations}) > MAX_USED_MAPS:
        raise Malformed(None, f"uses more than {MAX_USED_MAPS} maps, counting data sections")
    for relocation in program.relocations:
        slot = relocation.offset // 8
        if relocation.kind is RelocationKind.MAP and relocation.symbol in maps:
            found[slot] = (maps[relocation.symbol], None)
        elif relocation.kind is RelocationKind.DATA and relocation.symbol in data:
            of = data[relocation.symbol]
            if relocation.addend >= of.definition.value_size:
                raise Malformed(slot, f"byte {relocation.addend} is outside {relocation.symbol}")
            found[slot] = (of, relocation.addend)
        else:
            raise Malformed(slot, f"the object has no '{relocation.symbol}'")
    return found


def _map(definition: MapDef) -> Map:
    holds_maps = definition.type in MAPS_OF_MAPS
    return Map(
        definition,
        writable=not definition.flags & RDONLY_PROG,
        readable=not definition.flags & WRONLY_PROG,
        obstacle="it holds maps, and does not say which"
        if holds_maps and not definition.inner
        else "",
        inner=_map(definition.inner) if holds_maps and definition.inner else None,
    )


def _data(section: DataSection) -> Map:
    flags = RDONLY_PROG if section.readonly else 0
    definition = MapDef(section.name, ARRAY, 4, len(section.content), 1, flags)
    content = section.content if section.readonly else None
    return Map(definition, content, writable=not section.readonly)


def _deepest(code: Code, depths: list[int], rules: Rules) -> tuple[int, int, int | None]:
    """Bytes of stack and number of frames on the deepest chain of calls
    (check_max_stack_depth), and the call that leads there."""
    called: dict[int, set[int]] = {f.number: set() for f in code.functions}
    for insn in code.insns:
        if insn is None or insn.target < 0:
            continue
        if insn.op == CALL or (insn.op == 0x18 and insn.src == SRC_FUNC):
            caller = code.function_at(insn.slot).number
            called[caller].add(code.by_start[insn.target].number)
    unit = 16 if rules.stack_rounded_to_16 else 32

    def own(number: int) -> int:
        least = 0 if rules.stack_rounded_to_16 else 1
        return -(-max(depths[number], least) // unit) * unit

    known: dict[tuple[int, int], tuple[int, int]] = {}

    def below(number: int, frames: int) -> tuple[int, int]:
        if frames > 8:
            return 0, frames
        key = (number, frames)
        if key not in known:
            rest = [below(n, frames + 1) for n in called[number]]
            known[key] = (
                own(number) + max((stack for stack, _ in rest), default=0),
                max((deep for _, deep in rest), default=frames),
            )
        return known[key]

    stack, frames = below(0, 1)
    return stack, frames, None
