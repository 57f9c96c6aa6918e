"""Helpers on text (kernel/bpf/helpers.c, kernel/trace/bpf_trace.c)."""

from __future__ import annotations

TABLE = {}  # type: ignore[var-annotated]
