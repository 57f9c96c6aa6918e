"""The standard library's functions in the simulator: the packets that come out of the kernel."""

from __future__ import annotations

import struct
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from kernel.test_stdlib_functions import (
    CASES,
    H1,
    H2,
    OTHER,
    PAYLOAD,
    SID,
    Case,
    dm,
    inner,
    outer,
    ptp,
)
from machines import compiled, query, simulator

from nfc.kernel.params import write_params
from nfc.observe.counters import read_counters
from nfc.packet import decode, ip, packet, srh, udp
from nfc.packet.tlvs import TLV
from nfc.vm.batch import Batch
from nfc.vm.drive import SENT, SLOW
from nfc.vm.simulator import Packet, Simulator


def through_the_loop(found: Simulator, sent: bytes) -> tuple[bytes, str, bytes]:
    """A packet as a record of a file: its verdict, the link, and what left."""
    batch = Batch(found, optimized=False)
    done = batch.run(struct.pack("<IIII", 1, 0, len(sent), len(sent)) + sent)
    return done.verdicts, batch.link(done.links[0]), done.out[16:]


@pytest.mark.parametrize(("name", "case"), CASES.items(), ids=CASES.keys())
def test_native_code_does_all_of_it(name: str, case: Case) -> None:
    """From the record that came to the record that leaves, Python has no part in it; but a packet
    with an HMAC is looked at closer."""
    said = through_the_loop(simulator(case.function), bytes(case.sent))
    assert said == (bytes([SLOW if "HMAC" in name else SENT]), "out", bytes(case.expected))


@pytest.mark.parametrize("engine", ["interpreter", "jit"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_leaves_is_what_leaves_the_kernel(case: Case, engine: str) -> None:
    """The same packets, held to the same bytes, as tests/kernel sends over a real route."""
    found = simulator(case.function, engine=engine)
    outcome = found.run(Packet(bytes(case.sent)))
    assert (outcome.fate, outcome.link) == ("sent", "out")
    assert outcome.packet == bytes(case.expected)


@pytest.mark.parametrize("engine", ["interpreter", "jit"])
def test_one_way_delay_is_reported_and_the_packet_goes_on(engine: str) -> None:
    found = simulator("end_dm", "delay", engine=engine)
    found.now = 1_700_000_000_000_000_009
    sent = outer([OTHER, dm(1, sent=ptp(1_700_000_000_000_000_001))])
    outcome = found.run(Packet(bytes(sent)))
    expected = packet(ip("fd00:9::9", H2, hop_limit=6), udp(4000, 5000), PAYLOAD)
    assert outcome.packet == bytes(expected)
    ((name, record),) = outcome.records
    assert name == "events"
    times = [int.from_bytes(record[at : at + 8], "little") for at in range(8, len(record), 8)]
    assert 1_700_000_000_000_000_001 in times
    assert found.now in times


@pytest.mark.parametrize("engine", ["interpreter", "jit"])
def test_two_way_delay_is_answered_in_the_tlv(engine: str) -> None:
    found = simulator("end_dm", "delay", engine=engine)
    found.now = 1_700_000_000_000_000_009
    outcome = found.run(Packet(bytes(query([OTHER, dm(0, sent=ptp(5))]))))
    assert outcome.packet is not None
    header = decode(outcome.packet).srh
    assert header is not None
    (answered,) = (t for t in header.tlvs if isinstance(t, TLV) and t.type == 7)
    assert bytes(answered.encode())[24:32] == ptp(found.now)


@pytest.mark.parametrize("size", [0, 7, 30])
def test_what_ends_within_its_header_leaves_after_decap(size: int) -> None:
    """As Linux has it, whose next hop then depends on what was in memory before: here on zeros,
    whatever was there. Seen in the kernel by generated programs."""
    sent = bytes(packet(ip(H1, SID), srh([SID, H2], next_header=41), bytes(inner())[:size]))
    found = simulator("dt6")
    found.run(Packet(bytes(outer([OTHER]))))
    outcome = found.run(Packet(sent))
    if size < 8:
        assert (outcome.fate, outcome.reason) == ("lost", "hop limit")
        return
    assert (outcome.fate, outcome.link) == ("sent", "out")
    assert outcome.packet == bytes(inner())[:7] + b"\x06" + bytes(inner())[8:size]
    assert through_the_loop(simulator("dt6"), sent) == (bytes([SLOW]), "out", outcome.packet)


def test_counters_are_read_as_the_kernels_are() -> None:
    found = simulator("tag")
    for _ in range(3):
        found.run(Packet(bytes(query([], tag=1))))
    manifest = compiled("tag")[0].manifest
    counters = read_counters(found.maps[manifest.stats_map], manifest)
    assert counters.packets == 3
    assert counters.dropped == 0


def test_params_are_set_as_the_kernels_are() -> None:
    """One in one packets is marked; with one in none, none."""
    sent = bytes(inner())
    for one_in, sizes in ((1, 40 + 8 + 32 + 72), (0, 0)):
        found = simulator("mark_delay", "delay")
        manifest = compiled("mark_delay", "delay")[0].manifest
        copy = bytearray(found.maps[".data"].lookup(bytes(4)) or b"")[8:][: manifest.params_size]
        field = next(p.field for p in manifest.params if p.field.name == "one_in")
        copy[field.offset : field.offset + field.size] = one_in.to_bytes(field.size, "little")
        write_params(found.maps[".data"], bytes(copy))
        outcome = found.run(Packet(sent))
        assert outcome.packet is not None
        assert len(outcome.packet) == len(sent) + sizes


def test_a_helper_fails_on_demand() -> None:
    """The packet is dropped, and the function's own counter says why."""
    found = simulator("tag", failing={"bpf_lwt_seg6_store_bytes": 14})
    outcome = found.run(Packet(bytes(query([]))))
    assert (outcome.fate, outcome.reason) == ("dropped", "program returned BPF_DROP")
    manifest = compiled("tag")[0].manifest
    assert sum(read_counters(found.maps[manifest.stats_map], manifest).errors.values()) == 1


def test_a_trace_has_every_instruction() -> None:
    found = simulator("tag")
    packet_in = Packet(bytes(query([])))
    outcome = found.trace(packet_in)
    assert outcome.steps[0].slot == 0
    assert len(outcome.steps) > 50
    lines = {line.text for s in outcome.steps if (line := found.image.line(s.slot))}
    assert any("set srh.tag" in text for text in lines)
    assert replace(outcome, steps=()) == simulator("tag").run(packet_in)


def test_without_segments_left_the_program_does_not_run() -> None:
    outcome = simulator("tag").run(Packet(bytes(query([], left=0))))
    assert (outcome.fate, outcome.returned) == ("refused", None)
    assert outcome.reason == "no segment routing header with segments left"
