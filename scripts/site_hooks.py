"""What of the site is generated: its first page out of README.md, a page for each command out of
the command, links to files of the repository that are no pages.

MkDocs calls these by name (https://www.mkdocs.org/user-guide/configuration/#hooks).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from mkdocs.structure.files import File, Files

from nfc.cli import cli
from nfc.cli.reference import pages

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(r'^(```+\w+)((?: +[a-z]+="[^"]*")+)$', re.M)
_OPTION = re.compile(r'([a-z]+)="([^"]*)"')
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Put the commands into the navigation, and the pages that mkdocs.yml does not name."""
    named = str(config.nav)
    rest = [p.name for p in sorted((ROOT / "docs").glob("*.md")) if f"'{p.name}'" not in named]
    if rest:
        config.nav.insert(-1, {"More": rest})
    listed = [{title: f"commands/{name}.md"} for name, title, _ in pages(cli)]
    config.nav.insert(3, {"Commands": listed})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    for name, text in (
        ("index.md", _from_root(ROOT / "README.md")),
        ("contributing.md", _from_root(ROOT / "CONTRIBUTING.md")),
        *((f"commands/{name}.md", text) for name, _, text in pages(cli)),
    ):
        files.append(File.generated(config, name, content=text))
    for page in (ROOT / "docs").glob("*.md"):
        for picture, _, target, _ in _LINK.findall(page.read_text(encoding="utf-8")):
            if picture and target.startswith("../"):
                files.append(
                    File.generated(
                        config, _picture(target), content=(page.parent / target).read_bytes()
                    )
                )
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Name files of the repository instead of linking to them; say above a block what is said of
    it to the tests (tests/pages.py)."""

    def named(match: re.Match[str]) -> str:
        picture, text, target, _ = match.groups()
        if not target.startswith("../"):
            return match[0]
        if picture:
            return f"![{text}]({_picture(target)})"
        path = target.removeprefix("../")
        return f"{text} (`{path}`)" if text.strip("`") != path else f"`{path}`"

    def titled(match: re.Match[str]) -> str:
        said = dict(_OPTION.findall(match[2]))
        shown = [said["file"]] if "file" in said else []
        shown += [f"on {said['at'].rpartition('.')[2]}"] if "at" in said else []
        shown += [f"not run by the tests: {said[n]}" for n in ("norun", "long") if n in said]
        return f'{match[1]} title="{"; ".join(shown)}"' if shown else match[1]

    return _LINK.sub(named, _FENCE.sub(titled, markdown))


def _picture(target: str) -> str:
    """Where a picture from elsewhere in the repository stands in the site."""
    return f"pictures/{target.removeprefix('../').replace('/', '-')}"


def _from_root(path: Path) -> str:
    """A page at the top of the repository, its links as of a page in docs/."""

    def moved(match: re.Match[str]) -> str:
        picture, text, target, anchor = match.groups()
        target = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}.get(
            target, target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"
        )
        return f"{picture}[{text}]({target}{anchor or ''})"

    return _LINK.sub(moved, path.read_text(encoding="utf-8"))


assert isinstance(cli, click.Group)
