"""Every page of the documents to the letter: its commands are run, and print what it shows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from pages import PAGES, RUN, Block, blocks, isolated, matches, name_of, plain, run_page

# Pages that are run without root, as they say.
PLAIN = {"explain", "run", "simulator", "style-of-nf"}
# Pages that are run where what they show is looked at further.
ELSEWHERE = {
    "examples-bond": "tests/bond/test_bond_lab.py",
    "examples-delay": "tests/kernel/test_example_delay.py",
    "examples-discovery": "tests/kernel/test_example_discovery.py",
}
# What each kind of block is held to where it is no command, output of one, or a file for one.
KINDS = {
    "": "a drawing, or the form of something: nothing",
    "nf": "compiles: tests/test_docs.py; tests/sema/test_gallery.py has docs/errors.md",
    "nft": "tests/nft/test_nft_page.py",
    "c": "clang compiles it, the check and the kernel judge it: tests/verify/test_check_pages.py",
    "lua": "tests/lsp/test_neovim.py",
}
# Pages whose blocks have tests of their own: programs, each with the text that it gets.
OWN = {"errors": "tests/sema/test_gallery.py"}
MOST_LEFT_OUT = 14

RUNNABLE = [p for p in PAGES if any(b.kind in RUN and not b.left_out for b in blocks(p))]


def left_out() -> list[Block]:
    """Commands and configurations that are not, or not always, run."""
    found = [b for p in PAGES for b in blocks(p) if {"norun", "long"} & b.options.keys()]
    return [b for b in found if b.kind != "text"]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(p, marks=() if name_of(p) in PLAIN else pytest.mark.kernel, id=name_of(p))
        for p in RUNNABLE
        if name_of(p) not in ELSEWHERE
    ],
)
def test_page(page: Path, tmp_path: Path) -> None:
    with (plain if name_of(page) in PLAIN else isolated)(tmp_path) as place:
        run_page(page, place)


def test_every_block_is_held_to_something() -> None:
    for page in PAGES:
        if name_of(page) in OWN:
            continue
        for block in blocks(page):
            held = block.kind in (*RUN, "text", *KINDS) or "file" in block.options
            assert held or "norun" in block.options, block


def test_few_blocks_are_left_out() -> None:
    found = [f"{b}: {b.options.get('norun') or b.options['long']}" for b in left_out()]
    assert len(found) <= MOST_LEFT_OUT, "\n".join(found)


def test_pages_that_others_run() -> None:
    for name, path in {**ELSEWHERE, **OWN}.items():
        assert name in map(name_of, PAGES)
        assert (Path(__file__).parents[1] / path).exists()


def test_there_is_something_to_run() -> None:
    count = Counter(name_of(b.page) for p in RUNNABLE for b in blocks(p) if not b.left_out)
    assert len(count) >= 15


@pytest.mark.parametrize(
    ("shown", "got", "numbers", "same"),
    [
        ("a …\n", "a b c\n", False, True),
        ("a …\n", "a b\nc\n", False, False),
        ("…\nb\n", "a\na\nb\n", False, True),
        ("…\nb\n", "b\n", False, True),
        ("a\n…\n", "b\na\n", False, False),
        ("a  1\n", "a  2\n", False, False),
        ("a  1\n", "a 12\n", True, True),
        ("a  1 ms\n", "a 12.5 µs\n", True, True),
        ("a  1 ms\n", "a 12.5 dB\n", True, False),
        ("1 ███▌ 10\n", "1 2\n", True, True),
        ("1 ███▌ 10\n", "1\n", True, False),
        (" a\n", "a\n", False, False),
    ],
)
def test_what_matches(shown: str, got: str, numbers: bool, same: bool) -> None:
    assert matches(shown, got, numbers=numbers) == same
