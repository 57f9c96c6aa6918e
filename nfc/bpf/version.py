"""Kernel versions as values that parse, order and print."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from nfc.errors import UsageError

_FORM = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,6}))?(?![0-9.])", re.ASCII)
_DEBIAN = re.compile(r"\bDebian (\d+\.\d+\.\d+)-")


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

    @classmethod
    def running(cls) -> KernelVersion:
        """The running kernel's, with the update that a distribution's own number hides: Debian's
        6.1.0-50-amd64 is 6.1.176, and says so in the version (uname -v)."""
        uname = os.uname()
        version = cls.parse(uname.release)
        told = _DEBIAN.search(uname.version)
        real = cls.parse(told[1]) if told else version
        return real if (real.major, real.minor) == (version.major, version.minor) else version

    def __str__(self) -> str:
        """As it is usually written: 6.1 or 5.10.226."""
        return f"{self.major}.{self.minor}" + (f".{self.patch}" if self.patch else "")
