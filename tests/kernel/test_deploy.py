"""Deploying, replacing, setting and undeploying on a real route, while packets flow."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kernel.conftest import GONE, sh
from kernel.deployed import (
    H1,
    H2,
    LATE,
    PAYLOAD,
    SID,
    Router,
    Stream,
    number,
    query,
    tagging,
)
from nfc.deploy.deployments import deploy, undeploy
from nfc.deploy.settings import set_params
from nfc.deploy.status import read_status
from nfc.errors import NfcError, UsageError
from nfc.packet import decode, ip, packet, udp

pytestmark = pytest.mark.kernel

PASS = "transit f at in { otherwise forward }\n"
WITH_PARAM = """
param unwanted: u16 = 0
endpoint f {
    when srh.tag == unwanted { drop }
    otherwise { set srh.tag = %d forward }
}
"""
TWO_PARAMS = """
param one_side: u32 = 0
param other_side: u32 = 0
endpoint f {
    when one_side != other_side { drop }
    otherwise forward
}
"""


# ---- deploy -----------------------------------------------------------------------------------


def test_twice_changes_nothing(place: Router) -> None:
    assert place.deploy(tagging(1)).change == "deployed"
    before = place.snapshot()
    again = place.deploy(tagging(1))
    assert again.change == "unchanged"
    assert "nothing changed" in str(again)
    assert place.snapshot() == before
    # Saying the metric or the table's number says nothing new either.
    assert place.deploy(tagging(1), metric=1024).change == "unchanged"
    assert place.deploy(tagging(1), table="254").change == "unchanged"
    assert place.snapshot() == before


def test_a_comment_or_another_place_of_the_file_is_no_change_of_program(place: Router) -> None:
    place.deploy(tagging(1))
    before = place.program_id()
    moved = place.folder / "elsewhere" / "program.nf"
    moved.parent.mkdir()
    moved.write_text(tagging(1))
    assert deploy(replace(place.request(tagging(1)), file=moved)).change == "unchanged"
    assert place.program_id() == before


def tag_of(raw: bytes) -> int:
    header = decode(raw).srh
    assert header is not None
    return header.tag


def until_tagged(stream: Stream, tag: int) -> None:
    """Wait until packets come out with that tag."""
    deadline = time.monotonic() + LATE
    while not stream.got or tag_of(stream.got[-1]) != tag:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_replaced_while_packets_flow(place: Router) -> None:
    """No packet is lost between the old function and the new one, five times in a row."""
    place.deploy(tagging(1))
    with place.stream(100_000, 2000) as stream:
        for tag in (2, 3, 4, 5, 6):
            until_tagged(stream, tag - 1)
            assert place.deploy(tagging(tag)).change == "replaced"
        until_tagged(stream, 6)
        sent, got = stream.end()
    tags = [tag_of(raw) for raw in got]
    assert sorted(number(raw) for raw in got) == list(range(sent))
    assert set(tags) == {1, 2, 3, 4, 5, 6}
    assert (tags[0], tags[-1]) == (1, 6)
    # One generation is left, of pins and of records.
    assert {path.split("/")[1] for path, _ in place.pins()} == {place.record().generation}


def test_a_program_that_the_check_refuses_can_be_forced_only_if_the_kernel_takes_it(
    place: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old kernel's rules refuse what this one takes."""
    import nfc.deploy.deployments as module

    source = "event e { t: u8 }\nendpoint f { otherwise { emit e { t = 1 } forward } }\n"
    asked = replace(place.request(source), kernel="6.1")
    monkeypatch.setattr(module, "running_kernel", lambda: "4.18")
    with pytest.raises(NfcError, match="check refuses f") as refused:
        deploy(asked)
    assert "ringbuf" in str(refused.value)
    assert "--force" in (refused.value.hint or "")
    assert place.pins() == ()
    outcome = deploy(replace(asked, force=True))
    assert outcome.record.forced
    assert "forced past the check" in str(outcome)
    assert place.tag() == 0


def test_force_where_nothing_is_refused_is_not_noted(place: Router) -> None:
    assert not place.deploy(tagging(1), force=True).record.forced


# ---- params -----------------------------------------------------------------------------------


def test_set_takes_effect_without_a_reload(place: Router) -> None:
    place.deploy(WITH_PARAM % 9, settings={"unwanted": "5"})
    before = place.program_id(), place.pins()
    assert place.through(query(tag=5), wait=GONE) is None
    assert place.through(query(tag=6)) is not None
    assert set_params("f", place.netns, {"unwanted": "6"}) == ["unwanted = 6 (was 5)"]
    assert place.through(query(tag=5)) is not None
    assert place.through(query(tag=6), wait=GONE) is None
    assert (place.program_id(), place.pins()) == before
    assert set_params("f", place.netns, {"unwanted": "6"}) == ["unwanted = 6 (as it was)"]
    # Deploying again with a value sets it, too.
    outcome = place.deploy(WITH_PARAM % 9, settings={"unwanted": "7"})
    assert outcome.change == "set"
    assert place.through(query(tag=7), wait=GONE) is None
    assert (place.program_id(), place.pins()) == before


def mismatches(place: Router, *steps: tuple[str, ...]) -> tuple[int, int]:
    """(Packets, those that saw two different values) while these params are set over and over."""
    place.deploy(TWO_PARAMS)
    begin = time.monotonic()
    with place.stream(1_000_000, 6000) as stream:
        value = 0
        while value < 20 or time.monotonic() < begin + 1:
            value += 1
            for names in steps:
                set_params("f", None, dict.fromkeys(names, str(value)))
        sent, _ = stream.end(wait=1.0)  # some are dropped
    (status,) = read_status(["f"], None)
    assert status.counters is not None
    assert status.counters.packets == sent
    return sent, status.counters.dropped


def test_params_of_one_set_take_effect_together(place: Router) -> None:
    packets, different = mismatches(place, ("one_side", "other_side"))
    assert packets > 0
    assert different == 0


def test_params_of_two_sets_do_not(place: Router) -> None:
    """So the test before this one would see it if one set were two steps."""
    _, different = mismatches(place, ("one_side",), ("other_side",))
    assert different > 0


def test_settings_are_kept_over_an_upgrade(place: Router) -> None:
    place.deploy(WITH_PARAM % 1)
    set_params("f", None, {"unwanted": "5"})
    outcome = place.deploy(WITH_PARAM % 2)
    assert outcome.change == "replaced"
    assert outcome.notes == ("kept unwanted = 5",)
    assert place.through(query(tag=5), wait=GONE) is None
    got = place.through(query(tag=6))
    assert got is not None
    # A new value wins; one that does not fit any more, or has no param, is dropped.
    outcome = place.deploy(WITH_PARAM % 3, settings={"unwanted": "0x100"})
    assert outcome.record.settings == {"unwanted": "0x100"}
    outcome = place.deploy((WITH_PARAM % 4).replace("u16", "u8"))
    assert outcome.record.settings == {}
    assert place.through(query(tag=0), wait=GONE) is None, "the default, 0, is in force"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"unwnted": "1"}, "no param 'unwnted'"),
        ({"unwanted": "65536"}, "does not fit"),
        ({"unwanted": "-1"}, "does not fit"),
        ({"unwanted": "x"}, "not a number"),
        ({"unwanted": "1" * 5000}, "not fit|not a number"),
    ],
)
def test_wrong_settings_change_nothing(
    place: Router, setting: dict[str, str], message: str
) -> None:
    place.deploy(WITH_PARAM % 1, settings={"unwanted": "5"})
    before = place.snapshot()
    with pytest.raises(UsageError, match=message):
        set_params("f", None, {"unwanted": "7", **setting})
    with pytest.raises(UsageError, match=message):
        place.deploy(WITH_PARAM % 1, settings=setting)
    with pytest.raises(UsageError, match=message):
        place.deploy(WITH_PARAM % 2, settings=setting)
    assert place.snapshot() == before
    assert read_status([], None)[0].params == {"unwanted": "5"}


@pytest.mark.parametrize("prefix", ["ff02::1", "ff00::/8", "ff05::/64"])
def test_a_group_is_no_sid(place: Router, prefix: str) -> None:
    """The kernel takes such a route, and no packet ever comes to it. A transit function is on the
    way to a group, if anything."""
    before = place.snapshot()
    with pytest.raises(UsageError, match="groups are no segments") as refused:
        place.deploy(tagging(1), prefix=prefix)
    assert "unicast" in (refused.value.hint or "")
    assert place.snapshot() == before
    transit = "transit f at out { otherwise forward }"
    assert place.deploy(transit, prefix=prefix).change == "deployed"
    undeploy(["f"], None)
    assert place.snapshot() == before


# ---- undeploy ---------------------------------------------------------------------------------

ROUTES = {
    "none": (),
    "plain": (f"{SID} via {H2}",),
    "with everything": (f"{SID} via {H2} dev eth1 metric 77 mtu 1400 proto bgp pref high",),
    "multipath": (
        f"{SID} nexthop via {H2} dev eth1 weight 3 nexthop via fd00:1::1 dev eth0 weight 1",
    ),
    "of a device": (f"{SID} dev eth1 metric 5",),
    "blackhole": (f"blackhole {SID}",),
    "with a tunnel": (f"{SID} encap seg6 mode encap segs fd00:b::1 via {H2} dev eth1",),
    "two metrics": (f"{SID} via {H2} metric 10", f"{SID} via fd00:1::1 metric 20"),
    "in another table": (f"{SID} via {H2} table 77",),
}


@pytest.mark.parametrize("there", ROUTES.values(), ids=ROUTES)
def test_undeploy_restores_exactly_what_was_there(place: Router, there: tuple[str, ...]) -> None:
    for route in there:
        place.ip(f"route add {route}")
    before = place.snapshot()
    place.deploy(tagging(1))
    assert place.tag() == 1
    place.deploy(tagging(2))
    assert place.tag() == 2
    (line,) = undeploy(["f"], place.netns)
    expected = "route that was there before is back" if there and "77" not in there[0][-2:] else ""
    assert expected in line
    assert place.snapshot() == before
    for route in there:
        place.ip(f"route del {route.removeprefix('blackhole ').split(' pref')[0]}")


def test_a_transit_function_keeps_all_next_hops(place: Router) -> None:
    """Without --via the packets go where they went, over every next hop of the route."""
    prefix = "fd00:77::/64"
    place.ip(
        f"route add {prefix} nexthop via {H2} dev eth1 weight 1 nexthop via {H1} dev eth0 weight 1"
    )
    before = place.snapshot()
    try:
        place.deploy(PASS, prefix=prefix, dev="eth1")
        shown = place.ip(f"route show {prefix}")
        assert shown.count("nexthop") == 2
        assert shown.count("encap bpf in nfc:f:") == 2
        undeploy(["f"], None)
        assert place.snapshot() == before
    finally:
        place.ip(f"route del {prefix}")


def test_a_transit_function_with_via(place: Router) -> None:
    prefix = "fd00:77::/64"
    place.deploy(PASS, prefix=prefix, dev="eth1", via=H2)
    assert place.ip(f"route show {prefix}").startswith(f"{prefix}  encap bpf in nfc:f:")
    sent = packet(ip(H1, "fd00:77::1"), udp(4000, 5000), PAYLOAD)
    got = place.through(sent)
    assert got == bytes(packet(ip(H1, "fd00:77::1", hop_limit=63), udp(4000, 5000), PAYLOAD))
    assert undeploy([], None, all_=True)[0].endswith("route removed")
    assert place.ip(f"route show {prefix}") == ""


def test_undeploy_leaves_nothing(place: Router) -> None:
    before = place.snapshot()
    place.deploy(tagging(1))
    undeploy(["f"], None)
    assert place.snapshot() == before
    assert not place.pinned.exists()
    with pytest.raises(UsageError, match="nothing called 'f'"):
        undeploy(["f"], None)


# ---- others ------------------------------------------------------------------------------------


def test_two_functions_on_one_route_are_refused(place: Router) -> None:
    place.deploy(tagging(1))
    before = place.snapshot()
    with pytest.raises(NfcError, match="runs f already"):
        place.deploy(tagging(2), name="g")
    assert place.snapshot() == before


def test_one_function_on_two_routes_is_refused(place: Router) -> None:
    place.deploy(tagging(1))
    before = place.snapshot()
    for elsewhere in ({"prefix": "fd00:a::e"}, {"table": "100"}, {"metric": 7}):
        with pytest.raises(UsageError, match=r"deployed on .* already"):
            place.deploy(tagging(1), **elsewhere)
    assert place.snapshot() == before


def test_somebody_elses_program_is_not_replaced(place: Router) -> None:
    """nfc could not put it back: its object is not nfc's."""
    from nfc.compiler import compile_file

    compilation = compile_file(place.file(tagging(3)))
    path = place.folder / "theirs.o"
    path.write_bytes(compilation.object(compilation.functions))
    place.ip(
        f"route add {SID} encap seg6local action End.BPF endpoint obj {path} "
        "section lwt_seg6local dev eth0"
    )
    before = place.snapshot()
    with pytest.raises(NfcError, match="a program that is not nfc's"):
        place.deploy(tagging(1))
    assert place.snapshot() == before
    assert place.tag() == 3
    place.ip(f"route del {SID}")


def test_somebody_replaced_the_route(place: Router) -> None:
    place.deploy(tagging(1))
    place.ip(f"route replace {SID} via {H2} dev eth1")
    (status,) = read_status(["f"], None)
    assert not status.running
    assert "something else has replaced" in str(status)
    assert status.counters is not None, "its counters can still be read"
    theirs = place.ip("-d route show table all")
    (line,) = undeploy(["f"], None)
    assert "left as it is" in line
    assert place.ip("-d route show table all") == theirs
    assert place.pins() == ()
    place.ip(f"route del {SID}")


def test_somebody_replaced_the_route_and_we_come_back(place: Router) -> None:
    place.deploy(tagging(1))
    place.ip(f"route replace {SID} via {H2} dev eth1")
    theirs = place.snapshot().routes
    assert place.deploy(tagging(1)).change == "replaced"
    assert place.tag() == 1
    assert len(place.pins()) == 2
    assert place.deploy(tagging(1)).change == "unchanged"
    undeploy(["f"], None)
    assert place.snapshot().routes == theirs
    place.ip(f"route del {SID}")


@pytest.mark.parametrize("hook", ["endpoint", "in"])
def test_the_record_is_lost(place: Router, hook: str) -> None:
    """As after somebody cleared /run/nfc: the function can be deployed again, and undeployed."""
    program, prefix = (tagging(1), SID) if hook == "endpoint" else (PASS, "fd00:77::/64")
    if hook == "in":
        place.ip(f"route add {prefix} via {H2} dev eth1 metric 9")
    before = place.snapshot()
    more = {"prefix": prefix, "dev": "eth0" if hook == "endpoint" else "eth1"}
    place.deploy(program, **more)
    for path in Path(place.folder / "state").rglob("*.json"):
        path.unlink()
    outcome = place.deploy(program, **more)
    assert outcome.change == "deployed"
    assert "is not known" in str(outcome)
    assert [s.state for s in read_status([], None)] == ["running"]
    undeploy(["f"], None)
    assert place.snapshot() == before
    if hook == "in":
        place.ip(f"route del {prefix}")


def test_same_name_in_two_namespaces(place: Router) -> None:
    other = place.net.lab.name("h2")
    place.deploy(WITH_PARAM % 1)
    place.deploy(WITH_PARAM % 2, netns=other)
    try:
        with pytest.raises(UsageError, match="several namespaces") as error:
            set_params("f", None, {"unwanted": "3"})
        assert "--netns" in (error.value.hint or "")
        with pytest.raises(UsageError, match="several namespaces"):
            undeploy(["f"], None)
        set_params("f", other, {"unwanted": "3"})
        found = {s.record.place: s.params for s in read_status(["f"], None)}
        assert found == {place.netns: {"unwanted": "0"}, other: {"unwanted": "3"}}
        undeploy(["f"], other)
        assert [s.record.place for s in read_status([], None)] == [place.netns]
    finally:
        undeploy([], None, all_=True)


def test_the_namespace_is_deleted_under_us(place: Router) -> None:
    name = f"{place.netns}x"
    sh(f"ip netns add {name}")
    sh(f"ip -n {name} link set lo up")
    place.deploy(tagging(1), netns=name, dev="lo")
    place.deploy(tagging(1))
    sh(f"ip netns del {name}")
    states = {s.record.place: s for s in read_status([], None)}
    assert states[place.netns].running
    assert "no network namespace" in states[name].state
    with pytest.raises(NfcError, match="no network namespace"):
        place.deploy(tagging(1), netns=name, dev="lo")
    lines = undeploy([], None, all_=True)
    assert len(lines) == 2
    assert any("namespace is gone" in line for line in lines)
    assert not list(Path("/sys/fs/bpf/nfc").glob(f"netns-{name}*"))


@pytest.mark.parametrize("netns", ["", "-", ".", "..", "/proc/1/ns/net", "a/b", "a\0b", "a\n"])
def test_names_that_no_namespace_has(place: Router, netns: str) -> None:
    before = sh("ip -6 route show table all")
    for action in (
        lambda: place.deploy(tagging(1), netns=netns),
        lambda: undeploy([], netns, all_=True),
        lambda: read_status([], netns),
    ):
        with pytest.raises(UsageError, match="not the name of a network namespace"):
            action()
    assert sh("ip -6 route show table all") == before


@pytest.mark.parametrize("name", ["", "-f", "é", "a.b", "a/b", "x" * 65, "a b", ".."])
def test_names_that_no_function_can_have(place: Router, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a name"):
        place.deploy(tagging(1), name=name or "\n")
    assert place.pins() == ()


def test_two_at_once_wait_for_each_other(place: Router) -> None:
    """Four commands at once on one function: in the end one of the programs runs, whole."""
    import sys

    files = []
    for tag in (1, 2, 3, 4):
        path = place.folder / f"p{tag}.nf"
        path.write_text(tagging(tag))
        files.append(path)
    where = ["--route", SID, "--dev", "eth0", "--netns", place.netns]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "nfc", "deploy", str(path), *where],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for path in files
    ]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    (status,) = read_status([], None)
    assert status.running
    assert place.tag() in {1, 2, 3, 4}
    assert {path.split("/")[1] for path, _ in place.pins()} == {place.record().generation}
