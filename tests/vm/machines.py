"""Simulators of standard functions, and of programs written down as instructions."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from nfc.bpf.isa import Instruction, encode
from nfc.bpf.object import Object, Program
from nfc.bpf.reader import read_object
from nfc.compiler import Compiled, compile_file
from nfc.packet import Packet as Built
from nfc.packet import ip, packet, srh, udp
from nfc.packet.tlvs import AnyTLV
from nfc.resources import data_dir
from nfc.vm.simulator import Simulator

STDLIB = Path(data_dir("stdlib"))
H1, H2, SID = "fd00:1::1", "fd00:2::2", "fd00:a::d"


@cache
def compiled(function: str, file: str = "") -> tuple[Compiled, Object]:
    """A function of the standard library, and its object."""
    compilation = compile_file(STDLIB / f"{file or function}.nf", "6.12")
    found = next(f for f in compilation.functions if f.function.name == function)
    return found, read_object(compilation.object([found]))


def simulator(function: str, file: str = "", **more: object) -> Simulator:
    """A simulator of a function of the standard library; native code from the first packet on."""
    found, obj = compiled(function, file)
    made = Simulator(obj, function, found.function.hook, **more)  # type: ignore[arg-type]
    made.warm_up = 0
    return made


def assembled(*instructions: Instruction, hook: str = "endpoint", **more: object) -> Simulator:
    """A simulator of one program without maps; native code from the first packet on."""
    obj = Object((Program("f", "lwt_seg6local", encode(instructions)),), license="GPL")
    made = Simulator(obj, "f", hook, **more)  # type: ignore[arg-type]
    made.warm_up = 0
    return made


def query(tlvs: list[AnyTLV], *, tag: int = 0, left: int = 1) -> Built:
    """A packet on its way over the SID to h2."""
    header = srh([SID, H2], left=left, tag=tag, tlvs=tlvs)
    return packet(ip(H1, SID), header, udp(4000, 5000), b"what the user sent")
