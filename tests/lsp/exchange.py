"""An exchange with the server, message by message as it is on the wire, recorded as text.

docs/lsp-exchange.txt holds it, and a test sees that it is still what is said. To write it anew:

    .venv/bin/python tests/lsp/exchange.py
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from nfc.resources import data_dir

PAGE = Path(__file__).parents[2] / "docs" / "lsp-exchange.txt"
URI = "file:///srv/functions/late.nf"
TEXT = """\
use dm

endpoint late {
    when srh has DM as dm and now() - dm.snt > 5ms { drop }
    otherwise { set srh.tag = 1 forward }
}
"""
HEAD = """\
An exchange with `nfc lsp`, as tests/lsp/exchange.py makes and records it.

--> from the editor, <-- from the server. Each message is JSON behind a line Content-Length and an
empty one (LSP 3.17, base protocol); "jsonrpc": "2.0" is left out here.
"""


class Wire:
    """A server, and all that was said."""

    def __init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, "-m", "nfc", "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.record: list[str] = []
        self.last = 0

    def note(self, arrow: str, message: dict[str, Any]) -> None:
        """Write a message down."""
        text = json.dumps({k: v for k, v in message.items() if k != "jsonrpc"}, indent=2)
        text = text.replace(data_dir("stdlib").as_uri(), "file:///…/stdlib")
        # Small things on one line: places, and lists of words.
        small = re.compile(r'([\[{])\s+((?:"[^"]*"(?:: [^\n{}\[\]]+)?,?\s+)+|(?:\d+,?\s+)+)([\]}])')
        while (shorter := small.sub(_one_line, text)) != text:
            text = shorter
        self.record.append(f"{arrow} {text}")

    def send(self, message: dict[str, Any]) -> None:
        """Say something."""
        assert self.server.stdin is not None
        self.note("-->", message)
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.server.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.server.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The next thing that the server says."""
        assert self.server.stdout is not None
        message = receive(self.server.stdout)
        self.note("<--", message)
        return message

    def tell(self, method: str, **params: Any) -> None:
        """A notification."""
        self.send({"method": method, "params": params})

    def ask(self, method: str, **params: Any) -> Any:
        """A request, and its answer."""
        self.last += 1
        self.send({"id": self.last, "method": method, "params": params})
        answer = self.hear()
        assert answer["id"] == self.last
        return answer.get("result")


def _one_line(found: re.Match[str]) -> str:
    line = f"{found[1]}{' '.join(found[2].split())}{found[3]}"
    return line if len(line) <= 80 else found[0]


def receive(stream: IO[bytes]) -> dict[str, Any]:
    """One message."""
    size = 0
    while line := stream.readline().strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            size = int(value)
    message: dict[str, Any] = json.loads(stream.read(size))
    return message


def at(text: str, mark: str, more: int = 0) -> dict[str, int]:
    """The place of a mark."""
    offset = text.index(mark) + more
    return {
        "line": text.count("\n", 0, offset),
        "character": offset - text.rfind("\n", 0, offset) - 1,
    }


def exchange() -> str:
    """Have it, and return it as text."""
    wire = Wire()
    document = {"uri": URI}
    encodings = {"general": {"positionEncodings": ["utf-16"]}}
    wire.ask("initialize", processId=None, rootUri=None, capabilities=encodings)
    wire.tell("initialized")
    wire.tell(
        "textDocument/didOpen",
        textDocument={"uri": URI, "languageId": "nfc", "version": 1, "text": TEXT},
    )
    wire.hear()
    place = at(TEXT, "snt", 1)
    wire.ask(
        "textDocument/codeAction",
        textDocument=document,
        range={"start": place, "end": place},
        context={"diagnostics": []},
    )
    fixed = TEXT.replace("snt", "sent")
    wire.tell(
        "textDocument/didChange",
        textDocument={"uri": URI, "version": 2},
        contentChanges=[{"text": fixed}],
    )
    wire.hear()
    wire.ask("textDocument/hover", textDocument=document, position=at(fixed, "sent", 1))
    wire.ask("textDocument/definition", textDocument=document, position=at(fixed, "sent", 1))
    wire.ask("textDocument/completion", textDocument=document, position=at(fixed, "forward }", 8))
    wire.ask(
        "textDocument/rename", textDocument=document, position=at(fixed, "dm.sent"), newName="delay"
    )
    wire.ask("textDocument/rename", textDocument=document, position=at(fixed, "DM"), newName="X")
    wire.ask(
        "textDocument/formatting",
        textDocument=document,
        options={"tabSize": 4, "insertSpaces": True},
    )
    wire.ask("shutdown")
    wire.tell("exit")
    assert wire.server.wait(20) == 0
    return HEAD + "\n" + "\n\n".join(wire.record) + "\n"


if __name__ == "__main__":
    PAGE.write_text(exchange())
