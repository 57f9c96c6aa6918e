"""The names of a program, filled by `nfc.sema.declare`."""

from __future__ import annotations

from dataclasses import dataclass, field

from nfc.sema import typed, types
from nfc.sema.headers import HEADERS
from nfc.syntax import tree
from nfc.syntax.diagnostics import Diagnostics, nearest
from nfc.syntax.source import Span

RESERVED_NAMES = {*HEADERS, "packet", "now", "sample", "every", "main", "local", "default"}


@dataclass
class Scope:
    """Every declared name; filled by `declare`."""

    diagnostics: Diagnostics
    consts: dict[str, typed.Const] = field(default_factory=dict)
    params: dict[str, typed.Param] = field(default_factory=dict)
    enums: dict[str, types.Enum] = field(default_factory=dict)
    tlvs: dict[str, typed.Tlv] = field(default_factory=dict)
    events: dict[str, typed.Event] = field(default_factory=dict)
    definitions: dict[str, tree.Define] = field(default_factory=dict)
    counters: dict[str, Span] = field(default_factory=dict)
    keyed: dict[str, typed.Table] = field(default_factory=dict)  # counters with keys
    tables: dict[str, typed.Table] = field(default_factory=dict)
    states: dict[str, typed.State] = field(default_factory=dict)
    params_size: int = 0
    broken: set[str] = field(default_factory=set)  # declared, but with errors
    incomplete: bool = False  # a used file is missing: any name might have been in it
    # What expressions are, in the order in which that was found out; None: nobody asks.
    values: list[tuple[Span, typed.Expr]] | None = None
    _places: dict[str, Span] = field(default_factory=dict)
    _kinds: dict[str, str] = field(default_factory=dict)

    def claim(self, name: tree.Ident, kind: str) -> bool:
        """Take a name for a declaration, a const or the like; an error if it is taken."""
        if name.text in RESERVED_NAMES:
            self.diagnostics.error(name.span, f"'{name.text}' is a word of the language")
            return False
        if name.text in self._places:
            first = self._places[name.text]
            self.diagnostics.error(
                name.span,
                f"'{name.text}' is declared twice",
                f"first at {first.source.name}:{first.line}",
            )
            return False
        self._places[name.text] = name.span
        self._kinds[name.text] = kind
        return True

    def kind(self, name: str) -> str | None:
        """What a name is declared as anywhere in the program, in the language's word."""
        return self._kinds.get(name)

    def excused(self, name: str) -> bool:
        """Whether a name is unknown only because of an error that was reported already."""
        return self.incomplete or name in self.broken

    def type_of(self, name: tree.Ident) -> types.Type | None:
        """The type of that name, or None after an error."""
        found = types.builtin(name.text) or self.enums.get(name.text)
        if found is None and not self.excused(name.text):
            known = [*types.NAMED, "u8", "u16", "u24", "u32", "u64", "bytes16", *self.enums]
            self.diagnostics.error(
                name.span,
                f"there is no type '{name.text}'",
                nearest(name.text, known)
                or "types: u1 to u64, bool, ipv6, bytes1 to bytes16, timestamp, duration",
            )
        return found

    def members(self, name: str) -> list[tuple[types.Enum, int]]:
        """All enum members of that name, with their values."""
        return [(e, v) for e in self.enums.values() for n, v in e.members if n == name]
