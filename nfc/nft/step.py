"""One packet that a test sends, what was seen of it, and what of that is not as expected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nfc.compiler import Compiled
from nfc.nft.machine import Seen
from nfc.observe.counters import Counters
from nfc.sema import typed, types
from nfc.syntax.source import Span


@dataclass(frozen=True)
class Failure:
    """Something that is not as expected: where that is written, what, and the difference."""

    span: Span
    message: str
    difference: str = ""

    def to_json(self) -> dict[str, Any]:
        """The failure as a JSON-ready object."""
        return {
            "file": self.span.source.name,
            "line": self.span.line,
            "column": self.span.column,
            "source": self.span.source.line(self.span.line).strip(),
            "message": self.message,
            "difference": self.difference,
        }


@dataclass(frozen=True)
class Skipped:
    """Something that could not be tried here: at a line, why."""

    span: Span
    reason: str


@dataclass(frozen=True)
class Event:
    """An event that came: its declaration, its fields' numbers, bytes of the packet."""

    declared: typed.Event
    fields: dict[str, int]
    packet: bytes = b""
    length: int = 0

    @property
    def name(self) -> str:
        """The event's name."""
        return self.declared.name


@dataclass(frozen=True)
class Step:
    """A packet that was sent, and all that was seen of it. `seen` is None where nothing runs."""

    span: Span
    compiled: Compiled
    sent: bytes = b""
    cpu: int = 0
    seen: Seen | None = None
    before: Counters | None = None
    after: Counters | None = None
    events: tuple[Event, ...] = ()

    def with_events(self, program: typed.Program) -> Step:
        """With its records decoded."""
        assert self.seen is not None
        return replace(self, events=tuple(_events(program, self.seen.records)))

    @property
    def rules(self) -> list[int]:
        """The rules that the packet took, counted from 0: several where its route has led it to
        the function again."""
        if self.before is None or self.after is None:
            return []
        pairs = zip(self.before.rules, self.after.rules, strict=True)
        return [i for i, (a, b) in enumerate(pairs) if b.packets > a.packets]

    @property
    def rule(self) -> int | None:
        """The rule that the packet took; of several the one that drops it, or else the first."""
        found = self.rules
        dropping = [i for i in found if self.after is not None and self.after.rules[i].drops]
        return next(iter(dropping or found), None)

    @property
    def error(self) -> str:
        """The reason for which the function dropped it, or ""."""
        if self.before is None or self.after is None:
            return ""
        old = self.before.errors
        return next((n for n, c in self.after.errors.items() if c > old.get(n, 0)), "")

    @property
    def fate(self) -> str:
        """sent, drop (by the function), refused (by the kernel before it), lost (after it)."""
        assert self.seen is not None and self.after is not None
        if self.seen.packet is not None:
            return "sent"
        if self.rule is None:
            return "refused"
        return "drop" if self.error or self.after.rules[self.rule].drops else "lost"

    def told(self) -> str:
        """What became of the packet, in words."""
        assert self.seen is not None
        why = f" ({self.seen.why})" if self.seen.why else ""
        match self.fate:
            case "sent":
                return f"it left on {self.seen.link}"
            case "refused":
                return f"the kernel refused it before the function{why}"
            case "lost":
                return f"{self._by()} let it go, and the kernel lost it{why}"
        reason = f": {self.error}" if self.error else ""
        return f"{self._by()} dropped it{reason}"

    def _by(self) -> str:
        assert self.after is not None and self.rule is not None
        return f"rule {self.rule + 1}, line {self.after.rules[self.rule].line},"


def _events(program: typed.Program, records: Sequence[bytes]) -> Iterator[Event]:
    """Records of the ring buffer, decoded: see `nfc.manifest.Event`."""
    for record in records:
        index = int.from_bytes(record[:8], "little")
        declared = next((e for e in program.events if e.index == index), None)
        if declared is None:
            continue
        fields = {m.name: _member(m, record) for m in declared.fields}
        if not declared.packet_bytes:
            yield Event(declared, fields)
            continue
        at = declared.size
        length = int.from_bytes(record[at : at + 4], "little")
        copied = int.from_bytes(record[at + 4 : at + 8], "little")
        yield Event(declared, fields, record[at + 8 : at + 8 + copied], length)


def _member(member: typed.Member, record: bytes) -> int:
    raw = record[member.offset : member.offset + member.size]
    return int.from_bytes(raw, "big" if types.is_raw(member.type) else "little")
