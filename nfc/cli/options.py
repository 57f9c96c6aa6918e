"""Options that several commands have, said once."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from nfc.cli.names import functions, namespaces, params
from nfc.codegen.target import DEFAULT

F = TypeVar("F", bound=Callable[..., Any])


class FloatRange(click.FloatRange):
    """A number within a range. click's own takes `nan` for one, which is in none and never over."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number that a word is."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


class ProgramPath(click.Path):
    """A file that is there, but no packet test: of that the parser would say odd things."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path that a word is."""
        path = super().convert(value, param, ctx)
        if isinstance(path, Path) and path.suffix == ".nft":
            named = click.format_filename(path)
            self.fail(f"'{named}' holds packet tests, which 'nfc test' runs.", param, ctx)
        return path


SOURCE = ProgramPath(exists=True, dir_okay=False, path_type=Path)


def source(command: F) -> F:
    """FILE.nf."""
    return click.argument("file", type=SOURCE, metavar="FILE.nf")(command)


def kernel(command: F) -> F:
    """--kernel VERSION."""
    return click.option(
        "--kernel",
        metavar="VERSION",
        default=DEFAULT,
        show_default=True,
        help="The oldest kernel that the object is to run on.",
    )(command)


def _function(help: str) -> Callable[[F], F]:
    return click.option("--function", metavar="NAME", shell_complete=functions, help=help)


def function(command: F) -> F:
    """--function NAME."""
    return _function("Which function of the file; all if left out.")(command)


def one_function(command: F) -> F:
    """--function NAME, of commands that take one."""
    return _function("Which function, if the file has several.")(command)


def json_output(command: F) -> F:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="The same as JSON.")(command)


def netns(command: F) -> F:
    """--netns NS."""
    return click.option(
        "--netns",
        metavar="NS",
        shell_complete=namespaces,
        help="The network namespace (as in 'ip netns'); this one if left out.",
    )(command)


def params_and_tables(command: F) -> F:
    """--param and --table, of a function in the simulator."""
    command = click.option(
        "--table",
        "tables",
        multiple=True,
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Entries for a table, as 'nfc table show --json' writes them; may be repeated.",
    )(command)
    return click.option(
        "--param",
        "params",
        multiple=True,
        metavar="NAME=VALUE",
        shell_complete=params,
        help="A param's value, as for 'nfc set'; may be repeated.",
    )(command)
