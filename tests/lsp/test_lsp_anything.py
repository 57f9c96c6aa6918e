"""For every text: places are right, what is remembered changes nothing, and the server answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from editor import Editor
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lsprotocol import types as lsp

from nfc.codegen.target import parse_target
from nfc.lsp import colours, layout, outline
from nfc.lsp.completion import complete
from nfc.lsp.diagnose import Memory, diagnose
from nfc.lsp.document import Document
from nfc.lsp.hover import hover
from nfc.lsp.layout import format_edits
from nfc.lsp.positions import Text
from nfc.lsp.program import Program
from nfc.lsp.signature import signature
from nfc.lsp.workspace import Workspace
from nfc.resources import data_dir
from nfc.syntax.diagnostics import Diagnostics
from nfc.syntax.parser import parse
from nfc.syntax.source import Source

ROOT = Path(__file__).parents[2]
PROGRAMS = [path.read_text() for path in sorted(data_dir("stdlib").glob("*.nf"))]
PROGRAMS += [
    part.partition("```")[0]
    for part in (ROOT / "docs" / "language.md").read_text().split("```nf\n")[1:]
]
PIECES = [
    "", " ", "\n", "}", "{", "[", "]", "(", ")", ".", ",", "=", "#", "\r\n", "\r", "𝔸", "é", "\x00",
    "dm.", "srh.", "set ", "when ", "otherwise ", "endpoint f {\n", "tlv X = 9 {", "use dm\n",
    "transit t at ", " has ", " as x", "emit ", "put ", "add ", "fd00::", "::/0", "5ms", "1",
    "define d(", "sample(", "enum E: u8 {", "\nparam ", "\ntable ", "\u2028", "\t",
    ";", '"', "\ud800",
]  # fmt: skip


@st.composite
def edits(draw: st.DrawFn) -> list[tuple[float, float, str]]:
    """Changes: where, how much of what follows is gone, and what comes in its place."""
    where = st.floats(0, 1)
    size = st.sampled_from([0, 0, 0, 0.01, 0.1, 1])
    return draw(st.lists(st.tuples(where, size, st.sampled_from(PIECES)), min_size=1, max_size=4))


def changed(text: str, edit: tuple[float, float, str]) -> str:
    where, size, piece = edit
    start = int(where * len(text))
    return text[:start] + piece + text[start + int(size * len(text)) :]


# ---- places -------------------------------------------------------------------------------------


@given(st.text(st.sampled_from("aé𝔸\n\r\u2028 #")), st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_places_there_and_back(text: str, encoding: str) -> None:
    codec = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}
    name, size = codec[encoding]
    of = Text(text, encoding)
    for offset in range(len(text) + 1):
        lines = re.split("\r\n|\n|\r", text[:offset])
        within = text[:offset].endswith("\r") and text[offset : offset + 1] == "\n"
        place = of.position(offset)
        if within:  # between the two characters of a line end there is no place
            continue
        assert place == lsp.Position(len(lines) - 1, len(lines[-1].encode(name)) // size)
        assert of.offset(place) == offset
    assert of.offset(lsp.Position(10_000, 0)) == len(text)


_LINES = st.lists(st.sampled_from(["a", "é", "𝔸 a", "\n", "\r\n", "\r"]), max_size=8).map("".join)


@example("a\r\n", "b\n", "utf-16")  # no place is between the two characters of a line end
@given(_LINES, _LINES, st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_an_edit_makes_one_text_the_other(old: str, new: str, encoding: str) -> None:
    document = Document.of(Path("/x/a.nf"), old, encoding, 1)
    made = old
    for edit in layout.edits(document, new):
        at = document.text
        start, end = at.offset(edit.range.start), at.offset(edit.range.end)
        assert at.range(start, end) == edit.range
        made = old[:start] + edit.new_text + old[end:]
    assert made == new


# ---- what is remembered -------------------------------------------------------------------------


@given(st.sampled_from(PROGRAMS), edits())
@settings(max_examples=100)
def test_parts_make_the_tree_of_the_whole(
    text: str, changes: list[tuple[float, float, str]]
) -> None:
    for edit in changes:
        text = changed(text, edit)
    whole, by_parts = Diagnostics(), Diagnostics()
    source = Source("a.nf", text)
    expected = parse(source, whole)
    found = Document.of(Path("a.nf"), text, "utf-16", 1).tree(source, by_parts, functions=True)
    assert found == expected
    assert by_parts.items == whole.items


@given(st.sampled_from(PROGRAMS), edits(), st.sampled_from(["5.10", "6.1"]), st.floats(0, 0.999))
@settings(max_examples=50)
def test_memory_changes_no_diagnostic(
    text: str, changes: list[tuple[float, float, str]], kernel: str, where: float
) -> None:
    """Nor does a look at one place: that finds what the whole has there, but for names that are
    declared twice, and leaves nothing behind that is wrong of the whole."""
    target = parse_target(kernel)
    workspace, memory = Workspace(), Memory()
    path = Path("/nowhere/a.nf")
    for edit in [(0.0, 0.0, ""), *changes]:
        text = changed(text, edit)
        document = workspace.put(path, text, 1)
        near = range(int(where * len(text)), int(where * len(text)) + 1)
        there = diagnose(workspace, document, target, memory, near)
        remembered = diagnose(workspace, document, target, memory)
        fresh = diagnose(Workspace(), Workspace().put(path, text, 1), target)
        assert remembered == fresh
        touching = {
            (d.span.start, d.message)
            for d in fresh[path]
            if d.span.start <= near.stop and near.start <= d.span.end and "twice" not in d.message
        }
        assert touching <= {(d.span.start, d.message) for d in there[path]}


@pytest.mark.parametrize(
    "text",
    [
        "endpoint f { when " + "a has [" * 3_000,
        "endpoint f { when " + "a(" * 3_000,
        "endpoint f { otherwise { " + "put a[" * 3_000,
        "define a(): u8 = " + "(" * 3_000 + ")" * 3_000,
        "{" * 5_000,
        "endpoint f { otherwise drop }\n" * 100,
        "#" * 100_000,
        "when " * 3_000,
    ],
    ids=range(8),
)
def test_deep_and_long_texts(text: str) -> None:
    workspace = Workspace()
    document = workspace.put(Path("/nowhere/a.nf"), text, 1)
    assert diagnose(workspace, document, parse_target("6.1"))[document.path] or "#" in text
    program = Program((document,))
    for offset in (0, len(text) // 2, len(text)):
        complete(program, document, offset)
        hover(program, document, offset)
        signature(program, document, offset)
    outline.symbols(document)
    outline.folds(document)
    colours.tokens(program, document)
    format_edits(document)


# ---- the server ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    with Editor(tmp_path_factory.mktemp("anything")) as editor:
        yield editor


REQUESTS = (
    "hover", "completion", "signature_help", "definition", "references", "document_highlight",
    "prepare_rename", "rename", "formatting", "document_symbol", "folding_range",
    "semantic_tokens_full", "semantic_tokens_range", "code_action",
)  # fmt: skip
PLACES = st.builds(lsp.Position, st.integers(0, 60), st.integers(0, 120))


async def ask(editor: Editor, request: str, place: lsp.Position) -> Any:
    client, document = editor.client, editor.identifier("fuzz.nf")
    range_ = lsp.Range(lsp.Position(0, 0), place)
    match request:
        case "references":
            params: Any = lsp.ReferenceParams(lsp.ReferenceContext(True), document, place)
        case "rename":
            params = lsp.RenameParams(document, place, "renamed")
        case "formatting":
            params = lsp.DocumentFormattingParams(document, lsp.FormattingOptions(4, True))
        case "document_symbol":
            params = lsp.DocumentSymbolParams(document)
        case "folding_range":
            params = lsp.FoldingRangeParams(document)
        case "semantic_tokens_full":
            params = lsp.SemanticTokensParams(document)
        case "semantic_tokens_range":
            params = lsp.SemanticTokensRangeParams(document, range_)
        case "code_action":
            only = [lsp.CodeActionKind.QuickFix, lsp.CodeActionKind.Source]
            params = lsp.CodeActionParams(document, range_, lsp.CodeActionContext([], only))
        case _:
            params = lsp.TextDocumentPositionParams(document, place)
            kind = "".join(part.capitalize() for part in request.split("_"))
            params = getattr(lsp, f"{kind}Params")(document, place)
    return await getattr(client, f"text_document_{request}_async")(params)


@given(
    st.sampled_from(PROGRAMS),
    edits(),
    st.lists(st.tuples(st.sampled_from(REQUESTS), PLACES), min_size=1, max_size=4),
)
@settings(max_examples=120)
def test_every_request_gets_an_answer(
    editor: Editor,
    text: str,
    changes: list[tuple[float, float, str]],
    requests: list[tuple[str, lsp.Position]],
) -> None:
    from pygls.exceptions import JsonRpcException

    from nfc.lsp.server import REQUEST_FAILED

    editor.open("fuzz.nf", text)
    for edit in changes:
        text = changed(text, edit)
        editor.change("fuzz.nf", text)
        for request, place in requests:
            try:
                editor.run(ask(editor, request, place))
            except JsonRpcException as refused:
                assert request in ("rename", "prepare_rename"), (request, refused)
                assert refused.code == REQUEST_FAILED, (request, refused)
    assert editor.errors == []


def test_it_is_still_there_and_says_what_is_wrong(editor: Editor) -> None:
    editor.open("after.nf", "endpoint f {\n")
    assert [d.message for d in editor.diagnostics("after.nf")] == ["this '{' is never closed"]
