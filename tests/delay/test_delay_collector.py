"""The collector without a network: configuration, bounds, what it keeps."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfc.delay import keep
from nfc.delay.clock import Clock, Estimate, Filter, estimate
from nfc.delay.config import Config, parse, read
from nfc.delay.paths import Key, Named, Paths
from nfc.delay.wire import Message, Report
from nfc.errors import NfcError

Nfc = Callable[..., tuple[int, str, str]]


def said(session: int, delay: int = 1000, source: str = "fd00::1", control: int = 1) -> Report:
    message = Message(session, 10**9, 10**9 + delay, control=control, response=True)
    return Report(message, IPv6Address(source), IPv6Address("fd00:b::d"))


# ---- configuration --------------------------------------------------------------------------

WHOLE = """
listen = "[::1]:4000"
metrics = "127.0.0.1:9000"
state = "/var/lib/nfc/delay.json"
save_every = 5
step = 0.5
keep = 10
max_paths = 3
allow = ["fd00::/16"]

[[path]]
name = "there"
session = 7
source = "FD00::1"
clock = "/run/nfc/there.clock"
"""


def test_a_whole_configuration() -> None:
    found = parse(WHOLE)
    assert found.listen == ("::1", 4000)
    assert found.metrics == ("127.0.0.1", 9000)
    assert found.paths == (Named("there", 7, "fd00::1", "", "/run/nfc/there.clock"),)
    assert parse("") == Config()


WRONG = {
    "listen = 4739": 'listen must be an address and a port, such as "[::1]:4739", not 4739',
    'listen = "::1:4739"': "listen must be an address",
    'listen = "[::1]:70000"': "listen must be an address",
    'listen = "[::1]:٣"': "listen must be an address",
    "keep = 0": "keep must be a whole number from 1 to 100000, not 0",
    "keep = 1.5": "keep must be a whole number",
    "keep = true": "keep must be a whole number",
    "step = nan": "step must be a number",
    'step = "1"': "step must be a number from 0.1 to 86400",
    'allow = ["fd00::1/16"]': "allow must be a list of IPv6 prefixes",
    "state = ''": "state must be the name of a file",
    "steps = 3": "steps: there is no such key",
    "path = 3": "paths are written as [[path]]",
    "[path]\nname = 'a'": "paths are written as [[path]]",
    "[[path]]\nname = 'a'": "path[1].session is missing",
    "[[path]]\nsession = 1": "path[1].name is missing",
    "[[path]]\nname = 'a'\nsession = 16777216": "path[1].session must be a whole number",
    "[[path]]\nname = 'a'\nsession = 1\nsid = 'x'": "path[1].sid must be an IPv6 address",
    "[[path]]\nname = 'a'\nsession = 1\nsids = 'x'": "path[1].sids: there is no such key",
    "[[path]]\nname='a'\nsession=1\n[[path]]\nname='a'\nsession=2": "two paths are called 'a'",
    "max_paths = 1\n[[path]]\nname='a'\nsession=1\n[[path]]\nname='b'\nsession=2": "2 paths are",
    "listen = x": "(at line 1, column 10)",
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_wrong_configuration(text: str, tmp_path: Path, nfc: Nfc) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    code, out, err = nfc("delay", "collect", file)
    assert (code, out) == (1, "")
    assert f"error: {file}: " in err
    assert WRONG[text] in err


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(NfcError, match="UTF-8"):
        read(file)


# ---- paths ----------------------------------------------------------------------------------


def test_paths_are_told_apart_and_counted() -> None:
    paths = Paths((Named("mine", 1, "fd00::1"),))
    for delay in (1000, 2000, 3000):
        assert paths.take(said(1, delay), "fd00:2::1", 5.0) is not None
    paths.take(said(1, source="fd00::2"), "fd00:2::1", 5.0)
    paths.take(said(1, control=0x11), "fd00:2::1", 6.0)
    paths.take(said(1, 5, control=0x02), "fd00:2::1", 6.0)  # its times must not be used
    mine, other = paths.all.values()
    assert mine.name == "mine"
    assert other.name == "session 1 fd00::2 → fd00:b::d"
    figures = mine.figures(7.0)
    assert (figures["samples"], figures["median"], figures["last"]) == (3, 2003, 6.0)
    assert figures["errors"] == {"unsupported version": 1, "invalid data format": 1}


def test_there_are_only_so_many_paths_and_room_for_the_named_ones() -> None:
    paths = Paths((Named("mine", 1),), most=10)
    for session in range(100, 200):
        paths.take(said(session), "fd00:2::1", 0.0)
    assert (len(paths.all), paths.turned_away) == (9, 91)
    assert paths.take(said(1), "fd00:2::1", 0.0) is not None
    assert len(paths.all) == 10
    assert paths.take(said(200), "fd00:2::1", 0.0) is None


def test_another_configuration_renames_paths_and_keeps_what_was_counted() -> None:
    paths = Paths((Named("mine", 1),), most=3)
    for session in (1, 2):
        paths.take(said(session), "fd00:2::1", 5.0)
        for window in range(4):
            paths.take(said(session), "fd00:2::1", 5.0)
            paths.close(float(window))
    paths.adopt((Named("theirs", 2, clock="/none"),), 2, 3)
    one, two = paths.all.values()
    assert (one.name, two.name) == ("session 1 fd00::1 → fd00:b::d", "theirs")
    assert (one.delays.count, [p.begin for p in two.points]) == (5, [1.0, 2.0, 3.0])
    assert two.clock is not None
    assert "cannot read /none" in two.clock.problem
    assert paths.take(said(3), "fd00:2::1", 5.0) is None  # two at most
    paths.adopt((), 3, 3)
    assert two.clock is None
    assert paths.take(said(3), "fd00:2::1", 5.0) is not None


def test_only_so_many_windows_are_kept() -> None:
    paths = Paths(keep=3)
    for window in range(5):
        paths.take(said(1, 1000 + window), "", float(window))
        paths.close(float(window))
    paths.close(9.0)  # nothing in it
    (path,) = paths.all.values()
    assert [(p.begin, p.count, p.minimum) for p in path.points] == [
        (2.0, 1, 1002),
        (3.0, 1, 1003),
        (4.0, 1, 1004),
    ]


# ---- what is kept ---------------------------------------------------------------------------


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    paths = Paths()
    for delay in (-5, 1000, 10**7):
        paths.take(said(3, delay), "", 1.0)
    paths.take(said(3, control=0x12), "", 2.0)
    paths.close(1.0)
    keep.save(file, paths)
    again = Paths()
    assert keep.restore(file, again) == 1
    keep.save(tmp_path / "again.json", again)
    assert (tmp_path / "again.json").read_text() == file.read_text()
    assert keep.restore(tmp_path / "none.json", Paths()) == 0
    assert sorted(os.listdir(tmp_path)) == ["again.json", "state.json"]


DAMAGE: dict[str, object] = {
    "version": 2,
    "paths": [{"name": "x"}],
}


@pytest.mark.parametrize("key", DAMAGE)
def test_a_damaged_state_is_refused_and_stays(key: str, tmp_path: Path, nfc: Nfc) -> None:
    file = tmp_path / "state.json"
    paths = Paths()
    paths.take(said(3), "", 1.0)
    keep.save(file, paths)
    damaged = json.loads(file.read_text())
    damaged[key] = DAMAGE[key]
    file.write_text(json.dumps(damaged))
    before = file.read_text()
    code, out, err = nfc("delay", "collect", "--state", file, "--listen", "[::1]:0")
    assert (code, out) == (1, "")
    assert "is not what 'nfc delay collect' keeps" in err
    assert file.read_text() == before


def test_where_it_cannot_listen_or_write(tmp_path: Path, nfc: Nfc) -> None:
    code, _, err = nfc("delay", "collect", "--listen", "[fd00:77::1]:4739", "--timeout", "0")
    assert code == 1
    assert "cannot listen on [fd00:77::1]:4739" in err
    none = tmp_path / "none" / "state.json"
    code, _, err = nfc(
        *("delay", "collect", "--listen", "[::1]:0", "--timeout", "0", "--state", none)
    )
    assert code == 1
    assert f"cannot write {none}" in err


# ---- clocks ---------------------------------------------------------------------------------


def test_the_offset_out_of_four_times() -> None:
    """The far clock is 5000 ahead; 700 there, 300 back: off by 200, which the bound covers."""
    sent, there, back, ahead = 10**9, 700, 300, 5000
    received = sent + there + ahead
    reply_sent = received + 10_000
    reply_received = reply_sent - ahead + back
    offset, bound = estimate(sent, received, reply_sent, reply_received)
    assert (offset, bound) == (5200, 500)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers())
def test_the_offset_is_never_off_by_more_than_its_bound(
    there: int, back: int, stay: int, ahead: int
) -> None:
    """Whatever the clocks show, and however long either way takes."""
    ahead %= 10**18
    received = 10**18 + there + ahead
    answered = 10**18 + there + stay + back
    offset, bound = estimate(10**18, received, received + stay, answered)
    assert abs(offset - ahead) <= bound
    if there == back:
        assert offset == ahead


def test_half_of_a_change_that_stays_is_taken_for_the_clock() -> None:
    """Once no query from before is left, or its bound has grown over that of a new one."""
    for most, taken in ((1000, 140), (20, 119)):
        found = Filter(most)
        for now in range(200):
            there, back = (9_000_000 if now >= 100 else 5_000_000), 5_000_000
            found.add((there - back) // 2, (there + back) // 2, float(now))
            best = found.best(now)
            assert best is not None
            assert best.offset == (2_000_000 if now >= taken else 0), now


def test_the_fastest_query_tells_most_until_it_is_old() -> None:
    known = Filter(drift_ppm=50)
    known.add(1000, 100, 0.0)
    known.add(2000, 5000, 10.0)
    found = known.best(10.0)
    assert found is not None
    assert found.offset == 2000  # the other is off by up to 100 ns + 50 us a second by now
    found = known.best(0.05)
    assert found is not None
    assert found.offset == 1000


def test_a_clock_follows_its_file(tmp_path: Path) -> None:
    file = tmp_path / "far.clock"
    clock = Clock(str(file))
    clock.look()
    assert (clock.offset, clock.bound(0.0)) == (None, None)
    assert "No such file" in clock.problem
    Estimate(-500, 20, 100.0, 10.0).write(file)
    clock.look()
    assert (clock.offset, clock.bound(101.0), clock.problem) == (-500, 10_020, "")
    file.write_text("nonsense")
    clock.look()
    assert clock.offset == -500
    assert "holds no clock offset" in clock.problem
    paths = Paths((Named("far", 1, clock=str(file)),))
    Estimate(-500, 20, 100.0).write(file)
    path = paths.path(Key(1))
    assert path is not None
    assert path.clock is not None
    path.clock.look()
    assert path.take(said(1, 300), 1.0) == 800
