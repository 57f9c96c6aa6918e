"""`nfc run`: captures through functions and objects, and everything that it says about them."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from nfc.bpf.isa import Instruction
from nfc.compiler import compile_file
from nfc.packet import Packet, capture, decode, icmp, ip, links, packet, pcap, srh, tlv, udp
from nfc.resources import data_dir

Nfc = Callable[..., tuple[int, str, str]]

STDLIB = data_dir("stdlib")
TIME = 1_700_000_000_123_456_789
SID, H1, H2 = "fd00:b::d", "fd00:1::1", "fd00:3::2"
INNER = (ip(H1, H2), udp(1000, 2000), b"hello")


def sid(*more: Any, tag: int = 0, **options: Any) -> Packet:
    """A packet on its way over the SID to H2."""
    return packet(ip("fd00::1", SID), srh([SID, H2], tag=tag, **options), *(more or INNER))


def query(control: int, version: int = 1) -> Packet:
    value = bytearray(46)
    value[2:4] = version << 4, control
    value[6:9] = b"\0\0\x03"
    value[9:10] = b"\x07"
    return sid(tlvs=[tlv(7, bytes(value))])


def write(path: Path, packets: Iterable[Packet | bytes | pcap.Record]) -> Path:
    """A capture, a millisecond between packets."""
    with path.open("wb") as stream:
        writer = capture.writer(stream, path.name)
        for number, one in enumerate(packets):
            data = one if isinstance(one, pcap.Record) else bytes(one)
            if isinstance(data, bytes):
                data = pcap.Record(TIME + number * 1_000_000, data, len(data))
            writer.write(data)
    return path


def read(path: Path) -> list[pcap.Record]:
    with path.open("rb") as stream:
        return list(capture.records(stream))


def summary(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.splitlines()[-1])["summary"]
    return found


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two that the function sees, one of them cut short; and what it does not see."""
    whole = bytes(sid(tag=7))
    return write(
        tmp_path / "mixed.pcap",
        [
            sid(tag=1),
            packet(*INNER),
            b"\x45" + bytes(30),
            pcap.Record(TIME, whole[:-3], len(whole)),
            bytes(sid())[:60],
        ],
    )


# ---- what becomes of packets ---------------------------------------------------------------------


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
    tag = ("run", STDLIB / "tag.nf", "--pcap", path, "--json")
    found = summary(nfc(*tag, "--route", "fd00:b::/64")[1])
    assert (found["packets"], found["sent"]) == (3, {"out": 2})
    assert found["passed_over"] == {"not to fd00:b::/64": 1}
    assert summary(nfc(*tag, "--count", 2)[1])["packets"] == 2


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
    again.write_text(json.dumps({"tables": summary(first)["tables"]}))
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
    assert (code, out) == (2, "")
    assert message in err
    assert "table.json" in err


# ---- traces --------------------------------------------------------------------------------------


def test_a_trace_tells_rules_reasons_and_changes(nfc: Nfc, tmp_path: Path) -> None:
    path = write(tmp_path / "in.pcap", [query(0)])
    code, said, _ = nfc(
        "run", STDLIB / "delay.nf", "--function", "end_dm", "--pcap", path, "--trace"
    )
    assert code == 0
    lines = [line.strip() for line in said.splitlines()]
    source = (STDLIB / "delay.nf").read_text().splitlines()
    rules = [n for n, text in enumerate(source, 1) if text.lstrip().startswith("when srh has DM")]
    first = lines.index(f"line {rules[0]} not taken: {source[rules[0] - 1].strip()}")
    assert (
        lines[first + 1] == "dm.control == OUT_OF_BAND: dm.control is 0 (IN_BAND), OUT_OF_BAND is 1"
    )
    assert lines[first + 2].startswith(f"line {rules[1]} taken: ")
    assert "bpf_lwt_seg6_store_bytes = 0" in lines[first + 3]
    changed = lines[first + 4 :]
    assert changed[:5] == [
        "IPv6",
        "hop_limit       64 → 63",
        f"dst             {SID} → {H2}",
        "SRH",
        "segments_left   1 → 0",
    ]
    assert "response        0 → 1" in changed
    assert f"received        0.000000000 → {TIME // 10**9}.123456789" in changed


def reasons(nfc: Nfc, tmp_path: Path, guard: str, one: Packet, more: str = "") -> list[str]:
    """Why a rule with this condition was not taken by a packet."""
    path = tmp_path / "guard.nf"
    path.write_text(
        f"use dm\n{more}\nendpoint f {{\n when {guard} {{ drop }}\n otherwise forward\n}}"
    )
    given = write(tmp_path / "guard.pcap", [one])
    code, said, err = nfc("run", path, "--pcap", given, "--trace", "--json")
    assert (code, err) == (0, "")
    first, second = json.loads(said.splitlines()[0])["trace"]["rules"]
    assert (first["taken"], second["taken"]) == (False, True)
    return list(first["why"])


@pytest.mark.parametrize(
    ("guard", "more", "why"),
    [
        ("srh.tag == 3", "", ["srh.tag == 3: srh.tag is 9"]),
        ("srh.tag == 9 and srh.flags == 1", "", ["srh.flags == 1: srh.flags is 0"]),
        (
            "srh.tag == 3 or ip.hop_limit < 10",
            "",
            ["srh.tag == 3: srh.tag is 9", "ip.hop_limit < 10: ip.hop_limit is 64"],
        ),
        ("not srh.tag & 0xf == 9", "", ["srh.tag & 0xf == 9: srh.tag is 9"]),
        ("ip.dst in fd77::/16", "", ["ip.dst in fd77::/16: ip.dst is fd00:3::2"]),
        (
            "udp.dst_port == p",
            "param p: u16 = 53",
            ["udp.dst_port == p: udp.dst_port is 2000, p is 53"],
        ),
        ("tcp.syn == 1", "", ["tcp.syn == 1: the packet has no tcp.syn"]),
        ("not tcp.syn == 1", "", ["tcp.syn == 1: the packet has no tcp.syn"]),
        (
            "srh has DM",
            "",
            ["srh has DM: the SRH has no TLV; type 7 of 48 bytes or more is wanted"],
        ),
        ("sample(1 in 0)", "", ["sample(1 in 0): 0 is 0"]),
        ("every(2)", "", ["every(2): not the turn of this packet, one in 2"]),
        (
            "t has [ip.src]",
            "table t: hash[2] { s: ipv6 } to { n: u8 }",
            ["t has [ip.src]: none at [fd00::1]"],
        ),
        (
            "late(now(), 5ms)",
            "define late(t: timestamp, limit: duration): bool = now() - t > limit",
            [
                "now() - t > limit: now() is 1700000000.123456789, t is 1700000000.123456789, "
                "limit is 5000000ns"
            ],
        ),
        ("t == 4", "state t: u32", ["t == 4: t is 0"]),
        ("packet.mark == 1", "", ["packet.mark == 1: packet.mark is 0"]),
    ],
)
def test_reasons(nfc: Nfc, tmp_path: Path, guard: str, more: str, why: list[str]) -> None:
    assert reasons(nfc, tmp_path, guard, sid(tag=9), more) == why


def test_a_sample_that_was_not_drawn(nfc: Nfc, tmp_path: Path) -> None:
    assert reasons(nfc, tmp_path, "srh.tag == 9 and sample(1 in 4000000000)", sid(tag=9)) == [
        "sample(1 in 4000000000): this packet was not drawn"
    ]


def test_several_rules_on_one_line(nfc: Nfc, tmp_path: Path) -> None:
    path = tmp_path / "one.nf"
    path.write_text(
        "endpoint f { when srh.tag == 1 { drop } when srh.tag == 2 { drop } otherwise forward }"
    )
    given = write(tmp_path / "one.pcap", [sid(tag=2), sid(tag=1)])
    said = nfc("run", path, "--pcap", given, "--trace", "2", "--json")[1]
    traces = [json.loads(line)["trace"]["rules"] for line in said.splitlines()[:2]]
    assert [[rule["taken"] for rule in rules] for rules in traces] == [[False, True], [True]]


def test_which_packets_are_traced(nfc: Nfc, tmp_path: Path) -> None:
    path = write(tmp_path / "in.pcap", [packet(*INNER), *(sid(tag=n) for n in range(5))])
    for words, numbers in (
        (("--trace",), [2]),
        (("--trace", "2"), [2, 3]),
        (("--trace", "1-3"), [2, 3]),
        (("--trace", "5-9"), [5, 6]),
    ):
        said = nfc("run", STDLIB / "tag.nf", "--pcap", path, "--json", *words)[1]
        *traced, _ = map(json.loads, said.splitlines())
        assert [one["number"] for one in traced] == numbers
        assert all(one["trace"]["rules"] for one in traced)


@pytest.mark.parametrize("wanted", [True, False])
def test_colours_are_for_terminals(tmp_path: Path, mixed: Path, wanted: bool) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
    if not wanted:
        environment["NO_COLOR"] = "1"
    command = [sys.executable, "-m", "nfc", "run", str(STDLIB / "tag.nf"), "--trace"]
    command += ["--pcap", str(mixed)]
    main, terminal = pty.openpty()
    with subprocess.Popen(command, stdout=terminal, env=environment) as process:
        os.close(terminal)
        said = b""
        while True:
            try:
                said += os.read(main, 1 << 16)
            except OSError:  # the other side is closed
                break
        assert process.wait() == 0
    os.close(main)
    assert (b"\x1b[31m64\x1b[0m" in said) == wanted
    assert (b"\x1b[" in said) == wanted
    assert b"hop_limit" in said


# ---- other people's objects ----------------------------------------------------------------------


def test_an_object_without_its_source(nfc: Nfc, tmp_path: Path) -> None:
    built = tmp_path / "tag.o"
    compilation = compile_file(STDLIB / "tag.nf")
    built.write_bytes(compilation.object(compilation.functions))
    path = write(tmp_path / "in.pcap", [sid(), sid()])
    code, said, _ = nfc("run", built, "--pcap", path, "--packets", "--trace")
    assert code == 0
    assert "returned 0  sent by out" in said
    assert re.search(r"^  tag\.nf:\d+ +set srh\.tag = srh\.tag \+ 1|^  tag\.nf:4 ", said, re.M)
    assert "map tag_stats: 1 with a value" in said
    assert f"    00000000  {struct.pack('<Q', 2).hex()}" in said
    found = summary(nfc("run", built, "--pcap", path, "--json")[1])
    assert found["maps"][0]["entries"][0]["value"].startswith("0200")
    code, _, err = nfc("run", built, "--pcap", path, "--param", "a=1")
    assert code == 2
    assert "does not say what its params are" in err


C_SOURCE = """
typedef unsigned int u32; typedef unsigned char u8; typedef unsigned long long u64;
struct __sk_buff { u32 len, pkt_type, mark, a[16], data, data_end; };
struct { int (*type)[1]; int (*max_entries)[8]; u32 *key; u64 *value; } lengths
    __attribute__((section(".maps"), used));
static long (*update)(void *, void *, void *, u64) = (void *)2;

__attribute__((section("lwt_in"), used)) int measure(struct __sk_buff *skb)
{
    u32 key = skb->len;
    u64 one = 1;
    if (key > 100)
        return 2;
    update(&lengths, &key, &one, 0);
    return 0;
}

__attribute__((section("anything"), used)) int careless(struct __sk_buff *skb)
{
    u8 *data = (u8 *)(u64)skb->data;
    return data[60] ? 2 : 0;
}
char _license[] __attribute__((section("license"), used)) = "GPL";
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from shutil import which

    if which("clang") is None:
        pytest.skip("no clang here to make other people's objects with")
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "theirs.c").write_text(C_SOURCE)
    command = ["clang", "-O2", "-g", "-target", "bpf", "-c", "theirs.c", "-o", "theirs.o"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "theirs.o"


def test_somebody_elses_object(nfc: Nfc, tmp_path: Path, theirs: Path) -> None:
    path = write(tmp_path / "in.pcap", [packet(*INNER), sid(), packet(*INNER)])
    given = ("run", theirs, "--function", "measure", "--pcap", path)
    code, said, _ = nfc(*given, "--trace", "--packets")
    assert code == 0
    shown = [line.strip() for line in said.splitlines()]
    assert re.search(r"^  theirs\.c:\d+ +if \(key > 100\)", said, re.M)
    assert re.search(r"^  theirs\.c:\d+ +update\(&lengths", said, re.M)
    assert "helpers: bpf_map_update_elem = 0" in shown
    assert "2 0.001000000  returned 2  dropped: program returned BPF_DROP" in shown
    assert f"{struct.pack('<I', 53).hex()}  {struct.pack('<Q', 1).hex()}" in shown
    code, _, err = nfc("run", theirs, "--function", "careless", "--pcap", path)
    assert code == 2
    assert "has no program 'careless'" in err
    code, _, err = nfc("run", theirs, "--hook", "out", "--pcap", path)
    assert code == 2
    assert "measure (in), careless (out)" in err


def test_a_fault(nfc: Nfc, tmp_path: Path, theirs: Path) -> None:
    path = write(tmp_path / "in.pcap", [sid(), packet(*INNER), sid()])
    given = ("run", theirs, "--function", "careless", "--hook", "out", "--pcap", path)
    code, said, err = nfc(*given)
    assert code == 1
    assert "2 packets" in said.splitlines()[0]
    assert "  faults               1" in said
    assert re.search(r"packet 2 makes careless fault: .*theirs\.c:21: instruction \d+ ", err)
    assert "in packet of 53 bytes" in err
    assert "return data[60] ? 2 : 0;" in err
    assert re.search(r"^ +\d+: r\d+ = \*\(u8 \*\)\(r\d+ \+ 60\)$", err, re.M)
    assert re.search(r"with .*r\d+ = packet\+0", err)
    code, said, err = nfc(*given, "--json")
    assert (code, err) == (1, "")
    first, second = said.splitlines()
    assert summary(first)["faults"] == 1
    assert "packet 2 makes careless fault" in json.loads(second)["error"]


# ---- captures ------------------------------------------------------------------------------------


def test_a_capture_that_ends_too_early(nfc: Nfc, tmp_path: Path) -> None:
    """What was read is counted, and the error says where it ends."""
    path = write(tmp_path / "in.pcap", [sid(), sid(), sid()])
    path.write_bytes(path.read_bytes()[:-9])
    code, said, err = nfc("run", STDLIB / "tag.nf", "--pcap", path)
    assert code == 1
    assert "2 packets" in said.splitlines()[0]
    assert "  sent                 2  by out" in said
    assert "a record ends after 124 of 133 bytes" in err
    assert "byte 338" in err


@pytest.mark.parametrize("content", [b"", b"not a capture at all", b"\x0a\x0d\x0d\x0a" * 9])
def test_no_capture(nfc: Nfc, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "in.pcap"
    path.write_bytes(content)
    code, said, err = nfc("run", STDLIB / "tag.nf", "--pcap", path)
    assert (code, said) == (1, "")
    assert err.startswith("error: byte ")


def test_frames_of_a_link_that_is_not_known(nfc: Nfc, tmp_path: Path) -> None:
    path = tmp_path / "in.pcap"
    with path.open("wb") as stream:
        pcap.write(stream, [pcap.Record(0, bytes(50), 50, 105)], linktype=105)
    code, _, err = nfc("run", STDLIB / "tag.nf", "--pcap", path)
    assert code == 1
    assert "link type 105 is none of" in err


def test_ethernet_frames_go_out_as_packets(nfc: Nfc, tmp_path: Path) -> None:
    path, out = tmp_path / "in.pcap", tmp_path / "out.pcap"
    frame = bytes(12) + b"\x86\xdd" + bytes(sid())
    with path.open("wb") as stream:
        pcap.write(
            stream, [pcap.Record(0, frame, len(frame), links.ETHERNET)], linktype=links.ETHERNET
        )
    assert nfc("run", STDLIB / "tag.nf", "--pcap", path, "--out", out)[0] == 0
    ((record,)) = read(out)
    assert (record.linktype, len(record.data)) == (links.RAW, len(bytes(sid())))


def test_pipes(tmp_path: Path) -> None:
    path = write(tmp_path / "in.pcapng", [sid(), sid()])
    command = [sys.executable, "-m", "nfc", "run", str(STDLIB / "tag.nf"), "--pcap", "-"]
    done = subprocess.run(
        [*command, "--out", "-"], input=path.read_bytes(), capture_output=True, check=True
    )
    assert len(list(capture.records(io.BytesIO(done.stdout)))) == 2
    assert b"2 packets written to -" in done.stderr


@pytest.mark.parametrize(
    ("end", "code", "message"),
    [
        ("--packets | head -1; exit ${PIPESTATUS[0]}", 1, b""),
        ("--out - | true; exit ${PIPESTATUS[0]}", 1, b""),
        ("--out /dev/full", 1, b"error: cannot write /dev/full: No space left on device\n"),
        ("> /dev/full", 1, b"error: cannot write: No space left on device\n"),
    ],
)
def test_nobody_takes_what_it_says(tmp_path: Path, end: str, code: int, message: bytes) -> None:
    """A reader that goes away, a disk that is full: no traceback."""
    path = write(tmp_path / "in.pcap", [sid()] * 3000)
    line = f"{sys.executable} -m nfc run {STDLIB / 'tag.nf'} --pcap {path} {end}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (code, message)


def test_an_interrupt(tmp_path: Path) -> None:
    """Ctrl-C while it waits for packets."""
    command = [sys.executable, "-m", "nfc", "run", str(STDLIB / "tag.nf"), "--pcap", "-"]
    out = tmp_path / "out.pcap"
    with subprocess.Popen(
        [*command, "--packets", "--out", str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(write(tmp_path / "in.pcap", [sid()] * 300).read_bytes())
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.strip() == b""
    assert read(out)  # a whole capture of what had left


def test_packets_longer_than_any(nfc: Nfc, tmp_path: Path) -> None:
    long = bytes(packet(ip(H1, H2), icmp(128), bytes(65_531)))
    path = write(tmp_path / "in.pcap", [long, long + bytes(9)])
    for engine in ("jit", "interpreter"):
        code, said, _ = nfc("run", STDLIB / "dt6.nf", "--pcap", path, "--json", "--engine", engine)
        assert code == 0
        assert sum(summary(said)["passed_over"].values()) == 2


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
    assert code == (1 if words[0] == "--out" else 2)
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


def test_instructions_print(theirs: Path) -> None:
    """What the fault's message is made of."""
    assert str(Instruction(0x71, 1, 2, 60, 0)) == "r1 = *(u8 *)(r2 + 60)"
