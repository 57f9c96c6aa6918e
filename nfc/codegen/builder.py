"""What all that emits LLVM IR for one function shares: the instructions so far, the stack frame,
the counters, and what is known of the packet at the place where the next instruction goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from llvmlite import ir

from nfc.codegen import helpers as h
from nfc.codegen.debuginfo import DebugInfo
from nfc.codegen.memory import key_size, packets_at
from nfc.codegen.srh import Srh, Tlvs
from nfc.codegen.target import Target
from nfc.codegen.values import I8, I32, I64, PTR, at, number
from nfc.plan import plan as p
from nfc.plan import values as v

# uapi/linux/bpf.h: enum bpf_ret_code
BPF_OK, BPF_DROP, BPF_REDIRECT = 0, 2, 7


@dataclass
class Globals:
    """The module's variables that a function uses."""

    stats: ir.GlobalVariable
    events: ir.GlobalVariable | None
    params: ir.GlobalVariable | None
    maps: Mapping[str, ir.GlobalVariable]  # tables, state and keyed counters by name


@dataclass(frozen=True)
class Copy:
    """A header: whether it is there (i1), and its copy on the stack."""

    found: ir.Value
    pointer: ir.Value


@dataclass
class Packet:
    """What is known of the packet at the place the builder stands at."""

    data: ir.Value
    end: ir.Value
    ip: bool = False  # 40 bytes checked
    srh: Srh | None = None
    tlvs: Tlvs | None = None
    clock: ir.Value | None = None
    params: ir.Value | None = None
    upper: dict[str, Copy] = field(default_factory=dict)
    pointers: dict[v.Region, ir.Value] = field(default_factory=dict)


class FunctionBuilder:
    """One function as it grows; `b` stands where the next instruction goes."""

    def __init__(
        self, module: ir.Module, plan: p.Plan, globals_: Globals, debug: DebugInfo, target: Target
    ) -> None:
        """Declare the function in `module`, and begin it: look its counters up."""
        self.plan = plan
        self.globals = globals_
        self.debug = debug
        self.target = target
        self.function = ir.Function(module, ir.FunctionType(I32, [PTR]), plan.name)
        self.function.args[0].name = "skb"
        self.scope: Any = debug.function(self.function, plan.line)
        self.context = self.function.args[0]
        # One frame for all buffers: bytes kept for the whole function, and taken by a rule's body.
        self.kept = self.frame_size = 0
        self.taken: int | None = None
        self.rule_frames: list[int] = []  # bytes that each rule's body had, in order
        self.packets = 0  # bytes of map memory that a rule's events take for the packet
        self.b = ir.IRBuilder(self.block("entry"))
        self.frame = self.b.alloca(I8)  # `finish` sets its size, when all that it holds is known
        self.frame.align = 8
        self.frame.type = PTR  # llvmlite still gives it a typed pointer
        with self.line(plan.line):
            start = self.block("start")
            # The key of every look-up, one after the other.
            self.key_memory = self.stack(key_size(plan))
            self.b.store(I32(0), self.key_memory, align=4)
            self.stats = self.call(h.MAP_LOOKUP, globals_.stats, self.key_memory)
            missing = self.block("no_stats")
            null = self.b.icmp_unsigned("==", self.stats, ir.Constant(PTR, None))
            self.b.cbranch(null, missing, start)
            self.b.position_at_end(missing)
            self.b.ret(I32(BPF_DROP))
            self.b.position_at_end(start)

    def finish(self) -> ir.Function:
        """The function, all of which is there now."""
        self.frame.allocated_type = ir.ArrayType(I8, self.frame_size)
        return self.function

    @contextmanager
    def line(self, line: int) -> Iterator[None]:
        """Within the block, instructions belong to that line of the source."""
        before = self.b.debug_metadata
        self.b.debug_metadata = self.debug.location(self.scope, line)
        yield
        self.b.debug_metadata = before

    def block(self, name: str) -> ir.Block:
        """A new basic block."""
        return self.function.append_basic_block(name)

    def call(self, helper: h.Helper, *arguments: ir.Value) -> ir.Value:
        """Call a helper of the kernel."""
        types = {"ptr": PTR, "i64": I64}
        signature = ir.FunctionType(types[helper.result], [types[a] for a in helper.arguments])
        address = ir.Constant(I64, helper.number).inttoptr(PTR)
        # A call to a small constant address is how LLVM's BPF target spells a helper call.
        return self.b.call(_Callee(address, signature), arguments)

    def stack(self, size: int, phase: int = 0) -> ir.Value:
        """Stack memory whose first byte is `phase` bytes past a multiple of 8.

        What a rule's body takes, the next rule takes again: no packet goes through both.
        """
        offset = self.kept if self.taken is None else self.taken
        end = offset + -(-(size + phase) // 8) * 8
        if self.taken is None:
            self.kept = end
        else:
            self.taken = end
        self.frame_size = max(self.frame_size, end)
        return at(self.b, self.frame, offset + phase)

    def packet_memory(self, size: int) -> ir.Value:
        """Map memory for an event that holds bytes of the packet."""
        place = at(self.b, self.stats, packets_at(self.plan) + self.packets)
        self.packets += -(-size // 8) * 8
        return place

    @contextmanager
    def own_stack(self) -> Iterator[None]:
        """Within the block, stack memory is a rule body's own."""
        self.taken = self.kept
        self.packets = 0
        yield
        self.rule_frames.append(self.taken)
        self.taken = None

    def memory(self) -> ir.Value:
        """This CPU's scratch memory, behind its counters."""
        return at(self.b, self.stats, self.plan.counter_count * 8)

    @property
    def kernel_checks(self) -> bool:
        """Whether the kernel has validated an SRH before the function runs."""
        return self.plan.hook == "endpoint"

    def count(self, index: int) -> None:
        """Add one to a counter of this CPU: no other program runs on it meanwhile."""
        slot = at(self.b, self.stats, index * 8)
        self.b.store(self.b.add(self.b.load(slot, align=8, typ=I64), number(1)), slot, align=8)

    def fail_unless(self, condition: ir.Value, reason: str) -> None:
        """Where `condition` does not hold, count the reason and drop."""
        good, bad = self.block("ok"), self.block(reason)
        self.b.cbranch(condition, good, bad)
        self.b.position_at_end(bad)
        self.count(self.plan.error_counter(reason))
        self.b.ret(I32(BPF_DROP))
        self.b.position_at_end(good)

    def succeeded(self, result: ir.Value, reason: str) -> None:
        """Where a helper's result is negative, count the reason and drop."""
        self.fail_unless(self.b.icmp_signed(">=", result, number(0)), reason)


class _Callee:
    """What IRBuilder.call wants of a function, for an address with a signature."""

    def __init__(self, address: Any, signature: ir.FunctionType) -> None:
        self.address = address
        self.function_type = signature
        self.type = PTR
        self.calling_convention = ""

    def get_reference(self) -> str:
        """How the address is written in IR."""
        return str(self.address.get_reference())
