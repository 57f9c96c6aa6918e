"""What a file of tests is about: the program beside it, compiled, and all names that count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nfc.compiler import Compilation, Compiled
from nfc.nft import tree
from nfc.packet import TlvNames
from nfc.sema import typed
from nfc.sema.scope import Scope


@dataclass(frozen=True)
class Subject:
    """A file of tests with its program. `functions` are those that the tests are of, by the
    number of the test; `objects` are ELF objects by function."""

    path: Path
    file: tree.File
    compilation: Compilation
    scope: Scope
    consts: Mapping[str, tree.Const]
    packets: Mapping[str, tree.LetPacket]
    tests: tuple[tuple[tree.Test, Compiled], ...]
    objects: Mapping[str, bytes]
    known: Mapping[int, TlvNames]

    @property
    def program(self) -> typed.Program:
        """The typed program."""
        return self.compilation.program
