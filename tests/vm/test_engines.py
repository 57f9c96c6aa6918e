"""The interpreter and the compiled code are of one opinion, on every program and packet."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from generated_bytecode import objects
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machines import query

from nfc.bpf.object import Object
from nfc.packet import tlv
from nfc.vm.simulator import Outcome, Packet, Simulator

PACKET = bytes(query([tlv(200, b"abcdef"), tlv(201, bytes(22))], tag=7))


def run(obj: Object, engine: str, hook: str, packets: list[bytes]) -> list[object]:
    """Everything that can be seen of a program's runs."""
    found = Simulator(obj, "f", hook, engine=engine, seed=3, budget=500)
    found.warm_up = 0
    said: list[object] = []
    machine = found.machine
    for data in packets:
        outcome: Outcome = found.run(Packet(data, mark=5, priority=6, ingress=7, hash=8))
        state = bytes(machine.context.raw), bytes(machine.stack.data[:512]), machine.skb.read()
        maps = {n: (bytes(m.region.data), list(m.keys())) for n, m in found.maps.items()}
        said.append((outcome, state, maps, machine.random))
    return said


HOOKS = st.sampled_from(["endpoint", "endpoint", "in", "xmit"])


@given(HOOKS.flatmap(lambda hook: st.tuples(objects(hook), st.just(hook))))
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
def test_every_program_does_the_same_on_both_engines(drawn: tuple[Object, str]) -> None:
    obj, hook = drawn
    packets = [PACKET, PACKET[:90]]
    assert run(obj, "jit", hook, packets) == run(obj, "interpreter", hook, packets)
