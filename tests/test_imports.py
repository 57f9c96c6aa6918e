"""No file of nfc imports one that needs it in turn, not even for a type or inside a function."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def module(path: Path) -> str:
    """The name by which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(text: str, known: set[str]) -> Iterator[str]:
    """The modules that a file takes something from, wherever in it that is said."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & known
            yield from inside
            if len(inside) < len(node.names) and node.module in known:
                yield node.module


def circles(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules that lie on a circle, or between two: what is left when those that need none of
    the rest, and those that none of the rest needs, have gone, again and again."""
    left = {name: set(needs) for name, needs in graph.items()}
    while True:
        needed = set().union(*left.values()) if left else set()
        gone = {name for name, needs in left.items() if not needs or name not in needed}
        if not gone:
            break
        left = {n: needs - gone for n, needs in left.items() if n not in gone}
    return sorted(left)


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == ["b", "c"]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_imports_inside_functions_and_for_types_count() -> None:
    text = (
        "if TYPE_CHECKING:\n    from nfc.a import X\ndef f():\n    from nfc import b\n"
        "    import nfc.c\n"
    )
    assert sorted(imports(text, {"nfc", "nfc.a", "nfc.b", "nfc.c"})) == ["nfc.a", "nfc.b", "nfc.c"]


def test_no_file_needs_one_that_needs_it() -> None:
    files = {module(path): path for path in sorted((ROOT / "nfc").rglob("*.py"))}
    known = set(files)
    graph = {n: set(imports(p.read_text(encoding="utf-8"), known)) for n, p in files.items()}
    assert circles(graph) == []
