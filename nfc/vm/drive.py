"""The loop over a capture, in native code: see `batch`."""

from __future__ import annotations

from llvmlite import ir


def build(module: ir.Module) -> None:
    """Write it into a module."""
