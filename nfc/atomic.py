"""Files that are replaced whole: who reads one finds the old text or the new."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from nfc.errors import NfcError


def replace_file(file: Path, text: str) -> None:
    """Put text into a file, whole or not at all. Raises NfcError."""
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            os.fchmod(descriptor, 0o644)
            out.write(text)
            out.flush()
            os.fsync(descriptor)
        os.replace(temporary, file)
        temporary = ""
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise NfcError(f"cannot write {file}: {error.strerror}") from None
    finally:
        if temporary:
            os.unlink(temporary)
