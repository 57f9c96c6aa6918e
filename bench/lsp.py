"""How soon the language server answers: a 500-line file over stdio, as an editor would ask.

Types words in the middle of the file, a character at a time, and after each asks what an editor
asks: completion, hover, signature, semantic tokens, and the rest now and then. Prints p50, p99 and
the longest, in milliseconds: as the editor waits, and as the server's processor works meanwhile.
The first shows what else runs on the machine; the second hardly does.

    .venv/bin/python bench/lsp.py [ROUNDS]
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.client import LanguageClient

LINES = 500
HEAD = """\
use dm

param far: ipv6 = fd00:b::d
param one_in: u32 = 1000

table flows: lru[4096] { src: ipv6, dst: ipv6 } to { packets: u64, since: timestamp }

event delay { session: u24, sent: timestamp, received: timestamp }

define late(t: timestamp, most: duration): bool = now() - t > most
"""
FUNCTION = """
# Measures, answers, counts: function %d.
endpoint fn_%d {
    when srh has DM as dm and dm.version == 1 and dm.response == 0 and dm.control == OUT_OF_BAND {
        emit delay { session = dm.session, sent = dm.sent, received = now() }
        decap to table main
    }
    when srh has DM as dm and dm.version == 1 and not late(dm.sent, 5ms) {
        set dm.response = 1
        set dm.control = SUCCESS
        set dm.response_format = PTP
        set dm.received = now()
        forward
    }
    when flows has [ip.src, ip.dst] as f and now() - f.since < 1s {
        set f.packets = f.packets + 1
        forward
    }
    otherwise {
        put flows[ip.src, ip.dst] { packets = 1, since = now() }
        forward
    }
}
"""
TYPED = "        set dm.reply_sent = now()\n        set srh.tag = srh.tag & 0xff\n"


def program() -> str:
    """A program of LINES lines."""
    text, number = HEAD, 0
    while text.count("\n") + FUNCTION.count("\n") <= LINES:
        text += FUNCTION % (number, number)
        number += 1
    return text + "# the end\n" * (LINES - text.count("\n"))


def worked(process: int) -> float:
    """Milliseconds that a process's main thread has had a processor (proc(5), schedstat)."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e6


async def measure(rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Times in milliseconds by request: waited, worked."""
    taken: dict[str, list[tuple[float, float]]] = {}
    client = LanguageClient("bench", "1")
    fresh = asyncio.Event()
    newest = 0  # version that diagnostics were published of

    @client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)  # type: ignore[untyped-decorator]
    def publish(params: lsp.PublishDiagnosticsParams) -> None:
        nonlocal newest
        newest = params.version or 0
        fresh.set()

    await client.start_io(sys.executable, "-m", "nfc", "lsp")
    assert client._server is not None
    server = client._server.pid
    with tempfile.TemporaryDirectory() as folder:
        await client.initialize_async(
            lsp.InitializeParams(
                lsp.ClientCapabilities(),
                workspace_folders=[lsp.WorkspaceFolder(Path(folder).as_uri(), "bench")],
            )
        )
        client.initialized(lsp.InitializedParams())
        uri = Path(folder, "big.nf").as_uri()
        text = program()
        half = text.index("        set dm.control", len(text) // 2)
        document = lsp.TextDocumentIdentifier(uri)

        async def timed(name: str, asked: Awaitable[Any]) -> None:
            began, busy = time.perf_counter(), worked(server)
            await asyncio.wait_for(asked, 10)
            waited = (time.perf_counter() - began) * 1000
            taken.setdefault(name, []).append((waited, worked(server) - busy))

        client.text_document_did_open(
            lsp.DidOpenTextDocumentParams(lsp.TextDocumentItem(uri, "nf", 0, text))
        )
        await fresh.wait()
        version = 0
        for _ in range(rounds):
            for size in range(1, len(TYPED) + 1):
                version += 1
                now = text[:half] + TYPED[:size] + text[half:]
                place = now[: half + size]
                at = lsp.Position(place.count("\n"), len(place) - place.rfind("\n") - 1)
                whole = lsp.TextDocumentContentChangeWholeDocument(now)
                identifier = lsp.VersionedTextDocumentIdentifier(version=version, uri=uri)
                fresh.clear()
                client.text_document_did_change(
                    lsp.DidChangeTextDocumentParams(identifier, [whole])
                )
                asks: dict[str, tuple[Callable[[Any], Awaitable[Any]], Any]] = {
                    "completion": (
                        client.text_document_completion_async,
                        lsp.CompletionParams(document, at),
                    ),
                    "hover": (
                        client.text_document_hover_async,
                        lsp.HoverParams(document, lsp.Position(at.line, max(0, at.character - 3))),
                    ),
                    "signature help": (
                        client.text_document_signature_help_async,
                        lsp.SignatureHelpParams(document, at),
                    ),
                    "semantic tokens": (
                        client.text_document_semantic_tokens_full_async,
                        lsp.SemanticTokensParams(document),
                    ),
                    "code actions": (
                        client.text_document_code_action_async,
                        lsp.CodeActionParams(
                            document, lsp.Range(at, at), lsp.CodeActionContext([])
                        ),
                    ),
                }
                if size % 8 == 0:
                    field = lsp.Position(at.line - 3, 30)
                    asks |= {
                        "symbols": (
                            client.text_document_document_symbol_async,
                            lsp.DocumentSymbolParams(document),
                        ),
                        "folding": (
                            client.text_document_folding_range_async,
                            lsp.FoldingRangeParams(document),
                        ),
                        "references": (
                            client.text_document_references_async,
                            lsp.ReferenceParams(lsp.ReferenceContext(True), document, field),
                        ),
                    }
                for name, (ask, params) in asks.items():
                    await timed(name, ask(params))
                if size % 8 == 0:
                    await timed("diagnostics, 150 ms of quiet and", fresh.wait())
                if size == len(TYPED):
                    options = lsp.FormattingOptions(4, True)
                    params = lsp.DocumentFormattingParams(document, options)
                    await timed("formatting", client.text_document_formatting_async(params))
                    version += 1
                    untidy = lsp.TextDocumentContentChangeWholeDocument(now.replace("    ", "  "))
                    identifier = lsp.VersionedTextDocumentIdentifier(version=version, uri=uri)
                    fresh.clear()
                    client.text_document_did_change(
                        lsp.DidChangeTextDocumentParams(identifier, [untidy])
                    )
                    while newest < version:
                        fresh.clear()
                        await fresh.wait()
                    await timed(
                        "formatting all of it", client.text_document_formatting_async(params)
                    )
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()  # type: ignore[no-untyped-call]
    return taken


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    taken = asyncio.run(measure(rounds))
    load = os.getloadavg()[0]
    print(f"{LINES} lines, {rounds} rounds; milliseconds; load of the machine {load:.1f}\n")
    print(f"{'':34} {'':>5}   {'waited':^23}   {'worked':^23}")
    print(f"{'':34} {'n':>5} " + f"  {'p50':>7} {'p99':>7} {'most':>7}" * 2)
    for name, times in taken.items():
        row = ""
        for kind in zip(*times, strict=True):
            ordered = sorted(kind)
            p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
            row += f"  {ordered[len(ordered) // 2]:>7.1f} {p99:>7.1f} {ordered[-1]:>7.1f}"
        print(f"{name:34} {len(times):>5} {row}")


if __name__ == "__main__":
    main()
