"""LLVM IR as text, written line by line.

    module = Module("m")
    function = Function(module, "double", "i64", ["i64"])
    b = Builder(function.append_basic_block("entry"))
    b.ret(b.op("add", function.args[0], function.args[0]))
    print(module)

What native code needs, and no more. `llvmlite.ir` makes an object of each instruction and prints it
afterwards, which took three quarters of the time until a program could run. Nothing is checked
here: LLVM does when it reads the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

POINTER = "ptr"
RARELY, MOSTLY = 0, 1  # metadata: how likely a branch's first block is
WEIGHTS = {RARELY: (1, 99), MOSTLY: (99, 1)}


@dataclass(slots=True)
class Value:
    """A value as instructions name it, and its type: i1 to i128, or ptr."""

    type: str
    ref: str


class Block:
    """A basic block; `is_terminated` once it has its last instruction."""

    __slots__ = ("function", "is_terminated", "label", "lines")

    def __init__(self, function: Function, label: str) -> None:
        """An empty one."""
        self.function, self.label = function, label
        self.lines: list[str] = []
        self.is_terminated = False


class Module:
    """What is compiled at one time."""

    def __init__(self, name: str) -> None:
        """An empty one, of no machine."""
        self.name, self.triple, self.data_layout = name, "", ""
        self.functions: dict[str, Function] = {}
        self.constants: dict[str, str] = {}

    def table(self, name: str, rows: Sequence[int]) -> Value:
        """Constant bytes of that name: their address."""
        body = ", ".join(f"i8 {row}" for row in rows)
        self.constants[name] = f"@{name} = internal constant [{len(rows)} x i8] [{body}]"
        return Value(POINTER, f"@{name}")

    def __str__(self) -> str:
        """The text that LLVM reads."""
        lines = [f'target triple = "{self.triple}"', f'target datalayout = "{self.data_layout}"']
        lines += self.constants.values()
        for function in self.functions.values():
            lines += function.text()
        for number, (yes, no) in WEIGHTS.items():
            lines.append(f'!{number} = !{{!"branch_weights", i32 {yes}, i32 {no}}}')
        return "\n".join(lines) + "\n"


class Function:
    """A function; one without blocks is declared only."""

    def __init__(self, module: Module, name: str, result: str, arguments: Sequence[str]) -> None:
        """Declare it. `result`, `arguments`: types."""
        self.name, self.result, self.kinds = name, result, tuple(arguments)
        self.args = [Value(kind, f"%a{i}") for i, kind in enumerate(self.kinds)]
        self.blocks: list[Block] = []
        self.cells: list[str] = []
        self.internal = False
        self.values = 0
        module.functions[name] = self

    @property
    def is_declaration(self) -> bool:
        """Whether it has no body."""
        return not self.blocks

    def append_basic_block(self, label: str) -> Block:
        """A new block behind all others."""
        block = Block(self, f"{label}.{len(self.blocks)}")
        self.blocks.append(block)
        return block

    def cell(self, kind: str) -> Value:
        """A place on the native stack for a value of a type."""
        self.values += 1
        cell = Value(POINTER, f"%v{self.values}")
        self.cells.append(f"{cell.ref} = alloca {kind}")
        return cell

    def text(self) -> list[str]:
        """Its lines."""
        if self.is_declaration:
            return [f"declare {self.result} @{self.name}({', '.join(self.kinds)})"]
        arguments = ", ".join(f"{a.type} {a.ref}" for a in self.args)
        linkage = "internal " if self.internal else ""
        lines = [f"define {linkage}{self.result} @{self.name}({arguments}) {{"]
        first = True
        for block in self.blocks:
            lines.append(f"{block.label}:")
            if first:
                lines += self.cells
                first = False
            lines += block.lines
        lines.append("}")
        return lines


class Builder:
    """Writes instructions at the end of a block."""

    def __init__(self, block: Block) -> None:
        """Begin with that block."""
        self.block = block
        self.function = block.function

    def position_at_end(self, block: Block) -> None:
        """Go on in another block."""
        self.block = block

    def value(self, kind: str, text: str) -> Value:
        """An instruction that gives a value of a type."""
        function = self.function
        function.values = number = function.values + 1
        ref = f"%v{number}"
        self.block.lines.append(f"{ref} = {text}")
        return Value(kind, ref)

    def end(self, text: str) -> None:
        """The instruction that a block ends with."""
        self.block.lines.append(text)
        self.block.is_terminated = True

    # ---- numbers --------------------------------------------------------------------------------

    def op(self, name: str, a: Value, b: Value) -> Value:
        """Two numbers of one type to another: `name` is LLVM's, such as add, shl, udiv."""
        return self.value(a.type, f"{name} {a.type} {a.ref}, {b.ref}")

    def neg(self, a: Value) -> Value:
        """0 - a."""
        return self.value(a.type, f"sub {a.type} 0, {a.ref}")

    def not_(self, a: Value) -> Value:
        """All bits the other way round."""
        return self.value(a.type, f"xor {a.type} {a.ref}, -1")

    def icmp(self, test: str, a: Value, b: Value) -> Value:
        """A comparison: `test` is LLVM's, such as eq, ult, sgt."""
        return self.value("i1", f"icmp {test} {a.type} {a.ref}, {b.ref}")

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        """One of two."""
        kind = yes.type
        return self.value(kind, f"select i1 {condition.ref}, {kind} {yes.ref}, {kind} {no.ref}")

    def cast(self, name: str, a: Value, kind: str) -> Value:
        """Another type: trunc, zext, sext, inttoptr, ptrtoint. The type that it has: as it is."""
        return a if a.type == kind else self.value(kind, f"{name} {a.type} {a.ref} to {kind}")

    def trunc(self, a: Value, kind: str) -> Value:
        """The low bits."""
        return self.cast("trunc", a, kind)

    def zext(self, a: Value, kind: str) -> Value:
        """Wider, zeros on top."""
        return self.cast("zext", a, kind)

    def sext(self, a: Value, kind: str) -> Value:
        """Wider, the sign on top."""
        return self.cast("sext", a, kind)

    def bswap(self, module: Module, a: Value) -> Value:
        """The bytes the other way round."""
        name = f"llvm.bswap.{a.type}"
        if name not in module.functions:
            Function(module, name, a.type, [a.type])
        return self.value(a.type, f"call {a.type} @{name}({a.type} {a.ref})")

    # ---- memory and calls -----------------------------------------------------------------------

    def load(self, place: Value, kind: str, align: int) -> Value:
        """What is at a place."""
        return self.value(kind, f"load {kind}, ptr {place.ref}, align {align}")

    def store(self, value: Value, place: Value, align: int) -> None:
        """Put a value there."""
        self.block.lines.append(f"store {value.type} {value.ref}, ptr {place.ref}, align {align}")

    def call(self, result: str, target: str, arguments: Sequence[Value]) -> Value:
        """Call what is named, @f or %v3."""
        given = ", ".join([f"{a.type} {a.ref}" for a in arguments])
        return self.value(result, f"call {result} {target}({given})")

    # ---- branches -------------------------------------------------------------------------------

    def ret(self, value: Value) -> None:
        """Return."""
        self.end(f"ret {value.type} {value.ref}")

    def unreachable(self) -> None:
        """Nothing comes here."""
        self.end("unreachable")

    def branch(self, block: Block) -> None:
        """Go on there."""
        self.end(f"br label %{block.label}")

    def cbranch(self, condition: Value, yes: Block, no: Block, likely: bool | None = None) -> None:
        """Go on at one of two."""
        known = "" if likely is None else f", !prof !{MOSTLY if likely else RARELY}"
        self.end(f"br i1 {condition.ref}, label %{yes.label}, label %{no.label}{known}")

    @contextmanager
    def if_then(self, condition: Value, likely: bool | None = None) -> Iterator[None]:
        """What is in the block only if."""
        then, on = (self.function.append_basic_block(n) for n in ("then", "on"))
        self.cbranch(condition, then, on, likely)
        with self._until(then, on):
            yield
        self.block = on

    @contextmanager
    def if_else(
        self, condition: Value
    ) -> Iterator[tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
        """Two blocks, the one if, the other if not."""
        yes, no, on = (self.function.append_basic_block(n) for n in ("yes", "no", "on"))
        self.cbranch(condition, yes, no)
        yield self._until(yes, on), self._until(no, on)
        self.block = on

    @contextmanager
    def _until(self, block: Block, on: Block) -> Iterator[None]:
        self.block = block
        yield
        if not self.block.is_terminated:
            self.branch(on)
