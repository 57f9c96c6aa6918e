"""From LLVM IR to an ELF object that loaders take."""

from __future__ import annotations

from functools import cache

import llvmlite.binding as llvm
from llvmlite import ir

from nfc.codegen.module import TRIPLE
from nfc.codegen.target import Target


@cache
def _initialize() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    # LLVM would end the process where a function needs more stack than Linux has; we look at
    # what came out instead, and say so at the function's place in the source.
    llvm.set_option("nfc", "-bpf-stack-size=65536")
    llvm.set_option("nfc", "-disable-block-placement")


def llvm_version() -> str:
    """The version of LLVM inside llvmlite, e.g. "22.1.0"."""
    return ".".join(str(n) for n in llvm.llvm_version_info)


def emit_object(module: ir.Module, target: Target) -> bytes:
    """Compile a module to a BPF relocatable object.

    No passes run over the IR: they would join bounds checks into arithmetic that the verifier
    cannot follow. What the plan did not do is not worth doing here.
    """
    _initialize()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(cpu=target.cpu, opt=2)
    return bytes(machine.emit_object(parsed))
