"""What the words of a test mean at one place in it: names, packets, and what the machine holds."""

from __future__ import annotations

from dataclasses import dataclass

from nfc.compiler import Compiled
from nfc.manifest import Table
from nfc.nft.machine import Session
from nfc.nft.packets import Packets
from nfc.nft.subject import Subject
from nfc.nft.values import Values
from nfc.observe.counters import Counters, read_counters
from nfc.observe.tables import Entries
from nfc.sema import typed
from nfc.syntax.diagnostics import Diagnostics, nearest
from nfc.syntax.tree import Ident


@dataclass
class Scene:
    """A function under test. Without a session there is no machine, and only names are known."""

    subject: Subject
    compiled: Compiled
    diagnostics: Diagnostics
    session: Session | None = None

    def __post_init__(self) -> None:
        """Begin with what the file declares."""
        self.values = Values(self.subject.scope, self.diagnostics, self.subject.consts)
        self.packets = Packets(self.values, dict(self.subject.packets))
        self.counted = 0  # events that the step has asked for

    def state(self, name: Ident) -> typed.State | None:
        """The state of that name; None after an error."""
        states = self.subject.scope.states
        if name.text not in states:
            hint = nearest(name.text, states) or f"states: {', '.join(states) or 'none'}"
            self.values.error(name.span, f"there is no state '{name.text}'", hint)
            return None
        return states[name.text] if self._used(states[name.text].table, name) else None

    def table(self, name: Ident, *, counters: bool = False) -> typed.Table | None:
        """The table, or counter with keys, of that name; None after an error."""
        scope = self.subject.scope
        known = scope.keyed if counters else scope.tables
        if name.text not in known:
            what = "counter with keys" if counters else "table"
            hint = nearest(name.text, known) or f"there are: {', '.join(known) or 'none'}"
            self.values.error(name.span, f"there is no {what} '{name.text}'", hint)
            return None
        return known[name.text] if self._used(known[name.text], name) else None

    def _used(self, table: typed.Table, name: Ident) -> bool:
        function = self.compiled.function.name
        if any(t.name == table.name for t in self.compiled.manifest.tables):
            return True
        self.values.error(name.span, f"{function} does not use {name.text}")
        return False

    def entries(self, table: typed.Table) -> Entries:
        """The entries of a table, on the machine."""
        assert self.session is not None
        manifest = self.manifest_table(table)
        return Entries(self.session.maps[manifest.map], manifest)

    def manifest_table(self, table: typed.Table) -> Table:
        """The table as maps know it."""
        return next(t for t in self.compiled.manifest.tables if t.name == table.name)

    def counters(self, session: Session) -> Counters:
        """What the function has counted."""
        manifest = self.compiled.manifest
        return read_counters(session.maps[manifest.stats_map], manifest)
