"""Coverage: the standard library's is whole; what is missing is told, and painted."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nfc.resources import data_dir

Nfc = Callable[..., tuple[int, str, str]]

PROGRAM = """
param limit: u16 = 7

endpoint tally {
    when srh.tag >= limit and not udp.dst_port == 53 { drop }
    when every(2) or tcp.syn == 1 { forward }
    otherwise {
        set srh.tag = srh.tag + 1
        forward
    }
}
"""
TESTS = """
packet probe = ip / srh [fd00:a::1, fd00:2::2] / udp
test "counts" { send probe expect forwarded { set srh.tag = 1 } }
test "drops" { send probe { set srh.tag = 8 } expect drop }
"""


def test_every_rule_of_the_library_and_the_examples_is_covered(nfc: Nfc) -> None:
    """And every condition, both ways."""
    examples = Path(__file__).parents[2] / "examples"
    folders = (data_dir("stdlib"), examples / "bond", examples / "edge")
    code, out, _ = nfc("test", *folders, "--cover", "--json")
    assert code == 0
    functions = json.loads(out)["coverage"]
    assert len(functions) >= 17
    for function in functions:
        assert function["unsure"] == 0
        for rule in function["rules"]:
            assert rule["packets"] > 0, (function, rule)
            for one in rule["conditions"]:
                assert one["true"] and one["false"] + one["absent"], (function, one)


def put(folder: Path) -> None:
    folder.joinpath("tally.nf").write_text(PROGRAM)
    folder.joinpath("tally.nft").write_text(TESTS)


def test_what_is_missing(nfc: Nfc, tmp_path: Path) -> None:
    put(tmp_path)
    code, out, _ = nfc("test", tmp_path, "--cover")
    assert code == 0
    program = tmp_path / "tally.nf"
    lines = out.splitlines()
    (row,) = [line.split() for line in lines if line.startswith(f"{program} tally")]
    assert row[2:8] == ["2", "of", "3", "1", "of", "4"]
    assert f"{program}:5: udp.dst_port == 53: never true" in lines
    assert f"{program}:6: no packet took this rule" in lines
    assert f"{program}:6: every(2): never true" in lines
    assert f"{program}:6: tcp.syn == 1: never true" in lines


def test_numbers(nfc: Nfc, tmp_path: Path) -> None:
    put(tmp_path)
    _, out, _ = nfc("test", tmp_path, "--cover", "--json")
    (function,) = json.loads(out)["coverage"]
    first, second, third = function["rules"]
    assert [first["packets"], second["packets"], third["packets"]] == [1, 0, 1]
    assert 0 < first["executed"] <= first["instructions"]
    tests = [(c["text"], c["true"], c["false"], c["absent"]) for c in first["conditions"]]
    assert tests == [("srh.tag >= limit", 1, 1, 0), ("udp.dst_port == 53", 0, 1, 0)]
    tests = [(c["text"], c["true"], c["false"], c["absent"]) for c in second["conditions"]]
    assert tests == [("every(2)", 0, 1, 0), ("tcp.syn == 1", 0, 0, 1)]


class Painted(HTMLParser):
    """The lines of the page with their classes, and whether tags pair up."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.lines: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "div":
            self.lines.append((dict(attrs).get("class") or "", ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "div" in self.open:
            state, text = self.lines[-1]
            self.lines[-1] = (state, text + data)


def test_the_page(nfc: Nfc, tmp_path: Path) -> None:
    put(tmp_path)
    assert nfc("test", tmp_path, "--cover-html", tmp_path / "page")[0] == 0
    page = Painted()
    text = (tmp_path / "page" / "index.html").read_text()
    page.feed(text)
    assert page.open == []
    assert "\n" not in text[text.index("<pre>") : text.index("</pre>")]  # each would be a line
    shown = {text[17:].strip(): (state, text[:17].split()) for state, text in page.lines}
    assert [s for s, _ in page.lines] == ["", "", "", "", "some", "no", "yes", *["yes"] * 3, "", ""]
    state, gutter = shown["otherwise {"]
    assert (state, gutter[:2]) == ("yes", ["1", "packet"])


@pytest.mark.kernel
def test_on_real_routes_too(nfc: Nfc, tmp_path: Path) -> None:
    """Nobody sees instructions there, but rules and conditions."""
    put(tmp_path)
    found = []
    for machine in ([], ["--kernel"]):
        _, out, _ = nfc("test", tmp_path, "--cover", "--json", *machine)
        (function,) = json.loads(out)["coverage"]
        found.append([(r["packets"], r["conditions"]) for r in function["rules"]])
    assert found[0] == found[1]


def test_a_file_as_page(nfc: Nfc, tmp_path: Path) -> None:
    put(tmp_path)
    path = tmp_path / "cover.html"
    assert nfc("test", tmp_path, "--cover-html", path)[0] == 0
    assert "<title>Coverage of packet tests</title>" in path.read_text()
    assert nfc("test", tmp_path, "--cover-html", tmp_path / "tally.nf" / "x")[0] == 1
