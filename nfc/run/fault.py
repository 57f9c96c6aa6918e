"""What a program did that no verifier would have let pass, in words."""

from __future__ import annotations

from nfc.run.session import Session
from nfc.vm.memory import (
    ELEMENT_MASK,
    FRAME_SIZE,
    NULL,
    OFFSET_BITS,
    OFFSET_MASK,
    REGION_SHIFT,
    STACK,
    Region,
)
from nfc.vm.simulator import Fault


def text(session: Session, fault: Fault, packet: bytes, now: int) -> str:
    """The fault with its source line, its instruction, and what that one's registers held.

    The registers come from a second run of the packet, by the interpreter; they are left out
    where that one ends otherwise, as it may once maps have changed.
    """
    lines = [str(fault)]
    simulator = session.simulator
    image = simulator.image_of(fault.program or simulator.program)
    insn = image.code[fault.slot] if 0 <= fault.slot < len(image.code) else None
    if fault.line is not None:
        lines.append(f"  {fault.line.line:>5} | {fault.line.text.strip()}")
    if insn is None:
        return "\n".join(lines)
    lines.append(f"  {fault.slot:>5}: {insn}")
    again = session.run(packet, now, traced=True).outcome
    if again.fault is not None and again.steps and again.steps[-1].slot == fault.slot:
        regions = simulator.regions
        held = again.steps[-1].registers
        used = dict.fromkeys(n for n in (insn.dst, insn.src) if n < len(held))
        said = ", ".join(f"r{n} = {value(held[n], regions)}" for n in used)
        lines.append(f"  with {said}")
    return "\n".join(lines)


def value(number: int, regions: list[Region]) -> str:
    """A register: a number, or a place in one of the machine's memories, `packet+54`."""
    region = number >> REGION_SHIFT
    if region == NULL or region >= len(regions):
        return str(number) if number < 10_000 else f"{number:#x}"
    found = regions[region]
    offset = number & OFFSET_MASK
    if offset >= 1 << (OFFSET_BITS - 1):
        offset -= 1 << OFFSET_BITS
    if region == STACK:
        offset -= FRAME_SIZE
    element = (number >> OFFSET_BITS & ELEMENT_MASK) - found.first
    index = f"[{element}]" if element and found.count > 1 else ""
    return f"{found.name}{index}{offset:+d}"
