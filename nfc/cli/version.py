"""`nfc --version`: of nfc, of the LLVM in it, and what the running kernel offers."""

from __future__ import annotations

import click

from nfc import __version__
from nfc.errors import NfcError


def show(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """What --version does."""
    if not wanted or context.resilient_parsing:
        return
    click.echo(text())
    context.exit()


def text() -> str:
    """Three lines: nfc, LLVM, Linux."""
    from importlib.metadata import version

    from nfc.codegen.emit import llvm_version

    llvm = f"LLVM {llvm_version()} (llvmlite {version('llvmlite')})"
    return "\n".join((f"nfc {__version__}", llvm, kernel()))


def kernel() -> str:
    """The running kernel: its release, the hooks that it has, its JIT, its BPF file system."""
    from nfc.kernel.features import probe

    try:
        found = probe()
    except NfcError as error:
        return f"Linux: {error.message}"
    if found.missing_capabilities:
        lacking = ", ".join(found.missing_capabilities)
        return f"Linux {found.release} {found.machine}: not asked, for want of {lacking}"
    there = [hook for hook, refusal in found.hooks if refusal is None]
    absent = [f"no {hook} ({refusal})" for hook, refusal in found.hooks if refusal is not None]
    parts = [
        f"hooks {', '.join(there) or 'none'}",
        *absent,
        f"JIT {'on' if found.jit else 'off'}",
        f"/sys/fs/bpf {'mounted' if found.bpffs else 'not mounted'}",
    ]
    return f"Linux {found.release} {found.machine}: {'; '.join(parts)}"
