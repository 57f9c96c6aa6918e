"""What the documents show is true: programs compile, links lead somewhere.

What their commands do and print, tests/test_pages.py finds out.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import PAGES, blocks, name_of

from nfc.compiler import compile_file

# Pages whose programs have tests of their own.
OWN = {"errors"}
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(#[^)\s]*)?\)")


def programs() -> list[tuple[str, str]]:
    return [
        (str(block), block.text)
        for page in PAGES
        if name_of(page) not in OWN
        for block in blocks(page)
        if block.kind == "nf"
    ]


@pytest.mark.parametrize(("name", "text"), programs(), ids=[p[0] for p in programs()])
def test_programs_compile(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "shown.nf"
    path.write_text(text)
    compilation = compile_file(path)
    for functions in compilation.objects():
        assert compilation.object(functions)


@pytest.mark.parametrize("page", PAGES, ids=[name_of(p) for p in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for match in LINK.finditer(page.read_text()):
        assert (page.parent / match[1]).exists(), match[0]


def test_there_is_something_to_test() -> None:
    assert len(programs()) >= 8
