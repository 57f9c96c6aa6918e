"""Every expectation fails where it should, and says why, field by field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nfc.nft.load import load
from nfc.nft.real import Real
from nfc.nft.run import Result, run_test
from nfc.nft.simulated import Simulated
from nfc.nft.subject import Subject

PROGRAM = """
use tlvs

param limit: u16 = 100
param nexthop: ipv6 = fd00:3::1

table customers: prefix[16] { source: ipv6 } to { blocked: bool, quota: u64 }
table flows: per cpu hash[2] { port: u16 } to { packets: u64 }
counter by_port[4] { port: u16 }
counter seen
state total: u64
state mine: per cpu u32

event hit { tag: u16, from: ipv6, at: timestamp, quick: bool, mac: bytes6, packet[256] }

tlv LABEL = 210 { mac: bytes6, kind: u8 = 3, reserved: u8 }

endpoint f {
    when srh.tag >= limit { drop }
    when srh.tag == 1 {
        emit hit { tag = srh.tag, from = ip.src, at = now(), quick = true, mac = 0x0a0b0c0d0e0f }
        set packet.mark = 7
        count seen
        count by_port[udp.dst_port] by 3
        forward
    }
    when srh.tag == 2 {
        set total = total + 5
        set mine = mine + 1
        put customers[ip.src] { quota = 9 }
        put flows[srh.tag] { packets = 1 }
        add LABEL { mac = 0x010203040506 }
        forward
    }
    when srh.tag == 3 { forward via nexthop }
    when sample(1 in 1000) { drop }
    otherwise forward
}
"""
HEAD = """
packet p = ip / srh [fd00:a::1, fd00:2::2] / udp / "hello"
packet one = p { set srh.tag = 1 }
packet two = p { set srh.tag = 2 }
"""


HOLDS = [
    "send p expect forwarded",
    "send p expect forwarded on out expect rule 6",
    "send p expect *",
    "send p expect ip _ -> _ { hop_limit = 60 .. 63 } / srh [_, -> fd00:2::2] / "
    "udp { checksum = _ } / *",
    "send p expect ip { hop_limit = 63 } / srh [fd00:a::1, -> fd00:2::2] / *",
    "send two expect *",
    "send two expect forwarded { add LABEL { mac = 0x010203040506 } }",
    "send two expect forwarded { add LABEL { mac = _ } }",
    "send two expect ip { hop_limit = 63 } / srh [fd00:a::1, -> fd00:2::2] { tag = 2 } with * / *",
    "send two expect state total = 5 send two expect state total = 10 expect state mine = 2",
    "send two expect entry customers[fd00:1::1/128] { quota = 9, blocked = false }",
    "send two expect entry flows[2] { packets = 1 } expect no entry flows[3]",
    "send two where cpu = 2 expect state mine = 1",
    "send one expect event hit { tag = 1, from = fd00:1::1, at = now, quick = true } of arrived",
    "send one expect event hit { mac = 0x0a0b0c0d0e0f, at = now - 1ns .. now }",
    "send one expect count seen = 1 expect count by_port[5000] = 3 expect count by_port[1] = 0",
    "send 4 times one expect count seen = 4",
    "send one expect mark = 7 expect priority = 0",
    "send p where mark = 3, priority = 5 expect mark = 3 expect priority = 5",
    "param limit = 0 send p expect drop expect no event",
    "send p { set srh.tag = 3 } expect forwarded on out",
    "route fd00:3::/64 to side send p { set srh.tag = 3 } expect forwarded on side",
    "route fd00:2::/64 to side send p expect forwarded on side",
    "draws true send p expect drop send p expect forwarded",
    "draws 0xffffffff, 0 send p expect forwarded send p expect drop",
    "seed 7 send p expect forwarded",
    "fail map_update_elem with E2BIG send two expect drop put_failed expect count put_failed = 1",
    "fail lwt_seg6_adjust_srh send two expect drop srh_resize_failed",
    "clock 5s send one expect event hit { at = 5s } wait 7ms send one "
    "expect event hit { at = 5s + 7ms }",
    "state total = 3 state mine = 4 send two expect state total = 8 expect state mine = 5",
    "put flows[7] { packets = 2 } send p expect entry flows[7] { packets = 2 } "
    "remove flows[7] send p expect no entry flows[7]",
    "send ip / udp expect refused",
    "send ip { hop_limit = 1 } / srh [fd00:a::1, fd00:2::2] / udp expect lost",
    "send 0x6000 expect refused",
    "packet q = one send q expect event hit {}",
]


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """All of them as one file."""
    folder = tmp_path_factory.mktemp("expect")
    folder.joinpath("f.nf").write_text(PROGRAM)
    steps = [*HOLDS, *(case[0] for case in FAILS)]
    tests = [f'test "{i}" {{\n    {text}\n}}\n' for i, text in enumerate(steps)]
    folder.joinpath("f.nft").write_text(HEAD + "\n".join(tests))
    return load(folder / "f.nft")


def run(subject: Subject, number: int) -> Result:
    return run_test(subject, *subject.tests[number], Simulated())


@pytest.mark.parametrize("number", range(len(HOLDS)))
def test_holds(subject: Subject, number: int) -> None:
    result = run(subject, number)
    assert [(f.message, f.difference) for f in result.failures] == []
    assert result.status == "passed"
    assert result.packets >= 1


FAILS = [
    ("send p expect forwarded { set srh.tag = 9 }", "packet that left differs",
     "SRH tag\n  expected 0x0009\n  got      0x0000"),
    ("send p expect forwarded on side", "the packet left on out", "expected side"),
    ("send p expect ip -> _ { hop_limit = 1 .. 9 } / *", "packet that left differs",
     "hop_limit\n  expected 1 .. 9\n  got      63"),
    ("send p expect ip { hop_limit = 63 } / udp / *", "packet that left differs",
     "SRH segments_left is not expected"),
    ("send p expect ip { hop_limit = 63 } / srh [_] / *", "packet that left differs", ""),
    ("send p { set payload = \"x\" } expect forwarded { set payload = \"y\" }", "differs",
     "payload bytes, from its byte 0"),
    ("send p expect forwarded { set udp.checksum = 7 }", "differs", "expected 0x0007"),
    ("send two expect forwarded { add LABEL { mac = 0x010203040507 } }", "differs",
     "SRH TLV[0] mac\n  expected 0x010203040507\n  got      0x010203040506"),
    ("send two expect forwarded { add LABEL { mac = _, kind = 4 .. 9 } }", "differs",
     "LABEL.kind\n  expected 4 .. 9\n  got      3"),
    ("send two expect forwarded { add NSH {} }", "differs",
     "SRH TLV[0] type\n  expected 6 (NSH)\n  got      210 (LABEL)"),
    ("send p expect forwarded { add NSH {} }", "differs", "SRH TLV[0] type is missing"),
    ("param limit = 0 send p expect forwarded", "no packet left: rule 1, line 19, dropped it", ""),
    ("send p expect drop", "expected drop, but it left on out", "IPv6 @0"),
    ("param limit = 0 send p expect drop put_failed", "but rule 1, line 19, dropped it", ""),
    ("fail map_update_elem send two expect drop", "dropped it: put_failed", ""),
    ("send p expect refused", "expected refused, but it left", ""),
    ("send ip / udp expect lost", "the kernel refused it before the function", ""),
    ("send p { set ip.hop_limit = 1 } expect refused", "let it go, and the kernel lost it", ""),
    ("send p expect event hit {}", "this event did not come (events: none)", ""),
    ("send one expect no event", "there was an event: hit", ""),
    ("send one expect event hit { tag = 4, quick = false }", "the event hit differs",
     "hit.tag\n  expected 4\n  got      1\nhit.quick\n  expected false\n  got      true"),
    ("send one expect event hit { at = now + 1s }", "the event hit differs", "hit.at"),
    ("send one expect event hit {} of sent", "the event hit differs", "SRH segments_left"),
    ("send one expect event hit {} expect event hit {}", "did not come", ""),
    ("send one expect count seen = 2", "count seen differs", "expected 2\n  got      1"),
    ("send one expect count by_port[5000] = 2", "count by_port differs", "got      3"),
    ("send two expect state total = 6", "state total differs", "got      5"),
    ("send two expect entry customers[fd00:1::1/128] { quota = 8 }", "the entry of customers",
     "customers.quota\n  expected 8\n  got      9"),
    ("send p expect entry flows[1] {}", "flows has no such entry", ""),
    ("send two expect no entry flows[2]", "flows has that entry", ""),
    ("send p expect rule 1", "another rule took the packet", "expected 1\n  got      6"),
    ("send ip / udp expect rule 1", "another rule took the packet", "got      none"),
    ("send one expect mark = 8", "packet.mark differs", "got      7"),
    ("send p expect priority = 1 .. 2", "packet.priority differs", "expected 1 .. 2"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(FAILS)))
def test_fails(subject: Subject, number: int) -> None:
    steps, message, difference = FAILS[number]
    result = run(subject, len(HOLDS) + number)
    assert result.status == "failed"
    (failure,) = result.failures[:1]
    assert message in failure.message
    assert difference in failure.difference
    assert failure.span.source.text[failure.span.start : failure.span.end] in steps + HEAD


@pytest.mark.kernel
def test_the_kernel_says_the_same(subject: Subject) -> None:
    """Each of them holds, fails for the same reason, or cannot be tried there."""
    machine = Real()
    tried = 0
    try:
        for test, compiled in subject.tests:
            here = run_test(subject, test, compiled, Simulated())
            there = run_test(subject, test, compiled, machine)
            if there.skipped:
                continue
            tried += 1
            assert there.status == here.status, (test.name, there.failures)
            assert told(there) == told(here)
    finally:
        machine.close()
    assert tried >= 50


def told(result: Result) -> list[tuple[str, str]]:
    """What differed; times are each machine's own, and so is what the kernel says of a packet."""
    message = re.compile(r" \(.*\)$")
    return [
        (
            message.sub("", f.message),
            "" if "now" in f.span.source.line(f.span.line) else f.difference,
        )
        for f in result.failures
    ]


def one(tmp_path: Path, program: str, steps: str) -> Result:
    tmp_path.joinpath("f.nf").write_text(program)
    tmp_path.joinpath("f.nft").write_text(f'{HEAD}\ntest "t" {{ {steps} }}\n')
    subject = load(tmp_path / "f.nft")
    return run_test(subject, *subject.tests[0], Simulated())


def test_the_step_that_fails_is_the_last(tmp_path: Path) -> None:
    result = one(tmp_path, PROGRAM, "send p expect drop expect rule 1 send p expect drop")
    assert [f.span.start for f in result.failures] == sorted(f.span.start for f in result.failures)
    assert (len(result.failures), result.packets) == (2, 1)


def test_more_events_than_were_asked_for(tmp_path: Path) -> None:
    """A list of events is the whole list."""
    program = PROGRAM.replace("emit hit { tag", "emit extra { n = 1 } emit hit { tag")
    program += "event extra { n: u8 }\n"
    result = one(tmp_path, program, "send one expect event extra { n = 1 }")
    assert [f.message for f in result.failures] == ["1 more event came: hit"]
