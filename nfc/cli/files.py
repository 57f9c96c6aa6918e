"""Files that commands read: of a size that is sensible, with errors in the user's words."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from nfc.errors import NfcError, UsageError

MAX_FILE_BYTES = 64 << 20
_OTHER_PICTURES = frozenset((".png", ".pdf", ".jpg", ".jpeg", ".gif", ".webp", ".ps", ".eps"))


def read(file: Path) -> bytes:
    """All of a file, `-` being standard input. Raises NfcError."""
    try:
        source = sys.stdin.buffer if str(file) == "-" else file.open("rb")
        with source:
            data = source.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise NfcError(f"cannot read {file}: {error.strerror or error}") from None
    if len(data) > MAX_FILE_BYTES:
        raise NfcError(f"{file} is larger than {MAX_FILE_BYTES} bytes")
    return data


def not_over(out: Path | None, *read: Path | None) -> None:
    """Raises UsageError if `out`, which is to be written, is one of the files that are read."""
    for one in read:
        with contextlib.suppress(OSError, ValueError):
            if out is not None and one is not None and os.path.samefile(out, one):
                raise UsageError(f"{out} is read from; write to another file")


def svg(out: Path | None) -> None:
    """Raises UsageError if the name of what is to be an SVG says that it is another picture."""
    if out is not None and out.suffix.lower() in _OTHER_PICTURES:
        raise UsageError(f"{out} will not do: what is drawn is an SVG", hint=f"{out.stem}.svg")


def read_text(file: Path) -> str:
    """The same as text. Raises NfcError."""
    try:
        return read(file).decode()
    except UnicodeDecodeError as error:
        raise NfcError(f"{file} is no UTF-8 text (byte {error.start})") from None


def read_json(file: Path) -> Any:
    """The value in a JSON file. Raises NfcError."""
    try:
        return json.loads(read(file))
    except (ValueError, RecursionError) as error:
        raise NfcError(f"{file} is not JSON: {str(error)[:100]}") from None
