"""`nfc lsp`: the language server."""

from __future__ import annotations

import gc
import importlib.util

import click

from nfc.cli import options
from nfc.errors import NfcError


@click.command()
@click.option("--stdio", is_flag=True, help="Speak over standard input and output (always so).")
@options.kernel
def lsp(stdio: bool, kernel: str) -> None:
    """Answer an editor's questions over standard input and output (Language Server Protocol).

    Editors start it themselves; docs/editors.md says how to tell them. It needs the package
    pygls: pip install pygls.
    """
    if importlib.util.find_spec("pygls") is None:
        raise NfcError("the language server needs the package pygls", hint="pip install pygls")
    from nfc.lsp.server import make_server
    from nfc.syntax.language import lark

    server = make_server(kernel)
    lark()
    # What is there now stays: else the collector looks through all of it every now and then, which
    # takes some 40 ms in the middle of an answer.
    gc.collect()
    gc.freeze()
    server.start_io()
    if server.status:
        raise SystemExit(server.status)
