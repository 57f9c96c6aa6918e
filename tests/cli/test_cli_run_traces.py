"""`nfc run --trace`: the rules that were tried, the reasons, what changed."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from run_packets import H1, H2, INNER, SID, STDLIB, TIME, Nfc, query, sid, write, write_mixed

from nfc.packet import Packet, ip, packet, srh


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Packets of which the function sees some."""
    return write_mixed(tmp_path)


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


def test_a_packet_that_comes_back_to_the_function(nfc: Nfc, tmp_path: Path) -> None:
    """On its route, a packet whose next segment is the SID again; without a route there is none."""
    one = packet(ip(H1, SID), srh([SID, SID, H2]), *INNER)
    given = ("run", STDLIB / "tag.nf", "--pcap", write(tmp_path / "in.pcap", [one]), "--trace")
    code, said, _ = nfc(*given, "--route", f"{SID}/128")
    assert code == 0
    assert "  the packet came to the function 2 times" in said.splitlines()
    assert re.search(r"^ +tag +0x0000 → 0x0002$", said, re.M)
    code, said, _ = nfc(*given)
    assert re.search(r"^ +tag +0x0000 → 0x0001$", said, re.M)


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
                "limit is 5ms"
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
