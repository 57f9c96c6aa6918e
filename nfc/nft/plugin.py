"""pytest takes `.nft` files for what they are: each packet test is an item of its own.

Every run of pytest loads this file where nfc is installed, so it imports nothing of nfc before
there is a file to collect.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nfc.compiler import Compiled
    from nfc.nft import tree
    from nfc.nft.machine import Machine
    from nfc.nft.run import Result
    from nfc.nft.subject import Subject

_MACHINE: pytest.StashKey[Machine] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--nfc-kernel`."""
    group = parser.getgroup("nfc", "packet tests (.nft)")
    group.addoption(
        "--nfc-kernel",
        action="store_true",
        help="Run packet tests on real routes, in namespaces made for it (root).",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A file of packet tests."""
    if file_path.suffix != ".nft":
        return None
    collector: pytest.Collector = NftFile.from_parent(parent, path=file_path)
    return collector


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take away what was made for the tests."""
    if _MACHINE in config.stash:
        config.stash[_MACHINE].close()


class NftError(Exception):
    """A file that cannot be run; the text says why."""


class FailedError(Exception):
    """A packet test that failed."""

    def __init__(self, result: Result) -> None:
        """Keep what came of it."""
        super().__init__(result.test)
        self.result = result


class NftFile(pytest.File):
    """A `.nft` file."""

    def collect(self) -> Iterable[pytest.Item]:
        """Its tests."""
        from nfc.errors import NfcError
        from nfc.nft.load import load
        from nfc.nft.report import Broken

        try:
            subject = load(self.path)
        except NfcError as error:
            raise NftError(Broken(str(self.path), error).text()) from None
        for test, compiled in subject.tests:
            name = f"{compiled.function.name}::{test.name}"
            yield NftItem.from_parent(
                self, name=name, subject=subject, test=test, compiled=compiled
            )

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The errors of the file as `nfc test` shows them."""
        if isinstance(excinfo.value, NftError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)


class NftItem(pytest.Item):
    """A packet test."""

    def __init__(
        self, *, subject: Subject, test: tree.Test, compiled: Compiled, **kwargs: Any
    ) -> None:
        """Keep what is to be run."""
        super().__init__(**kwargs)
        self.subject, self.test, self.compiled = subject, test, compiled

    def runtest(self) -> None:
        """Run it; a step that cannot be tried here skips the test."""
        from nfc.nft.run import machine_for, run_test

        stash = self.config.stash
        if _MACHINE not in stash:
            stash[_MACHINE] = machine_for(bool(self.config.getoption("--nfc-kernel")))
        result = run_test(self.subject, self.test, self.compiled, stash[_MACHINE])
        if result.failures:
            raise FailedError(result)
        if result.skipped:
            pytest.skip("; ".join(dict.fromkeys(s.reason for s in result.skipped)))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The difference as `nfc test` shows it."""
        from nfc.errors import NfcError
        from nfc.nft.report import failure_lines

        if isinstance(excinfo.value, FailedError):
            failures = excinfo.value.result.failures
            return "\n".join(line for f in failures for line in failure_lines(f))
        if isinstance(excinfo.value, NfcError):
            return excinfo.value.message
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it stands."""
        return self.path, self.test.span.line - 1, self.name
