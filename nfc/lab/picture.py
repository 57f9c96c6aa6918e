"""A topology drawn as SVG: nodes in columns by their distance from the first, links between.

Colours come from a style sheet that follows the reader's light or dark mode; nothing of it is
left to a renderer's fonts but the shapes of letters.
"""

from __future__ import annotations

from collections import defaultdict
from html import escape
from typing import Final

from nfc.lab.file import Link, Topology

_COLUMN, _ROW, _WIDTH, _MARGIN = 330, 130, 130, 30  # pixels
_HEAD, _LINE = 34, 16
_OTHER: Final = {"start": "end", "end": "start"}
STYLE: Final = """
svg { font: 13px system-ui, sans-serif; background: #fff }
.node { fill: #f3f6fa; stroke: #48627d; stroke-width: 1.5 }
.host { fill: #fff }
.link { fill: none; stroke: #8a97a5; stroke-width: 2 }
.wire { stroke: #0b6bcb }
.name { font-weight: 600; fill: #14202b; text-anchor: middle }
.text { fill: #14202b; text-anchor: middle }
.small { font-size: 11px; fill: #52606d; text-anchor: middle }
.function { font-size: 11.5px; fill: #8a3d00; text-anchor: middle }
.halo { paint-order: stroke; stroke: #fff; stroke-width: 4px; stroke-linejoin: round }
@media (prefers-color-scheme: dark) {
svg { background: #10161d }
.node { fill: #1b2631; stroke: #7d9cbc }
.host { fill: #10161d }
.link { stroke: #6b7885 }
.wire { stroke: #5aa9f5 }
.name, .text { fill: #e8edf2 }
.small { fill: #a3b1bf }
.function { fill: #f5a86b }
.halo { stroke: #10161d }
}
"""


def svg(topology: Topology) -> str:
    """The picture. The same topology gives the same bytes."""
    places = layout(topology)
    notes = {node: _notes(topology, node) for node in topology.nodes}
    columns = max(x for x, _ in places.values())
    rows = max(y for _, y in places.values())
    tallest = max(_height(lines) for lines in notes.values())
    row = max(_ROW, tallest + 60)
    centre = {
        node: (_MARGIN + _WIDTH / 2 + x * _COLUMN, _MARGIN + 20 + tallest / 2 + y * row)
        for node, (x, y) in places.items()
    }
    width = 2 * _MARGIN + _WIDTH + columns * _COLUMN
    height = 2 * _MARGIN + 40 + tallest + rows * row
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img">',
        f"<title>{escape(topology.name)}</title>",
        f"<style>{STYLE}</style>",
    ]
    lines, labels = [], []
    for group in _parallel(topology.links).values():
        for number, link in enumerate(group):
            bend = (number - (len(group) - 1) / 2) * 160
            drawn, said = _link(link, centre, bend)
            lines.append(drawn)
            labels += said
    parts += lines
    for node, (x, y) in centre.items():
        parts += _node(topology, node, notes[node], x, y)
    return "\n".join([*parts, *labels, "</svg>"]) + "\n"


def layout(topology: Topology) -> dict[str, tuple[float, float]]:
    """Column and row of each node: as its `at` says, else by how many links it is away from the
    first node, in the order of the file."""
    near = defaultdict(list)
    for link in topology.links:
        first, second = (end.node for end in link.ends)
        near[first].append(second)
        near[second].append(first)
    column: dict[str, int] = {}
    for start in topology.nodes:  # each part that hangs together
        if start in column:
            continue
        column[start], queue = 0, [start]
        for node in queue:
            for other in near[node]:
                if other not in column:
                    column[other] = column[node] + 1
                    queue.append(other)
    in_column = defaultdict(list)
    for node in topology.nodes:
        in_column[column[node]].append(node)
    most = max(len(nodes) for nodes in in_column.values())
    places: dict[str, tuple[float, float]] = {}
    for x, nodes in in_column.items():
        for y, node in enumerate(nodes):
            places[node] = topology.nodes[node].at or (x, y + (most - len(nodes)) / 2)
    left, top = min(x for x, _ in places.values()), min(y for _, y in places.values())
    return {node: (x - left, y - top) for node, (x, y) in places.items()}


def _notes(topology: Topology, node: str) -> list[tuple[str, str]]:
    """The lines in a node's box: style and text."""
    found = [("small", str(address)) for address in topology.nodes[node].addresses]
    for function in topology.functions:
        if function.node == node:
            name = function.name or function.function or function.file.stem
            found.append(("function", name))
            found.append(("small", function.route.removesuffix("/128")))
    for route in topology.routes:
        if route.node == node and route.seg6local is not None:
            action = route.seg6local.get("action", "seg6local")
            found.append(("small", f"{action} {route.to.removesuffix('/128')}"))
    return found


def _height(notes: list[tuple[str, str]]) -> int:
    return _HEAD + _LINE * len(notes)


def _node(
    topology: Topology, node: str, notes: list[tuple[str, str]], x: float, y: float
) -> list[str]:
    height = _height(notes)
    top = y - height / 2
    kind = "node" if topology.nodes[node].forwarding else "node host"
    made = [
        f'<rect class="{kind}" x="{x - _WIDTH / 2:g}" y="{top:g}" width="{_WIDTH}" '
        f'height="{height:g}" rx="8"/>',
        _text("name", x, top + 22, node),
    ]
    return made + [
        _text(style, x, top + 22 + _LINE * n, said) for n, (style, said) in enumerate(notes, 1)
    ]


def _link(link: Link, centre: dict[str, tuple[float, float]], bend: float) -> tuple[str, list[str]]:
    (x1, y1), (x2, y2) = (centre[end.node] for end in link.ends)
    length = max(((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5, 1)
    across = (-(y2 - y1) / length * bend, (x2 - x1) / length * bend)
    cx, cy = (x1 + x2) / 2 + across[0], (y1 + y2) / 2 + across[1]

    def at(t: float) -> tuple[float, float]:
        return (
            (1 - t) ** 2 * x1 + 2 * t * (1 - t) * cx + t * t * x2,
            (1 - t) ** 2 * y1 + 2 * t * (1 - t) * cy + t * t * y2,
        )

    kind = "link wire" if link.wire else "link"
    drawn = f'<path class="{kind}" d="M{x1:g} {y1:g} Q{cx:g} {cy:g} {x2:g} {y2:g}"/>'
    said = []
    steep = abs(x2 - x1) <= _WIDTH + 40
    near = 0.31 if steep else (_WIDTH / 2 + 7) / abs(x2 - x1)
    towards = "start" if x2 > x1 else "end"
    for t, end, address in zip((near, 1 - near), link.ends, link.addresses, strict=True):
        x, y = at(t)
        anchor = "middle" if steep else towards if t == near else _OTHER[towards]
        said.append(_text("small halo", x, y - 7, end.interface, anchor))
        said.append(_text("small halo", x, y + 15, str(address.ip), anchor))
    x, y = at(0.5)
    shape = str(link.there)
    if str(link.back) != shape:
        shape = f"→ {shape or 'unshaped'}  ← {link.back or 'unshaped'}"
    if shape:
        said.append(_text("text halo", x, y + (18 if bend > 0 else -8), shape))
    return drawn, said


def _text(style: str, x: float, y: float, said: str, anchor: str = "middle") -> str:
    where = f'x="{x:g}" y="{y:g}"'
    if anchor != "middle":  # which the style sheet says, and goes before an attribute
        where += f' style="text-anchor: {anchor}"'
    return f'<text class="{style}" {where}>{escape(said)}</text>'


def _parallel(links: tuple[Link, ...]) -> dict[frozenset[str], list[Link]]:
    """Links by the two nodes they join."""
    found: dict[frozenset[str], list[Link]] = defaultdict(list)
    for link in links:
        found[frozenset(end.node for end in link.ends)].append(link)
    return found
