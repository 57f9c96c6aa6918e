"""A graph of paths as SVG: columns by the longest way from the start, so that arrows lead right."""

from __future__ import annotations

from collections import defaultdict
from html import escape
from typing import Final

from nfc.discovery.graph import Graph
from nfc.lab.picture import STYLE

_COLUMN, _ROW, _WIDTH, _HEIGHT, _MARGIN = 210, 70, 150, 40, 20  # pixels
START: Final = "here"


def svg(graph: Graph) -> str:
    """The picture. The same graph gives the same bytes."""
    arrows = [(START, name) for name in graph.first]
    arrows += [(node.name, name) for node in graph.nodes.values() for name in node.next]
    places = _places(arrows)
    columns = max(x for x, _ in places.values())
    rows = max(y for _, y in places.values())
    width = 2 * _MARGIN + _WIDTH + columns * _COLUMN
    height = 2 * _MARGIN + _HEIGHT + rows * _ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img">',
        f"<title>paths to {escape(graph.destination)}</title>",
        f"<style>{STYLE}</style>",
    ]
    centre = {
        name: (_MARGIN + _WIDTH / 2 + x * _COLUMN, _MARGIN + _HEIGHT / 2 + y * _ROW)
        for name, (x, y) in places.items()
    }
    for one, other in sorted(arrows):
        (x1, y1), (x2, y2) = centre[one], centre[other]
        begin, end = x1 + _WIDTH / 2, x2 - _WIDTH / 2
        bend = (end - begin) / 2
        parts.append(
            f'<path class="link" d="M{begin:g} {y1:g} C{begin + bend:g} {y1:g} '
            f'{end - bend:g} {y2:g} {end:g} {y2:g}"/>'
        )
    for name, (x, y) in centre.items():
        node = graph.nodes.get(name)
        how = "" if node is None or node.how in ("asked", "end") else node.how
        host = node is None or node.how == "end"
        style, dashes = "node host" if host else "node", ' stroke-dasharray="5 4"' if how else ""
        parts.append(
            f'<rect class="{style}" x="{x - _WIDTH / 2:g}" y="{y - _HEIGHT / 2:g}" '
            f'width="{_WIDTH}" height="{_HEIGHT}" rx="6"{dashes}/>'
        )
        parts.append(
            f'<text class="name" x="{x:g}" y="{y + (0 if how else 5):g}">{escape(name)}</text>'
        )
        if how:
            parts.append(f'<text class="small" x="{x:g}" y="{y + 14:g}">{how}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _places(arrows: list[tuple[str, str]]) -> dict[str, tuple[float, float]]:
    """Column and row of each node. Arrows that lead back into a way to where they begin do not
    count."""
    after = defaultdict(list)
    for one, other in arrows:
        after[one].append(other)
    column: dict[str, int] = {}
    order: list[str] = []  # each behind all that it leads to
    on_way: set[str] = set()
    back: set[tuple[str, str]] = set()
    waiting = [(START, iter(after[START]))]
    on_way.add(START)
    while waiting:
        name, nexts = waiting[-1]
        step = next(nexts, None)
        if step is None:
            waiting.pop()
            on_way.discard(name)
            order.append(name)
            column[name] = 0
        elif step in on_way:
            back.add((name, step))
        elif step not in column:
            on_way.add(step)
            waiting.append((step, iter(after[step])))
    for name in reversed(order):
        for other in after[name]:
            if (name, other) not in back:
                column[other] = max(column[other], column[name] + 1)
    members = defaultdict(list)
    for name in sorted(column):
        members[column[name]].append(name)
    most = max(len(names) for names in members.values())
    return {
        name: (x, n + (most - len(names)) / 2)
        for x, names in members.items()
        for n, name in enumerate(names)
    }
