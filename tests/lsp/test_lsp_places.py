"""Fixes at a place do not wait for the rest of the file."""

from __future__ import annotations

from pathlib import Path

from nfc.codegen.target import parse_target
from nfc.lsp.diagnose import diagnose
from nfc.lsp.document import Document
from nfc.lsp.state import Session, State

FUNCTION = """
endpoint fn_{0} {{
    when srh.tagg == {0} {{ drop }}
    otherwise forward
}}
"""


def test_a_fix_takes_a_look_at_its_function_alone(tmp_path: Path) -> None:
    """Of a file that changed as a whole, as by a formatter, 20 functions took 0.2 s to look at."""
    text = "".join(FUNCTION.format(number) for number in range(20))
    path = tmp_path / "a.nf"
    document = Document.of(path, text, "utf-16", 1)
    place = text.index("tagg", len(text) // 2)
    state = State(parse_target("6.1"), lambda _: None)
    state.workspace.open[path] = document
    state.sessions[path] = Session(path.as_uri())
    (found,) = state.found(document, place, place)
    assert (found.message, found.span.start) == ("srh has no field 'tagg'", place)
    parsed = [number for number, (_, part) in enumerate(document.parts) if "parsed" in vars(part)]
    assert parsed == [document.parts.index(document.at(place))]
    # Where all has been looked at, nothing is worked out again.
    everything = diagnose(state.workspace, document, state.target)
    state.sessions[path].looked = (document,), everything
    assert state.found(document, place, place) == [
        d for d in everything[path] if d.span.start <= place <= d.span.end
    ]
