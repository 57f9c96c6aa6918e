"""Counters and events of running functions, provoked with real packets, read by real commands."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from kernel.deployed import H1, H2, LATE, PAYLOAD, SID, Router, fresh, query, router
from nfc.deploy.deployments import undeploy
from nfc.deploy.settings import set_params
from nfc.deploy.status import Status, read_status
from nfc.observe.counters import Counters
from nfc.packet import Packet, ip, packet, srh, tlv, udp

pytestmark = pytest.mark.kernel

TWO_RULES = """
event seen { tag: u16, source: ipv6, wide: bool, moment: timestamp }
endpoint f {
    when srh.tag == 1 { drop }
    when srh.tag == 2 {
        emit seen { tag = srh.tag, source = ip.src, wide = srh.oam == 1, moment = now() }
        forward
    }
    otherwise forward
}
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    with router(tmp_path_factory.mktemp("programs")) as built:
        for node, device in (("h1", "eth0"), ("r1", "eth0"), ("r1", "eth1"), ("h2", "eth0")):
            built.net.lab.execute(node, ["ip", "link", "set", device, "mtu", "4000"])
        yield built


@pytest.fixture
def place(network: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Router]:
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))
    yield replace(network, folder=tmp_path)
    fresh(network)


def status() -> Status:
    (found,) = read_status(["f"], None)
    return found


def counters() -> Counters:
    found = status().counters
    assert found is not None
    return found


def send(place: Router, *sent: Packet, lost: int = 0) -> list[bytes]:
    """What arrives of these packets, all but `lost`."""
    with place.net.lab.capture("h2", "eth0") as capture:
        place.net.lab.send("h1", "eth0", *sent)
        got = capture.packets(len(sent) - lost, timeout=LATE)
        return got + capture.packets(lost, timeout=0.15)


# ---- counters ----------------------------------------------------------------------------------


def test_by_rule(place: Router, nfc: Callable[..., tuple[int, str, str]]) -> None:
    place.deploy(TWO_RULES)
    sent = [query(tag=t) for t in (1, 1, 1, 2, 2, 3)]
    assert len(send(place, *sent, lost=3)) == 3
    found = counters()
    assert [(r.line, r.packets, r.drops) for r in found.rules] == [
        (4, 3, True), (5, 2, False), (9, 1, False),
    ]  # fmt: skip
    assert (found.packets, found.dropped, found.events_lost) == (6, 3, 0)
    assert set(found.errors.values()) <= {0}
    code, out, err = nfc("status", "f", "--netns", place.netns)
    assert (code, err) == (0, "")
    assert re.search(r"packets +6, dropped 3", out)
    assert re.search(r"rule at line 4 +3 +\(dropped\)", out)
    assert re.search(r"rule at line 5 +2$", out, re.M)
    assert "errors   none" in out
    code, out, _ = nfc("status", "--json")
    (shown,) = json.loads(out)
    assert (shown["packets"], shown["dropped"], shown["events_lost"]) == (6, 3, 0)
    assert shown["rules"][0] == {"line": 4, "packets": 3, "drops": True}
    assert shown["state"] == "running"


def error_case(place: Router, program: str, reason: str, bad: Packet, good: Packet) -> None:
    """The bad packet is dropped and counted under its reason, and under no other; the good one
    goes on. The rule that was taken counts both."""
    place.deploy(program)
    assert len(send(place, good)) == 1
    assert counters().dropped == 0
    assert send(place, bad, bad, lost=2) == []
    found = counters()
    assert {k: n for k, n in found.errors.items() if n} == {reason: 2}
    assert (found.packets, found.dropped) == (3, 2)
    text = str(status())
    assert f"{reason} 2" in text
    assert "errors   none" not in text


ADD = "tlv MORE = 200 { a: u64 }\nendpoint f { otherwise { add MORE { a = 1 } forward } }\n"


def test_srh_full(place: Router) -> None:
    """The largest SRH that there is, 2048 bytes, has no room for one more TLV."""
    filler = [tlv(201, bytes(253)) for _ in range(7)] + [tlv(201, bytes(221))]
    largest = packet(ip(H1, SID), srh([SID, H2], left=1, tlvs=filler), udp(4000, 5000), PAYLOAD)
    assert largest.srh is not None
    assert len(bytes(largest)) == 40 + 2048 + 8 + len(PAYLOAD)
    error_case(place, ADD, "srh_full", largest, query())


def test_action_failed(place: Router) -> None:
    """There is nothing to decapsulate: the SRH is followed by UDP."""
    inner = packet(ip(H1, H2), udp(4000, 5000), PAYLOAD)
    outer = packet(ip(H1, SID), srh([SID, H2], left=1, next_header=41), bytes(inner))
    program = "endpoint f { otherwise decap to table main }\n"
    error_case(place, program, "action_failed", query(), outer)


@pytest.mark.parametrize("verdict", ["forward to table 12345", "forward via fd00:99::1"])
def test_action_failed_for_want_of_a_route(place: Router, verdict: str) -> None:
    """A table that does not exist, a neighbour that nothing leads to."""
    place.deploy(f"endpoint f {{ otherwise {verdict} }}\n")
    assert send(place, query(), query(), lost=2) == []
    found = counters()
    assert {k: n for k, n in found.errors.items() if n} == {"action_failed": 2}
    assert (found.packets, found.dropped) == (2, 2)


def test_encap_failed(place: Router) -> None:
    """Nothing leads to the first segment; with one that can be reached the packet leaves."""
    program = """
    param segment: ipv6 = fd00:99::1
    transit f at in { otherwise encap segments [segment, ip.dst] }
    """
    plain = packet(ip(H1, H2), udp(4000, 5000), PAYLOAD)
    place.deploy(program, prefix="fd00:2::/64", dev="eth1")
    try:
        assert send(place, plain, plain, lost=2) == []
        found = counters()
        assert {k: n for k, n in found.errors.items() if n} == {"encap_failed": 2}
        assert (found.packets, found.dropped) == (2, 2)
        set_params("f", None, {"segment": H2})
        (got,) = send(place, plain)
        assert got.endswith(bytes(plain)[40:])
        assert counters().dropped == 2
    finally:
        undeploy(["f"], None)


def test_an_error_sends_no_event(place: Router) -> None:
    program = "event e { a: u8 }\nendpoint f { otherwise { emit e { a = 1 } decap to table main } }"
    place.deploy(program)
    assert send(place, query(), lost=1) == []
    assert counters().errors["action_failed"] == 1
    assert run_events(place, "--timeout", "0.1") == ""


WIDE = """
event wide { a: ipv6, b: ipv6, c: ipv6, d: ipv6, e: ipv6, f: ipv6, g: ipv6, n: u16 }
endpoint f {
    otherwise {
        emit wide { a = ip.src, b = ip.src, c = ip.src, d = ip.src,
                    e = ip.src, f = ip.src, g = ip.src, n = srh.tag }
        forward
    }
}
"""


def test_events_lost(place: Router) -> None:
    """Nobody reads: the ring fills, the packets go on, and what is lost is counted."""
    count = 3000
    place.deploy(WIDE)
    with place.stream(count, 10_000) as stream:
        sent, got = stream.rest()
    assert sent == len(got) == count
    found = counters()
    assert (found.packets, found.dropped) == (count, 0)
    waiting = run_events(place, "--timeout", "0.1").splitlines()
    assert found.events_lost > 0
    assert len(waiting) + found.events_lost == count
    assert f"{found.events_lost} lost: nobody reads fast enough" in str(status())
    # There is room again.
    assert place.through() is not None
    assert len(run_events(place, "--count", "1").splitlines()) == 1


# ---- the command -------------------------------------------------------------------------------


def reader(place: Router, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "nfc", "events", "f", "--netns", place.netns, *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def run_events(place: Router, *options: str) -> str:
    process = reader(place, *options)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out


def a_line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def test_text_json_count_and_timeout(place: Router) -> None:
    place.deploy(TWO_RULES)
    before = time.clock_gettime_ns(getattr(time, "CLOCK_TAI", 11))
    flagged = packet(
        ip(H1, SID), srh([SID, H2], left=1, tag=2, flags=0x20), udp(4000, 5000), PAYLOAD
    )
    assert len(send(place, query(tag=2), flagged, query(tag=2), query(tag=2))) == 4
    line = run_events(place, "--count", "1")
    assert re.fullmatch(rf"seen tag=2 source={H1} wide=false moment=\d+\.\d{{9}}\n", line)
    event = json.loads(run_events(place, "--count", "1", "--json"))
    after = time.clock_gettime_ns(getattr(time, "CLOCK_TAI", 11))
    assert before <= event.pop("moment") <= after
    assert event == {"event": "seen", "tag": 2, "source": H1, "wide": True}
    begin = time.monotonic()
    lines = run_events(place, "--json", "--timeout", "0.5").splitlines()
    assert time.monotonic() - begin >= 0.5
    assert [json.loads(x)["tag"] for x in lines] == [2, 2]
    assert run_events(place, "--timeout", "0") == ""


def test_nothing_is_left_of_a_function_whose_events_were_read(place: Router) -> None:
    place.deploy(TWO_RULES)
    assert run_events(place, "--timeout", "0") == ""
    folder = place.kept
    assert sorted(path.name for path in folder.iterdir()) == ["f.events.lock", "f.json"]
    undeploy(["f"], place.netns)
    assert not folder.exists()


def test_a_second_reader_is_refused(place: Router) -> None:
    place.deploy(TWO_RULES)
    send(place, query(tag=2))
    first = reader(place)
    assert a_line(first.stdout).startswith("seen ")
    second = reader(place, "--timeout", "5")
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out) == (1, "")
    assert "are being read already" in err
    # The first is not disturbed.
    send(place, query(tag=2))
    assert a_line(first.stdout).startswith("seen ")
    first.kill()
    first.communicate()
    send(place, query(tag=2))
    assert run_events(place, "--count", "1").startswith("seen "), "a dead reader is in nobody's way"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(place: Router, number: signal.Signals) -> None:
    place.deploy(TWO_RULES)
    send(place, query(tag=2))
    process = reader(place, "--json")
    assert json.loads(a_line(process.stdout))["tag"] == 2
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_reader_of_the_output_that_leaves(place: Router) -> None:
    """As `nfc events f | head -1`: no traceback."""
    place.deploy(TWO_RULES)
    send(place, *[query(tag=2)] * 5)
    process = reader(place, "--timeout", "3")
    assert a_line(process.stdout).startswith("seen ")
    assert process.stdout is not None
    process.stdout.close()
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        send(place, query(tag=2))
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) is not None


def test_events_go_on_when_the_function_is_replaced(place: Router) -> None:
    """Of the old function to the last one, then of the new; until it is undeployed."""
    place.deploy(TWO_RULES)
    send(place, query(tag=2))
    process = reader(place, "--json")
    assert json.loads(a_line(process.stdout))["tag"] == 2
    send(place, query(tag=2))
    place.deploy(TWO_RULES.replace("tag = srh.tag", "tag = 77"))
    send(place, query(tag=2))
    assert [json.loads(a_line(process.stdout))["tag"] for _ in range(2)] == [2, 77]
    undeploy(["f"], None)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "f is not deployed any more" in err


def test_no_events_to_read(place: Router, nfc: Callable[..., tuple[int, str, str]]) -> None:
    place.deploy("endpoint f { otherwise forward }\n")
    code, out, err = nfc("events", "f")
    assert (code, out) == (1, "")
    assert "f emits no events" in err
    code, out, err = nfc("events", "g")
    assert (code, out) == (2, "")
    assert "nothing called 'g' is deployed" in err
