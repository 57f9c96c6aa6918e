"""`nfc test`: run packet tests, in the simulator or on real routes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfc.cli import options, output
from nfc.cli.files import not_over
from nfc.errors import NfcError, UsageError

if TYPE_CHECKING:
    from nfc.nft.cover import Cover, Function
    from nfc.nft.machine import Machine
    from nfc.nft.report import Broken
    from nfc.nft.run import Result
    from nfc.nft.subject import Subject

PROGRESS_AFTER_S = 2.0


@click.command()
@click.argument(
    "paths",
    nargs=-1,
    metavar="[FILE|DIR]...",
    type=click.Path(exists=True, path_type=Path),
)
@click.option(
    "--kernel", is_flag=True, help="On real routes, in namespaces made for it, instead (root)."
)
@click.option(
    "-k", "pattern", metavar="TEXT", default="", help="Only tests whose file or name holds TEXT."
)
@click.option("--list", "listing", is_flag=True, help="Say which tests there are; run none.")
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write JUnit XML to a file."
)
@click.option("--cover", is_flag=True, help="Say which rules and conditions the tests cover.")
@click.option(
    "--cover-html",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="Write the source with its coverage painted.",
)
@options.json_output
def test(
    paths: tuple[Path, ...],
    kernel: bool,
    pattern: str,
    listing: bool,
    junit: Path | None,
    cover: bool,
    cover_html: Path | None,
    as_json: bool,
) -> None:
    """Run the packet tests (.nft) in files, and in all folders below; here if none is named.

    X.nft stands beside X.nf and says which packets go into its functions, and what is to come
    out. The functions run in the simulator: the same bytecode that a kernel would run, without
    one. docs/packet-tests.md tells how tests are written.

    Exit status: 0 all passed, 1 a test failed or a file has an error, 2 wrong usage.
    """
    from nfc.nft import report
    from nfc.nft.run import find, machine_for

    with output.errors_as_json(as_json):
        files = find(paths or (Path(),))
        if listing:
            _list(files, pattern, as_json)
            return
        for out in (junit, cover_html):
            not_over(out, *files, *(file.with_suffix(".nf") for file in files))
        begin = time.monotonic()
        covering = cover or cover_html is not None
        machine = machine_for(kernel, trace=covering)
        runner = _Runner(machine, pattern, quiet=as_json, covering=covering)
        try:
            for file in files:
                runner.file(file)
        finally:
            machine.close()
        results, broken = runner.results, runner.broken
        if not results and not broken:
            said = (
                f"no test holds '{pattern}' in its name" if pattern else "these files hold no test"
            )
            raise UsageError(said)
        if cover_html is not None:
            _write_html(cover_html, runner.coverage_page())
        if junit is not None:
            _write(junit, report.junit(results, broken, machine.name))
        if as_json:
            found = report.to_json(results, broken, machine.name)
            output.show_json(found | runner.coverage_json())
        else:
            if cover:
                click.echo(runner.coverage_table())
            click.echo(report.summary(results, broken, machine.name, time.monotonic() - begin))
        if broken or any(r.status == "failed" for r in results):
            raise SystemExit(1)


class _Runner:
    """Runs files and says at once what came of them."""

    def __init__(self, machine: Machine, pattern: str, *, quiet: bool, covering: bool) -> None:
        self.machine, self.pattern, self.quiet = machine, pattern, quiet
        self.cover: Cover | None = None
        if covering:
            from nfc.nft.cover import Cover

            self.cover = Cover()
        self.subjects: list[Subject] = []
        self.results: list[Result] = []
        self.broken: list[Broken] = []
        self.begin = time.monotonic()
        self.live = sys.stderr.isatty() and not quiet
        self.color = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def file(self, path: Path) -> None:
        """Run the tests of one file; its errors are kept."""
        from nfc.nft.report import Broken, result_lines
        from nfc.nft.run import chosen, run_test

        subject = self._load(path)
        if isinstance(subject, Broken):
            self.broken.append(subject)
            self._say(subject.text(color=self.color))
            return
        self.subjects.append(subject)
        if self.cover is not None:
            self.cover.begin(subject)
        tests = list(chosen(subject, self.pattern))
        if tests:
            self._say(str(path))
        for one, compiled in tests:
            self._progress(f"{path}: {one.name}")
            result = run_test(subject, one, compiled, self.machine, self.cover)
            self.results.append(result)
            self._say("\n".join(result_lines(result, color=self.color)))

    def _covered(self) -> list[Function]:
        assert self.cover is not None
        executed = getattr(self.machine, "executed", {})
        for subject in self.subjects:
            for _, compiled in subject.tests:
                name = compiled.function.name
                if (str(subject.path), name) in executed:
                    self.cover.executed(subject, name, *executed[str(subject.path), name])
        return self.cover.functions

    def coverage_table(self) -> str:
        """The coverage for a terminal."""
        from nfc.nft.cover import table

        return table(self._covered())

    def coverage_page(self) -> str:
        """The coverage as HTML."""
        from nfc.nft.cover_html import page

        return page(self._covered())

    def coverage_json(self) -> dict[str, object]:
        """The coverage as a JSON-ready object; nothing where nobody asked for it."""
        from nfc.nft.cover import to_json

        return {} if self.cover is None else {"coverage": to_json(self._covered())}

    def _load(self, path: Path) -> Subject | Broken:
        from nfc.nft.load import load
        from nfc.nft.report import Broken

        self._progress(str(path))
        try:
            return load(path)
        except NfcError as problem:
            return Broken(str(path), problem)

    def _say(self, text: str) -> None:
        if self.live:
            click.echo("\r\x1b[K", nl=False, err=True)
        if not self.quiet:
            click.echo(text)

    def _progress(self, text: str) -> None:
        if self.live and time.monotonic() - self.begin > PROGRESS_AFTER_S:
            click.echo(f"\r\x1b[K{len(self.results)} done; {text[:60]} …", nl=False, err=True)


def _list(files: list[Path], pattern: str, as_json: bool) -> None:
    """Show which tests there are."""
    from nfc.nft.load import load
    from nfc.nft.run import chosen

    found = []
    for file in files:
        subject = load(file)
        for one, compiled in chosen(subject, pattern):
            found.append((str(file), one.span.line, compiled.function.name, one.name))
    if as_json:
        keys = ("file", "line", "function", "test")
        output.show_json({"ok": True, "tests": [dict(zip(keys, f, strict=True)) for f in found]})
        return
    for name, line, function, text in found:
        click.echo(f"{name}:{line}: {text} ({function})")


def _write_html(path: Path, text: str) -> None:
    """Write the page to a file that ends with .html, or into a folder, which is made."""
    if path.suffix != ".html":
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NfcError(f"cannot make {path}: {error.strerror or error}") from None
        path = path / "index.html"
    _write(path, text.encode())


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise NfcError(f"cannot write {path}: {error.strerror or error}") from None
