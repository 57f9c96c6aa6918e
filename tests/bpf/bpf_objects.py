"""Objects to test with: from clang where there is one, and from the LLVM that nfc ships."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@cache
def llvm_object() -> bytes:
    """small.ll as llvmlite compiles it, not stripped."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly((HERE / "small.ll").read_text())
    machine = llvm.Target.from_triple("bpfel").create_target_machine(cpu="v3", opt=2)
    return bytes(machine.emit_object(module))


@cache
def clang_object(name: str = "", source: str = "", debug: bool = True) -> bytes:
    """A C file of this folder, or a source, as clang compiles it, not stripped."""
    if shutil.which("clang") is None:
        pytest.skip("no clang here to make other people's objects with")
    command = ["clang", "-O2", "-target", "bpf", "-mcpu=v3", "-x", "c", "-c", "-o", "-"]
    command += ["-g"] if debug else []
    command += [f"{name}.bpf.c"] if name else ["-"]
    given = source.encode()
    return subprocess.run(command, cwd=HERE, input=given, check=True, capture_output=True).stdout


def real_object(name: str) -> bytes:
    """`small` (llvmlite), `rich` or `legacy` (clang)."""
    return llvm_object() if name == "small" else clang_object(name)


ALL = ("small", "rich", "legacy")
