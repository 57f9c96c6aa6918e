"""For every item that parses, its tokens give the names that its tree has."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfc.lsp.document import Document
from nfc.lsp.mentions import Role
from nfc.resources import data_dir
from nfc.syntax import tree
from nfc.syntax.diagnostics import Diagnostics
from nfc.syntax.parser import parse
from nfc.syntax.source import Source, Span

ROOT = Path(__file__).parents[2]
Names = set[tuple[int, int, Role]]


def in_tree(node: object) -> Names:
    """Every name of a tree, with the part that it plays."""
    found: Names = set()

    def note(span: Span, role: Role) -> None:
        found.add((span.start, span.end, role))

    def field(item: tree.FieldRef | tree.Element) -> None:
        note(item.base.span, "base")
        note(item.name.span, "access")

    match node:
        case tree.Use():
            note(node.module.span, "module")
        case tree.Enum(members=members):
            for member in members:
                note(member.name.span, "member")
        case tree.Tlv():
            for bits in node.fields:
                if bits.name is not None:
                    note(bits.name.span, "field")
        case tree.Event():
            for part in node.fields:
                if isinstance(part, tree.Member):
                    note(part.name.span, "field")
                else:
                    note(part.what.span, "base")
        case tree.Counter(keys=keys):
            for key in keys:
                note(key.name.span, "key")
        case tree.Table():
            note(node.kind.span, "kind")
            for key in node.keys or ():
                note(key.name.span, "key")
            for value in node.fields:
                note(value.name.span, "field")
        case tree.Define(arguments=arguments):
            for argument in arguments:
                note(argument.name.span, "argument")
        case tree.Function(hook=hook) if hook.text != "endpoint":
            note(hook.span, "hook")
        case tree.Name():
            note(node.span, "value")
        case tree.FieldRef() | tree.Element():
            field(node)
        case tree.Call():
            note(node.function.span, "call")
        case tree.Has():
            note(node.subject.span, "subject")
            note(node.tlv.span, "tlv")
        case tree.HasEntry() | tree.Put() | tree.RemoveEntry():
            note(node.table.span, "table")
        case tree.Assign():
            note(node.name.span, "given")
        case tree.TlvValue() | tree.RemoveAll():
            note(node.tlv.span, "tlv")
        case tree.Remove():
            note(node.tlv.span, "bound")
        case tree.Replace():
            note(node.old.span, "bound")
        case tree.Position(anchor=anchor) if anchor is not None:
            note(anchor.span, "bound")
        case tree.Emit():
            note(node.event.span, "event")
        case tree.Count():
            note(node.counter.span, "counter")
        case tree.Routes(text=text) if not text[0].isdigit():
            note(node.span, "routes")
    if isinstance(node, tree.Has | tree.HasEntry) and node.alias is not None:
        note(node.alias.span, "alias")
    if isinstance(node, tree.Item) and not isinstance(node, tree.Use):
        note(node.name.span, "declared")
    type_ = getattr(node, "type", None)
    if isinstance(type_, tree.Ident):
        note(type_.span, "type")
    if isinstance(node, tuple):
        for child in node:
            found |= in_tree(child)
    elif isinstance(node, tree.Node):
        for name in node.__dataclass_fields__:
            found |= in_tree(getattr(node, name))
    return found


def in_tokens(text: str) -> Names:
    document = Document.of(Path("a.nf"), text, "utf-16", None)
    return {
        (start + m.start, start + m.end, m.role)
        for start, item in document.items()
        for m in item.mentions
    }


def programs() -> list[tuple[str, str]]:
    """The standard library, the thesis's functions, and the language page's programs."""
    paths = [*sorted(data_dir("stdlib").glob("*.nf")), *sorted((ROOT / "tests").rglob("*.nf"))]
    found = [(path.name, path.read_text()) for path in paths]
    page = (ROOT / "docs" / "language.md").read_text()
    blocks = [part.partition("```")[0] for part in page.split("```nf\n")[1:]]
    return found + [(f"language-{i}", block) for i, block in enumerate(blocks)]


@pytest.mark.parametrize(("name", "text"), programs(), ids=[p[0] for p in programs()])
def test_names_are_those_of_the_tree(name: str, text: str) -> None:
    diagnostics = Diagnostics()
    file = parse(Source(name, text), diagnostics)
    assert diagnostics.items == []
    assert in_tokens(text) == in_tree(file.items)
