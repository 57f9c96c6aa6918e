"""Packets that their route leads to the function once more, and links' limits: on the simulator's
routes as on real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfc.nft.cover import Cover
from nfc.nft.load import load
from nfc.nft.machine import Machine
from nfc.nft.real import Real
from nfc.nft.run import run_test
from nfc.nft.simulated import Simulated

PROGRAM = """
param far: ipv6 = fd00:9::1
counter seen
event at_hop { tag: u16 }

endpoint count_up {
    when srh.tag >= 3 {
        count seen
        drop
    }
    otherwise {
        count seen
        emit at_hop { tag = srh.tag }
        set srh.tag = srh.tag + 1
        forward
    }
}

transit detour at in {
    when ip.next_header == 43 {
        count seen
        forward
    }
    otherwise {
        count seen
        insert segments [far]
    }
}
"""
TESTS = """
const SID = fd00:a::1

test "twice" of count_up {
    send ip / srh [SID, SID, fd00:2::2] / udp
    expect ip _ -> fd00:2::2 { hop_limit = 63 } / srh [SID, SID, -> fd00:2::2] { tag = 2 } / *
    expect count seen = 2
    expect event at_hop { tag = 0 }
    expect event at_hop { tag = 1 }
    expect rule 2
}

test "only where packets were sent to" of count_up {
    route fd00:a::/32 to side
    send ip / srh [SID, fd00:a::2, fd00:2::2] / udp
    expect ip _ -> fd00:a::2 { hop_limit = 63 } / srh [_, -> fd00:a::2, _] { tag = 1 } / *
    expect * on side
    send ip / srh [fd00:a::2, SID, fd00:2::2] / udp
    expect ip _ -> fd00:2::2 { hop_limit = 63 } / srh [_, _, -> fd00:2::2] { tag = 2 } / *
    expect * on out
    expect count seen = 3
    send ip / srh [SID, fd00:a::2, fd00:2::2] / udp
    expect ip _ -> fd00:2::2 { hop_limit = 63 } / srh [_, _, -> fd00:2::2] { tag = 2 } / *
}

test "dropped in the end" of count_up {
    send ip / srh [SID, SID, SID, SID, fd00:2::2] / udp
    expect drop
    expect rule 1
    expect rule 2
    expect count seen = 4
}

test "no segments left the second time" of count_up {
    send ip / srh [SID, SID] / udp
    expect lost
    expect count seen = 1
}

test "where it was going at in, it does not come back" of detour {
    param far = fd00:2::2
    send ip fd00:1::1 -> fd00:2::2 / udp
    expect ip { hop_limit = 63 } / srh [-> fd00:2::2, fd00:2::2] / *
    expect count seen = 1
}

test "as long as links take" of detour {
    send ip fd00:1::1 -> fd00:2::2 / udp / bytes 8912
    expect ip _ -> _ { hop_limit = 63 } / *
    send ip fd00:1::1 -> fd00:2::2 / udp / bytes 8913
    expect lost
}
"""


def check(machine: Machine, folder: Path) -> None:
    folder.joinpath("again.nf").write_text(PROGRAM)
    folder.joinpath("again.nft").write_text(TESTS)
    subject = load(folder / "again.nft")
    for test, compiled in subject.tests:
        result = run_test(subject, test, compiled, machine)
        assert [(f.span.line, f.message, f.difference) for f in result.failures] == [], test.name
        assert result.status == "passed", test.name


def test_in_the_simulator(tmp_path: Path) -> None:
    check(Simulated(), tmp_path)
    check(Simulated(trace=True), tmp_path)


def test_every_round_counts_for_coverage(tmp_path: Path) -> None:
    """Both rules of a packet that takes one, then the other; what is asked on later rounds nobody
    knows."""
    tmp_path.joinpath("again.nf").write_text(PROGRAM)
    tmp_path.joinpath("again.nft").write_text(TESTS)
    subject = load(tmp_path / "again.nft")
    cover, machine = Cover(), Simulated()
    cover.begin(subject)
    for test, compiled in subject.tests[2:3]:
        assert run_test(subject, test, compiled, machine, cover).status == "passed"
    (function,) = (f for f in cover.functions if f.name == "count_up")
    assert [rule.packets for rule in function.rules] == [1, 1]
    assert function.unsure == 1


@pytest.mark.kernel
def test_on_real_routes(tmp_path: Path) -> None:
    machine = Real()
    try:
        check(machine, tmp_path)
    finally:
        machine.close()
