"""Reading untrusted bytes: every access is checked, every name is bounded.

Numbers in BPF objects are little endian (EM_BPF with ELFDATA2LSB), so all formats here are too.
"""

from __future__ import annotations

import struct

from nfc.errors import ObjectError

MAX_NAME = 1024  # bytes of one name
# String tables may share tails, so a small file can name many long strings: bound their sum.
MAX_NAMES = 8 << 20  # bytes of all different names of one table


def unpack(layout: str, data: bytes, offset: int, where: str) -> tuple[int, ...]:
    """The numbers that `layout` (struct's notation, without byte order) finds at `offset` bytes.

    Raises ObjectError, with `where`, if `data` ends before them.
    """
    size = struct.calcsize("<" + layout)
    if offset < 0 or offset + size > len(data):
        raise ObjectError(f"needs {size} bytes at byte {offset}, has {len(data)}", where=where)
    return struct.unpack_from("<" + layout, data, offset)


class Strings:
    """A table of NUL-terminated strings, addressed by the byte where each begins."""

    def __init__(self, data: bytes, where: str) -> None:
        """Wrap `data`; `where` names the table in errors."""
        self._data = data
        self._where = where
        self._known: dict[int, str] = {}
        self._left = MAX_NAMES

    def at(self, offset: int) -> str:
        """The string that begins at `offset` bytes.

        Raises ObjectError if that is outside, not terminated, longer than MAX_NAME bytes, not
        printable UTF-8, or if all strings together exceed MAX_NAMES bytes.
        """
        if offset in self._known:
            return self._known[offset]
        name = self._text(offset, MAX_NAME)
        if not name.isprintable():
            raise ObjectError(
                f"the name at byte {offset} is not printable: {name[:32]!a}", where=self._where
            )
        self._known[offset] = name
        return name

    def line(self, offset: int) -> str:
        """A line of source code that begins at `offset` bytes: any text, cut at MAX_NAME bytes.

        Raises ObjectError as `at` does, but for a long or unprintable text.
        """
        if offset not in self._known:
            self._known[offset] = self._text(offset, None)
        return self._known[offset]

    def _text(self, offset: int, limit: int | None) -> str:
        if not 0 <= offset < len(self._data):
            raise ObjectError(
                f"no string at byte {offset}, the table has {len(self._data)}", where=self._where
            )
        if self._data[-1] != 0:
            raise ObjectError("the last string does not end", where=self._where)
        end = self._data.find(b"\0", offset, offset + MAX_NAME + 1)
        if end < 0 and limit is not None:
            raise ObjectError(
                f"the string at byte {offset} is longer than {limit} bytes", where=self._where
            )
        raw = self._data[offset : end if end >= 0 else offset + MAX_NAME]
        self._left -= len(raw) + 1
        if self._left < 0:
            raise ObjectError(f"more than {MAX_NAMES} bytes of names", where=self._where)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            if limit is None:
                return raw.decode(errors="replace")
            raise ObjectError(
                f"the name at byte {offset} is not UTF-8", where=self._where
            ) from None
