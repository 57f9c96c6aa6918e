"""`nfc build`: compile a file to objects, or show a stage of the way there."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfc.cli import files, options, output
from nfc.errors import NfcError, UsageError

if TYPE_CHECKING:
    from nfc.compiler import Compilation, Compiled

STAGES = ("tree", "typed", "plan", "llvm", "asm", "obj")


@click.command()
@options.source
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    metavar="OUT.o",
    help="Where to write; a folder, or a file. '-' is standard output.",
)
@options.kernel
@options.function
@click.option(
    "--emit",
    type=click.Choice(STAGES),
    default="obj",
    show_default=True,
    help="Which stage to write.",
)
def build(file: Path, out: Path | None, kernel: str, function: str | None, emit: str) -> None:
    """Compile FILE.nf to an ELF object that iproute2, bpftool and libbpf load without help.

    One object holds one function for each hook: stock tools choose by section. A file with
    several functions of one hook becomes one object for each, FILE-FUNCTION.o.
    """
    from nfc.compiler import compile_file

    compilation = compile_file(file, kernel, function)
    output.warnings(compilation.warnings)
    groups = [(compilation.function(function),)] if function else compilation.objects()
    if not groups and emit not in ("tree", "typed"):
        raise UsageError(f"{file} declares no function", hint="there is nothing to compile")
    if out is not None:
        files.not_over(out, file)
    if emit != "obj":
        _write_text(_text(compilation, groups, emit), out)
        return
    for path, group in _places(file, out, groups, function):
        _write(path, compilation.object(group))
        names = ", ".join(f"{c.function.name} ({c.function.hook})" for c in group)
        if str(path) != "-":
            click.echo(f"{path}: {names}, for kernel {compilation.target.name} and later")


def _text(compilation: Compilation, groups: Sequence[Sequence[Compiled]], emit: str) -> str:
    from nfc.syntax.printer import outline

    if emit == "tree":
        return outline(compilation.tree)
    if emit == "typed":
        return outline(compilation.program)
    if emit == "plan":
        return "\n\n".join(str(c.plan) for group in groups for c in group)
    if emit == "llvm":
        return "\n".join(compilation.llvm(group) for group in groups)
    from nfc.bpf.isa import disassemble
    from nfc.bpf.reader import read_object

    return "\n\n".join(
        disassemble(program)
        for group in groups
        for program in read_object(compilation.object(group)).programs
    )


def _places(
    file: Path, out: Path | None, groups: Sequence[tuple[Compiled, ...]], function: str | None
) -> list[tuple[Path, tuple[Compiled, ...]]]:
    """Where each object goes."""
    single = len(groups) == 1
    if out is not None and not out.is_dir():
        if not single:
            names = ", ".join(c.function.name for group in groups for c in group)
            raise UsageError(
                f"{file} has several functions of one hook and makes {len(groups)} objects",
                hint=f"choose one with --function ({names}), or give a folder to -o",
            )
        return [(out, groups[0])]
    folder = out or Path()
    named = [
        (f"{file.stem}.o" if single and not function else f"{file.stem}-{g[0].function.name}.o", g)
        for g in groups
    ]
    return [(folder / name, group) for name, group in named]


def _write_text(text: str, out: Path | None) -> None:
    if out is None or str(out) == "-":
        click.echo(text)
    else:
        _write(out, (text + "\n").encode())


def _write(path: Path, data: bytes) -> None:
    """Write a file whole: beside its place first, then into it."""
    if str(path) == "-":
        sys.stdout.buffer.write(data)
        return
    try:
        if path.exists() and not path.is_file():  # /dev/stdout and the like
            path.write_bytes(data)
            return
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as temporary:
            temporary.write(data)
        os.chmod(temporary.name, 0o644)
        os.replace(temporary.name, path)
    except OSError as error:
        raise NfcError(f"cannot write {path}: {error.strerror or error}") from None
