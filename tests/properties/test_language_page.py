"""docs/language.md shows every construct of the language in a program that compiles."""

from __future__ import annotations

import re
from pathlib import Path

from compare_with_kernel import constructs, possible, short

from nfc.compiler import compile_file

PAGE = Path(__file__).parents[2] / "docs" / "language.md"
# One example stands for all fields of headers, and for all operators of a changed value.
ONE_FOR_ALL = re.compile(
    r"read \w+\.\w+|set (entry of [\w -]+|state), .*|remove from (per-CPU )?lru"
)


def test_every_construct_is_shown(tmp_path: Path) -> None:
    shown: set[str] = set()
    for number, block in enumerate(re.findall(r"```nf\n(.*?)```", PAGE.read_text(), re.S)):
        file = tmp_path / f"example{number}.nf"
        file.write_text(block)
        for compiled in compile_file(file).functions:
            shown |= {short(name) for name in constructs(compiled.function)}
    assert [name for name in sorted(possible() - shown) if not ONE_FOR_ALL.fullmatch(name)] == []
