"""Writing LLVM IR as if it were Python: 64-bit unsigned numbers with operators.

    k = Code(module, "double_if_even", 1)
    (n,) = k.arguments
    with k.if_((n & 1) == 0):
        k.give(n * 2)
    k.give(n)

Memory is reached by host addresses, which are numbers too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from nfc.vm import ir
from nfc.vm.ir import POINTER
from nfc.vm.native import Native

I1, I8, I16, I32, I64, I128 = (f"i{bits}" for bits in (1, 8, 16, 32, 64, 128))
BY_SIZE = {1: I8, 2: I16, 4: I32, 8: I64}
Block = AbstractContextManager[object]


class C:
    """A condition."""

    def __init__(self, code: Code, value: ir.Value) -> None:
        """Wrap an i1."""
        self.code, self.value = code, value

    def __and__(self, other: C) -> C:
        """Both; neither is skipped."""
        return C(self.code, self.code.b.op("and", self.value, other.value))

    def __or__(self, other: C) -> C:
        """Either; neither is skipped."""
        return C(self.code, self.code.b.op("or", self.value, other.value))

    def __invert__(self) -> C:
        """Not."""
        return C(self.code, self.code.b.not_(self.value))

    def number(self) -> V:
        """1 or 0."""
        return V(self.code, self.code.b.zext(self.value, I64))


class V:
    """An unsigned number of 64 bits, which wraps."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, code: Code, value: ir.Value) -> None:
        """Wrap an i64."""
        self.code, self.value = code, value

    def _op(self, name: str, other: V | int) -> V:
        code = self.code
        return V(code, code.b.op(name, self.value, code.raw(other)))

    def _test(self, op: str, other: V | int) -> C:
        code = self.code
        return C(code, code.b.icmp(op, self.value, code.raw(other)))

    def __add__(self, other: V | int) -> V:
        """Sum."""
        return self._op("add", other)

    def __sub__(self, other: V | int) -> V:
        """Difference."""
        return self._op("sub", other)

    def __mul__(self, other: V | int) -> V:
        """Product."""
        return self._op("mul", other)

    def __and__(self, other: V | int) -> V:
        """Bits of both."""
        return self._op("and", other)

    def __or__(self, other: V | int) -> V:
        """Bits of either."""
        return self._op("or", other)

    def __xor__(self, other: V | int) -> V:
        """Bits of one."""
        return self._op("xor", other)

    def __lshift__(self, other: V | int) -> V:
        """Shifted up."""
        return self._op("shl", other)

    def __rshift__(self, other: V | int) -> V:
        """Shifted down."""
        return self._op("lshr", other)

    def __mod__(self, other: V | int) -> V:
        """Rest."""
        return self._op("urem", other)

    def __floordiv__(self, other: V | int) -> V:
        """Quotient."""
        return self._op("udiv", other)

    def __eq__(self, other: object) -> C:  # type: ignore[override]
        """Whether equal."""
        assert isinstance(other, V | int)
        return self._test("eq", other)

    def __ne__(self, other: object) -> C:  # type: ignore[override]
        """Whether not equal."""
        assert isinstance(other, V | int)
        return self._test("ne", other)

    def __lt__(self, other: V | int) -> C:
        """Whether below."""
        return self._test("ult", other)

    def __le__(self, other: V | int) -> C:
        """Whether at most."""
        return self._test("ule", other)

    def __gt__(self, other: V | int) -> C:
        """Whether above."""
        return self._test("ugt", other)

    def __ge__(self, other: V | int) -> C:
        """Whether at least."""
        return self._test("uge", other)

    def negative(self) -> C:
        """Whether it is below 0 when read as signed."""
        code = self.code
        return C(code, code.b.icmp("slt", self.value, code.raw(0)))


class Var:
    """A number that changes: a cell on the native stack."""

    def __init__(self, code: Code, value: V | int) -> None:
        """Make the cell in the function's first block, and set it here."""
        self.code = code
        self.cell = code.function.cell(I64)
        self.set(value)

    def set(self, value: V | int) -> None:
        """Another value from here on."""
        self.code.b.store(self.code.raw(value), self.cell, 8)

    def get(self) -> V:
        """The value now."""
        return V(self.code, self.code.b.load(self.cell, I64, 8))


class Code:
    """A function of numbers that gives a number, being written."""

    def __init__(self, module: ir.Module, name: str, arguments: int, *, internal: bool) -> None:
        """Begin it."""
        self.module = module
        self.function = declared(module, name, arguments)
        assert len(self.function.args) == arguments
        self.function.internal = internal
        self.b = ir.Builder(self.function.append_basic_block("entry"))
        self.arguments = [V(self, a) for a in self.function.args]

    def raw(self, value: V | int) -> ir.Value:
        """The IR value."""
        if isinstance(value, V):
            return value.value
        return ir.Value(I64, str(value & (1 << 64) - 1))

    def number(self, value: int) -> V:
        """A constant."""
        return V(self, self.raw(value))

    def give(self, value: V | int) -> None:
        """Return."""
        self.b.ret(self.raw(value))

    def select(self, condition: C, yes: V | int, no: V | int) -> V:
        """One of two."""
        return V(self, self.b.select(condition.value, self.raw(yes), self.raw(no)))

    @contextmanager
    def if_(self, condition: C, likely: bool | None = None) -> Iterator[None]:
        """What is in the block only if."""
        with self.b.if_then(condition.value, likely=likely):
            yield

    @contextmanager
    def if_else(self, condition: C) -> Iterator[tuple[Block, Block]]:
        """Two blocks: `with k.if_else(c) as (yes, no):`, `with yes: …`, `with no: …`."""
        with self.b.if_else(condition.value) as both:
            yield both

    @contextmanager
    def loop(self) -> Iterator[ir.Block]:
        """Again and again, until `leave` with what this gives."""
        again = self.function.append_basic_block("again")
        out = self.function.append_basic_block("out")
        self.b.branch(again)
        self.b.position_at_end(again)
        yield out
        if not self.b.block.is_terminated:
            self.b.branch(again)
        self.b.position_at_end(out)

    def leave(self, out: ir.Block, condition: C) -> None:
        """Leave a loop, if."""
        on = self.function.append_basic_block("on")
        self.b.cbranch(condition.value, out, on)
        self.b.position_at_end(on)

    def load(self, place: V, size: int) -> V:
        """`size` bytes at a host address."""
        pointer = self.b.cast("inttoptr", place.value, POINTER)
        loaded = self.b.load(pointer, BY_SIZE[size], 1)
        return V(self, loaded if size == 8 else self.b.zext(loaded, I64))

    def store(self, place: V, size: int, value: V | int) -> None:
        """Put the low `size` bytes of a number at a host address."""
        pointer = self.b.cast("inttoptr", place.value, POINTER)
        raw = self.raw(value)
        if size != 8:
            raw = self.b.trunc(raw, BY_SIZE[size])
        self.b.store(raw, pointer, 1)

    def swapped(self, value: V, size: int) -> V:
        """The low `size` bytes the other way round."""
        if size == 1:
            return value & 0xFF
        kind = BY_SIZE[size]
        narrow = value.value if size == 8 else self.b.trunc(value.value, kind)
        turned = self.b.bswap(self.module, narrow)
        return V(self, turned if size == 8 else self.b.zext(turned, I64))

    def call(self, name: str, *arguments: V | int) -> V:
        """Call another function of numbers."""
        declared(self.module, name, len(arguments))
        return V(self, self.b.call(I64, f"@{name}", [self.raw(a) for a in arguments]))

    def call_at(self, place: V, *arguments: V | int) -> V:
        """Call a function by its host address."""
        pointer = self.b.cast("inttoptr", place.value, POINTER)
        return V(self, self.b.call(I64, pointer.ref, [self.raw(a) for a in arguments]))

    def move(self, to: V, source: V, size: V | int) -> None:
        """memmove."""
        places = [self.b.cast("inttoptr", p.value, POINTER) for p in (to, source)]
        self._external("memmove", [*places, self.raw(size)])

    def clear(self, place: V, size: V | int) -> None:
        """Zeros."""
        pointer = self.b.cast("inttoptr", place.value, POINTER)
        given = [pointer, ir.Value(I32, "0"), self.raw(size)]
        self._external("memset", given)

    def _external(self, name: str, arguments: list[ir.Value]) -> None:
        if name not in self.module.functions:
            ir.Function(self.module, name, POINTER, [a.type for a in arguments])
        self.b.call(POINTER, f"@{name}", arguments)


def declared(module: ir.Module, name: str, arguments: int) -> ir.Function:
    """The function of that name, declared if it is not there yet."""
    if name in module.functions:
        return module.functions[name]
    return ir.Function(module, name, I64, [I64] * arguments)


class State:
    """The fields of `Native`, as a function reads and writes them."""

    def __init__(self, code: Code, place: V) -> None:
        """`place` is the state's host address."""
        self.code, self.place = code, place

    def at(self, name: str) -> V:
        """Where a field is."""
        offset: int = getattr(Native, name).offset
        return self.place + offset

    def get(self, name: str) -> V:
        """A field."""
        return self.code.load(self.at(name), 8)

    def set(self, name: str, value: V | int) -> None:
        """Set a field."""
        self.code.store(self.at(name), 8, value)

    def entry(
        self, name: str, structure: type[ctypes.Structure | ctypes.c_uint32], index: V | int
    ) -> V:
        """Where an element of an array of structures is."""
        size = ctypes.sizeof(structure)
        offset = index * size
        return self.at(name) + offset


def part(structure: type[ctypes.Structure], name: str) -> tuple[int, int]:
    """Offset and size of a structure's field."""
    field = getattr(structure, name)
    return field.offset, field.size
