"""`nfc run`: what becomes of packets, params and tables; its command line."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_packets import (
    H1,
    H2,
    INNER,
    STDLIB,
    TIME,
    Nfc,
    query,
    read,
    sid,
    summary,
    write,
    write_mixed,
)

from nfc.packet import decode, ip, packet


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Packets of which the function sees some."""
    return write_mixed(tmp_path)


@pytest.mark.parametrize("engine", ["jit", "interpreter"])
@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_packets_in_and_out(nfc: Nfc, tmp_path: Path, mixed: Path, form: str, engine: str) -> None:
    out = tmp_path / f"out.{form}"
    given = ("--pcap", mixed, "--out", out, "--engine", engine)
    code, said, err = nfc("run", STDLIB / "tag.nf", *given)
    assert (code, err) == (0, "")
    assert said.splitlines() == [
        f"tag (endpoint) on {mixed}: 5 packets",
        "  passed over          1  no segment routing header with segments left",
        "                       1  not IPv6",
        "  padded               1  were cut short when captured; what is missing was run as zeros",
        "  sent                 2  by out",
        "  refused              1  by the kernel, before the function: "
        "shorter than its payload length says",
        "  rules                2  line 4",
        f"  2 packets written to {out}",
    ]
    first, second = read(out)
    assert (first.time_ns, second.time_ns) == (TIME, TIME)
    for record, tag in ((first, 2), (second, 8)):
        left = decode(record.data)
        assert left.srh is not None
        assert (left.srh.tag, left.srh.segments_left, left.ip.hop_limit) == (tag, 0, 63)
        assert str(left.ip.dst) == H2
    assert first.data.endswith(b"hello")
    assert second.data.endswith(b"he\0\0\0")


def test_a_line_for_each_packet(nfc: Nfc, mixed: Path) -> None:
    code, said, _ = nfc("run", STDLIB / "tag.nf", "--pcap", mixed, "--packets")
    assert code == 0
    assert said.splitlines()[:5] == [
        "      1 0.000000000  line 4  sent by out, 133 → 133 bytes",
        "      2 0.001000000  passed over: no segment routing header with segments left",
        "      3 0.002000000  passed over: not IPv6",
        "      4 0.000000000  line 4  sent by out, 133 → 133 bytes",
        "      5 0.004000000  refused: shorter than its payload length says",
    ]


def test_events_counters_and_the_clock(nfc: Nfc, tmp_path: Path) -> None:
    path = write(tmp_path / "in.pcapng", [query(1), query(0), query(1), sid()])
    given = ("run", STDLIB / "delay.nf", "--function", "end_dm", "--pcap", path)
    code, said, _ = nfc(*given, "--json", "--events")
    assert code == 0
    *events, _ = map(json.loads, said.splitlines())
    assert [(e["number"], e["event"], e["received"] - TIME) for e in events] == [
        (1, "delay_sample", 0),
        (3, "delay_sample", 2_000_000),
    ]
    found = summary(said)
    taken = [rule["packets"] for rule in found["rules"]]
    assert sum(taken) == 4
    assert taken[0] == 2
    assert found["events"] == {"delay_sample": 2}
    for options, received in (
        (("--now", "5.5"), 5_500_000_000),
        (("--tai-offset", "37"), TIME + 37_000_000_000),
    ):
        said = nfc(*given, "--json", "--events", "--count", 1, *options)[1]
        assert json.loads(said.splitlines()[0])["received"] == received
    said = nfc(*given, "--events")[1]
    assert re.search(r"^ +3 delay_sample .*received=1700000000.125456789", said, re.M)
    assert "  events               2  delay_sample" in said


def test_only_packets_to_a_route_and_only_so_many(nfc: Nfc, tmp_path: Path) -> None:
    path = write(tmp_path / "in.pcap", [sid(), packet(ip(H1, "fd00:9::1"), b"x"), sid()])

    def run(*words: object) -> dict[str, Any]:
        code, said, err = nfc("run", STDLIB / "tag.nf", "--pcap", path, "--json", *words)
        assert (code, err) == (0, ""), said
        return summary(said)

    found = run("--route", "fd00:b::/64")
    assert (found["packets"], found["sent"]) == (3, {"out": 2})
    assert found["passed_over"] == {"not to fd00:b::/64": 1}
    assert run("--count", 2)["packets"] == 2


PROGRAM = """
param limit: u16 = 3
param from_here: ipv6 = fd00:1::1
const CUSTOMERS: u32 = 100
event counted { tag: u16, from: ipv6 }
table seen: hash[8] { src: ipv6 } to { tag: u16, at: timestamp, wait: duration }
table marks: array[4] to { mark: u32 }
counter by_tag[16] { tag: u16 }
state total: u64

endpoint count_up {
    when srh.tag >= limit { drop }
    when seen has [ip.src] as s and s.wait > 1s { forward to table CUSTOMERS }
    when marks has [1] as m and m.mark == 9 {
        set packet.mark = m.mark
        forward
    }
    otherwise {
        set total = total + 1
        count by_tag[srh.tag]
        put seen[ip.src] { tag = srh.tag, at = now(), wait = 5ms }
        emit counted { tag = srh.tag, from = ip.src }
        forward
    }
}
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "count.nf"
    path.write_text(PROGRAM)
    return path


def test_params(nfc: Nfc, tmp_path: Path, program: Path) -> None:
    path = write(tmp_path / "in.pcap", [sid(tag=n) for n in range(6)])
    said = nfc("run", program, "--pcap", path, "--json")[1]
    assert summary(said)["dropped"] == {"by the rule at line 12": 3}
    said = nfc("run", program, "--pcap", path, "--json", "--param", "limit=5")[1]
    assert summary(said)["dropped"] == {"by the rule at line 12": 1}
    code, _, err = nfc("run", program, "--pcap", path, "--param", "limt=5")
    assert code == 2
    assert "count_up has no param 'limt'" in err
    assert "limit" in err


def test_tables_come_out_as_they_go_in(nfc: Nfc, tmp_path: Path, program: Path) -> None:
    path = write(tmp_path / "in.pcap", [sid(tag=n) for n in (1, 2, 1)])
    first = nfc("run", program, "--pcap", path, "--json")[1]
    tables = {t["table"]: t["entries"] for t in summary(first)["tables"]}
    at = TIME + 2_000_000
    assert tables["seen"] == [
        {"key": {"src": "fd00::1"}, "value": {"tag": 1, "at": at, "wait": "5ms"}}
    ]
    assert tables["by_tag"] == [
        {"key": {"tag": "1"}, "value": {"count": 2}},
        {"key": {"tag": "2"}, "value": {"count": 1}},
    ]
    assert tables["state"][0]["value"] == {"total": 3}
    text = nfc("run", program, "--pcap", path)[1]
    assert "  table seen: 1 of 8\n    fd00::1  tag=1 at=" in text
    assert "  by_tag:\n    1  count=2\n    2  count=1\n" in text
    # All of it goes in again: the counts go on from there.
    again = tmp_path / "tables.json"
    again.write_text(first.splitlines()[-1])
    second = summary(nfc("run", program, "--pcap", path, "--json", "--table", again)[1])
    tables = {t["table"]: t["entries"] for t in second["tables"]}
    assert [e["value"]["count"] for e in tables["by_tag"]] == [4, 2]
    assert tables["state"][0]["value"] == {"total": 6}


def test_tables_and_routes_decide(nfc: Nfc, tmp_path: Path, program: Path) -> None:
    path = write(tmp_path / "in.pcap", [sid(tag=1)])
    entries = tmp_path / "seen.json"
    value = {"tag": 0, "at": 5, "wait": "2s"}
    entries.write_text(
        json.dumps({"table": "seen", "entries": [{"key": {"src": "fd00::1"}, "value": value}]})
    )
    fib = tmp_path / "fib.toml"
    fib.write_text('[routes.main]\n"::/0" = "north"\n[routes.100]\n"fd00::/16" = "south"\n')
    given = ("run", program, "--pcap", path, "--json", "--fib", fib)
    assert summary(nfc(*given)[1])["sent"] == {"north": 1}
    assert summary(nfc(*given, "--table", entries)[1])["sent"] == {"south": 1}
    fib.write_text('[routes.main]\n"fd00:77::/32" = "north"\n')
    found = summary(nfc(*given)[1])
    assert (found["sent"], list(found["lost"].values())) == ({}, [1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("3", "is not of the form"),
        ('{"table": "seen", "entries": {}}', "is not of the form"),
        ('{"table": "sen", "entries": []}', "count_up has no table 'sen'"),
        ('{"table": "seen", "entries": [{"key": {"src": 1}, "value": {}}]}', "entry 1: src"),
        ('{"table": "marks", "entries": [{"key": {"index": 9}, "value": {}}]}', "entry 1"),
    ],
)
def test_tables_that_do_not_fit(
    nfc: Nfc, tmp_path: Path, program: Path, text: str, message: str
) -> None:
    path = write(tmp_path / "in.pcap", [sid()])
    table = tmp_path / "table.json"
    table.write_text(text)
    code, out, err = nfc("run", program, "--pcap", path, "--table", table)
    assert (code, out) == (1, "")
    assert message in err
    assert "table.json" in err


# ---- command lines -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--now", "soon"), "--now: 'soon' is no time"),
        (("--now", "99999999999"), "is no time"),
        (("--trace", "x"), "neither a number nor FROM-TO"),
        (("--trace", "0"), "neither a number nor FROM-TO"),
        (("--hook", "in"), "leave out --hook"),
        (("--function", "tga"), "has no function 'tga'"),
        (("--param", "x"), "'x' is not of the form"),
        (("--route", "fd00::/200"), "fd00::/200"),
        (("--count", "0"), "--count"),
        (("--fib", __file__), "test_cli_run.py"),
        (("--out", "/nowhere/at/all.pcap"), ""),
    ],
)
def test_wrong_words(nfc: Nfc, mixed: Path, words: tuple[str, ...], message: str) -> None:
    code, said, err = nfc("run", STDLIB / "tag.nf", "--pcap", mixed, *words)
    assert code == (1 if words[0] in ("--out", "--fib") else 2)
    assert said == ""
    assert message in err


def test_a_source_with_errors(nfc: Nfc, tmp_path: Path, mixed: Path) -> None:
    path = tmp_path / "wrong.nf"
    path.write_text("endpoint f { otherwise { set srh.tagg = 1 forward } }")
    code, _, err = nfc("run", path, "--pcap", mixed)
    assert code == 1
    assert "wrong.nf:1:" in err
    code, said, err = nfc("run", path, "--pcap", mixed, "--json")
    assert (code, err) == (1, "")
    assert json.loads(said)["diagnostics"]


def test_several_functions(nfc: Nfc, mixed: Path) -> None:
    code, _, err = nfc("run", STDLIB / "delay.nf", "--pcap", mixed)
    assert code == 2
    assert "mark_delay" in err
    assert "--function" in err


def test_the_same_seed_draws_the_same(nfc: Nfc, tmp_path: Path) -> None:
    path = write(tmp_path / "in.pcap", [packet(*INNER)] * 40)
    given = ("run", STDLIB / "delay.nf", "--function", "mark_delay", "--pcap", path)
    asked = ("--param", "one_in=4", "--packets")
    said = [nfc(*given, *asked, "--seed", seed)[1] for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


def test_it_needs_no_privileges(as_nobody: Callable[..., Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is root's alone
        Path(folder).chmod(0o755)
        path = write(Path(folder) / "in.pcap", [sid()])
        done = as_nobody("run", STDLIB / "tag.nf", "--pcap", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "  sent                 1  by out" in done.stdout
