"""A lab's status and results as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nfc.errors import UsageError
from nfc.lab.file import SHAPE
from nfc.lab.shape import Shape
from nfc.syntax.diagnostics import nearest


def status_text(found: dict[str, Any]) -> str:
    """Several lines about one lab."""
    lines = [f"{found['name']}: {found['phase']}, from {found['file']}"]
    lines += [f"  lost     {what}" for what in found["lost"]]
    for node, namespace in found["nodes"].items():
        lines.append(f"  node     {node}: {namespace}")
    for link, state in found["links"].items():
        if state is None:
            lines.append(f"  link     {link}: its wire does not answer")
            continue
        for way, arrow in (("there", "→"), ("back", "←")):
            one = state[way]
            gone = one["lost"] + one["overflowed"] + one["missed"] + one["refused"]
            shape = str(Shape(**one["shape"])) or "unshaped"
            lines.append(
                f"  link     {link} {arrow} {shape}: {one['sent']} frames, "
                f"{gone} dropped, sent {one['late_us']:g} µs late"
            )
    for name, process in found["processes"].items():
        if not name.startswith("wire-"):
            state = "runs" if process["running"] else "has ended"
            lines.append(f"  service  {name}: {state}, log {process['log']}")
    for one in found["functions"]:
        packets = f", {one['packets']} packets" if "packets" in one else ""
        lines.append(f"  function {one['name']} in {one['node']}: {one['state']}{packets}")
    return "\n".join(lines)


def changed(changes: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE texts as what a `Shape` takes. Raises UsageError."""
    made = {}
    for one in changes:
        key, equals, value = one.partition("=")
        if not equals or key not in SHAPE:
            hint = nearest(key, SHAPE) or f"there are: {', '.join(SHAPE)}"
            raise UsageError(f"'{one}' changes nothing of a link", hint=hint)
        given = {"true": True, "false": False}.get(value, int(value) if value.isdigit() else value)
        try:
            made[key] = SHAPE[key](given)
        except ValueError as error:
            raise UsageError(f"{key} must be {error}, not '{value}'") from None
    return made
