"""Text that LLVM reads is a function that does what its instructions say."""

from __future__ import annotations

import pytest

from nfc.vm.ir import Block, Builder, Function, Module, Value
from nfc.vm.runtime import Compiled, function_type


def test_a_function_runs() -> None:
    """Steps from a number down to 1: halves of even ones, less one of odd ones."""
    module = Module("m")
    function = Function(module, "steps", "i64", ["i64"])
    one, two = Value("i64", "1"), Value("i64", "2")
    b = Builder(function.append_basic_block("entry"))
    number, count = function.cell("i64"), function.cell("i64")
    b.store(function.args[0], number, 8)
    b.store(Value("i64", "0"), count, 8)
    again, done = (function.append_basic_block(n) for n in ("again", "done"))
    b.branch(again)
    b.position_at_end(again)
    now = b.load(number, "i64", 8)
    with b.if_then(b.icmp("ule", now, one), likely=False):
        b.branch(done)
    odd = b.trunc(b.op("and", now, one), "i1")
    with b.if_else(odd) as (yes, no):
        with yes:
            b.store(b.op("sub", now, one), number, 8)
        with no:
            b.store(b.op("udiv", now, two), number, 8)
    b.store(b.op("add", b.load(count, "i64", 8), one), count, 8)
    b.branch(again)
    b.position_at_end(done)
    b.ret(b.load(count, "i64", 8))
    compiled = Compiled(module, optimized=False)  # the code is there as long as this is
    steps = function_type(1)(compiled.address("steps"))
    assert [steps(n) for n in (1, 2, 3, 8, 100)] == [0, 1, 2, 3, 8]


def test_what_is_wrong_is_found_by_llvm() -> None:
    module = Module("m")
    function = Function(module, "f", "i64", ["i64"])
    block: Block = function.append_basic_block("entry")
    Builder(block).ret(Value("i32", "0"))
    assert block.is_terminated
    with pytest.raises(RuntimeError, match="result type"):
        Compiled(module, optimized=False)
