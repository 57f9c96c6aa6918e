"""The exchange that docs/lsp-exchange.txt shows is the one that the server has."""

from __future__ import annotations

from exchange import PAGE, exchange


def test_the_recorded_exchange_is_what_is_said() -> None:
    assert exchange() == PAGE.read_text(), "write it anew: python tests/lsp/exchange.py"
