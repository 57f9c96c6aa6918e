"""The check that runs before every insertion, on sources and on anybody's objects."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nfc.bpf.files import choose, is_elf, read_file
from nfc.bpf.link import link
from nfc.bpf.object import Object, Program
from nfc.bpf.version import KernelVersion
from nfc.errors import KernelError, ObjectError, PrivilegeError, UsageError
from nfc.verify.interpret import Verdict, judge_linked
from nfc.verify.report import DryRun, Report, Violation, path_text, violation_at
from nfc.verify.structure import inspect

# However much an object holds, a check of it comes to an end.
MAX_CHECKS = 1024  # programs, times kernels
MAX_FOLLOWED = 4_000_000  # instructions of all of them, counting every path

if TYPE_CHECKING:
    from nfc.compiler import Compilation
    from nfc.syntax.diagnostics import Diagnostic, SourceErrors


def check_path(
    path: Path, kernels: Sequence[str], function: str | None, *, load: bool, hook: str | None = None
) -> tuple[list[Report], tuple[Diagnostic, ...]]:
    """Check a source or an object for each of `kernels`; reports by kernel, and the compiler's
    warnings. A source is compiled for each of them. `hook`: that of an object's programs whose
    section names none (iproute2 and bcc take any section, and are told the hook).

    Raises SourceErrors for a source that compiles for none of them, ObjectError for an object
    that is none, UsageError for a function that is not there.
    """
    versions = [KernelVersion.parse(kernel) for kernel in kernels]
    if is_elf(path):
        obj = read_file(path)
        return _check_programs(obj, choose(obj, function, hook), versions, load=load), ()
    if hook is not None:
        raise UsageError("a source says the hook of each function itself", hint="leave out --hook")
    return _check_source(path, kernels, function, load=load)


def _check_programs(
    obj: Object, chosen: Sequence[tuple[Program, str]], versions: Sequence[KernelVersion], *,
    load: bool,
) -> list[Report]:  # fmt: skip
    """All of them for all versions, as long as that is a bounded amount of work."""
    if len(chosen) * len(versions) > MAX_CHECKS:
        raise ObjectError(
            f"has {len(chosen)} programs; {MAX_CHECKS} are checked at a time, counting each "
            "kernel", hint="say --function"
        )  # fmt: skip
    reports: list[Report] = []
    for version in versions:
        for program, hook in chosen:
            if sum(report.processed for report in reports) > MAX_FOLLOWED:
                raise ObjectError(
                    f"its programs have more than {MAX_FOLLOWED} instructions, counting every path",
                    hint="say --function",
                )
            reports.append(_check(obj, program, hook, version, load=load))
    return reports


def _check_source(
    path: Path, kernels: Sequence[str], function: str | None, *, load: bool
) -> tuple[list[Report], tuple[Diagnostic, ...]]:
    from nfc.compiler import Compilation, compile_file
    from nfc.syntax.diagnostics import SourceErrors

    found: dict[str, Compilation | SourceErrors] = {}
    for kernel in kernels:
        try:
            found[kernel] = compile_file(path, kernel, function)
        except SourceErrors as errors:
            found[kernel] = errors
    compiled = [c for c in found.values() if isinstance(c, Compilation)]
    if not compiled:
        raise next(e for e in found.values() if isinstance(e, SourceErrors))
    hooks = {c.manifest.function: c.manifest.hook for c in compiled[0].functions}
    if function is not None:
        hooks = {function: compiled[0].function(function).manifest.hook}
    reports = []
    for kernel, result in found.items():
        if isinstance(result, SourceErrors):
            for name in hooks:
                reports += _check_one(path, name, hooks[name], kernel, load=load)
        else:
            chosen = tuple(c for c in result.functions if c.manifest.function in hooks)
            reports += check_compilation(replace(result, functions=chosen), load=load)
    return reports, compiled[0].warnings


def _check_one(path: Path, name: str, hook: str, kernel: str, *, load: bool) -> list[Report]:
    """Check a function of a file that has no object for this kernel as a whole."""
    from nfc.compiler import compile_file
    from nfc.syntax.diagnostics import SourceErrors

    try:
        compilation = compile_file(path, kernel, name)
    except SourceErrors as errors:
        return [_not_compiled(name, hook, kernel, errors)]
    only = (compilation.function(name),)
    return check_compilation(replace(compilation, functions=only), load=load)


def _not_compiled(name: str, hook: str, kernel: str, errors: SourceErrors) -> Report:
    """What the compiler says, as violations: the function has no object for this kernel."""
    violations = tuple(
        Violation(
            d.message,
            place=f"{d.span.source.name}:{d.span.line}:{d.span.column}",
            source=d.span.source.line(d.span.line).strip(),
            advice=d.hint or "",
        )
        for d in errors.diagnostics
        if d.severity == "error"
    )
    return Report(name, hook, str(KernelVersion.parse(kernel)), 0, 0, (), violations)


def check_compilation(compilation: Compilation, *, load: bool) -> list[Report]:
    """Check every function of a compiled file."""
    from nfc.bpf.reader import read_object

    reports = []
    for compiled in compilation.functions:
        obj = read_object(compilation.object([compiled]))
        manifest = compiled.manifest
        program = obj.program(manifest.function)
        version = KernelVersion.parse(compilation.target.name)
        reports.append(_check(obj, program, manifest.hook, version, load=load))
    return reports


def check_object(obj: Object, name: str, hook: str, kernel: str) -> Report:
    """Check one program for a kernel release, without asking the running kernel."""
    version = KernelVersion.parse(kernel)
    return _report(obj, obj.program(name), hook, version)


def _report(obj: Object, program: Program, hook: str, version: KernelVersion) -> Report:
    try:
        linked = link(obj, program.name)
    except ObjectError as error:
        violation = Violation(error.message, advice=error.hint or "")
        size = len(program.code) // 8
        return Report(program.name, hook, str(version), size, 0, (), (violation,))
    return check_linked(obj, linked, hook, version)


def check_linked(obj: Object, program: Program, hook: str, version: KernelVersion) -> Report:
    """Check a program that `nfc.bpf.link` has put together: what the kernel version lacks; else
    what following every path shows. Raises ObjectError where the code cannot be decoded."""
    structure = inspect(obj, program, hook, version)
    verdict = None
    violations = structure.violations
    if not violations:
        verdict = judge_linked(obj, program, hook, version)
        violations = (_violation(verdict),) if not verdict.accepted else ()
    return Report(
        program.name,
        hook,
        str(version),
        structure.instructions,
        verdict.stack if verdict else 0,
        structure.helpers,
        violations,
        processed=verdict.effort.processed if verdict else 0,
    )


def _violation(verdict: Verdict) -> Violation:
    if verdict.slot is None:
        return Violation(verdict.message, advice=verdict.advice)
    return replace(
        violation_at(verdict.program, verdict.slot, verdict.message, verdict.advice),
        registers=tuple(f"r{n} = {text}" for n, text in verdict.registers),
        path=path_text(verdict.program, verdict.path),
    )


def _check(
    obj: Object, program: Program, hook: str, version: KernelVersion, *, load: bool
) -> Report:
    report = _report(obj, program, hook, version)
    if not load:
        return report
    try:
        return replace(report, dry_run=dry_run(obj, program, hook))
    except ObjectError as error:  # it cannot be put together: `report` says so
        return replace(report, dry_run=DryRun(os.uname().release, None, 0, error.message))


def explain_log(path: Path, kernel: str, function: str | None, log: str) -> str:
    """A verifier's log that another machine wrote about a program of this file, against the
    program's source lines. Raises as `check_path`, and UsageError where it is not clear about
    which program it is."""
    from nfc.kernel.verifier_log import explain

    if is_elf(path):
        obj = read_file(path)
        return explain(log, link(obj, _only(obj, function)))
    from nfc.bpf.reader import read_object
    from nfc.compiler import compile_file

    compilation = compile_file(path, kernel, function)
    compiled = compilation.function(function)
    obj = read_object(compilation.object([compiled]))
    return explain(log, link(obj, compiled.manifest.function))


def _only(obj: Object, function: str | None) -> str:
    """The name of the program meant, in whatever section: the one asked for, or the only one."""
    names = [p.name for p in obj.programs if p.section != ".text"]  # there, helpers of others
    names = names or [p.name for p in obj.programs]
    if function in {p.name for p in obj.programs}:
        return str(function)
    if function is None and len(names) == 1:
        return names[0]
    programs = ", ".join(names) or "none"
    if function is not None:
        raise UsageError(
            f"the object has no program '{function}'", hint=f"its programs: {programs}"
        )
    raise UsageError(f"the object has the programs {programs}", hint="say --function")


def dry_run(obj: Object, program: Program, hook: str) -> DryRun:
    """Ask the running kernel's verifier; nothing stays loaded."""
    from nfc.kernel.loader import load
    from nfc.kernel.verifier_log import explain, parse

    release = os.uname().release
    if obj.extern:
        return DryRun(release, None, 0, "the object uses functions or variables of the kernel")
    try:
        with load(obj, program.name, hook=hook, log=1, filled=False) as loaded:
            stats = parse(loaded.log).stats
        return DryRun(release, True, stats.processed if stats else 0)
    except PrivilegeError as error:
        return DryRun(release, None, 0, error.message)
    except KernelError as error:
        if not error.log:
            return DryRun(release, False, 0, error.message)
        stats = parse(error.log).stats
        return DryRun(release, False, stats.processed if stats else 0, explain(error.log, program))
