"""What compiled programs call besides helpers: checked memory off the fast path, calls, faults.

One module, compiled once a process, together with the helpers of `fast`, the driver of `drive` and
the counters of `counting`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import llvmlite.binding as llvm

from nfc.bpf import context
from nfc.vm import counting, drive, fast, ir
from nfc.vm.context import DATA, DATA_END, READABLE, WRITABLE
from nfc.vm.emit import I64, Code, State, part
from nfc.vm.memory import (
    CTX,
    FRAME_SIZE,
    FRAMES,
    OFFSET_BITS,
    PACKET,
    REGION_SHIFT,
    STACK,
    Descriptor,
)
from nfc.vm.native import FAULT_DEEP, FAULT_LOAD, FAULT_STORE

NO_SLOT = (1 << 64) - 1


def build(module: ir.Module) -> None:
    """Write the functions into a module."""
    _fault(module)
    _note(module)
    _enter(module)
    _leave(module)
    _slow_load(module)
    _slow_store(module)


def _fault(module: ir.Module) -> None:
    """nfc_fault(state, kind, slot, address, size): the first one stays."""
    k = Code(module, "nfc_fault", 5, internal=False)
    s = State(k, k.arguments[0])
    with k.if_(s.get("fault") == 0):
        for name, value in zip(
            ("fault", "fault_slot", "fault_address", "fault_size"), k.arguments[1:], strict=True
        ):
            s.set(name, value)
    k.give(0)


def _note(module: ir.Module) -> None:
    """nfc_note(state, slot): a helper has failed in Python; where, unless that is known."""
    k = Code(module, "nfc_note", 2, internal=False)
    s = State(k, k.arguments[0])
    with k.if_(s.get("fault_slot") == NO_SLOT):
        s.set("fault_slot", k.arguments[1])
    k.give(0)


def _enter(module: ir.Module) -> None:
    """nfc_enter(state, slot): a stack frame more, of zeros; 0 if there are too many."""
    k = Code(module, "nfc_enter", 2, internal=False)
    s = State(k, k.arguments[0])
    depth = s.get("depth") + 1
    with k.if_(depth >= FRAMES):
        k.call("nfc_fault", s.place, FAULT_DEEP, k.arguments[1], 0, 0)
        k.give(0)
    s.set("depth", depth)
    at, size = part(Descriptor, "count")
    k.store(s.entry("regions", Descriptor, STACK) + at, size, depth + 1)
    k.clear(s.get("stack") + depth * FRAME_SIZE, FRAME_SIZE)
    k.give(1)


def _leave(module: ir.Module) -> None:
    k = Code(module, "nfc_leave", 1, internal=False)
    s = State(k, k.arguments[0])
    depth = s.get("depth") - 1
    s.set("depth", depth)
    at, size = part(Descriptor, "count")
    k.store(s.entry("regions", Descriptor, STACK) + at, size, depth + 1)
    k.give(0)


def _table(module: ir.Module, name: str, allowed: frozenset[tuple[int, int]]) -> ir.Value:
    """By byte of the context: the sizes that may be accessed there, as bits."""
    rows = [sum(size for off, size in allowed if off == at) for at in range(context.SIZE)]
    return module.table(name, rows)


def _slow_load(module: ir.Module) -> None:
    """nfc_slow_load(state, address, size, slot): from the context, or a fault."""
    k = Code(module, "nfc_slow_load", 4, internal=False)
    place, address, size, slot = k.arguments
    s = State(k, place)
    off = address - (CTX << REGION_SHIFT)
    packet = s.entry("regions", Descriptor, PACKET)
    first, limit = (k.load(packet + part(Descriptor, n)[0], 4) for n in ("first", "limit"))
    data = (first << OFFSET_BITS) + (PACKET << REGION_SHIFT)
    with k.if_((off == DATA) & (size == 4)):
        k.give(data)
    with k.if_((off == DATA_END) & (size == 4)):
        k.give(data + limit)
    with k.if_(off < context.SIZE):
        table = k.b.cast("ptrtoint", _table(module, "readable", READABLE), I64)
        allowed = k.load(type(off)(k, table) + off, 1)
        with k.if_(allowed & size != 0):
            at = s.get("context") + off
            for one in (1, 2, 4):
                with k.if_(size == one):
                    k.give(k.load(at, one))
            k.give(k.load(at, 8))
    k.call("nfc_fault", s.place, FAULT_LOAD, slot, address, size)
    k.give(0)


def _slow_store(module: ir.Module) -> None:
    """nfc_slow_store(state, address, size, slot, value): to the context, or a fault."""
    k = Code(module, "nfc_slow_store", 5, internal=False)
    place, address, size, slot, value = k.arguments
    s = State(k, place)
    off = address - (CTX << REGION_SHIFT)
    with k.if_(off < context.SIZE):
        table = k.b.cast("ptrtoint", _table(module, "writable", WRITABLE), I64)
        allowed = k.load(type(off)(k, table) + off, 1)
        with k.if_(allowed & size != 0):
            at = s.get("context") + off
            for one in (1, 2, 4, 8):
                with k.if_(size == one):
                    k.store(at, one, value)
            k.give(0)
    k.call("nfc_fault", s.place, FAULT_STORE, slot, address, size)
    k.give(0)


# ---- compiling ----------------------------------------------------------------------------------


@cache
def _target() -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2,
        jit=True,
    )  # fmt: skip


class Compiled:
    """A module compiled to native code, which lives as long as this."""

    def __init__(self, module: ir.Module, *, optimized: bool) -> None:
        """Compile, either soon or well."""
        machine = _target()
        module.triple = machine.triple
        module.data_layout = str(machine.target_data)
        parsed = llvm.parse_assembly(str(module))
        parsed.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=2 if optimized else 0)
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(parsed, builder)
        self.engine = llvm.create_mcjit_compiler(parsed, _fresh_target(optimized))
        self.engine.finalize_object()

    def address(self, name: str) -> int:
        """Where a function is."""
        found: int = self.engine.get_function_address(name)
        return found


def _fresh_target(optimized: bool) -> llvm.TargetMachine:
    """A target machine for an engine to own."""
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), jit=True,
        opt=2 if optimized else 0,
    )  # fmt: skip


@cache
def runtime() -> Compiled:
    """The functions that all programs share; their names are known to later modules."""
    _target()
    module = ir.Module("runtime")
    build(module)
    fast.build(module)
    drive.build(module)
    counting.build(module)
    compiled = Compiled(module, optimized=True)
    for function in module.functions.values():
        if not function.is_declaration and not function.internal:
            llvm.add_symbol(function.name, compiled.address(function.name))
    return compiled


def function_type(arguments: int) -> Callable[..., Callable[..., int]]:
    """The ctypes of a function of numbers."""
    return ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * arguments)
