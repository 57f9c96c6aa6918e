"""The LLVM module of an object: maps, params, licence, and one function for each hook."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from nfc.codegen.builder import FunctionBuilder, Globals
from nfc.codegen.debuginfo import DebugInfo
from nfc.codegen.function import emit_function
from nfc.codegen.memory import packets_size, scratch_size
from nfc.codegen.target import Target
from nfc.manifest import (
    EVENTS_MAP,
    PARAMS_SECTION,
    TABLE_TYPES,
    Field,
    Manifest,
    Param,
    Table,
)
from nfc.plan.plan import Plan
from nfc.syntax.source import Source

TRIPLE = "bpfel"
LAYOUT = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"
LICENSE = b"GPL\0"  # most helpers that routing needs are GPL only
# uapi/linux/bpf.h, enum bpf_map_type
PERCPU_ARRAY, RINGBUF = 6, 27
NO_PREALLOC = 1  # BPF_F_NO_PREALLOC, which a longest-prefix map has to say
EVENTS_BYTES = 256 * 1024  # a power of two and whole pages (ringbuf_map_alloc)
# libbpf's names, src/libbpf.c section_defs: exact, without a suffix
SECTIONS = {
    "endpoint": "lwt_seg6local",
    "in": "lwt_in",
    "out": "lwt_out",
    "xmit": "lwt_xmit",
}


@dataclass(frozen=True)
class Unit:
    """One function to be put into a module."""

    plan: Plan
    manifest: Manifest


def build_module(
    units: Sequence[Unit], declared: Sequence[Param], source: Source, target: Target
) -> ir.Module:
    """The LLVM IR of functions of one file, each at a hook of its own; `declared` is all of the
    file's params.

    They share the params, the ring buffer and the tables; each has its own counters.
    """
    return _build(units, declared, source, target)[0]


def frames(
    unit: Unit, declared: Sequence[Param], source: Source, target: Target
) -> tuple[int, ...]:
    """Bytes of stack that each rule of a function has its buffers in, with those that all share;
    what LLVM keeps there besides is not among them."""
    return _build([unit], declared, source, target)[1][0]


def _build(
    units: Sequence[Unit], declared: Sequence[Param], source: Source, target: Target
) -> tuple[ir.Module, list[tuple[int, ...]]]:
    module = ir.Module(name=source.base_name)
    module.triple = TRIPLE
    module.data_layout = LAYOUT
    debug = DebugInfo(module, source)
    has_events = any(unit.manifest.events for unit in units)
    events = (
        _map(module, debug, EVENTS_MAP, [("type", RINGBUF), ("max_entries", EVENTS_BYTES)])
        if has_events
        else None
    )
    has_params = any(unit.manifest.params for unit in units)
    params = _params(module, debug, units[0].plan, declared) if has_params else None
    tables = {table.name: table for unit in units for table in unit.manifest.tables}
    maps = {name: _table(module, debug, table) for name, table in tables.items()}
    rules = []
    for unit in units:
        globals_ = Globals(_stats(module, debug, unit), events, params, maps)
        builder = FunctionBuilder(module, unit.plan, globals_, debug, target)
        emit_function(builder).section = SECTIONS[unit.plan.hook]
        rules.append(tuple(builder.rule_frames))
    _variable(module, "_license", _bytes(LICENSE), "license", 1)
    debug.finish()
    return module, rules


def _variable(
    module: ir.Module, name: str, content: ir.Constant, section: str, align: int
) -> ir.GlobalVariable:
    variable = ir.GlobalVariable(module, content.type, name)
    variable.initializer = content
    variable.section = section
    variable.align = align
    variable.type = ir.PointerType()  # llvmlite still gives it a typed pointer
    return variable


def _bytes(data: bytes) -> ir.Constant:
    return ir.Constant(ir.ArrayType(ir.IntType(8), len(data)), bytearray(data))


def _map(
    module: ir.Module, debug: DebugInfo, name: str, members: list[tuple[str, object]]
) -> ir.GlobalVariable:
    """A map the way libbpf reads it: a struct of pointers whose types say everything.

    A number n is a pointer to int[n] (libbpf's __uint), a type a pointer to it (__type).
    """
    type_ = ir.LiteralStructType([ir.PointerType()] * len(members))
    variable = _variable(module, name, ir.Constant(type_, None), ".maps", 8)
    fields = []
    for i, (member, what) in enumerate(members):
        shown = debug.array(debug.integer("int", 32), what, 32) if isinstance(what, int) else what
        fields.append((member, debug.pointer(shown), 8 * i, 8))
    debug.variable(variable, debug.struct("", fields, 8 * len(members)))
    return variable


def _stats(module: ir.Module, debug: DebugInfo, unit: Unit) -> ir.GlobalVariable:
    """The counters of one function, and behind them this CPU's memory to rebuild TLVs in."""
    manifest = unit.manifest
    u64 = debug.named("u64", 8)
    fields = [(counter.name, u64, 8 * i, 8) for i, counter in enumerate(manifest.counters)]
    size = 8 * len(fields)
    for name, room in (("scratch", scratch_size(unit.plan)), ("packets", packets_size(unit.plan))):
        if room:
            memory = debug.array(debug.integer("unsigned char", 8), room, 8)
            fields.append((name, memory, size, room))
            size += room
    value = debug.struct(manifest.stats_map, fields, size)
    return _map(
        module,
        debug,
        manifest.stats_map,
        [
            ("type", PERCPU_ARRAY),
            ("max_entries", 1),
            ("key", debug.integer("unsigned int", 32)),
            ("value", value),
        ],
    )


def _table(module: ir.Module, debug: DebugInfo, table: Table) -> ir.GlobalVariable:
    """A table, state or keyed counter as a map."""
    members: list[tuple[str, object]] = [("type", TABLE_TYPES[table.kind, table.per_cpu])]
    members.append(("max_entries", table.entries))
    if table.kind == "prefix":
        members.append(("map_flags", NO_PREALLOC))
    if table.kind == "array":
        key = debug.integer("unsigned int", 32)
    else:
        fields = [_member(debug, f) for f in table.keys]
        if table.kind == "prefix":
            fields.insert(0, ("prefix_length", debug.integer("unsigned int", 32), 0, 4))
        key = debug.struct(f"{table.name}_key", fields, table.key_size)
    value = debug.struct(
        f"{table.name}_entry", [_member(debug, f) for f in table.fields], table.value_size
    )
    return _map(module, debug, table.map, [*members, ("key", key), ("value", value)])


def _member(debug: DebugInfo, field: Field) -> tuple[str, Any, int, int]:
    return field.name, debug.named(field.type, field.size), field.offset, field.size


def _params(
    module: ir.Module, debug: DebugInfo, plan: Plan, declared: Sequence[Param]
) -> ir.GlobalVariable:
    """The params' two copies, both with the defaults; see nfc.manifest."""
    copy = plan.params_default
    content = struct.pack("<Q", 0) + copy + copy
    variable = _variable(module, "params", _bytes(content), PARAMS_SECTION, 8)
    fields = [_member(debug, p.field) for p in declared]
    struct_type = debug.struct("nfc_params", fields, plan.params_size)
    both = debug.array(struct_type, 2, plan.params_size * 8)
    whole = debug.struct(
        "nfc_params_copies",
        [("active", debug.named("u64", 8), 0, 8), ("copies", both, 8, 2 * len(copy))],
        len(content),
    )
    debug.variable(variable, whole)
    return variable
