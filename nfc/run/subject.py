"""What is run: a function of a source, or a program of anybody's object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nfc.bpf.files import choose, is_elf, read_file
from nfc.bpf.object import Object
from nfc.errors import UsageError
from nfc.manifest import Manifest
from nfc.run.declared import declared
from nfc.sema import typed

if TYPE_CHECKING:
    from nfc.compiler import Compilation, Compiled
    from nfc.syntax.diagnostics import Diagnostic


@dataclass(frozen=True)
class Subject:
    """An object with the program that is meant and its hook; `manifest` and `function` where nfc
    has just compiled it from source, None for an object as it is. `tlvs` are those of the file's
    functions, by type."""

    file: str
    obj: Object
    program: str
    hook: str
    manifest: Manifest | None = None
    function: typed.Function | None = None
    tlvs: Mapping[int, typed.Tlv] = field(default_factory=dict)
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def title(self) -> str:
        """The function and its hook."""
        return f"{self.program} ({self.hook})"


def load(path: Path, function: str | None, hook: str | None, kernel: str) -> Subject:
    """Compile a source for a kernel, or read an object, and choose one function.

    Raises SourceErrors, ObjectError, NfcError; UsageError where it is not clear which one.
    """
    if is_elf(path):
        obj = read_file(path)
        found = choose(obj, function, hook)
        if len(found) > 1:
            names = ", ".join(f"{program.name} ({at})" for program, at in found)
            raise UsageError(f"{path} has {names}", hint="say which with --function")
        ((program, at),) = found
        return Subject(str(path), obj, program.name, hook or at)
    if hook is not None:
        raise UsageError("a source says the hook of each function itself", hint="leave out --hook")
    from nfc.compiler import compile_file

    compilation = compile_file(path, kernel, function)
    return of(compilation, compilation.function(function))


def of(compilation: Compilation, compiled: Compiled) -> Subject:
    """A function that has been compiled."""
    from nfc.bpf.reader import read_object

    return Subject(
        compilation.source.name,
        read_object(compilation.object([compiled])),
        compiled.function.name,
        compiled.function.hook,
        compiled.manifest,
        compiled.function,
        declared(compilation.program.functions),
        compilation.warnings,
    )
