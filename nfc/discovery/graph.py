"""Routers and what comes next: all paths, the tree, JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

MOST_PATHS: Final = 1000
_MOST_LINES: Final = 2000


@dataclass
class Node:
    """A router or the destination, and what comes next. `how` is `asked` (its SID answered),
    `probed`, `end`, or `silent` (nothing is known of what comes next); `notes` what is to be
    known beside it."""

    name: str
    how: str = "silent"
    next: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def mark(self) -> str:
        """What stands in brackets behind the name."""
        how = {"asked": [], "end": ["destination"]}.get(self.how, [self.how])
        return f"  ({'; '.join([*how, *self.notes])})" if how or self.notes else ""


@dataclass
class Graph:
    """All nodes by name, and those that come first; `warnings` are about the whole."""

    destination: str
    first: list[str]
    nodes: dict[str, Node]
    confidence: float = 1.0
    warnings: list[str] = field(default_factory=list)

    def paths(self) -> list[tuple[str, ...]]:
        """Every path to the destination, up to 1000 of them."""
        reach = self._reaching()
        found: list[tuple[str, ...]] = []
        waiting: list[tuple[str, ...]] = [(name,) for name in reversed(self.first)]
        while waiting and len(found) < MOST_PATHS:
            path = waiting.pop()
            if path[-1] not in reach or path[-1] in path[:-1]:
                continue
            node = self.nodes[path[-1]]
            if node.how == "end":
                found.append(path)
            waiting += [(*path, one) for one in reversed(node.next)]
        return found

    def _reaching(self) -> set[str]:
        """Those from which some way leads to the destination."""
        before: dict[str, list[str]] = {}
        for node in self.nodes.values():
            for one in node.next:
                before.setdefault(one, []).append(node.name)
        waiting = [node.name for node in self.nodes.values() if node.how == "end"]
        found: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += before.get(name, [])
        return found

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "destination": self.destination,
            "confidence": self.confidence,
            "first": self.first,
            "paths": [list(path) for path in self.paths()],
            "nodes": {
                n.name: {"how": n.how, "next": n.next, "notes": n.notes}
                for n in self.nodes.values()
            },
            "warnings": self.warnings,
        }

    def lines(self) -> list[str]:
        """As a tree; what was shown before is not unfolded again."""
        out: list[str] = []
        shown: set[str] = set()
        waiting = [(one, "", n == 0) for n, one in enumerate(reversed(self.first))]
        while waiting and len(out) < _MOST_LINES:
            name, before, last = waiting.pop()
            node = self.nodes[name]
            again = name in shown and bool(node.next)
            branch = "└─" if last else "├─"
            out.append(f"{before}{branch} {name}{'  …' if again else node.mark()}")
            if again:
                continue
            shown.add(name)
            below = before + ("   " if last else "│  ")
            waiting += [(one, below, n == 0) for n, one in enumerate(reversed(node.next))]
        return out
