"""The simulator's engines beside uBPF's, on the same bytecode.

    make bench, or: python bench/ubpf.py [LIBUBPF]         (needs clang)

LIBUBPF is a libubpf.so that somebody has built from https://github.com/iovisor/ubpf; without the
argument, the environment's UBPF names it. uBPF has no packets with headers to grow, no helpers of
these hooks and no context, so what is compared is the execution of instructions alone: the loops of
ubpf.c, nanoseconds a pass over one packet, median, best and worst of several rounds, all engines in
turn, by the processor time of this thread. All of them have to give the same number. nfc's programs
begin with three instructions more, which take the packet from the context.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nfc.bpf import isa
from nfc.bpf.isa import Instruction, encode
from nfc.bpf.object import Object, Program
from nfc.bpf.reader import read_object
from nfc.packet import ip, packet, srh, udp
from nfc.packet.tlvs import tlv
from nfc.vm import hooks
from nfc.vm.context import DATA, DATA_END
from nfc.vm.interpreter import Interpreter
from nfc.vm.memory import CTX, address
from nfc.vm.simulator import Simulator

SOURCE = Path(__file__).with_suffix(".c")
ROUNDS = 9
PASSES, PASSES_INTERPRETED, PASSES_PYTHON = 20_000, 1_000, 10
MORE = {"walk": 20}  # times as many passes, where one is short
TLVS = 40 + 8 + 2 * 16  # bytes before the first TLV: IPv6, SRH, two segments
ENGINES = ("nfc native", "uBPF JIT", "uBPF interpreted", "nfc interpreted")
Run = Callable[[], int]  # gives r0


def sent() -> bytes:
    """120 bytes of TLVs and UDP behind them, so that the walk's last step leaves the packet."""
    tlvs = [tlv(200 + i, bytes(range(n))) for i, n in enumerate((6, 14, 22, 6, 30, 6, 14, 6))]
    header = srh(["fd00:a::d", "fd00:2::2"], left=1, tlvs=tlvs)
    return bytes(packet(ip("fd00:1::1", "fd00:a::d"), header, udp(4000, 5000), bytes(64)))


def loops(directory: str) -> dict[str, bytes]:
    """The code of ubpf.c's functions."""
    out = Path(directory) / "ubpf.o"
    command = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-c", str(SOURCE), "-o"]
    subprocess.run([*command, str(out)], check=True)
    return {program.name: program.code for program in read_object(out.read_bytes()).programs}


def constant(register: int, value: int) -> Instruction:
    """register = value."""
    return Instruction(isa.ALU64 | 0xB0, dst=register, imm=value)


class Ours:
    """A loop on a machine that holds the packet."""

    def __init__(self, name: str, code: bytes, passes: int) -> None:
        """Put the packet's address and size into r1 and r2, as uBPF does of itself."""
        load = isa.LDX | isa.MODE_MEM
        begin = (
            Instruction(load, dst=2, src=1, off=DATA_END),
            Instruction(load, dst=1, src=1, off=DATA),
            Instruction(isa.ALU64 | isa.REGISTER | 0x10, dst=2, src=1),
            constant(3, passes),
            constant(4, TLVS),
        )
        program = Program(name, "lwt_seg6local", encode(begin) + code)
        obj = Object((program,), license="GPL")
        self.simulator = Simulator(obj, name, "endpoint", budget=1 << 60)
        self.machine = machine = self.simulator.machine
        machine.begin()
        machine.context.reset(0, 0, 0, 0, 0)
        assert hooks.before(machine, sent()) is None

    def native(self) -> Run:
        """The compiled program, entered directly."""
        jit = self.simulator.compiled(self.simulator.program, optimized=True)
        jit.prepare()
        jit.bridge.push()

        def run() -> int:
            found: int = jit.entries[0](jit.bridge.address, address(CTX), 0, 0, 0, 0)
            jit.raise_fault()
            return found

        return run

    def interpreted(self) -> Run:
        """The interpreter."""
        return Interpreter(self.simulator.image, self.machine).run


class Theirs:
    """A loop in uBPF."""

    def __init__(self, library: ctypes.CDLL, code: bytes, passes: int, data: bytes) -> None:
        """Load it. Raises SystemExit with what uBPF says."""
        self.library, self.size = library, len(data)
        self.memory = ctypes.create_string_buffer(data, len(data))
        library.ubpf_create.restype = ctypes.c_void_p
        library.ubpf_compile.restype = ctypes.c_void_p
        self.vm = ctypes.c_void_p(library.ubpf_create())
        self.said = ctypes.c_char_p()
        whole = encode((constant(3, passes), constant(4, TLVS))) + code
        if library.ubpf_load(self.vm, whole, len(whole), ctypes.byref(self.said)):
            raise SystemExit(f"uBPF does not load it: {(self.said.value or b'').decode()}")

    def native(self) -> Run:
        """Its JIT."""
        place = self.library.ubpf_compile(self.vm, ctypes.byref(self.said))
        if not place:
            raise SystemExit(f"uBPF does not compile it: {(self.said.value or b'').decode()}")
        kind = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t)
        function = kind(place)
        return lambda: int(function(ctypes.addressof(self.memory), self.size))

    def interpreted(self) -> Run:
        """Its interpreter, which checks bounds."""
        found = ctypes.c_uint64()
        size = ctypes.c_size_t(self.size)

        def run() -> int:
            if self.library.ubpf_exec(self.vm, self.memory, size, ctypes.byref(found)):
                raise SystemExit("uBPF's interpreter fails")
            return found.value

        return run


def measured(library: ctypes.CDLL, name: str, code: bytes) -> list[list[float]]:
    """Nanoseconds a pass, by engine and round."""

    def ours(passes: int) -> Ours:
        return Ours(name, code, passes)

    def theirs(passes: int) -> Theirs:
        return Theirs(library, code, passes, data)

    data = ours(1).machine.skb.read()
    same = {
        ours(PASSES_PYTHON).native()(),
        ours(PASSES_PYTHON).interpreted()(),
        theirs(PASSES_PYTHON).native()(),
        theirs(PASSES_PYTHON).interpreted()(),
    }
    if len(same) != 1:
        raise SystemExit(f"{name}: the engines differ: {same}")
    fast, slow, python = (
        MORE.get(name, 1) * n for n in (PASSES, PASSES_INTERPRETED, PASSES_PYTHON)
    )
    runs: list[tuple[Run, int]] = [
        (ours(fast).native(), fast),
        (theirs(fast).native(), fast),
        (theirs(slow).interpreted(), slow),
        (ours(python).interpreted(), python),
    ]
    rounds: list[list[float]] = [[] for _ in runs]
    for _ in range(ROUNDS):
        for times, (run, passes) in zip(rounds, runs, strict=True):
            begin = time.thread_time()
            run()
            times.append(1e9 * (time.thread_time() - begin) / passes)
    return rounds


def main() -> None:
    """The table; or one line, where there is no uBPF."""
    place = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("UBPF", "")
    if not place or shutil.which("clang") is None:
        print("uBPF: not measured; this needs clang, and UBPF=/path/to/libubpf.so")
        return
    try:
        library = ctypes.CDLL(str(Path(place).resolve()))
    except OSError as error:
        print(f"uBPF: not measured; {error}")
        return
    size = len(sent())
    print(f"nanoseconds a pass over {size} bytes: median (best to worst) of {ROUNDS} rounds")
    print(f"{'loop':<7}" + "".join(f"{e:>31}" for e in ENGINES))
    with tempfile.TemporaryDirectory() as directory:
        for name, code in loops(directory).items():
            cells = (
                f"{statistics.median(r):,.0f} ({min(r):,.0f} to {max(r):,.0f})"
                for r in measured(library, name, code)
            )
            print(f"{name:<7}" + "".join(f"{c:>31}" for c in cells))


if __name__ == "__main__":
    main()
