"""`nfc check`: what the kernel's verifier will say, before it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nfc.cli import options, output
from nfc.codegen.target import DEFAULT

MAX_LOG = 16 << 20  # characters: as much as the kernel writes at most


@click.command()
@click.argument("file", type=options.SOURCE, metavar="FILE.nf|FILE.o")
@click.option(
    "--kernel",
    "kernels",
    metavar="VERSION|all",
    multiple=True,
    default=[DEFAULT],
    show_default=True,
    help="A kernel to check for; may be given several times. all: those that nfc is tested on.",
)
@options.function
@click.option(
    "--hook",
    type=click.Choice(("endpoint", "in", "out", "xmit")),
    help="The hook of an object's programs whose section names none.",
)
@click.option("--no-load", is_flag=True, help="Do not ask the running kernel's verifier.")
@click.option(
    "--log",
    type=click.File(errors="replace"),
    metavar="FILE",
    help="Show what a verifier's log from elsewhere means, against the source (- for stdin).",
)
@options.json_output
def check(
    file: Path,
    kernels: tuple[str, ...],
    function: str | None,
    hook: str | None,
    no_load: bool,
    log: Any,
    as_json: bool,
) -> None:
    """Check a program, or any object of the four hooks, against what kernels accept.

    Every path of the program is followed as the verifier of the kernel named by --kernel would,
    so nothing has to be loaded; a source is compiled for that kernel first. Where this machine
    allows it, the running kernel's verifier is asked too (nothing stays loaded), and what it
    says is shown against the source lines.

    With several kernels the answer is a table.
    """
    from nfc.bpf.facts import CONFIRMED
    from nfc.verify.checks import check_path, explain_log
    from nfc.verify.report import table

    wanted = [
        v for kernel in kernels for v in (CONFIRMED if kernel == "all" else kernel.split(","))
    ]
    if log is not None:
        with output.errors_as_json(as_json):
            said = explain_log(file, wanted[0], function, log.read(MAX_LOG))
        if as_json:
            output.show_json({"text": said})
        else:
            click.echo(said)
        return
    with output.errors_as_json(as_json):
        reports, warnings = check_path(
            file, list(dict.fromkeys(wanted)), function, load=not no_load, hook=hook
        )
    ok = all(report.ok for report in reports)
    if as_json:
        found: dict[str, Any] = {
            "ok": ok,
            "diagnostics": [w.to_json() for w in warnings],
            "functions": [report.to_json() for report in reports],
        }
        output.show_json(found)
    else:
        output.warnings(warnings)
        if len(wanted) > 1 and reports:
            click.echo(table(reports))
        else:
            for report in reports:
                click.echo(str(report))
    if not ok:
        raise SystemExit(1)
