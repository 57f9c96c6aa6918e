"""Kernel versions as values that parse, order and print."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nfc.errors import UsageError

_FORM = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,6}))?(?![0-9.])", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class KernelVersion:
    """A kernel version; `patch` is 0 for a first release such as 6.1."""

    major: int
    minor: int
    patch: int = 0

    @classmethod
    def parse(cls, text: str) -> KernelVersion:
        """From "6.1", "5.10.226" or a release as uname gives it ("5.10.0-34-amd64", "6.12-rc3").

        What follows the numbers is the distribution's and does not order. Raises UsageError.
        """
        found = _FORM.match(text.strip())
        if not found:
            raise UsageError(f"'{text}' is not a kernel version", hint="for example 6.1")
        major, minor, patch = found.groups()
        return cls(int(major), int(minor), int(patch or 0))

    def __str__(self) -> str:
        """As it is usually written: 6.1 or 5.10.226."""
        return f"{self.major}.{self.minor}" + (f".{self.patch}" if self.patch else "")
