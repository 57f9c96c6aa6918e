"""How commands speak: errors and warnings to standard error, results to standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from nfc.errors import KernelError, NfcError

if TYPE_CHECKING:
    from nfc.syntax.diagnostics import Diagnostic


def _color() -> bool:
    import os

    return sys.stderr.isatty() and "NO_COLOR" not in os.environ


def error(problem: NfcError) -> None:
    """Show an error with its hint and, if the kernel gave one, the end of its log."""
    from nfc.syntax.diagnostics import SourceErrors

    if isinstance(problem, SourceErrors):
        click.echo(problem.render(color=_color()), err=True)
        return
    said = click.style("error:", fg="red", bold=True) if _color() else "error:"
    click.echo(f"{said} {problem.message}", err=True)
    if isinstance(problem, KernelError) and problem.log:
        lines = problem.log.strip().splitlines()
        for line in lines[-12:]:
            click.echo(f"      | {line}", err=True)
    if problem.hint:
        click.echo(f"      = {problem.hint}", err=True)


def warnings(diagnostics: tuple[Diagnostic, ...]) -> None:
    """Show warnings."""
    for diagnostic in diagnostics:
        click.echo(diagnostic.render(color=_color()), err=True)


def error_json(problem: NfcError) -> dict[str, Any]:
    """An error as `--json` gives it: the same texts as on a terminal."""
    from nfc.syntax.diagnostics import SourceErrors

    if isinstance(problem, SourceErrors):
        return {"ok": False, "diagnostics": [d.to_json() for d in problem.diagnostics]}
    found: dict[str, Any] = {"ok": False, "error": problem.message, "hint": problem.hint}
    if isinstance(problem, KernelError):
        found |= {"errno": problem.errno, "log": problem.log}
    return found


@contextmanager
def errors_as_json(wanted: bool, *, lines: bool = False) -> Iterator[None]:
    """Where `--json` was given, errors within the block go to standard output as JSON; `lines`: on
    one line, as all that the command writes."""
    try:
        yield
    except NfcError as problem:
        if not wanted:
            raise
        if lines:
            click.echo(json.dumps(error_json(problem)))
        else:
            show_json(error_json(problem))
        raise SystemExit(problem.exit_status) from None


def show_json(value: Any) -> None:
    """A value as one JSON document on standard output."""
    click.echo(json.dumps(value, indent=2))
