"""What became of a capture's packets, counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nfc.bpf.btf import Btf, Kind, parse_btf
from nfc.bpf.values import Value, decode, show
from nfc.deploy.entries import show as show_all
from nfc.deploy.entries import show_first
from nfc.errors import KernelError
from nfc.kernel.maps import ARRAY, PERCPU_ARRAY
from nfc.observe.counters import Counters
from nfc.observe.tables import Entries
from nfc.run.session import Ran, Session
from nfc.vm.buffers import QueueMap
from nfc.vm.hooks import TOO_LONG
from nfc.vm.maps import ArrayMap, VmMap

SHOWN_DIGITS = 256  # of a value that BTF does not name
SHOWN = 20  # entries of a table, or of a map, that a terminal gets
# Why a packet is none for the function, in the words of nfc.vm.hooks.
PASSED = ("no segment routing header with segments left", TOO_LONG)


@dataclass
class Tally:
    """Counts of packets. `read` is all of them; `passed` those that no function saw, by why:
    not IPv6, not SRv6; `refused` were dropped by the kernel before the function, `lost` after it;
    `padded` were cut short when they were captured."""

    read: int = 0
    padded: int = 0
    written: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    events: Counter[str] = field(default_factory=Counter)

    def add(self, ran: Ran) -> None:
        """Count what became of a packet."""
        outcome = ran.outcome
        match outcome.fate:
            case "sent":
                self.sent[outcome.link] += 1
            case "dropped":
                self.dropped[ran.error or reason(ran)] += 1
            case "refused" if outcome.reason in PASSED:
                self.passed[outcome.reason] += 1
            case "refused":
                self.refused[outcome.reason] += 1
            case "lost":
                self.lost[outcome.reason] += 1
            case _:
                self.faults += 1
        if ran.events:
            self.events.update(event.name for event in ran.events)
        elif outcome.records:
            self.events.update(name for name, _ in outcome.records)

    def to_json(self) -> dict[str, Any]:
        """The counts as a JSON-ready object."""
        return {
            "packets": self.read,
            "passed_over": dict(self.passed),
            "padded": self.padded,
            "sent": dict(self.sent),
            "dropped": dict(self.dropped),
            "refused": dict(self.refused),
            "lost": dict(self.lost),
            "faults": self.faults,
            "events": dict(self.events),
            "written": self.written,
        }

    def lines(self) -> Iterator[str]:
        """The counts for a terminal."""
        yield from _counts("passed over", self.passed, "")
        if self.padded:
            text = "were cut short when captured; what is missing was run as zeros"
            yield _row("padded", self.padded, text)
        yield from _counts("sent", self.sent, "by ") or [_row("sent", 0, "")]
        yield from _counts("dropped", self.dropped, "")
        yield from _counts("refused", self.refused, "by the kernel, before the function: ")
        yield from _counts("lost", self.lost, "in the kernel, after the function: ")
        if self.faults:
            yield _row("faults", self.faults, "")


def reason(ran: Ran) -> str:
    """Why a function dropped a packet: by which rule, or what the program returned."""
    return f"by the rule at line {ran.line}" if ran.line is not None else ran.outcome.reason


def _row(name: str, count: int, text: str) -> str:
    return f"  {name:<12} {count:>9}  {text}".rstrip()


def _counts(name: str, counts: Mapping[str, int], before: str) -> list[str]:
    def order(item: tuple[str, int]) -> tuple[int, list[str | int]]:
        # Pieces are text and number in turn, so that line 9 stands before line 15.
        pieces = re.split(r"(\d+)", item[0])
        return -item[1], [int(piece) if n % 2 else piece for n, piece in enumerate(pieces)]

    rows = sorted(counts.items(), key=order)
    return [_row("" if n else name, count, before + text) for n, (text, count) in enumerate(rows)]


# ---- what is left behind --------------------------------------------------------------------


def counters_json(counters: Counters) -> dict[str, Any]:
    """Counters as `nfc status --json` gives them."""
    return {
        "rules": [{"line": r.line, "packets": r.packets, "drops": r.drops} for r in counters.rules],
        "errors": counters.errors,
        "events_lost": counters.events_lost,
        "counts_lost": counters.counts_lost,
        "counters": counters.named,
    }


def counter_lines(counters: Counters) -> Iterator[str]:
    """Counters for a terminal: every rule, the errors that happened."""
    for number, rule in enumerate(counters.rules):
        note = "(dropped)" if rule.drops and rule.packets else ""
        yield _row("" if number else "rules", rule.packets, f"line {rule.line} {note}")
    for name, count in counters.named.items():
        yield _row("counter", count, name)
    for name, count in counters.errors.items():
        if count:
            yield _row("error", count, name)
    if counters.events_lost:
        yield _row("events lost", counters.events_lost, "no room for them")
    if counters.counts_lost:
        yield _row("counts lost", counters.counts_lost, "a counter's keys are full")


def event_lines(tally: Tally) -> Iterator[str]:
    """Events by name."""
    yield from _counts("events", tally.events, "")


def table_json(found: Entries) -> dict[str, Any]:
    """A table with its entries, in the form that --table takes. Raises KernelError."""
    return {"table": found.table.name, "entries": [entry.to_json() for entry in show_all(found)]}


def table_lines(found: Entries) -> Iterator[str]:
    """A table's entries, the first ones. Raises KernelError."""
    table = found.table
    shown, there = show_first(found, SHOWN)
    count = f"{there} of {table.entries}"
    yield f"  {table.role} {table.name}: {count}" if table.role == "table" else f"  {table.name}:"
    for entry in shown:
        yield from (f"    {line}" for line in entry.lines())
    if there > SHOWN:
        yield f"    … and {there - SHOWN} more (--json has all)"


@dataclass(frozen=True)
class Entry:
    """An entry of somebody's map: bytes in hexadecimal, and what BTF says that they are, None where
    it says nothing."""

    key: str
    value: str
    decoded: tuple[Value, Value] | None

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON-ready object."""
        found: dict[str, Any] = {"key": self.key, "value": self.value}
        if self.decoded is not None:
            found["decoded"] = dict(zip(("key", "value"), self.decoded, strict=True))
        return found

    def line(self) -> str:
        """The entry for a terminal."""
        key, value = map(show, self.decoded) if self.decoded else (self.key, self.value)
        if not self.decoded and len(value) > SHOWN_DIGITS:
            value = f"{value[:SHOWN_DIGITS]}… ({len(value) // 2} bytes)"
        return f"    {key}  {value}"


def maps_json(session: Session) -> list[dict[str, Any]]:
    """The maps of an object that nfc did not compile, in hexadecimal and as BTF names what is in
    them; of arrays without the values that are all zero, of queues and stacks in the order in which
    they went in, with no key."""
    return [
        {"map": name, "entries": [entry.to_json() for entry in entries]}
        for name, entries in _maps(session)
    ]


def map_lines(session: Session) -> Iterator[str]:
    """The same for a terminal."""
    for name, entries in _maps(session):
        found = list(entries)
        if not found:
            continue
        yield f"  map {name}: {len(found)} with a value"
        yield from (entry.line() for entry in found[:SHOWN])
        if len(found) > SHOWN:
            yield f"    … and {len(found) - SHOWN} more (--json has all)"


def _maps(session: Session) -> Iterator[tuple[str, Iterator[Entry]]]:
    obj = session.subject.obj
    btf = parse_btf(obj.btf) if obj.btf else None
    types = {m.name: (m.key_type_id, m.value_type_id) for m in obj.maps}
    if btf is not None:
        for section in obj.data:
            kind = btf.by_name.get((Kind.DATASEC, section.name))
            types[section.name] = (0, kind.id if kind else 0)
    for name, one in session.simulator.maps.items():
        if one.has_values:
            yield name, _entries(one, btf, *types.get(name, (0, 0)))


def _entries(one: VmMap, btf: Btf | None, key_type: int, value_type: int) -> Iterator[Entry]:
    always_there = one.info.type in (ARRAY, PERCPU_ARRAY)

    def decoded(key: bytes, value: bytes) -> tuple[Value, Value] | None:
        if btf is None or not value_type:
            return None
        index = int.from_bytes(key, "little")
        shown = index if always_there else decode(btf, key_type, key) if key_type else None
        meant = decode(btf, value_type, value)
        return None if shown is None or meant is None else (shown, meant)

    if isinstance(one, QueueMap):
        for held in one.values:
            meant = decode(btf, value_type, held) if btf is not None and value_type else None
            yield Entry("", held.hex(), None if meant is None else ("", meant))
        return
    try:
        for key in one.keys_in_use() if isinstance(one, ArrayMap) else one.keys():
            values = one.lookup_percpu(key) if one.per_cpu else (one.lookup(key),)
            value = values[0] if values else None
            if value is not None and (any(value) or not always_there):
                yield Entry(key.hex(), value.hex(), decoded(key, value))
    except KernelError:
        return
