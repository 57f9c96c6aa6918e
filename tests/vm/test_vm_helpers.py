"""Helpers and maps that no function of the standard library uses, on both engines."""

from __future__ import annotations

import errno
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from machines import query

from nfc.bpf import isa
from nfc.bpf.helpers import HELPERS
from nfc.bpf.isa import Instruction as I
from nfc.bpf.isa import encode
from nfc.bpf.object import MapDef, Object, Program, Relocation, RelocationKind
from nfc.errors import KernelError, ObjectError, UsageError
from nfc.vm.buffers import ProgArrayMap, QueueMap, RingMap
from nfc.vm.helpers import table
from nfc.vm.helpers.failures import ENOTSUPP, FAILURES
from nfc.vm.simulator import Packet, Simulator

PACKET = Packet(bytes(query([])))
ENGINES = pytest.mark.parametrize("engine", ["interpreter", "jit"])
CALL, LOAD64, EXIT = 0x85, 0x18, I(0x95)


def call(number: int) -> I:
    return I(CALL, 0, 0, 0, number)


def simulator(
    code: list[I], definition: MapDef | None, engine: str, *others: Program, **more: object
) -> Simulator:
    """A program whose ld_imm64 with immediate 77 are its map's address."""
    places = [sum(i.slots for i in code[:n]) for n in range(len(code))]
    relocations = tuple(
        Relocation(8 * places[n], RelocationKind.MAP, definition.name)
        for n, i in enumerate(code)
        if definition and i.wide and i.imm == 77
    )
    maps = (definition,) if definition else ()
    program = Program("f", "lwt_seg6local", encode(code), relocations)
    obj = Object((program, *others), maps, license="GPL")
    found = Simulator(obj, "f", "endpoint", engine=engine, **more)  # type: ignore[arg-type]
    found.warm_up = 0
    return found


@ENGINES
def test_loop_calls_back_until_told_to_stop(engine: str) -> None:
    """The callback adds its index to what its argument points to, and stops at index 5."""
    code = [
        I(0x7A, 10, 0, -8, 0), I(0xB7, 1, 0, 0, 100), I(LOAD64, 2, isa.SRC_FUNC, 0, 9),
        I(0xBF, 3, 10), I(0x07, 3, 0, 0, -8), I(0xB7, 4), call(181),
        I(0x67, 0, 0, 0, 8), I(0x79, 1, 10, -8), I(0x4F, 0, 1), EXIT,
        I(0x79, 3, 2), I(0x0F, 3, 1), I(0x7B, 2, 3), I(0xB7, 0, 0, 0, 1),
        I(0x15, 1, 0, 1, 5), I(0xB7, 0), EXIT,
    ]  # fmt: skip
    outcome = simulator(code, None, engine).run(PACKET)
    assert outcome.fault is None, outcome.fault
    assert outcome.returned == 6 << 8 | 15


@ENGINES
def test_tail_call(engine: str) -> None:
    """Where there is a program it does not come back; where there is none it goes on."""
    table = MapDef("table", 3, 4, 4, 2)
    code = [I(LOAD64, 2, 0, 0, 77), I(0xB7, 3, 0, 0, 1), call(12), I(0xB7, 0, 0, 0, 2), EXIT]
    other = Program("other", "lwt_seg6local", encode([I(0xB7, 0), EXIT]))
    found = simulator(code, table, engine, other)
    assert found.run(PACKET).fate == "dropped"
    programs = found.maps["table"]
    assert isinstance(programs, ProgArrayMap)
    programs.programs[1] = "other"
    assert found.run(PACKET).fate == "sent"
    programs.programs[1] = "f"
    assert found.run(PACKET).fate == "dropped"  # 33 times, then it goes on


def ring_code(end: int) -> list[I]:
    """Reserve 40 bytes, put 7 there, and submit (132) or discard (133)."""
    return [
        I(LOAD64, 1, 0, 0, 77), I(0xB7, 2, 0, 0, 40), I(0xB7, 3), call(131), I(0x55, 0, 0, 2),
        I(0xB7, 0, 0, 0, 2), EXIT, I(0x7A, 0, 0, 32, 7), I(0xBF, 1, 0), I(0xB7, 2), call(end),
        I(0xB7, 0), EXIT,
    ]  # fmt: skip


RING = MapDef("ring", 27, 0, 0, 4096)


@ENGINES
def test_reserved_records(engine: str) -> None:
    outcome = simulator(ring_code(132), RING, engine).run(PACKET)
    assert outcome.records == (("ring", bytes(32) + b"\x07" + bytes(7)),)
    assert simulator(ring_code(133), RING, engine).run(PACKET).records == ()


@ENGINES
def test_a_ring_that_nobody_reads_is_full(engine: str) -> None:
    """48 bytes a record with its header, and one byte less than all of them (ringbuf.c)."""
    found = simulator(ring_code(132), RING, engine, drain=False)
    fates = [found.run(PACKET).fate for _ in range(90)]
    assert fates == ["sent"] * (4095 // 48) + ["dropped"] * (90 - 4095 // 48)
    ring = found.maps["ring"]
    assert isinstance(ring, RingMap)
    assert len(ring.take()) == 4095 // 48
    assert found.run(PACKET).fate == "sent"


@ENGINES
def test_a_record_that_is_not_submitted(engine: str) -> None:
    code = [I(LOAD64, 1, 0, 0, 77), I(0xB7, 2, 0, 0, 40), I(0xB7, 3), call(131), EXIT]
    fault = simulator(code, RING, engine).run(PACKET).fault
    assert fault is not None
    assert fault.message == "ends with a ring buffer record that it has not submitted"


@ENGINES
@pytest.mark.parametrize(("kind", "first"), [(22, 1), (23, 2)])
def test_queue_and_stack(kind: int, first: int, engine: str) -> None:
    """Push 1 and 2, then pop; a third push finds no room."""
    where = [I(0xBF, 2, 10), I(0x07, 2, 0, 0, -8)]
    push = [I(LOAD64, 1, 0, 0, 77), *where, I(0xB7, 3), call(87)]
    code = [
        I(0x7A, 10, 0, -8, 1), *push, I(0x7A, 10, 0, -8, 2), *push, *push,
        I(0x63, 10, 0, -16), I(LOAD64, 1, 0, 0, 77), *where, call(88),
        I(0x61, 0, 10, -16), I(0x87, 0), I(0x67, 0, 0, 0, 8), I(0x79, 1, 10, -8), I(0x4F, 0, 1),
        EXIT,
    ]  # fmt: skip
    found = simulator(code, MapDef("queue", kind, 0, 8, 2), engine)
    outcome = found.run(PACKET)
    assert outcome.fault is None, outcome.fault
    assert outcome.returned is not None
    assert outcome.returned & 0xFF == first
    assert outcome.returned >> 8 == errno.E2BIG  # negated in the program
    queue = found.maps["queue"]
    assert isinstance(queue, QueueMap)
    assert queue.lookup(b"") == (3 - first).to_bytes(8, "little")


@ENGINES
@pytest.mark.parametrize(
    ("helper", "number", "gives"),
    [("bpf_ringbuf_output", errno.EAGAIN, -errno.EAGAIN), ("bpf_ringbuf_reserve", 1, 0)],
)
def test_helpers_fail_on_demand(helper: str, number: int, gives: int, engine: str) -> None:
    """With an errno, or with null where they give a pointer."""
    code = [
        I(0x7A, 10, 0, -8, 1), I(LOAD64, 1, 0, 0, 77), I(0xBF, 2, 10), I(0x07, 2, 0, 0, -8),
        I(0xB7, 3, 0, 0, 8), I(0xB7, 4), call(130 if helper.endswith("output") else 131), EXIT,
    ]  # fmt: skip
    outcome = simulator(code, RING, engine, failing={helper: number}).run(PACKET)
    assert outcome.fault is None, outcome.fault
    assert outcome.returned == gives & 0xFFFFFFFF


@ENGINES
def test_clocks_go_with_tai(engine: str) -> None:
    for helper, want in ((208, 1_700_000_000_000_000_077), (5, 77), (125, 77)):
        found = simulator([call(helper), EXIT], None, engine)
        found.now = 1_700_000_000_000_000_077
        assert found.run(PACKET).returned == want & 0xFFFFFFFF


@ENGINES
def test_random_numbers_are_the_seeds_or_given(engine: str) -> None:
    code = [call(7), EXIT]
    drawn = [simulator(code, None, engine, seed=s).run(PACKET).returned for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    found = simulator(code, None, engine)
    found.draws[:] = [5]
    assert found.run(PACKET).returned == 5


@ENGINES
def test_what_fails_in_no_kernel_is_not_made_to(engine: str) -> None:
    with pytest.raises(UsageError, match="bpf_ktime_get_ns does not fail in any kernel"):
        simulator([call(5), EXIT], None, engine, failing={"ktime_get_ns": None})
    outcome = simulator([call(5), EXIT], None, engine, failing={"ktime_get_ns": 5}).run(PACKET)
    assert outcome.returned == -5 & 0xFFFFFFFF


@ENGINES
def test_what_is_handed_back_to_the_router_is_a_fault(engine: str) -> None:
    code = [I(0xB7, 1, 0, 0, 3), I(0xB7, 2, 0, 0, 1), call(23), EXIT]
    obj = Object((Program("f", "lwt_xmit", encode(code)),), license="GPL")
    found = Simulator(obj, "f", "xmit", engine=engine)
    found.warm_up = 0
    fault = found.run(Packet(bytes(query([])))).fault
    assert fault is not None
    assert fault.message.startswith("hands the packet to the router as if a link had brought it")


def test_maps_are_put_into_maps_of_maps() -> None:
    """One like the object's, or one of its own; not one of another kind, nor more than fit."""
    inner = MapDef("inner", 2, 4, 8, 2)
    outer = MapDef("outer", 12, 4, 4, 1, inner=inner)
    maps = (outer, MapDef("like", 2, 4, 8, 2), MapDef("other", 1, 4, 8, 2))
    obj = Object((Program("f", "lwt_seg6local", encode([EXIT])),), maps, license="GPL")
    found = Simulator(obj, "f", "endpoint")
    assert found.nest("outer", bytes(4)).info.name == "inner"
    assert found.nest("outer", bytes(4), "like") is found.maps["like"]
    assert list(found.maps["outer"].keys()) == [bytes(4)]
    with pytest.raises(KernelError, match="EINVAL"):
        found.nest("outer", bytes(4), "other")
    with pytest.raises(KernelError, match="E2BIG"):
        found.nest("outer", b"\1\0\0\0")
    with pytest.raises(UsageError, match="no map of maps"):
        found.nest("like", bytes(4))
    with pytest.raises(UsageError, match="Simulator"):
        found.maps["outer"].update(bytes(4), bytes(4))
    assert found.maps["outer"].delete(bytes(4))
    assert not found.maps["outer"].delete(bytes(4))


def test_a_map_of_maps_says_what_is_in_it() -> None:
    maps = (MapDef("outer", 12, 4, 4, 1),)
    obj = Object((Program("f", "lwt_seg6local", encode([EXIT])),), maps, license="GPL")
    with pytest.raises(ObjectError, match="does not say what its maps look like"):
        Simulator(obj, "f", "endpoint")


@ENGINES
def test_a_loop_that_only_may_goto_ends(engine: str) -> None:
    """It ends with half of the budget; a loop without it is a fault."""
    endless = [I(0xE5, 0, 0, 1), I(0x05, 0, 0, -2), I(0xB7, 0), EXIT]
    found = simulator(endless, None, engine, budget=2000)
    assert found.run(PACKET).returned == 0
    assert 990 < found.machine.budget < 1000
    assert simulator([I(0x05, 0, 0, -1), EXIT], None, engine, budget=2000).run(PACKET).fault


def test_the_page_names_every_helper_and_every_failure() -> None:
    page = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()
    listed = page.partition("**Helpers**:")[2].partition("\n\n")[0]
    assert re.findall(r"`(\w+)`", listed) == [short(number) for number in sorted(table())]
    part, said = page.partition("How they fail")[2].partition("**Maps**")[0], {}
    for names, failures in re.findall(r"^\| (`\w+`.*?) \| ([A-Z0-9, ]+) \|$", part, re.M):
        numbers = tuple(
            ENOTSUPP if e == "ENOTSUPP" else getattr(errno, e) for e in failures.split(", ")
        )
        said.update(dict.fromkeys(re.findall(r"`(\w+)`", names), numbers))
    assert said == {short(number): errnos for number, errnos in FAILURES.items()}


def short(number: int) -> str:
    return HELPERS[number].name.removeprefix("bpf_")
