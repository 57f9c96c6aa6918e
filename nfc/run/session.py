"""A function in the simulator, with the params, tables and routes that it is given."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nfc.deploy import entries, settings
from nfc.errors import NfcError, UsageError
from nfc.kernel.params import read_params, write_params
from nfc.manifest import PARAMS_SECTION, Manifest, Table
from nfc.observe.counters import Counters, read_counters
from nfc.observe.events import Decoded, decode
from nfc.observe.tables import Entries
from nfc.run import fits, given
from nfc.run.subject import Subject
from nfc.syntax.diagnostics import nearest
from nfc.vm.simulator import Outcome, Packet, Simulator

if TYPE_CHECKING:
    from nfc.vm.fib import Fib

CPUS = 1  # all packets of a capture come to one CPU
_FIRST = struct.pack("<I", 0)


@dataclass(frozen=True)
class Ran:
    """What became of one packet: `rule` is the place of the rule that it took, from 0, and `line`
    its line; None where the program did not run or is not made of rules. `error` is the reason
    for which the function dropped it."""

    outcome: Outcome
    rule: int | None
    line: int | None
    error: str
    events: tuple[Decoded, ...]


class Session:
    """A subject in a simulator. Maps keep their content from packet to packet."""

    def __init__(
        self,
        subject: Subject,
        *,
        params: Mapping[str, str],
        fib: Fib | None,
        engine: str,
        seed: int,
    ) -> None:
        """Make the simulator and set params. Raises UsageError, ObjectError."""
        self.subject = subject
        manifest = subject.manifest
        if manifest is not None:
            fits.check(manifest, subject.obj)
        self.simulator = Simulator(
            subject.obj if manifest is not None else given.with_params(subject.obj, params),
            subject.program,
            subject.hook,
            fib=fib,
            engine=engine,
            seed=seed,
            cpus=CPUS,
        )
        if params and manifest is not None:
            self._set_params(manifest, params)
        self.fields = manifest.counters if manifest else ()
        self._before = self._counts()

    def _set_params(self, manifest: Manifest, params: Mapping[str, str]) -> None:
        copy = settings.apply(self.params(), manifest, params)
        write_params(self.simulator.maps[PARAMS_SECTION], copy)

    def params(self) -> bytes:
        """The copy of the params that is in force; empty if the function uses none."""
        if self.subject.manifest is None or not self.subject.manifest.params:
            return b""
        return read_params(self.simulator.maps[PARAMS_SECTION])

    # ---- packets ----------------------------------------------------------------------------

    def run(self, packet: bytes, now: int, *, traced: bool = False) -> Ran:
        """Run one packet at a time in TAI nanoseconds. `traced`: with the steps, by the
        interpreter."""
        self.simulator.now = now
        arrival = Packet(packet)
        outcome = self.simulator.trace(arrival) if traced else self.simulator.run(arrival)
        before, self._before = self._before, self._counts()
        pairs = zip(self.fields, before, self._before, strict=True)
        changed = [counter for counter, was, now_ in pairs if was != now_]
        rules = [self.fields.index(c) for c in changed if c.kind == "rule"]  # they come first
        if outcome.fate == "dropped":  # by a rule that did not take it the first time, maybe
            rules.sort(key=lambda place: not self.fields[place].drops)
        errors = [c.name for c in changed if c.kind == "error"]
        return Ran(
            outcome,
            rules[0] if rules else None,
            self.fields[rules[0]].line if rules else None,
            errors[0] if errors else "",
            self._events(outcome),
        )

    def _counts(self) -> tuple[int, ...]:
        """The function's own counters, in the order of the manifest."""
        manifest = self.subject.manifest
        if manifest is None:
            return ()
        (value,) = self.simulator.maps[manifest.stats_map].lookup_percpu(_FIRST) or (b"",)
        return struct.unpack_from(f"<{len(self.fields)}Q", value)

    def hidden(self) -> list[int]:
        """What each every(N) has counted, in the order in which they are written."""
        pairs = zip(self.fields, self._before, strict=True)
        return [value for counter, value in pairs if counter.kind == "hidden"]

    def _events(self, outcome: Outcome) -> tuple[Decoded, ...]:
        if self.subject.manifest is None:
            return ()
        return tuple(decode(self.subject.manifest, data) for _, data in outcome.records)

    # ---- tables -----------------------------------------------------------------------------

    def load(self, name: str, items: list[Any]) -> int:
        """Put entries into a table, as `nfc table load` does; how many. Raises NfcError."""
        if self.subject.manifest is None:
            return given.load(self.subject.obj, self.simulator.maps, name, items)
        known = {table.name: table for table in self.tables()}
        if name not in known:
            raise UsageError(
                f"{self.subject.program} has no table '{name}'",
                hint=nearest(name, known) or f"its tables: {', '.join(known) or 'none'}",
            )
        return entries.load(self.entries(known[name]), items)

    def tables(self) -> tuple[Table, ...]:
        """The tables, state and keyed counters of the function."""
        return self.subject.manifest.tables if self.subject.manifest else ()

    def entries(self, table: Table) -> Entries:
        """The entries of a table."""
        return Entries(self.simulator.maps[table.map], table)

    def counters(self) -> Counters | None:
        """Packets by rule, errors by reason; None for an object that nfc has not compiled."""
        manifest = self.subject.manifest
        if manifest is None:
            return None
        return read_counters(self.simulator.maps[manifest.stats_map], manifest)


def parse_tables(found: Any, where: str) -> list[tuple[str, list[Any]]]:
    """(table, entries) of a file: what `nfc table show --json` gives, a list of such, or what
    `nfc run --json` gives in the end, its tables or maps. Raises NfcError."""
    if isinstance(found, dict) and isinstance(found.get("summary"), dict):
        found = found["summary"]
    for which in ("tables", "maps"):
        if isinstance(found, dict) and isinstance(found.get(which), list):
            found = found[which]
    if not isinstance(found, list):
        found = [found]
    tables = []
    for one in found:
        name = one.get("table", one.get("map")) if isinstance(one, dict) else None
        items = one.get("entries") if isinstance(one, dict) else None
        if not isinstance(name, str) or not isinstance(items, list):
            raise NfcError(
                f'{where}: this is not of the form {{"table": "NAME", "entries": […]}}',
                hint="'nfc table show NAME TABLE --json' writes it",
            )
        tables.append((name, items))
    return tables
