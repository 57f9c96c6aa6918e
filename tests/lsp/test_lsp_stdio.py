"""The server as an editor meets it: a process, spoken to over its standard input and output."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from editor import Editor, place
from lsprotocol import types as lsp

from nfc.lsp.document import Document
from nfc.lsp.saved import read
from nfc.resources import data_dir
from nfc.verify.report import Report, Violation

DELAY = Path(__file__).with_name("path_delay.nf").read_text()


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    with Editor(tmp_path_factory.mktemp("workspace")) as editor:
        yield editor


def test_diagnostics_follow_the_text(editor: Editor) -> None:
    editor.open("a.nf", DELAY.replace("set dm.received", "set dm.recieved"))
    (wrong,) = editor.diagnostics("a.nf")
    assert wrong.message == "DM has no field 'recieved'\ndid you mean 'received'?"
    assert wrong.severity == lsp.DiagnosticSeverity.Error
    line = DELAY.splitlines()[wrong.range.start.line]
    assert line[wrong.range.start.character :].startswith("received")
    editor.change("a.nf", DELAY)
    assert editor.diagnostics("a.nf") == []


def test_hover(editor: Editor) -> None:
    editor.open("hover.nf", DELAY)
    at = place(DELAY, "dm.version", 4)
    shown = editor.run(
        editor.client.text_document_hover_async(lsp.HoverParams(editor.identifier("hover.nf"), at))
    )
    assert shown is not None and isinstance(shown.contents, lsp.MarkupContent)
    assert "DM.version: u4" in shown.contents.value
    assert "Byte 4, bit 0 of the TLV" in shown.contents.value


def test_completion(editor: Editor) -> None:
    editor.open("complete.nf", DELAY)
    at = place(DELAY, "dm.version", 3)
    offered = editor.run(
        editor.client.text_document_completion_async(
            lsp.CompletionParams(editor.identifier("complete.nf"), at)
        )
    )
    assert isinstance(offered, list)
    assert {"version", "sent", "received"} <= {o.label for o in offered}


def test_definition_in_the_standard_library(editor: Editor) -> None:
    editor.open("define.nf", DELAY)
    at = place(DELAY, "dm.version", 4)
    found = editor.run(
        editor.client.text_document_definition_async(
            lsp.DefinitionParams(editor.identifier("define.nf"), at)
        )
    )
    assert isinstance(found, list) and len(found) == 1
    place_ = found[0]
    assert isinstance(place_, lsp.Location)
    assert place_.uri == (data_dir("stdlib") / "dm.nf").as_uri()
    text = (data_dir("stdlib") / "dm.nf").read_text()
    assert text.splitlines()[place_.range.start.line].strip().startswith("version: u4")


def test_formatting(editor: Editor) -> None:
    untidy = DELAY.replace("    otherwise forward", "  otherwise   forward")
    editor.open("format.nf", untidy)
    edits = editor.run(
        editor.client.text_document_formatting_async(
            lsp.DocumentFormattingParams(
                editor.identifier("format.nf"), lsp.FormattingOptions(4, True)
            )
        )
    )
    assert edits is not None and len(edits) == 1
    lines = untidy.splitlines(keepends=True)
    start, end = edits[0].range.start, edits[0].range.end
    assert start.character == 0
    after = "".join(lines[: start.line]) + edits[0].new_text
    after += lines[end.line][end.character :] + "".join(lines[end.line + 1 :])
    assert after == DELAY


def test_a_file_that_is_not_saved_yet_counts(editor: Editor) -> None:
    editor.open(
        "user.nf", "use fresh\nendpoint f { when srh has NEW { drop } otherwise forward }\n"
    )
    (missing,) = editor.diagnostics("user.nf")
    assert "there is no fresh.nf" in missing.message
    shown = len(editor.published[editor.uri("user.nf")])

    def again() -> list[lsp.Diagnostic]:
        nonlocal shown
        editor.run(editor.until(lambda: len(editor.published[editor.uri("user.nf")]) > shown))
        shown = len(editor.published[editor.uri("user.nf")])
        return list(editor.published[editor.uri("user.nf")][-1].diagnostics)

    editor.open("fresh.nf", "tlv NEW = 200 { value: u16 }\n")
    assert again() == []
    editor.client.text_document_did_close(
        lsp.DidCloseTextDocumentParams(editor.identifier("fresh.nf"))
    )
    assert "there is no fresh.nf" in again()[0].message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_columns_count_what_was_agreed_on(encoding: str, tmp_path: Path) -> None:
    text = "endpoint f {\n    otherwise forward # 𝔸é\n    set srh.tag = 𝔹 }\n"
    units = {"utf-8": 4, "utf-16": 2, "utf-32": 1}[encoding]
    with Editor(tmp_path, encodings=[encoding]) as editor:
        assert editor.answer.capabilities.position_encoding == encoding
        editor.open("a.nf", text)
        (wrong,) = editor.diagnostics("a.nf")
    assert wrong.range == lsp.Range(lsp.Position(2, 18), lsp.Position(2, 18 + units))


def test_without_pygls_a_line_says_what_is_missing(tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'pygls' else real(name, *a)\n"
        "sys.argv = ['nfc', 'lsp']\n"
        "from nfc.cli import main; main()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, input=""
    )
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == [
        "error: the language server needs the package pygls",
        "      = pip install pygls",
    ]


def test_the_server_loads_neither_llvm_nor_netlink() -> None:
    code = (
        "import sys; from nfc.lsp.server import make_server; make_server()\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"llvmlite", "pyroute2", "rich"} & set(ran.stdout.split())


def test_what_is_too_large_is_refused_at_once(editor: Editor) -> None:
    editor.open("large.nf", "x" * (1 << 20) + "\n" * 10)
    (wrong,) = editor.diagnostics("large.nf")
    assert wrong.message == "large.nf is larger than 1048576 bytes, which no program is"


START: dict[str, object] = {"capabilities": {}, "processId": None, "rootUri": None}
BELOW: dict[str, object] = {
    "textDocument": {"uri": "file:///a.nf"},
    "position": {"line": -1, "character": 0},
}
END = b'{"jsonrpc": "2.0", "method": "exit"}'


def message(content: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (len(content), content)


def request(number: int, method: str, params: object) -> bytes:
    content = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return message(json.dumps(content).encode())


def served(*said: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "nfc", "lsp"]
    return subprocess.run(command, input=b"".join(said), capture_output=True, check=False)


def test_messages_that_are_none_are_told_in_a_line_each() -> None:
    """And the next one is answered."""
    done = served(
        request(1, "initialize", START),
        message(b"[]"),
        message(b"\xff\xff\xff"),
        message(b"[" * 20_000),
        request(2, "textDocument/hover", BELOW),
        request(3, "shutdown", None),
        message(END),
    )
    assert done.returncode == 0
    lines = done.stderr.decode().splitlines()
    errors = ("AttributeError", "UnicodeDecodeError", "RecursionError", "ClassValidationError")
    assert [line.split(": ")[:2] for line in lines] == [
        ["A message cannot be read", error] for error in errors
    ]
    assert b'"id":3' in done.stdout.replace(b" ", b"")


def test_each_request_is_answered_also_when_it_is_not_its_time() -> None:
    there = BELOW | {"position": {"line": 0, "character": 0}}
    done = served(
        request(1, "textDocument/hover", there),
        message(b'{"jsonrpc": "2.0", "method": "initialized", "params": {}}'),
        request(2, "initialize", START),
        request(3, "textDocument/hover", BELOW),
        request(4, "shutdown", None),
        request(5, "textDocument/hover", there),
        message(END),
    )
    assert done.returncode == 0
    answers = [json.loads(part) for part in re.findall(rb"\{.*?(?=Content-|$)", done.stdout, re.S)]
    codes = {a["id"]: a.get("error", {}).get("code") for a in answers if "id" in a}
    assert codes == {1: -32002, 2: None, 3: -32602, 4: None, 5: -32600}


def test_to_exit_without_shutdown_is_a_failure() -> None:
    done = served(request(1, "initialize", START), message(END))
    assert (done.returncode, done.stderr) == (1, b"")


def test_helix_is_told_of_the_same_command() -> None:
    page = (Path(__file__).parents[2] / "docs" / "editors.md").read_text()
    settings = tomllib.loads(page.partition("```toml")[2].partition("\n")[2].partition("```")[0])
    server = settings["language-server"]["nfc"]
    assert [server["command"], *server["args"]] == ["nfc", "lsp"]
    (language,) = settings["language"]
    assert (language["file-types"], language["language-servers"]) == (["nf"], ["nfc"])


# ---- when a file is saved -----------------------------------------------------------------------


def test_saving_asks_the_whole_compiler(editor: Editor) -> None:
    (editor.folder / "saved.nf").write_text(DELAY)
    editor.open("saved.nf", DELAY)

    def shown(mark: str) -> str:
        params = lsp.HoverParams(editor.identifier("saved.nf"), place(DELAY, mark, 1))
        found = editor.run(editor.client.text_document_hover_async(params))
        assert found is not None and isinstance(found.contents, lsp.MarkupContent)
        return found.contents.value

    for _ in range(1200):
        if "instructions at most" in shown("when sample"):
            break
        editor.run(asyncio.sleep(0.1))
    assert "Where chance picks it (one packet in the param one_in)" in shown("when sample")
    assert "bpf_lwt_push_encap" in shown("when sample")
    assert "bytes of stack" in shown("mark_delay at")


def test_what_a_kernel_refuses_stands_at_its_line() -> None:
    text = "endpoint f {\n    otherwise forward\n}\n"
    document = Document.of(Path("/x/a.nf"), text, "utf-16", 1)
    refused = Violation("the loop may not end", 7, "a.nf:2", "otherwise forward", "bound it")
    report = Report("f", "endpoint", "5.10", 20, 16, (), (refused,), processed=30)
    found = read(document, {"ok": False, "functions": [report.to_json()]})
    (shown,) = found.found
    assert shown.message == "kernel 5.10 refuses f: the loop may not end"
    assert (shown.hint, shown.span.line) == ("bound it", 2)
    assert "20 instructions (30 followed on all paths)" in found.of_function("f", text[:-1])
