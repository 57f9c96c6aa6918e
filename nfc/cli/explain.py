"""`nfc explain`: what functions do to a packet, in plain sentences, and what they cost."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfc.cli import captures, files, options, output
from nfc.errors import NfcError, UsageError

if TYPE_CHECKING:
    from nfc.compiler import Compilation, Compiled


@click.command()
@options.source
@options.function
@options.kernel
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="OUT",
    help="Draw the decisions of one function into this file.",
)
@click.option(
    "--pcap",
    "capture",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Run a capture, and say what share of its packets each rule took.",
)
@options.params_and_tables
@options.json_output
def explain(
    file: Path,
    function: str | None,
    kernel: str,
    svg: Path | None,
    capture: Path | None,
    params: tuple[str, ...],
    tables: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Say what functions do to a packet, rule by rule, and what that costs.

    For each rule: when it is taken, what it changes, what becomes of the packet; the instructions
    on its longest way, its calls of the kernel's helpers, and which edits were put into one call.
    Then the oldest kernel that the function runs on, and what asks for that.
    """
    from nfc.compiler import compile_file
    from nfc.explain.report import explain as explained

    with output.errors_as_json(as_json):
        if (params or tables) and capture is None:
            raise UsageError("--param and --table are for the packets of a capture: --pcap")
        files.not_over(svg, file, capture, *tables)
        compilation = compile_file(file, kernel, function)
        if not as_json:
            output.warnings(compilation.warnings)
        chosen = compilation.functions
        if function is not None or svg is not None:
            chosen = (compilation.function(function),)
        if not chosen:
            raise UsageError(f"{file} declares no function")
        found = [explained(compilation, one) for one in chosen]
        if capture is not None:
            given = captures.params(params)
            found = [
                one.with_packets(_taken(compilation, compiled, capture, given, tables))
                for one, compiled in zip(found, chosen, strict=True)
            ]
        if svg is not None:
            from nfc.explain.graph import svg as drawn

            try:
                svg.write_text(drawn(found[0]), encoding="utf-8")
            except OSError as error:
                raise NfcError(f"cannot write {svg}: {error.strerror or error}") from None
    if as_json:
        output.show_json({"ok": True, "functions": [one.to_json() for one in found]})
    else:
        from nfc.explain.terminal import shown

        columns = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100
        text = "\n\n".join(str(one) for one in found)
        click.echo(shown(text, columns, color="NO_COLOR" not in os.environ))


def _taken(
    compilation: Compilation,
    compiled: Compiled,
    capture: Path,
    params: dict[str, str],
    tables: tuple[Path, ...],
) -> Counter[int]:
    """How many packets of a capture each rule took, by the rule's place."""
    from nfc.run.replay import Options, replay
    from nfc.run.session import Session
    from nfc.run.subject import of
    from nfc.run.tally import Tally

    session = Session(of(compilation, compiled), params=params, fib=None, engine="jit", seed=0)
    captures.load(session, tables)
    tally, rules = Tally(), Counter[int]()
    try:
        with captures.opened(capture) as stream, captures.progress(stream, capture, tally) as bar:
            for result in replay(session, stream, Options(), tally, None):
                if result.ran is not None and result.ran.rule is not None:
                    rules[result.ran.rule] += 1
                bar(512)
    except OSError as error:
        raise NfcError(f"cannot read {capture}: {error.strerror or error}") from None
    return rules
