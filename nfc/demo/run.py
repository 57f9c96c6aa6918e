"""`nfc demo`: the main job on one machine."""

from __future__ import annotations

import os
from pathlib import Path

from nfc.compiler import compile_file
from nfc.demo.measured import Measured, Say, show
from nfc.resources import data_dir
from nfc.verify.checks import check_compilation

SOURCE = data_dir("stdlib") / "delay.nf"


def missing() -> str | None:
    """Why the demo cannot use this machine's kernel, in a few words; None if it can."""
    from nfc.kernel import capabilities
    from nfc.kernel.features import probe_hook

    lacking = capabilities.missing(("CAP_BPF", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"))
    if lacking:
        return f"needs root ({', '.join(lacking)} missing)"
    for hook in ("in", "endpoint"):
        reason = probe_hook(hook)
        if reason:
            return f"needs a kernel that runs functions at hook '{hook}' ({reason})"
    if not Path("/proc/sys/net/ipv6/conf/all/seg6_enabled").exists():
        return "needs a kernel with SRv6 (CONFIG_IPV6_SEG6_LWTUNNEL)"
    return None


def run(say: Say, packets: int, rate: int) -> Measured:
    """Run the demo, in the simulator where the kernel cannot be used; returns what was measured."""
    from nfc import __version__
    from nfc.codegen.emit import llvm_version

    say(f"nfc {__version__}, LLVM {llvm_version()}, kernel {os.uname().release}")
    reason = missing()
    say(f"\n$ nfc build {SOURCE.name}")
    compilation = compile_file(SOURCE)
    data = compilation.object(compilation.functions)
    names = ", ".join(f"{f.function.name} ({f.function.hook})" for f in compilation.functions)
    say(f"{len(data)} bytes of ELF: {names}")
    say(f"\n$ nfc check {SOURCE.name}")
    for report in check_compilation(compilation, load=reason is None):
        say(str(report))
    if reason:
        from nfc.demo import simulated

        say(f"\nOn routes the demo {reason}; so the simulator runs a bundled capture instead.")
        result = simulated.measure(say, compilation, packets)
        show(say, result)
        return result
    from nfc.demo import routes

    return routes.measure(say, SOURCE, packets, rate)
