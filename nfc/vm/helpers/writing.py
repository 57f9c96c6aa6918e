"""Helpers that change any part of the packet, at xmit (net/core/filter.c)."""

from __future__ import annotations

TABLE = {}  # type: ignore[var-annotated]
