"""What became of a packet: its headers before and after, laid beside each other.

`nfc.packet.view.diff` compares two packets that should be the same; here they are meant to
differ, and headers come and go. So headers are aligned first (the cheapest way to get from one
chain to the other), and then compared field by field.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from nfc.packet.base import PacketError
from nfc.packet.chain import decode
from nfc.packet.view import Field, fields

_APART: Final = 0.6  # the cost of a header that comes or goes; 1: of one whose fields all change
_MOST: Final = 10_000  # pairs of headers that are compared; chains beyond it are not aligned
_WIDTH: Final = 96
RED, GREEN, DIM, RESET = "\x1b[31m", "\x1b[32m", "\x1b[2m", "\x1b[0m"


@dataclass(frozen=True)
class Group:
    """A header, or one of its TLVs, with its fields in wire order."""

    title: str
    fields: tuple[Field, ...]

    @property
    def kind(self) -> str:
        """The title without numbers; of a TLV with its type: what may be compared."""
        kind = re.sub(r" #\d+|\[\d+\]", "", self.title)
        return f"{kind} {self.fields[0].value!r}" if kind.endswith("TLV") else kind


@dataclass(frozen=True)
class Change:
    """A header that came (`was` None), went (`now` None), or changed in some field."""

    was: Group | None
    now: Group | None

    @property
    def title(self) -> str:
        """What it is called now, or was."""
        group = self.now or self.was
        assert group is not None
        return group.title

    def pairs(self) -> list[tuple[Field | None, Field | None]]:
        """The fields that differ, as they were and as they are."""
        was = {f.name: f for f in self.was.fields} if self.was else {}
        now = {f.name: f for f in self.now.fields} if self.now else {}
        names = [*was, *(name for name in now if name not in was)]
        return [
            (was.get(name), now.get(name))
            for name in names
            if name not in was or name not in now or was[name].value != now[name].value
        ]


# The fields of a TLV, given all of its bytes, as name, value and text; () if they are not known.
Dissect = Callable[[bytes], Sequence[tuple[str, int, str]]]


def groups(data: bytes, dissect: Dissect | None = None) -> list[Group]:
    """The headers of a packet; what is none is one group called `bytes`. `dissect` knows the
    fields of TLVs."""
    try:
        found = fields(decode(data))
    except PacketError:
        text = f"{len(data)} bytes: {data[:32].hex(' ')}"
        return [Group("bytes", (Field("bytes", "bytes", 0, len(data), data, text),))]
    by_title: dict[str, list[Field]] = {}
    for field in found:
        by_title.setdefault(field.header, []).append(field)
    return [Group(title, _named(those, data, dissect)) for title, those in by_title.items()]


def _named(those: list[Field], data: bytes, dissect: Dissect | None) -> tuple[Field, ...]:
    """The fields of a header; of a TLV by their own names, where they are known."""
    last = those[-1]
    if dissect is None or last.name != "value":
        return tuple(those)
    start, end = those[0].offset, last.offset + last.length
    known = dissect(data[start:end])
    if not known:
        return tuple(those)
    inside = [Field(last.header, name, last.offset, 0, value, text) for name, value, text in known]
    return (*those[:-1], *inside)


def changes(before: bytes, after: bytes, dissect: Dissect | None = None) -> tuple[Change, ...]:
    """What differs between two packets; () if, and only if, they are the same bytes."""
    pairs = _aligned(groups(before, dissect), groups(after, dissect))
    return tuple(
        change
        for change in (Change(was, now) for was, now in pairs)
        if change.was is None or change.now is None or change.pairs()
    )


def render(found: Sequence[Change], *, color: bool) -> list[str]:
    """Lines for a terminal: `-` what went, `+` what came, `was → now` what changed."""
    red, green, dim, reset = (RED, GREEN, DIM, RESET) if color else ("", "", "", "")
    lines: list[str] = []
    for change in found:
        if change.now is None and change.was is not None:
            lines += _whole(change.was, f"{red}- ", reset)
        elif change.was is None and change.now is not None:
            lines += _whole(change.now, f"{green}+ ", reset)
        else:
            lines.append(f"  {change.title}")
            for was, now in change.pairs():
                name = (was or now).name  # type: ignore[union-attr]
                old = f"{red}{_text(was, now)}{reset}"
                new = f"{green}{_text(now, was)}{reset}"
                lines.append(f"    {name:<15} {old} {dim}→{reset} {new}")
    return lines


def _whole(group: Group, begin: str, end: str) -> list[str]:
    """A header on as few lines as it takes."""
    text = ", ".join(f"{f.name} {f.text}" for f in group.fields)
    wrapped = textwrap.wrap(
        f"{group.title}: {text}", _WIDTH, subsequent_indent="    ", break_long_words=False
    )
    return [
        f"{begin if n == 0 else begin[:-2] + '  '}{line}{end}" for n, line in enumerate(wrapped)
    ]


def _text(field: Field | None, other: Field | None) -> str:
    """A field's value; of long bytes, from where they differ on."""
    if field is None:
        return "(none)"
    value = field.value
    if not isinstance(value, bytes) or len(value) <= 32:
        return field.text
    at = 0
    if other is not None and isinstance(other.value, bytes):
        pairs = zip(value, other.value, strict=False)
        shorter = min(len(value), len(other.value))
        at = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
    shown = value[at : at + 16].hex(" ")
    return f"{len(value)} bytes, from byte {at}: {shown}{' …' if at + 16 < len(value) else ''}"


# ---- alignment ------------------------------------------------------------------------------


def _aligned(was: list[Group], now: list[Group]) -> list[tuple[Group | None, Group | None]]:
    """Both chains in order, each header beside the one that it became, or None."""
    if len(was) * len(now) > _MOST:
        titles = {group.title: group for group in now}
        kept: list[tuple[Group | None, Group | None]] = [
            (group, titles.pop(group.title, None)) for group in was
        ]
        return kept + [(None, group) for group in titles.values()]
    # costs[i][j]: of what is left of both from i and j on.
    costs = [[0.0] * (len(now) + 1) for _ in range(len(was) + 1)]
    for i in range(len(was), -1, -1):
        for j in range(len(now), -1, -1):
            if i < len(was) or j < len(now):
                costs[i][j] = min(cost for cost, _, _ in _steps(costs, was, now, i, j))
    found: list[tuple[Group | None, Group | None]] = []
    i = j = 0
    while i < len(was) or j < len(now):
        _, down, right = min(_steps(costs, was, now, i, j), key=lambda step: step[0])
        found.append((was[i] if down else None, now[j] if right else None))
        i, j = i + down, j + right
    return found


def _steps(
    costs: list[list[float]], was: list[Group], now: list[Group], i: int, j: int
) -> list[tuple[float, int, int]]:
    """What can be done at a place: (cost of all from there, headers taken of `was`, of `now`)."""
    steps = []
    if i < len(was) and j < len(now) and was[i].kind == now[j].kind:
        steps.append((costs[i + 1][j + 1] + _distance(was[i], now[j]), 1, 1))
    if i < len(was):
        steps.append((costs[i + 1][j] + _APART, 1, 0))
    if j < len(now):
        steps.append((costs[i][j + 1] + _APART, 0, 1))
    return steps


def _distance(was: Group, now: Group) -> float:
    """The share of fields that differ, from 0 to 1."""
    return len(Change(was, now).pairs()) / max(len(was.fields), len(now.fields))
