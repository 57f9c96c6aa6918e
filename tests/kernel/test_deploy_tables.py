"""Tables of deployed functions: shared, kept, shown, changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from kernel.conftest import GONE
from kernel.deployed import SID, Router, query
from nfc.cli import cli
from nfc.deploy.deployments import Request, deploy, undeploy

pytestmark = pytest.mark.kernel

TWO = """
table seen: hash[4] { tag: u16 } to { packets: u64, last: bool }
table nets: prefix[8] { dst: ipv6 } to { blocked: bool, mac: bytes6 }
state total: u64
state here: per cpu u32
counter by_tag[2] { tag: u16 }

endpoint f {
    when nets has [ip.dst] as n and n.blocked { drop }
    when seen has [srh.tag] as s {
        set s.packets = s.packets + 1
        set total = total + 1
        set here = here + 1
        count by_tag [srh.tag]
        forward
    }
    otherwise {
        put seen [srh.tag] { packets = 1 }
        count by_tag [srh.tag]
        forward
    }
}

endpoint g {
    when seen has [srh.tag] as s {
        set srh.tag = s.packets & 0xffff
        forward
    }
    otherwise drop
}
"""
OTHER_SID = "fd00:a::e"


@pytest.fixture(autouse=True)
def undeployed(place: Router) -> Iterator[None]:
    yield
    undeploy([], place.netns, all_=True)


def put_on(place: Router, function: str, prefix: str, program: str = TWO) -> None:
    request = Request(place.file(program), prefix, "eth0", function=function, netns=place.netns)
    deploy(request)


def run(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(cli, ["table", *arguments])
    if status:
        assert result.exit_code != 0
        return str(result.exception)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def entries(name: str, table: str) -> list[dict[str, object]]:
    found = json.loads(run("show", name, table, "--json"))["entries"]
    assert isinstance(found, list)
    return found


def test_functions_of_a_file_share_tables(place: Router) -> None:
    put_on(place, "f", SID)
    put_on(place, "g", OTHER_SID)
    for _ in range(3):
        assert place.through(query(tag=5)) is not None
    assert entries("g", "seen") == [{"key": {"tag": "5"}, "value": {"packets": 3, "last": False}}]
    assert entries("f", "state") == [{"key": {"index": "0"}, "value": {"total": 2}}]
    assert sum(row["here"] for row in entries("f", "state_per_cpu")[0]["cpus"]) == 2  # type: ignore[attr-defined]
    assert entries("f", "by_tag") == [{"key": {"tag": "5"}, "value": {"count": 3}}]
    listed = json.loads(run("list", "--json"))["tables"]
    assert {t["name"]: (t["used"], t["functions"]) for t in listed}["seen"] == (1, ["f", "g"])


def test_tables_stay_when_a_function_is_replaced_and_go_with_the_last(place: Router) -> None:
    put_on(place, "f", SID)
    assert place.through(query(tag=5)) is not None
    put_on(
        place,
        "f",
        SID,
        TWO.replace("count by_tag [srh.tag]\n        forward\n    }\n    o", "forward } o"),
    )
    assert len(entries("f", "seen")) == 1
    put_on(place, "g", OTHER_SID)
    undeploy(["f"], place.netns)
    assert len(entries("g", "seen")) == 1
    undeploy(["g"], place.netns)
    put_on(place, "g", OTHER_SID)
    assert entries("g", "seen") == []


def test_a_table_that_is_declared_otherwise_starts_empty(place: Router) -> None:
    put_on(place, "f", SID)
    assert place.through(query(tag=5)) is not None
    wider = TWO.replace("seen: hash[4]", "seen: hash[5]")
    outcome = deploy(Request(place.file(wider), SID, "eth0", function="f", netns=place.netns))
    assert "table seen is declared otherwise now: starts empty" in outcome.notes
    assert entries("f", "seen") == []
    assert len(entries("f", "by_tag")) == 1


def test_what_is_put_is_what_packets_find(place: Router) -> None:
    put_on(place, "f", SID)
    run("put", "f", "nets", "fd00:2::/64", "blocked=true", "mac=0x0a0b0c0d0e0f")
    assert run("show", "f", "nets") == "fd00:2::/64  blocked=true mac=0x0a0b0c0d0e0f\n"
    assert place.through(query(), wait=GONE) is None
    run("put", "f", "nets", "fd00:2::/64", "blocked=false")
    assert run("show", "f", "nets") == "fd00:2::/64  blocked=false mac=0x0a0b0c0d0e0f\n"
    assert place.through(query()) is not None
    run("remove", "f", "nets", "fd00:2::/64")
    assert "is empty" in run("show", "f", "nets")
    assert "no entry at" in run("remove", "f", "nets", "fd00:2::/64", status=1)
    run("put", "f", "state", "total=40")
    assert place.through(query()) is not None
    assert place.through(query()) is not None
    assert entries("f", "state")[0]["value"] == {"total": 42}
    assert run("clear", "f", "state") == "1 entries removed\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("put", "f", "nets", "fd00:2::1/64"), "host bits set"),
        (("put", "f", "nets", "fd00::/16", "blocked=7"), "neither true nor false"),
        (("put", "f", "nets", "fd00::/16", "mac=0x00"), "is not 6 bytes"),
        (("put", "f", "nets", "fd00::/16", "blokced=true"), "has no field 'blokced'"),
        (("put", "f", "seen", "1", "2"), "has keys of 1, not 2"),
        (("put", "f", "seen", "70000"), "does not fit u16"),
        (("show", "f", "sen"), "has no table 'sen'"),
        (("remove", "f", "state", "0"), "is an array"),
        (("show", "x", "seen"), "nothing called 'x' is deployed"),
    ],
)
def test_what_does_not_fit_is_refused(place: Router, words: tuple[str, ...], message: str) -> None:
    put_on(place, "f", SID)
    assert message in run(*words, status=1)
    assert entries("f", "nets") == []


def test_a_file_is_loaded_whole_or_not_at_all(place: Router, tmp_path: Path) -> None:
    put_on(place, "f", SID)
    file = tmp_path / "seen.json"

    def load(items: object, *more: str, status: int = 0) -> str:
        file.write_text(items if isinstance(items, str) else json.dumps(items))
        return run("load", "f", "seen", str(file), *more, status=status)

    def entry(tag: int, packets: object = 1) -> dict[str, object]:
        return {"key": {"tag": tag}, "value": {"packets": packets}}

    assert load([entry(1), entry(2)]) == "2 entries put\n"
    for bad, message in (
        ([entry(3), entry(4, "x")], "entry 2: packets: 'x' is not a number"),
        ([entry(3), {"key": {}}], "entry 2: this is not of the form"),
        ([entry(3), {"key": {"x": 1}, "value": {}}], "entry 2: its key has x, not tag"),
        ([entry(n) for n in range(9)], "No room: the map is full|E2BIG|too big|full"),
        ("{", "is not JSON"),
        ("7", "holds no list"),
    ):
        said = load(bad, status=1)
        assert any(part in said for part in message.split("|")), said
        assert {e["key"]["tag"] for e in entries("f", "seen")} == {"1", "2"}  # type: ignore[index]
    load(json.loads(run("show", "f", "seen", "--json")))
    assert load([entry(7)], "--only") == "1 entries put\n"
    assert [e["key"] for e in entries("f", "seen")] == [{"tag": "7"}]


def test_what_finds_no_room_is_counted(place: Router) -> None:
    put_on(place, "f", SID)
    for tag in range(1, 5):
        assert place.through(query(tag=tag)) is not None
    assert place.through(query(tag=5), wait=GONE) is None
    (status,) = place.status()
    assert status.counters is not None
    assert status.counters.errors["put_failed"] == 1
    assert status.counters.counts_lost == 2
