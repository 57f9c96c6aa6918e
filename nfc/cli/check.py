"""`nfc check`: what the kernel's verifier will say, before it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nfc.cli import options, output


@click.command()
@click.argument("file", type=options.SOURCE, metavar="FILE.nf|FILE.o")
@options.kernel
@options.function
@click.option("--no-load", is_flag=True, help="Do not ask the running kernel's verifier.")
@options.json_output
def check(file: Path, kernel: str, function: str | None, no_load: bool, as_json: bool) -> None:
    """Check a program, or any object of the four hooks, against what kernels accept.

    Sizes, helpers, map types, stack and back-edges are checked against the kernel named by
    --kernel; where this machine allows it, the running kernel's verifier is asked too (nothing
    stays loaded), and what it says is shown against the source lines.
    """
    from nfc.verify.checks import check_path

    with output.errors_as_json(as_json):
        reports, warnings = check_path(file, kernel, function, load=not no_load)
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
        for report in reports:
            click.echo(str(report))
    if not ok:
        raise SystemExit(1)
