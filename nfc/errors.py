"""The errors that a user sees: every one has a message in the operator's words and an exit status.

Anything else that escapes from `nfc` is a bug. Exit status 1 means "the input or the system
said no", 2 means "the command line was wrong" (the convention of most Unix tools).
"""

from __future__ import annotations


class NfcError(Exception):
    """Base of all errors shown to the user: `message`, an optional `hint`, an exit status."""

    exit_status = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """Keep `message` (one sentence, no trailing dot needed) and `hint` (what to do next)."""
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(NfcError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_status = 2


class ObjectError(NfcError):
    """An ELF object, BTF blob or other binary input is malformed; `where` is the place in it."""

    def __init__(self, message: str, *, where: str = "", hint: str | None = None) -> None:
        """Keep `where`, e.g. `"section .maps, byte 24"` (empty when the whole file is meant)."""
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.where = where


class KernelError(NfcError):
    """The running kernel refused something: `errno` is its answer, `log` what it said beside it."""

    def __init__(
        self, message: str, *, errno: int = 0, log: str = "", hint: str | None = None
    ) -> None:
        """Keep the errno (0: none) and the verifier's or netlink's own words."""
        super().__init__(message, hint=hint)
        self.errno = errno
        self.log = log


class PrivilegeError(KernelError):
    """A capability is missing; the message names it (e.g. CAP_BPF, CAP_NET_ADMIN)."""
