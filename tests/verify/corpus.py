"""Programs to check and to mutate: nfc's own, and C that uses each feature, made by clang."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from mutate import Base, base

from nfc.bpf.facts import HOOK_BY_SECTION
from nfc.bpf.object import Object
from nfc.bpf.reader import read_object
from nfc.compiler import compile_file
from nfc.resources import data_dir
from nfc.syntax.diagnostics import SourceErrors

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
OURS = sorted([*data_dir("stdlib").glob("*.nf"), *REPOSITORY.glob("tests/thesis/*.nf")])
C_FILES = [*sorted((HERE / "c").glob("*.c")), REPOSITORY / "bench" / "twins" / "twins.c"]
CPUS = ("v1", "v2", "v3")


def ours(kernel: str = "6.1") -> Iterator[Base]:
    """Every function of the library and of the thesis's examples that compiles for a kernel."""
    for source in OURS:
        try:
            compilation = compile_file(source, kernel)
        except SourceErrors:
            continue
        for compiled in compilation.functions:
            obj = read_object(compilation.object([compiled]))
            manifest = compiled.manifest
            yield base(f"{source.stem}/{manifest.function}", obj, manifest.function, manifest.hook)


@cache
def made_by_clang(path: Path, cpu: str, level: str = "-O2") -> Object:
    """A C file, compiled."""
    return read_object(bytes_by_clang(path, cpu, level))


def bytes_by_clang(path: Path, cpu: str, level: str = "-O2") -> bytes:
    """The object that clang makes of a C file."""
    command = ["clang", level, "-g", "-target", "bpf", f"-mcpu={cpu}", "-c", str(path), "-o", "-"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def theirs(cpus: tuple[str, ...] = CPUS) -> Iterator[Base]:
    """Every program of the C files, for each instruction set; none where there is no clang."""
    if shutil.which("clang") is None:
        return
    for path in C_FILES:
        for cpu in cpus:
            obj = made_by_clang(path, cpu)
            for program in obj.programs:
                if hook := HOOK_BY_SECTION.get(program.section):
                    yield base(f"{path.stem}/{program.name}/{cpu}", obj, program.name, hook.name)
