"""Captures at full speed: the same as packet by packet, for every function and every packet."""

from __future__ import annotations

import io
import struct
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "properties")]

from generated_bytecode import objects
from generated_packets import Wanted, make_packet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machines import H1, H2, SID, compiled, query
from test_engines import HOOKS

from nfc.bpf.isa import Instruction as I
from nfc.bpf.isa import encode
from nfc.bpf.object import Object, Program
from nfc.packet import ip, packet, srh, tlv
from nfc.packet.pcap import LINKTYPE_ETHERNET, LINKTYPE_RAW, records
from nfc.vm import drive
from nfc.vm.batch import REASONS, Batch
from nfc.vm.fib import Fib
from nfc.vm.simulator import MOST_OPTIMIZED, Packet, Simulator

FUNCTIONS = {
    "tag": "", "nsh": "", "egress": "", "x": "", "t": "", "dt6": "", "end_dm": "delay",
    "mark_delay": "delay", "ioam_begin": "ioam", "ioam_end": "ioam", "path_sink": "path_tracing",
}  # fmt: skip
SHAPES = ((7, 46), (252, 22), (253, 14), (200, 3))
FIBS = (
    Fib.default(),
    Fib.parse('[routes.main]\n"fd20::/16" = "h2"\n"fd00::/8" = "h3"\n[routes.100]\n', "x"),
    Fib.parse('own = ["fd20::1"]\nrest = "h9"\nmtu = 1300\n[marks]\n7 = 100\n', "x"),
    Fib.parse(
        'own = ["fd20::1"]\n[marks]\n5 = 100\n7 = 101\n[links]\nh3 = 4\n[routes.100]\n'
        '"fd20::/17" = "h4"\n"fd2f::/16" = "h4"\n[routes.main]\n"::/0" = "h3"\n',
        "x",
    ),
)
BEGIN = 1_700_000_000


def file(packets: list[bytes], *, order: str = "<", frames: bool = False) -> bytes:
    """Records as they are in a file."""
    head = b"\x02" * 12 + b"\x86\xdd" if frames else b""
    return b"".join(
        struct.pack(f"{order}IIII", BEGIN, i, len(head + p), len(head + p)) + head + p
        for i, p in enumerate(packets)
    )


def one_by_one(found: Simulator, packets: list[bytes]) -> list[object]:
    said: list[object] = []
    for i, data in enumerate(packets):
        if not data or data[0] >> 4 != 6:
            said.append(("skipped", "not an IPv6 packet", "", None, ()))
            continue
        found.now = BEGIN * 10**9 + i * 1000
        o = found.run(Packet(data, 5, 6, 7, 8))
        said.append((o.fate, o.reason, o.link, o.packet, o.records))
    return said


def begins_with(record: bytes, numbers: int) -> int:
    first = int.from_bytes(record[:8], "little") if len(record) > 7 else numbers
    return min(first, numbers)


def at_once(found: Simulator, packets: list[bytes], size: int, **kind: bool | str) -> list[object]:
    """The same by the batch, in chunks that cut records in two."""
    swapped, frames = bool(kind.get("swapped")), bool(kind.get("frames"))
    batch = Batch(
        found,
        linktype=LINKTYPE_ETHERNET if frames else LINKTYPE_RAW,
        swapped=swapped,
        nano=False,
        packet=Packet(b"", 5, 6, 7, 8),
        optimized=bool(kind.get("optimized")),
    )
    data = file(packets, order=">" if swapped else "<", frames=frames)
    said: list[object] = []
    begin, end = 0, 0
    while begin < len(data) or not said:
        end = min(len(data), end + size)
        done = batch.run(data[begin:end])
        begin += done.used
        head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 18, 101)
        left = [r.data for r in records(io.BytesIO(head + done.out))]
        sent: dict[int, list[tuple[str, bytes]]] = {}
        for at, name, record in done.records:
            sent.setdefault(at, []).append((name, record))
        for numbers in (0, 1, 3, 256):
            counts = Counter((n, begins_with(record, numbers)) for _, n, record in done.records)
            assert done.kinds(numbers) == counts
        for at, code in enumerate(done.verdicts):
            if code == drive.SLOW:
                fate, reason = done.slow[at].fate, done.slow[at].reason
            else:
                fate, reason = REASONS[code]
            gone = fate == "sent"
            link = batch.link(done.links[at]) if gone else ""
            packet = left.pop(0) if gone else None
            said.append((fate, reason, link, packet, tuple(sent.get(at, ()))))
        assert not left
        if end == len(data) and not done.count:
            break
    return said


def maps(found: Simulator) -> dict[str, object]:
    return {n: (bytes(m.region.data), list(m.keys())) for n, m in found.maps.items()}


@given(
    st.sampled_from(sorted(FUNCTIONS)),
    st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=12),
    st.sampled_from(FIBS),
    st.booleans(),
    st.sampled_from([50, 300, 1 << 16]),
)
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
def test_every_function_on_every_packet(
    function: str, seeds: list[int], fib: Fib, swapped: bool, size: int
) -> None:
    found, obj = compiled(function, FUNCTIONS[function])
    hook = found.function.hook
    packets = [make_packet(s, Wanted(hook, SHAPES), i) for i, s in enumerate(seeds)]
    packets.insert(len(packets) // 2, b"\x45" + bytes(30))
    one = Simulator(obj, function, hook, fib=fib, seed=1, engine="interpreter")
    other = Simulator(obj, function, hook, fib=fib, seed=1)
    assert at_once(other, packets, size, swapped=swapped) == one_by_one(one, packets)
    assert maps(one) == maps(other)


@given(HOOKS.flatmap(lambda h: st.tuples(objects(h), st.just(h))), st.integers(0, (1 << 32) - 1))
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
def test_every_program(drawn: tuple[Object, str], seed: int) -> None:
    obj, hook = drawn
    packets = [bytes(query([tlv(200, b"abcdef"), tlv(201, bytes(22))], tag=7))]
    packets += [make_packet(seed, Wanted(hook, SHAPES), 1), packets[0], packets[0][:90]]
    one = Simulator(obj, "f", hook, seed=1, engine="interpreter", budget=300)
    other = Simulator(obj, "f", hook, seed=1, budget=300)
    assert at_once(other, packets, 1 << 16) == one_by_one(one, packets)
    assert maps(one) == maps(other)


@pytest.mark.parametrize("function", ["tag", "end_dm", "mark_delay"])
def test_optimized_code_does_the_same(function: str) -> None:
    found, obj = compiled(function, FUNCTIONS[function])
    hook = found.function.hook
    packets = [make_packet(s, Wanted(hook, SHAPES), s) for s in range(40)]
    one = Simulator(obj, function, hook, seed=1, engine="interpreter")
    other = Simulator(obj, function, hook, seed=1)
    assert at_once(other, packets, 4096, optimized=True) == one_by_one(one, packets)
    assert maps(one) == maps(other)


def test_frames_with_and_without_a_vlan_tag() -> None:
    obj = compiled("tag")[1]
    one = bytes(query([], tag=3))
    tagged = b"\x02" * 12 + b"\x81\x00\x00\x05\x86\xdd" + one
    plain = b"\x02" * 12 + b"\x86\xdd" + one
    other = b"\x02" * 12 + b"\x08\x00" + one
    short = b"\x02" * 13
    chunk = b"".join(
        struct.pack("<IIII", 1, 1, len(f), len(f)) + f for f in (tagged, plain, other, short)
    )
    done = Batch(
        Simulator(obj, "tag", "endpoint"), linktype=LINKTYPE_ETHERNET, optimized=False
    ).run(chunk)
    assert list(done.verdicts) == [drive.SENT, drive.SENT, drive.SKIPPED, drive.SKIPPED]
    assert done.fates() == {("sent", ""): 2, ("skipped", "not an IPv6 packet"): 2}


def test_rules_and_own_addresses_are_native_too() -> None:
    """A mark's table is asked first; what is for the router itself does not leave."""
    obj = compiled("tag")[1]
    fib = Fib.parse(
        f'own = ["{H1}"]\n[marks]\n5 = 100\n[routes.100]\n"{H2}/128" = "a"\n'
        f'[routes.main]\n"::/0" = "b"\n',
        "x",
    )
    packets = [packet(ip(H1, SID), srh([SID, to])) for to in (H2, H1, "fd00:3::1")]
    chunk = file([bytes(p) for p in packets])
    for mark, links in ((5, "ab"), (6, "bb")):
        batch = Batch(
            Simulator(obj, "tag", "endpoint", fib=fib), packet=Packet(b"", mark), optimized=False
        )
        done = batch.run(chunk)
        assert list(done.verdicts) == [drive.SENT, drive.SLOW, drive.SENT]
        assert [batch.link(done.links[i]) for i in (0, 2)] == list(links)
        assert done.slow[1].reason == "for the router itself, or discarded"


AGAIN = '[routes.main]\n"fd00:a::d/128" = {link = "a", function = true}\n"::/0" = "b"\n'


@pytest.mark.parametrize("times", [1, 2, 8, 9, 10])
def test_packets_that_come_back_to_the_function(times: int) -> None:
    """A segment list that names the SID several times; the rest of the capture stays native."""
    obj = compiled("tag")[1]
    fib = Fib.parse(AGAIN, "x")
    packets = [bytes(packet(ip(H1, SID), srh([SID] * n + [H2]))) for n in (1, times, 1)]
    one = Simulator(obj, "tag", "endpoint", fib=fib, engine="interpreter")
    other = Simulator(obj, "tag", "endpoint", fib=fib)
    said = one_by_one(one, packets)
    assert at_once(other, packets, 1 << 16) == said
    assert maps(one) == maps(other)
    again = said[1]
    assert isinstance(again, tuple)
    fate, _, link, left, _ = again
    assert (fate, link) == (("sent", "b") if times < 9 else ("lost", ""))
    assert not left or left[40 + 7] == times  # the tag's low byte: one more each time
    done = Batch(other, optimized=False).run(file(packets))
    assert [code == drive.SLOW for code in done.verdicts] == [False, times > 1, False]


@pytest.mark.parametrize("hook", ["in", "xmit"])
def test_a_route_that_has_the_function_is_native_without_reroute(hook: str) -> None:
    code = [I(0xB7, 0), I(0x95)]
    obj = Object((Program("f", "lwt", encode(code)),), license="GPL")
    batch = Batch(Simulator(obj, "f", hook, fib=Fib.parse(AGAIN, "x")), optimized=False)
    done = batch.run(file([bytes(packet(ip(H1, SID)))]))
    assert list(done.verdicts) == [drive.SENT]
    assert batch.link(done.links[0]) == "a"


def test_a_record_that_is_too_long() -> None:
    """It is left for somebody who says what is wrong with it; what was before it counts."""
    obj = compiled("tag")[1]
    batch = Batch(Simulator(obj, "tag", "endpoint"), optimized=False)
    before = file([bytes(query([]))] * 3)
    done = batch.run(before + struct.pack("<IIII", 1, 1, 1 << 20, 1 << 20))
    assert (done.count, done.used, done.stopped) == (3, len(before), True)


def test_more_packets_than_one_turn_takes() -> None:
    """Buffers fill up: the rest of the chunk is left for the next turn."""
    obj = compiled("end")[1]
    packet = bytes(query([])) + bytes(0)
    chunk = bytearray(file([packet] * 40_000))
    batch = Batch(Simulator(obj, "end", "endpoint"))
    total = 0
    while total < 40_000:
        done = batch.run(chunk)
        assert done.count
        total += done.count
        del chunk[: done.used]
    assert not chunk


@pytest.mark.parametrize("hook", ["endpoint", "in", "out", "xmit"])
def test_the_devices_that_a_program_sees(hook: str) -> None:
    """It drops what says that it is on the device by which it came."""
    code = [I(0x61, 2, 1, 40), I(0xB7, 0, 0, 0, 2), I(0x15, 2, 0, 1, 7), I(0xB7, 0), I(0x95)]
    obj = Object((Program("f", "lwt", encode(code)),), license="GPL")
    for fib in (Fib.default(), Fib(rest="h2", links={"h2": 9})):
        packets = [bytes(query([]))] * 2
        one, other = Simulator(obj, "f", hook, fib=fib), Simulator(obj, "f", hook, fib=fib)
        said = one_by_one(one, packets)
        assert at_once(other, packets, 1000) == said
        assert [row[0] for row in said] == ["sent" if hook == "xmit" else "dropped"] * 2  # type: ignore[index]


def test_a_long_program_is_not_optimized() -> None:
    """LLVM's passes would take minutes for what others write: some 20,000 instructions."""
    code = [I(0xB7, 0), *[I(0x07, 0, 0, 0, 1)] * MOST_OPTIMIZED, I(0xB7, 0, 0, 0, 2), I(0x95)]
    obj = Object((Program("f", "lwt", encode(code)),), license="GPL")
    simulator = Simulator(obj, "f", "in")
    done = Batch(simulator).run(file([bytes(packet(ip(H1, SID)))]))
    assert list(done.verdicts) == [drive.DROPPED]
    assert not simulator.compiled("f", optimized=True).optimized
